// The keys of a set, imported once.
export const parameters = {
  ES256: { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" },
  EdDSA: { name: "Ed25519" },
  RS256: { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" },
};

export async function importKeys(jwks) {
  const keys = new Map();
  for (const { kid, alg, use, ...jwk } of jwks.keys) {
    const key = await crypto.subtle.importKey("jwk", jwk, parameters[alg], false, ["verify"]);
    keys.set(kid, { key, alg });
  }
  return keys;
}
