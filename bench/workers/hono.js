// hono/jwk with the set given as `keys`: with `jwks_uri` it fetches the set on every request.
import { Hono } from "hono";
import { jwk } from "hono/jwk";
import { env } from "cloudflare:workers";
import { pass } from "./answer.js";

const app = new Hono();
app.use(
  "*",
  jwk({
    keys: JSON.parse(env.JWKS).keys,
    alg: ["ES256", "EdDSA", "RS256"],
    verification: { iss: env.ISSUER, aud: env.AUDIENCE, typ: "at+jwt" },
  }),
);
app.all("*", (context) => pass(context.req.raw, context.env));

export default app;
