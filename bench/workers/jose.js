// jose as its documentation uses it: the remote set is fetched once and kept with its
// imported keys.
import { createRemoteJWKSet, jwtVerify } from "jose";
import { env } from "cloudflare:workers";
import { pass } from "./answer.js";

const keys = createRemoteJWKSet(new URL(env.JWKS_URL));
const options = {
  issuer: env.ISSUER,
  audience: env.AUDIENCE,
  typ: "at+jwt",
  algorithms: ["ES256", "EdDSA", "RS256"],
  requiredClaims: ["exp"],
};

export default {
  async fetch(request, env) {
    const authorization = request.headers.get("authorization");
    if (!authorization?.startsWith("Bearer ")) return new Response(null, { status: 401 });
    try {
      await jwtVerify(authorization.slice(7), keys, options);
    } catch {
      return new Response(null, { status: 401 });
    }
    return pass(request, env);
  },
};
