// @tsndr/cloudflare-worker-jwt with keys that are imported once. It judges `exp` and `nbf`; `iss`,
// `aud` and `typ` are compared here, as whoever uses it has to.
import { decode, verify } from "@tsndr/cloudflare-worker-jwt";
import { env } from "cloudflare:workers";
import { pass } from "./answer.js";
import { importKeys } from "./keys.js";

let imported;

async function isGood(token) {
  imported ??= await importKeys(JSON.parse(env.JWKS));
  const { kid, alg } = decode(token).header;
  const key = imported.get(kid);
  if (!key || key.alg !== alg) return false;
  const verified = await verify(token, key.key, alg);
  if (!verified) return false;
  const { header, payload } = verified;
  return header.typ === "at+jwt" && payload.iss === env.ISSUER && payload.aud === env.AUDIENCE;
}

export default {
  async fetch(request, env) {
    const authorization = request.headers.get("authorization");
    if (!authorization?.startsWith("Bearer ")) return new Response(null, { status: 401 });
    try {
      if (!(await isGood(authorization.slice(7)))) return new Response(null, { status: 401 });
    } catch {
      return new Response(null, { status: 401 });
    }
    return pass(request, env);
  },
};
