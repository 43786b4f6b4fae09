// Answers questions from standard input by the WebAssembly build of this crate, whose folder is the
// argument. Question and answer come each behind its length as four bytes, little-endian.
import { Buffer } from 'node:buffer';
import { createRequire } from 'node:module';
import process from 'node:process';

const { answer } = createRequire(import.meta.url)(`${process.argv[2]}/judge.js`);

const PREFIX = 4;
let held = Buffer.alloc(0);
for await (const chunk of process.stdin) {
  held = Buffer.concat([held, chunk]);
  while (held.length >= PREFIX) {
    const end = PREFIX + held.readUInt32LE(0);
    if (held.length < end) break;
    const said = answer(held.subarray(PREFIX, end));
    held = held.subarray(end);
    const length = Buffer.alloc(PREFIX);
    length.writeUInt32LE(said.length);
    process.stdout.write(length);
    process.stdout.write(said);
  }
}
if (held.length > 0) throw new Error('the last question is cut off');
