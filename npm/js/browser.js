// Browsers, and bundlers that make files for them. The browser's own cache asks conditionally:
// a header of ours would ask for a preflight first.
import { host } from './host.js';
import init from './wasm/edgekeep.js';

host.request = { cache: 'no-cache', credentials: 'omit', referrerPolicy: 'no-referrer' };
host.conditional = false;

await init({ module_or_path: new URL('./wasm/edgekeep_bg.wasm', import.meta.url) });

export { Rejection } from './rejection.js';
export { Verifier } from './verifier.js';
