// Node.js, Deno and Bun.
import { readFileSync } from 'node:fs';
import { setTimeout } from 'node:timers';

import { host } from './host.js';
import { initSync } from './wasm/edgekeep.js';

host.sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms).unref());

initSync({ module: readFileSync(new URL('./wasm/edgekeep_bg.wasm', import.meta.url)) });

export { Rejection } from './rejection.js';
export { Verifier } from './verifier.js';
