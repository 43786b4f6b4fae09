// The package behind HTTP, for tests in Node.js, Deno and Bun. Options are in EDGEKEEP_OPTIONS;
// says `ready PORT` when it listens.
import { Buffer } from 'node:buffer';
import { createServer } from 'node:http';
import process from 'node:process';

import * as edgekeep from '@edgekeep/verifier';

import { answer } from './answers.mjs';

const verifier = new edgekeep.Verifier(JSON.parse(process.env.EDGEKEEP_OPTIONS));

const server = createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const body = Buffer.concat(chunks).toString();
  response.end(await answer(edgekeep, verifier, request.url, body));
});
server.listen(0, '127.0.0.1', () => console.log(`ready ${server.address().port}`));
