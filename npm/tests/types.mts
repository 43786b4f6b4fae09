// Checked by tsc and never run: the declarations say what there is, and nothing else.
import {
  Rejection,
  Verifier,
  type Claims,
  type IssuerOptions,
  type RejectionCode,
  type VerifiedToken,
} from '../js/index.js';

const issuer: IssuerOptions = {
  issuer: 'https://auth.example.com',
  audience: 'api',
  algorithms: ['ES256', 'EdDSA'],
  jwksUrl: new URL('https://auth.example.com/keys'),
  leeway: 5,
  revocation: {
    controlKeys: [{ kty: 'OKP', crv: 'Ed25519', x: '…' }],
    onStale: 'allow',
    allowStaleFor: 60,
  },
};

const verifier = new Verifier([issuer], { fetch: (url, init) => fetch(url, init) });
new Verifier({ issuer: 'https://a.example', audience: 'api', revocation: 'none' });

const token: VerifiedToken = await verifier.verify('…');
const claims: Claims = (await verifier.verifyAuthorization(null)).claims;
const session: string | undefined = claims.sid;
const roles: readonly string[] = token.claims.roles;

try {
  await verifier.verify(undefined);
} catch (error) {
  if (!(error instanceof Rejection)) throw error;
  const code: RejectionCode = error.code;
  const status: 401 | 503 = error.status;
  console.log(code, status, error.cause?.message, session, roles);
}

// @ts-expect-error a verifier is told about revocation
new Verifier({ issuer: 'https://a.example', audience: 'api' });
// @ts-expect-error a verifier is told about its audience
new Verifier({ issuer: 'https://a.example', revocation: 'none' });
// @ts-expect-error there is no such algorithm
new Verifier({ issuer: 'x', audience: 'api', revocation: 'none', algorithms: ['HS256'] });
// @ts-expect-error there is no such word
new Verifier({ issuer: 'x', audience: 'api', revocation: 'off' });
// @ts-expect-error only the package makes one
new Rejection('token_missing');
// @ts-expect-error claims are read, not written
claims.sub = 'somebody else';
