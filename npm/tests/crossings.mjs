// Counts the steps over the boundary to WebAssembly that verdicts take on the token of standard
// input, and times them: JSON on standard output. Options are in EDGEKEEP_OPTIONS.
import process from 'node:process';

let into = {};
let outOf = {};

const count = (counts, functions) =>
  Object.fromEntries(
    Object.entries(functions).map(([name, value]) => [
      name,
      typeof value !== 'function'
        ? value
        : (...given) => {
            counts()[name] = (counts()[name] ?? 0) + 1;
            return value(...given);
          },
    ]),
  );

const { Instance } = WebAssembly;
WebAssembly.Instance = function (module, imports) {
  const counted = Object.fromEntries(
    Object.entries(imports).map(([from, functions]) => [from, count(() => outOf, functions)]),
  );
  return { exports: count(() => into, new Instance(module, counted).exports) };
};

const { Verifier } = await import('@edgekeep/verifier');
const options = JSON.parse(process.env.EDGEKEEP_OPTIONS);

const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);
const token = chunks.join('').trim();
const refused = `${token.slice(0, -4)}AAAA`;

async function counting(verifier, text) {
  [into, outOf] = [{}, {}];
  await verifier.verify(text).catch(() => {});
  return { into: { ...into }, out_of: { ...outOf } };
}

// Of the processor: what else the machine does is no part of it.
async function microseconds(rounds, verify) {
  const begun = process.cpuUsage();
  for (let round = 0; round < rounds; round += 1) await verify(round);
  const { user, system } = process.cpuUsage(begun);
  return (user + system) / rounds;
}

const verifier = new Verifier(options);
await verifier.verify('x').catch(() => {});
const said = {
  first: await counting(verifier, token),
  repeated: await counting(verifier, token),
  refused: await counting(verifier, refused),
};
const fresh = Array.from({ length: 500 }, () => new Verifier(options));
for (const each of fresh) await each.verify('x').catch(() => {});
// The first hundreds are of code that is not optimised yet.
await microseconds(500, () => verifier.verify(refused).catch(() => {}));
said.refused.us = await microseconds(500, () => verifier.verify(refused).catch(() => {}));
said.first.us = await microseconds(fresh.length, (round) => fresh[round].verify(token));
said.repeated.us = await microseconds(20_000, () => verifier.verify(token));
console.log(JSON.stringify(said));
