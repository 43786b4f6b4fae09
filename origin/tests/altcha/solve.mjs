// Solves a challenge with the library that ALTCHA publishes.
//
//   node solve.mjs <node_modules> <challenge as JSON>
//
// Prints the payload as the widget would send it.
import { createRequire } from 'node:module';

const require = createRequire(`${process.argv[2]}/`);
const { solveChallenge } = require('altcha-lib');
const { deriveKey } = require('altcha-lib/algorithms/pbkdf2');
const { parameters, signature } = JSON.parse(process.argv[3]);
const challenge = { parameters, signature };
const solution = await solveChallenge({ challenge, deriveKey });
process.stdout.write(btoa(JSON.stringify({ challenge, solution })));
