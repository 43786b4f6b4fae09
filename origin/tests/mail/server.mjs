// A real mail server (smtp-server, which nodemailer is tested with) on loopback.
//
//   node server.mjs <node_modules> <options as JSON>
//
// Options: user and password that it asks for; tls: offers STARTTLS with a certificate that nobody
// has signed; refuse: how many messages it answers with 451 before it takes one; port: where it listens.
// One JSON line for each thing that happens; the first names the port. Ends with standard input.
import { createRequire } from 'node:module';

const { SMTPServer } = createRequire(`${process.argv[2]}/`)('smtp-server');
const options = JSON.parse(process.argv[3]);
const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
let refusals = options.refuse ?? 0;

const server = new SMTPServer({
    disabledCommands: options.tls ? [] : ['STARTTLS'],
    authOptional: !options.user,
    allowInsecureAuth: true,
    disableReverseLookup: true,
    onAuth(auth, session, callback) {
        const known = auth.username === options.user && auth.password === options.password;
        say({ event: 'login', user: auth.username, known });
        callback(known ? null : new Error('unknown'), known ? { user: auth.username } : undefined);
    },
    onData(stream, session, callback) {
        const parts = [];
        stream.on('data', (part) => parts.push(part));
        stream.on('end', () => {
            if (refusals > 0) {
                refusals -= 1;
                say({ event: 'refused' });
                const error = new Error('later');
                error.responseCode = 451;
                callback(error);
                return;
            }
            const { mailFrom, rcptTo } = session.envelope;
            say({
                event: 'mail',
                from: mailFrom.address,
                to: rcptTo.map((recipient) => recipient.address),
                user: session.user ?? null,
                secure: session.secure,
                data: Buffer.concat(parts).toString('utf8'),
            });
            callback();
        });
    },
});
server.on('error', (error) => say({ event: 'error', text: error.message }));
server.listen(options.port ?? 0, '127.0.0.1', () => say({ event: 'listening', port: server.server.address().port }));
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
