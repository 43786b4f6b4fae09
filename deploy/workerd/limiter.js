// A rate limiter for plain workerd, which has none of its own, with the interface of
// Cloudflare's binding: `(await env.NAME.limit({ key })).success`. config.capnp says how to
// bind it. It counts in the memory of this process: several gates count each for itself.

// Keys that are counted in one period. A key and its count take about 100 bytes; whoever has
// more addresses than that is not stopped by counting addresses.
const MOST_KEYS = 100_000;

export default function ({ limit, period }) {
  const milliseconds = period * 1000;
  let began = 0;
  let now = new Map();
  let before = new Map();

  const turn = () => {
    before = now;
    now = new Map();
  };

  return {
    // The count of the present period and the part of the one before that a window of one
    // period still covers.
    async limit({ key }) {
      const time = Date.now();
      let since = time - began;
      if (since < 0 || since >= milliseconds) {
        turn();
        if (since < 0 || since >= 2 * milliseconds) {
          before = new Map();
        }
        began = time - (((since % milliseconds) + milliseconds) % milliseconds);
        since = time - began;
      }
      if (now.size >= MOST_KEYS) {
        turn();
      }
      const covered = 1 - since / milliseconds;
      const count = now.get(key) ?? 0;
      const success = count + Math.ceil((before.get(key) ?? 0) * covered) < limit;
      if (success) {
        now.set(key, count + 1);
      }
      return { success };
    },
  };
}
