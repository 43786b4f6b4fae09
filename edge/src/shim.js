// The worker as the platform sees it. It carries: a request goes into WebAssembly as one text, what is
// to be done comes back as another, and nothing here decides about either. `carried.rs` and
// `incoming.rs` have the other half of both formats.
import * as gate from "./index.js";

// A panic leaves the instance in any state. Its hook says so here, and whoever comes next gets a new
// one: with nothing in its caches, which costs time, and nothing else. That is done here alone, before
// anything is handed over: what the old one was given means something else to the new one.
const state = gate.__worker_init_state();

function freshIfPoisoned() {
  if (state.criticalError) {
    gate.__wbg_reset_state();
    state.criticalError = false;
    state.instanceId += 1;
  }
}

// An instance that could not say of itself that it has ended shows it by what it throws. An error of the
// one before is no news.
function note(error, instance) {
  const ended = error instanceof WebAssembly.RuntimeError || error?.message === "Module terminated";
  if (ended && state.instanceId === instance) state.criticalError = true;
}

addEventListener("error", (event) => note(event.error, state.instanceId));

// Whatever is thrown is a refusal, made without WebAssembly: with the header fields of `answer.rs`, and
// the line of `record.rs`. A gateway that asks is told what `authz.rs` has for it.
function refuse(error, request, env) {
  console.error(error instanceof Error ? (error.stack ?? String(error)) : error);
  const { method, url } = request;
  const given = request.headers.get("X-Request-ID") ?? "";
  const id = /^[A-Za-z0-9._-]{1,128}$/.test(given) ? given : crypto.randomUUID();
  const path = url.replace(/^[^/?#]*:\/\/[^/?#]*/, "").split(/[?#]/, 1)[0];
  const code = "policy_unavailable";
  console.log(JSON.stringify({ request_id: id, method, path, decision: "refuse", code, status: 503 }));
  const problem = {
    type: "about:blank",
    title: "Service Unavailable",
    status: 503,
    detail: "This cannot be judged now. Try again later.",
    code,
    instance: id,
  };
  const headers = {
    "Cache-Control": "no-store",
    "X-Request-ID": id,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Type": "application/problem+json",
    "Retry-After": "2",
  };
  if (isHttps(request)) headers["Strict-Transport-Security"] = "max-age=31536000";
  let status = 503;
  const gateway = env.AUTHZ;
  if (gateway && (path === "/authz" || (gateway === "envoy" && path.startsWith("/authz/")))) {
    headers["X-Edgekeep-Status"] = "503";
    headers["X-Edgekeep-Code"] = code;
    // It makes a 500 of what it does not understand.
    if (gateway === "nginx") status = 403;
  }
  return new Response(JSON.stringify(problem), { status, headers });
}

function isHttps(request) {
  return request.url.startsWith("https://");
}

function gather(request) {
  let fields = "";
  let count = 0;
  for (const field of request.headers) {
    fields += `\n${field[0]}\n${field[1]}`;
    count += 1;
  }
  return `${count}\n${request.method}\n${request.url}${fields}`;
}

// Keys by their JWK. Null stands for one that the platform does not take.
const keys = new Map();
const MOST_KEYS = 64;
const ALGORITHMS = {
  ES256: { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" },
  RS256: { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" },
};

async function imported(text) {
  const known = keys.get(text);
  if (known !== undefined) return known;
  const jwk = JSON.parse(text);
  const algorithm = ALGORITHMS[jwk.alg];
  let key = null;
  try {
    key = { key: await crypto.subtle.importKey("jwk", jwk, algorithm, false, ["verify"]), algorithm };
  } catch (error) {
    // Any other error is about this attempt, and the next may succeed.
    if (error.name !== "DataError" && error.name !== "NotSupportedError") return null;
  }
  if (keys.size >= MOST_KEYS) keys.clear();
  keys.set(text, key);
  return key;
}

// Whether the signature is good; undefined where the platform cannot tell, and where the instance that
// has given the ticket is gone.
async function verified(ticket, instance) {
  try {
    freshIfPoisoned();
    if (state.instanceId !== instance) return undefined;
    const [signature, signed] = [gate.signature(ticket), gate.signed(ticket)];
    const key = await imported(gate.key(ticket));
    return key ? await crypto.subtle.verify(key.algorithm, key.key, signature, signed) : undefined;
  } catch (error) {
    note(error, instance);
    return undefined;
  }
}

// Longer than the gate waits for policy, keys, list or introspection, and limiter, one after another. An
// instance that has ended meanwhile never answers.
const PATIENCE = 8_000;

function inTime(work) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`nothing was decided within ${PATIENCE} ms`)), PATIENCE);
  });
  return Promise.race([work, late]).finally(() => clearTimeout(timer));
}

async function later(request, text, decided, instance, env, context) {
  let asked = false;
  try {
    for (;;) {
      const [what, detail] = decided.split("\n", 2);
      if (what === "signature") {
        asked = true;
        const verdict = await verified(Number(detail), instance);
        freshIfPoisoned();
        // Another instance has given the same ticket to somebody else: it is asked as for the first time.
        const ticket = state.instanceId === instance ? Number(detail) : 0;
        instance = state.instanceId;
        decided = gate.judge(text, ticket, verdict, env, context);
      } else if (what === "wait") {
        freshIfPoisoned();
        instance = state.instanceId;
        decided = await inTime(gate.wait(text, detail === "true", !asked, env, context));
      } else {
        return await carry(request, decided, env);
      }
    }
  } catch (error) {
    // It is about the instance that was asked last, of which nobody else knows.
    note(error, instance);
    throw error;
  }
}

function carry(request, decided, env) {
  if (decided.startsWith("answer\n")) return answer(decided.split("\n"), env);
  if (decided.startsWith("forward\n")) return forward(request, decided, env);
  throw new Error("nothing that could be done");
}

function record(line, point, status, env) {
  if (line) console.log(line);
  if (point) {
    try {
      const data = JSON.parse(point);
      data.doubles[0] = status;
      env.EDGEKEEP_ANALYTICS.writeDataPoint(data);
    } catch (error) {
      // It is said, and changes no answer.
      console.error(`EDGEKEEP_ANALYTICS: ${error}`);
    }
  }
}

// One by one: as a sequence of pairs in the constructor they cost four times as much.
function add(headers, lines, from, count) {
  for (let at = from; at < from + 2 * count; at += 2) {
    if (lines[at] === "Vary") headers.append(lines[at], lines[at + 1]);
    else headers.set(lines[at], lines[at + 1]);
  }
}

function answer(lines, env) {
  const [, code, line, point] = lines;
  const status = Number(code);
  const count = Number(lines[4]);
  const end = 5 + 2 * count;
  if (!(lines.length > end)) throw new Error("less than was said");
  record(line, point, status, env);
  const body = lines.length === end + 1 ? lines[end] : lines.slice(end).join("\n");
  const response = new Response(body || null, { status });
  add(response.headers, lines, 5, count);
  return response;
}

function send(request, lines, env) {
  const [, url, network, cache] = lines;
  const [removed, set, answered, dropped] = lines.slice(11, 15).map(Number);
  const from = 17;
  if (lines.length !== from + removed + 2 * set + 2 * answered + dropped) throw new Error("not what was said");
  // A GET or a HEAD may come with a body. No dictionary can say so, only a request of another.
  const { method, body } = request;
  const copy = body && (method === "GET" || method === "HEAD") ? new Request(url, request) : undefined;
  const headers = copy?.headers ?? new Headers(request.headers);
  let at = from;
  for (const end = at + removed; at < end; at += 1) headers.delete(lines[at]);
  for (const end = at + 2 * set; at < end; at += 2) headers.set(lines[at], lines[at + 1]);
  const init = { redirect: "manual" };
  if (!copy) Object.assign(init, { method, headers, body });
  if (cache) init.cache = cache;
  const bound = !network && typeof env.UPSTREAM?.fetch === "function";
  // What the platform knows of the connection. A worker sees it; to the network it would be options.
  if (bound && request.cf) init.cf = request.cf;
  return (bound ? env.UPSTREAM : globalThis).fetch(copy ?? url, init);
}

// The answer as it goes back. One of the network cannot be changed; its copy can.
function changed(response, lines) {
  const [answered, dropped] = lines.slice(13, 15).map(Number);
  const caching = lines[15];
  // A WebSocket is not read by the rules of CORS, nobody keeps what follows, and its answer cannot be
  // made again.
  if ((answered + dropped === 0 && caching === "") || response.status === 101) return response;
  const copy = new Response(response.body, response);
  const end = lines.length - dropped;
  for (const name of lines.slice(end)) copy.headers.delete(name);
  add(copy.headers, lines, end - 2 * answered, answered);
  if (caching) {
    freshIfPoisoned();
    const names = [...copy.headers.keys()].join("\n");
    for (const name of gate.other_cache_fields(names).split("\n")) if (name) copy.headers.delete(name);
    const control = copy.headers.get("Cache-Control") ?? "";
    copy.headers.set("Cache-Control", gate.cache_control(caching, control));
  }
  return copy;
}

// Another instance than the one that has given the number would count it as something else.
function count(tally, instance) {
  if (state.instanceId !== instance || state.criticalError) return;
  try {
    gate.count(Number(tally));
  } catch (error) {
    note(error, instance);
  }
}

// Why there is no answer that could be passed on. A query is nobody's to read in the log, and the platform
// names URLs in its errors.
function explain(error, id) {
  const cause = String(error?.stack ?? error).replace(/\?\S*/g, "?…");
  console.error(`upstream, request ${id}: ${cause}`);
}

// There is no answer that could be passed on. What was sent may have been carried out, so that nobody is
// told to send it again, and it goes by the id that it was sent under.
function unanswered(request, decided, env) {
  const refused = () => {
    freshIfPoisoned();
    return gate.unanswered(decided, isHttps(request)) ?? "";
  };
  try {
    return carry(request, refused(), env);
  } catch (error) {
    note(error, state.instanceId);
    return carry(request, refused(), env);
  }
}

async function forward(request, decided, env) {
  const instance = state.instanceId;
  const lines = decided.split("\n");
  const [, , , , head, code, tail, point, tally, tallyUnanswered, id] = lines;
  let response;
  let passed;
  try {
    response = await send(request, lines, env);
    passed = changed(response, lines);
  } catch (error) {
    note(error, state.instanceId);
    explain(error, id);
    response?.body?.cancel().catch(() => {});
    count(tallyUnanswered, instance);
    return unanswered(request, decided, env);
  }
  const line = lines[16] && `${head}${code}"status":${response.status}${tail}`;
  record(line, point, response.status, env);
  count(tally, instance);
  return passed;
}

function failed(error, request, env, instance) {
  note(error, instance);
  return refuse(error, request, env);
}

export default {
  fetch(request, env, context) {
    let instance;
    try {
      freshIfPoisoned();
      instance = state.instanceId;
      const text = gather(request);
      const decided = gate.judge(text, 0, undefined, env, context);
      if (decided.startsWith("answer\n")) return carry(request, decided, env);
      const work = decided.startsWith("forward\n")
        ? forward(request, decided, env)
        : later(request, text, decided, instance, env, context);
      return work.catch((error) => failed(error, request, env, instance));
    } catch (error) {
      return failed(error, request, env, instance);
    }
  },
};
