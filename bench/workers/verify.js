// Verifies one token as often as it is asked to and answers with how often it was good.
// A worker's clock stands still while it works: the caller times two counts and subtracts.
//
//   POST /SUBJECT?n=COUNT, the body being the token
//   POST /list/WHAT?n=COUNT, what is done with a revocation list
import { createLocalJWKSet, jwtVerify } from "jose";
import { verifyWithJwks } from "hono/jwt";
import { decode as decodeJwt, verify as verifyJwt } from "@tsndr/cloudflare-worker-jwt";
import { env } from "cloudflare:workers";
import { initSync, ListHolder, TokenVerifier } from "verify-wasm";
import wasm from "./verify.wasm";
import { importKeys, parameters } from "./keys.js";

const jwks = JSON.parse(env.JWKS);
const algorithms = ["ES256", "EdDSA", "RS256"];

const { memory } = initSync({ module: wasm });
const edgekeep = new TokenVerifier(env.JWKS, env.ISSUER, env.AUDIENCE);

const joseKeys = createLocalJWKSet(jwks);
const joseOptions = {
  issuer: env.ISSUER,
  audience: env.AUDIENCE,
  typ: "at+jwt",
  algorithms,
  requiredClaims: ["exp"],
};

// The least that JavaScript can do: keys imported once, no strictness beyond the four checks.
let imported;

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const decode = (text) =>
  Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
const decodeJson = (text) => JSON.parse(decoder.decode(decode(text)));

async function webcrypto(token) {
  const [header, payload, signature] = token.split(".");
  const { alg, kid } = decodeJson(header);
  const good = await crypto.subtle.verify(
    parameters[alg],
    imported.get(kid).key,
    decode(signature),
    encoder.encode(`${header}.${payload}`),
  );
  const { iss, aud, exp } = decodeJson(payload);
  return good && iss === env.ISSUER && aud === env.AUDIENCE && exp > Date.now() / 1000;
}

const subjects = {
  edgekeep: (token) => edgekeep.verify(token, Date.now() / 1000),
  webcrypto,
  "cloudflare-worker-jwt": (token) => tsndr(token),
  jose: async (token) => Boolean(await jwtVerify(token, joseKeys, joseOptions)),
  hono: async (token) =>
    Boolean(
      await verifyWithJwks(token, {
        keys: jwks.keys,
        allowedAlgorithms: algorithms,
        verification: { iss: env.ISSUER, aud: env.AUDIENCE, typ: "at+jwt" },
      }),
    ),
};

async function tsndr(token) {
  const { kid, alg } = decodeJwt(token).header;
  const verified = await verifyJwt(token, imported.get(kid).key, alg);
  if (!verified) return false;
  const { header, payload } = verified;
  return header.typ === "at+jwt" && payload.iss === env.ISSUER && payload.aud === env.AUDIENCE;
}
const holder = new ListHolder(env.CONTROL_KEYS, env.ISSUER);
const list = {
  // Opens the list in the body; the last one is held.
  open: (body, count) => holder.open(body, count),
  // Hashes its first megabyte, which nothing else is done in between.
  piece: (body, count) => holder.piece(body, count),
  // Applies the first of the deltas in the body to the held list, for good or to a copy.
  follow: (body, count) => holder.apply(body, count, true),
  apply: (body, count) => holder.apply(body, count, false),
  // Looks up the token in the body.
  find: (body, count) =>
    holder.find(edgekeep, new TextDecoder().decode(body), Date.now() / 1000, count),
  memory: () => memory.buffer.byteLength,
};

export default {
  async fetch(request) {
    const { pathname, searchParams } = new URL(request.url);
    if (pathname.startsWith("/list/")) {
      const body = new Uint8Array(await request.arrayBuffer());
      const done = list[pathname.slice(6)](body, Number(searchParams.get("n")));
      return new Response(String(done));
    }
    const verify = subjects[pathname.slice(1)];
    if (!verify) return new Response("no such subject", { status: 404 });
    imported ??= await importKeys(jwks);
    const token = await request.text();
    const count = Number(searchParams.get("n"));
    let good = 0;
    for (let i = 0; i < count; i += 1) {
      // Not awaited where there is nothing to wait for: that is how it would be called.
      const verdict = verify(token);
      if (verdict === true || (verdict !== false && (await verdict))) good += 1;
    }
    return new Response(String(good));
  },
};
