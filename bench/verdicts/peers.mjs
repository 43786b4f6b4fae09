// The verdicts of verifiers that are written in JavaScript. Reads {jwks, issuer, audience, now,
// tokens} from standard input and prints {peer: [whether it accepts each token]}.
//
// Each is as strict as its documented options allow. A name with `+` is the same with the checks that
// it leaves to its caller, made on what it has verified.
import { readFileSync } from "node:fs";
import { createPublicKey } from "node:crypto";
import { createLocalJWKSet, jwtVerify } from "jose";
import { verifyWithJwks, decode as decodeByHono } from "hono/jwt";
import { createVerifier, createDecoder } from "fast-jwt";
import tsndr from "@tsndr/cloudflare-worker-jwt";

const { jwks, issuer, audience, now, tokens } = JSON.parse(readFileSync(0, "utf8"));

// The clock stands still at the instant that the tokens are made for.
const SystemDate = Date;
globalThis.Date = class extends SystemDate {
  constructor(...parts) {
    if (parts.length === 0) super(now * 1000);
    else super(...parts);
  }
  static now() {
    return now * 1000;
  }
};

const algorithms = ["ES256", "EdDSA", "RS256"];
const requiredClaims = ["iss", "sub", "aud", "exp", "iat", "jti", "client_id"];
const DAY = 24 * 60 * 60;

/** What RFC 9068 §4 asks of who takes access tokens, where the library has no option for it. */
function isAccessToken({ header, payload }) {
  const typ = String(header.typ).toLowerCase().replace(/^application\//, "");
  return (
    typ === "at+jwt" &&
    payload.iss === issuer &&
    [payload.aud].flat().includes(audience) &&
    requiredClaims.every((name) => Object.hasOwn(payload, name))
  );
}

const joseKeys = createLocalJWKSet(jwks);
const joseOptions = {
  issuer,
  audience,
  typ: "at+jwt",
  algorithms: [...algorithms, "Ed25519"],
  requiredClaims,
  maxTokenAge: DAY,
  clockTolerance: 0,
};
const jose = async (token) => Boolean(await jwtVerify(token, joseKeys, joseOptions));

const hono = (token) =>
  verifyWithJwks(token, {
    keys: jwks.keys,
    allowedAlgorithms: algorithms,
    verification: { iss: issuer, aud: audience, typ: "at+jwt", exp: true, nbf: true, iat: true },
  });

// Both take PEM: the keys of the set that Node.js can read, of the algorithms above.
const pems = new Map();
for (const jwk of jwks.keys) {
  if (!algorithms.includes(jwk.alg)) continue;
  try {
    const key = createPublicKey({ key: jwk, format: "jwk" });
    pems.set(jwk.kid, { alg: jwk.alg, jwk, pem: key.export({ type: "spki", format: "pem" }) });
  } catch {
    // A key that is none.
  }
}

const fastJwt = createVerifier({
  key: async ({ header }) => {
    const key = pems.get(header.kid);
    if (key?.alg !== header.alg) throw new Error("no such key");
    return key.pem;
  },
  algorithms,
  allowedIss: issuer,
  allowedAud: audience,
  requiredClaims,
  checkTyp: "at+jwt",
  maxAge: DAY * 1000,
  clockTimestamp: now * 1000,
  clockTolerance: 0,
  cache: false,
});

async function byTsndr(token) {
  const { header } = tsndr.decode(token);
  const key = pems.get(header?.kid);
  if (!key) return false;
  return tsndr.verify(token, key.jwk, { algorithm: key.alg, clockTolerance: 0 });
}

const peers = {
  jose,
  hono: async (token) => Boolean(await hono(token)),
  "hono+": async (token) => {
    await hono(token);
    return isAccessToken(decodeByHono(token));
  },
  "fast-jwt": async (token) => Boolean(await fastJwt(token)),
  tsndr: async (token) => Boolean(await byTsndr(token)),
  "tsndr+": async (token) => {
    if (!(await byTsndr(token))) return false;
    return isAccessToken(tsndr.decode(token));
  },
};

const verdicts = {};
for (const [name, accepts] of Object.entries(peers)) {
  verdicts[name] = [];
  for (const token of tokens) {
    let verdict = false;
    try {
      verdict = await accepts(token);
    } catch {
      // However it refuses.
    }
    verdicts[name].push(verdict);
  }
}
process.stdout.write(JSON.stringify(verdicts));
