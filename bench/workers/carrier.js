// Judges nothing either, and does what no gate gets by without: it reads the header fields, gives eight of
// its own to whoever comes next, and looks at what comes back. What a gate is slower than this is what its
// judgement costs.
const NAMES = [
  "X-Request-ID",
  "X-User-ID",
  "X-Client-ID",
  "X-Session-ID",
  "X-User-Roles",
  "X-User-Scopes",
  "X-User-Permissions",
  "X-KYC-Level",
];

function read(request) {
  let text = `${request.method}\n${request.url}`;
  for (const [name, value] of request.headers) text += `\n${name}\n${value}`;
  return text;
}

async function forward(request, text, env) {
  const headers = new Headers(request.headers);
  for (const name of NAMES) headers.set(name, `value ${text.length}`);
  const { method, body } = request;
  const init = { method, headers, body, redirect: "manual", cache: "no-store" };
  const { pathname, search } = new URL(request.url);
  const url = (env.UPSTREAM_URL ?? "http://upstream") + pathname + search;
  const response = await (env.UPSTREAM ?? globalThis).fetch(url, init);
  if (response.status === 999) console.log(text);
  return response;
}

export default {
  fetch(request, env) {
    const text = read(request);
    if (env.UPSTREAM || env.UPSTREAM_URL) return forward(request, text, env);
    const response = new Response(null);
    for (const name of NAMES) response.headers.set(name, `value ${text.length}`);
    return response;
  },
};
