// A real OpenID provider (oidc-provider, which the OpenID Foundation has certified) on loopback.
//
//   node provider.mjs <node_modules> <options as JSON>
//
// Options: client (its metadata); claims: what is said of whom, by login; in_id_token: whether the
// ID token says it, or only userinfo. One JSON line names the issuer. Ends with standard input.
import { createRequire } from 'node:module';
import { createServer } from 'node:http';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { pathToFileURL } from 'node:url';

const require = createRequire(`${process.argv[2]}/`);
const { Provider } = await import(pathToFileURL(require.resolve('oidc-provider')).href);
const options = JSON.parse(process.argv[3]);

const key = (alg, type, parameters) => ({
    ...generateKeyPairSync(type, parameters).privateKey.export({ format: 'jwk' }),
    alg,
    use: 'sig',
    kid: `${alg}-1`,
});

const server = createServer();
server.listen(0, '127.0.0.1', () => {
    const issuer = `http://127.0.0.1:${server.address().port}`;
    const provider = new Provider(issuer, {
        clients: [options.client],
        jwks: {
            keys: [
                key('RS256', 'rsa', { modulusLength: 2048 }),
                key('ES256', 'ec', { namedCurve: 'P-256' }),
                key('EdDSA', 'ed25519'),
            ],
        },
        enabledJWA: { idTokenSigningAlgValues: ['RS256', 'ES256', 'EdDSA'] },
        cookies: { keys: [randomBytes(32).toString('hex')] },
        pkce: { required: () => true },
        claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name'] },
        conformIdTokenClaims: !options.in_id_token,
        findAccount: (context, login) => ({
            accountId: login,
            claims: () => ({ sub: login, ...options.claims[login] }),
        }),
    });
    server.on('request', provider.callback());
    process.stdout.write(`${JSON.stringify({ issuer })}\n`);
});
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
