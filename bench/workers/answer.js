// What every peer does with a request that may pass: answer it, or send it on.

export function pass(request, env) {
  if (env.UPSTREAM) return env.UPSTREAM.fetch(request);
  if (env.UPSTREAM_URL) {
    const { pathname, search } = new URL(request.url);
    return fetch(env.UPSTREAM_URL + pathname + search, request);
  }
  return new Response("ok");
}
