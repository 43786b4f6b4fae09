// jose in Node: reads {jwks, issuer, audience, count, tokens: {metric: token}} from standard
// input and prints {metric: microseconds per verification}.
import { readFileSync } from "node:fs";
import { createLocalJWKSet, jwtVerify } from "jose";

const { jwks, issuer, audience, count, tokens } = JSON.parse(readFileSync(0, "utf8"));
const keys = createLocalJWKSet(jwks);
const options = {
  issuer,
  audience,
  typ: "at+jwt",
  algorithms: ["ES256", "EdDSA"],
  requiredClaims: ["exp"],
};
const result = {};
for (const [metric, token] of Object.entries(tokens)) {
  for (let i = 0; i < count / 4; i += 1) await jwtVerify(token, keys, options);
  const begun = process.hrtime.bigint();
  for (let i = 0; i < count; i += 1) await jwtVerify(token, keys, options);
  result[metric] = Number(process.hrtime.bigint() - begun) / 1000 / count;
}
console.log(JSON.stringify(result));
