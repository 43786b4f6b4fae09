// Cloudflare Workers and workerd. A promise belongs to the request that made it: who awaits
// another's hangs when that one is gone.
import { waitUntil } from 'cloudflare:workers';

import { host } from './host.js';
import { initSync } from './wasm/edgekeep.js';
import module from './wasm/edgekeep_bg.wasm';

host.background = waitUntil;
host.sharesPromises = false;

initSync({ module });

export { Rejection } from './rejection.js';
export { Verifier } from './verifier.js';
