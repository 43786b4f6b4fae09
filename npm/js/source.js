import { host } from './host.js';

/**
 * How soon it is looked whether another request's attempt has ended, where that cannot be awaited; then
 * after twice as long, and so on up to the second.
 */
const FIRST_LOOK_MS = 5;
const LAST_LOOK_MS = 50;

/** How long one request's background work keeps a list checked before another's takes over: workers end it after 30 s. */
const WATCH_MS = 10_000;

/** Where an issuer's keys or its list come from. When to ask, and what to take, is the judge's word. */
export class Source {
  #judge;
  #number;
  #said;
  #fetch;
  #etag;
  #attempt;
  #usedAt = -Infinity;
  #watch;

  /** Why the last attempt gave nothing. */
  problem;

  constructor(judge, number, said, fetch) {
    this.#judge = judge;
    this.#number = number;
    this.#said = said;
    this.#fetch = fetch;
  }

  /** Asks, unless somebody does or it is too soon; gives the attempt that was begun. */
  refresh() {
    const now = Date.now();
    const limit = this.#judge.begin(this.#number, now);
    if (limit === 0) return undefined;
    const attempt = { begunAt: now, until: now + limit, over: false };
    attempt.promise = this.#ask(now).finally(() => {
      attempt.over = true;
    });
    this.#attempt = attempt;
    host.background(attempt.promise);
    return attempt;
  }

  /** Waits until it has been asked, by whomever, or nobody will. */
  async wait() {
    const begun = this.refresh();
    const attempt = begun ?? this.#attempt;
    if (attempt === undefined) return;
    if (begun !== undefined || host.sharesPromises) return attempt.promise;
    // It may have been cut off together with the request that began it.
    let pause = FIRST_LOOK_MS;
    while (!attempt.over && Date.now() < attempt.until) {
      await host.sleep(pause);
      pause = Math.min(2 * pause, LAST_LOOK_MS);
    }
  }

  /** Keeps the list checked from now on, while it is used and a little longer. */
  keepChecked() {
    const now = Date.now();
    const { fresh, deadline } = this.#said;
    this.#usedAt = now;
    const watch = this.#watch;
    // A watch that has not looked for long was cut off. A clock that was set back makes it none.
    if (
      watch !== undefined &&
      isWithin(now - watch.begunAt, WATCH_MS) &&
      isWithin(now - watch.lookedAt, fresh + 3 * deadline)
    ) {
      return;
    }
    const next = { begunAt: now, lookedAt: now };
    this.#watch = next;
    host.background(this.#follow(next));
  }

  async #follow(watch) {
    const { fresh, kept } = this.#said;
    for (;;) {
      // What was asked is as old as the question.
      const asked = Date.now() - (this.#attempt?.begunAt ?? -Infinity);
      await host.sleep(isWithin(asked, fresh) ? fresh - asked : fresh);
      if (this.#watch !== watch) return;
      const now = Date.now();
      if (!isWithin(now - this.#usedAt, kept)) break;
      watch.lookedAt = now;
      // A request may have had it asked a moment ago.
      if (isWithin(now - (this.#attempt?.begunAt ?? -Infinity), fresh / 2)) continue;
      await this.refresh()?.promise;
    }
    this.#watch = undefined;
  }

  async #ask(begunAt) {
    try {
      this.problem = await this.#exchange(begunAt);
    } catch (error) {
      this.#judge.giveUp(this.#number, begunAt, Date.now());
      this.problem = new Error(`${this.#said.url}: ${error?.message ?? error}`, { cause: error });
    }
  }

  async #exchange(begunAt) {
    let answer = await this.#answer(this.#etag, this.#judge.held(this.#number));
    if (answer.type === this.#said.delta) {
      const problem = this.#judge.follow(this.#number, begunAt, answer.body, Date.now());
      this.#etag = problem === undefined ? answer.etag : undefined;
      if (problem === undefined) return undefined;
      answer = await this.#answer();
    }
    const now = Date.now();
    if (answer.body === undefined) {
      this.#judge.confirm(this.#number, begunAt, now);
      return undefined;
    }
    const { body, cacheControl, age } = answer;
    const problem = this.#judge.offer(this.#number, begunAt, body, cacheControl, age, now);
    this.#etag = problem === undefined ? answer.etag : undefined;
    return problem === undefined ? undefined : new Error(`${this.#said.url}: ${problem}`);
  }

  /** What is not known already: by its tag, or by the query that names what is held. */
  #answer(etag, held) {
    return within(this.#said.deadline, (signal) => this.#read(signal, etag, held));
  }

  async #read(signal, etag, held) {
    const { url, conditional, limit } = this.#said;
    const headers = conditional && host.conditional && etag ? { 'If-None-Match': etag } : {};
    // A redirect is no answer: who may answer for the issuer is said by the URL alone.
    const init = { ...host.request, method: 'GET', redirect: 'manual', headers, signal };
    const response = await this.#fetch(held ? extended(url, held) : url, init);
    if (response.status === 304 && 'If-None-Match' in headers) {
      await response.body?.cancel();
      return {};
    }
    if (response.status !== 200) {
      await response.body?.cancel();
      throw new Error(`answered ${response.status}`);
    }
    return {
      body: await bytes(response, limit),
      cacheControl: response.headers.get('cache-control') ?? '',
      age: response.headers.get('age') ?? '',
      type: response.headers.get('content-type'),
      etag: response.headers.get('etag') ?? undefined,
    };
  }
}

function extended(text, query) {
  const url = new URL(text);
  url.search = url.search ? `${url.search}&${query}` : query;
  return url.href;
}

const isWithin = (age, limit) => age >= 0 && age < limit;

/** `work`, unless it takes longer than `ms`; it is told to stop, and not waited for if it does not. */
async function within(ms, work) {
  const controller = new AbortController();
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => {
      const error = new Error(`no answer within ${ms} ms`);
      reject(error);
      controller.abort(error);
    }, ms);
  });
  try {
    return await Promise.race([work(controller.signal), late]);
  } finally {
    clearTimeout(timer);
  }
}

/** The body, if it has at most `limit` bytes; no more than that is read. */
async function bytes(response, limit) {
  const chunks = [];
  let length = 0;
  const reader = response.body?.getReader();
  for (;;) {
    const { done, value } = (await reader?.read()) ?? { done: true };
    if (done) break;
    length += value.byteLength;
    if (length > limit) {
      await reader.cancel();
      throw new Error(`longer than ${limit} bytes`);
    }
    chunks.push(value);
  }
  const all = new Uint8Array(length);
  let at = 0;
  for (const chunk of chunks) {
    all.set(chunk, at);
    at += chunk.byteLength;
  }
  return all;
}
