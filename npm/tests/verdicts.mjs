// The package's verdict on each line of standard input, `name<TAB>token` (see answers.mjs).
// Options are in EDGEKEEP_OPTIONS. EDGEKEEP_NOW, in seconds, is what the clock says.
import { Buffer } from 'node:buffer';
import process from 'node:process';

import { Rejection, Verifier } from '@edgekeep/verifier';

import { verdicts } from './answers.mjs';

const { EDGEKEEP_OPTIONS, EDGEKEEP_NOW } = process.env;
if (EDGEKEEP_NOW !== undefined) Date.now = () => Number(EDGEKEEP_NOW) * 1_000;
const verifier = new Verifier(JSON.parse(EDGEKEEP_OPTIONS));

const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);
// Not by `readline`, for which a token's U+2028 ends a line.
for (const line of Buffer.concat(chunks).toString().split('\n')) {
  if (line === '') continue;
  const [verdict] = await verdicts((token) => verifier.verify(token), Rejection, [line]);
  process.stdout.write(`${verdict}\n`);
}
