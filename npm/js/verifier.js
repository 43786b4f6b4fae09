import { Judge } from './wasm/edgekeep.js';
import { Rejection } from './rejection.js';
import { Source } from './source.js';

/**
 * Characters that cross into WebAssembly at most. A token has 8 KiB, so that a longer text is no
 * token wherever it is cut; its memory, once grown, stays.
 */
const MOST_CHARACTERS = 64 * 1024;

/** Verifies access tokens of the issuers that it was told to trust. */
export class Verifier {
  #judge;
  #sources;

  constructor(issuers, environment = {}) {
    const { fetch = (url, init) => globalThis.fetch(url, init), ...unknown } = environment;
    if (typeof fetch !== 'function') throw new TypeError('fetch: expected a function');
    for (const name of Object.keys(unknown)) throw new TypeError(`${name}: is not an option`);
    const options = JSON.stringify(Array.isArray(issuers) ? issuers : [issuers]);
    try {
      this.#judge = new Judge(options);
    } catch (error) {
      throw typeof error === 'string' ? new TypeError(error) : error;
    }
    this.#sources = JSON.parse(this.#judge.sources()).map(
      (said, number) => new Source(this.#judge, number, said, fetch),
    );
  }

  /** The verified token, or a `Rejection`. */
  async verify(token) {
    if (token === undefined || token === null || token === '') {
      throw new Rejection('token_missing', 401);
    }
    return this.#decide(token, false);
  }

  /** The verified token of an `Authorization` header, or a `Rejection`. */
  async verifyAuthorization(header) {
    if (header === undefined || header === null) throw new Rejection('token_missing', 401);
    return this.#decide(header, true);
  }

  async #decide(text, isHeader) {
    if (typeof text !== 'string') throw new Rejection('token_malformed', 401);
    const cut = text.length > MOST_CHARACTERS ? text.slice(0, MOST_CHARACTERS) : text;
    let waited = 0;
    for (;;) {
      const answer = JSON.parse(this.#judge.judge(cut, isHeader, waited, Date.now()));
      if (answer.wait !== undefined) {
        waited |= 1 << answer.wait;
        await this.#sources[answer.wait].wait();
        continue;
      }
      for (const source of answer.due ?? []) this.#sources[source].refresh();
      if (answer.token !== undefined) {
        if (answer.used !== undefined) this.#sources[answer.used].keepChecked();
        return answer.token;
      }
      throw new Rejection(answer.code, answer.status, this.#sources[answer.source]?.problem);
    }
  }
}
