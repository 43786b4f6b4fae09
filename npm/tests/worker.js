// The package in a worker, for tests in workerd. Options are in OPTIONS.
import * as edgekeep from '@edgekeep/verifier';

import { answer } from './answers.mjs';

let verifier;

export default {
  async fetch(request, env) {
    verifier ??= new edgekeep.Verifier(JSON.parse(env.OPTIONS));
    const { pathname } = new URL(request.url);
    return new Response(await answer(edgekeep, verifier, pathname, await request.text()));
  },
};
