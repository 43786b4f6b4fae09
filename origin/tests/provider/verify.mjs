// What the reference library of Standard Webhooks says of a request.
//
//   node verify.mjs <node_modules> <secret> <id> <timestamp> <signature> <body>
//
// The library looks at the clock: it is set to the request's own time.
import { createRequire } from 'node:module';

const [folder, secret, id, timestamp, signature, body] = process.argv.slice(2);
const { Webhook } = createRequire(`${folder}/`)('standardwebhooks');
Date.now = () => Number(timestamp) * 1000;
try {
    new Webhook(secret).verify(body, {
        'webhook-id': id,
        'webhook-timestamp': timestamp,
        'webhook-signature': signature,
    });
    process.stdout.write('verified');
} catch (error) {
    if (error.constructor.name !== 'WebhookVerificationError') throw error;
    process.stdout.write('refused');
}
