// What differs from one JavaScript host to the next; the entry for each changes what it must.

/** Plain timers and promises, as every host has them. */
export const host = {
  /** Resolves after `ms`; where that can be said, it does not keep the process alive. */
  sleep: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),

  /** Lets `promise`, which never rejects, go on behind the answer. */
  background: (promise) => void promise,

  /** Whether one request may await what another has begun. */
  sharesPromises: true,

  /** What is added to every `RequestInit`. */
  request: {},

  /** Whether `If-None-Match` is ours to send. */
  conditional: true,
};
