// jose and fast-jwt in Node: reads {jwks, issuer, audience, count, tokens: {metric: token}} from
// standard input and prints {subject: {metric: microseconds per verification}}.
import { createPublicKey } from "node:crypto";
import { readFileSync } from "node:fs";
import { createVerifier } from "fast-jwt";
import { createLocalJWKSet, jwtVerify } from "jose";

const { jwks, issuer, audience, count, tokens } = JSON.parse(readFileSync(0, "utf8"));
const algorithms = ["ES256", "EdDSA", "RS256"];

const keys = createLocalJWKSet(jwks);
const options = { issuer, audience, typ: "at+jwt", algorithms, requiredClaims: ["exp"] };

// A verifier for each key, as its documentation has it, without its cache of verdicts.
const verifiers = new Map();
for (const jwk of jwks.keys) {
  const key = createPublicKey({ key: jwk, format: "jwk" }).export({ type: "spki", format: "pem" });
  const verifier = createVerifier({
    key,
    algorithms: [jwk.alg],
    allowedIss: issuer,
    allowedAud: audience,
    checkTyp: "at+jwt",
    requiredClaims: ["exp"],
    cache: false,
  });
  verifiers.set(jwk.kid, verifier);
}
const kid = (token) => JSON.parse(Buffer.from(token.split(".", 1)[0], "base64url")).kid;

const subjects = {
  jose: (token) => jwtVerify(token, keys, options),
  "fast-jwt": (token) => verifiers.get(kid(token))(token),
};

const result = {};
for (const [subject, verify] of Object.entries(subjects)) {
  result[subject] = {};
  for (const [metric, token] of Object.entries(tokens)) {
    for (let i = 0; i < count / 4; i += 1) await verify(token);
    const begun = process.hrtime.bigint();
    for (let i = 0; i < count; i += 1) await verify(token);
    result[subject][metric] = Number(process.hrtime.bigint() - begun) / 1000 / count;
  }
}
console.log(JSON.stringify(result));
