// Stands in for the worker's WebAssembly, to have it end when a test wants that: as the real one does, it
// answers nothing any more then, neither a call nor what somebody is waiting for, until another is made,
// whose tickets begin at 1 again.
const state = { criticalError: false, instanceId: 1 };
let made = 1;
let ended = false;
let last = 0;
let tickets = new Map();

export const __worker_init_state = () => state;

export function __wbg_reset_state() {
  state.instanceId += 1;
  made += 1;
  ended = false;
  last = 0;
  tickets = new Map();
}

function alive() {
  if (ended) throw new Error("Module terminated");
}

function end(says) {
  ended = true;
  state.criticalError = says;
  throw new WebAssembly.RuntimeError("unreachable");
}

// Of base64url.
function bytes(text) {
  const letters = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(letters, (letter) => letter.charCodeAt(0));
}

const answer = (body) => `answer\n200\n\n\n0\n${JSON.stringify({ made, ...body })}`;

// The request as the shim has written it.
function read(text) {
  const [, , url, ...fields] = text.split("\n");
  const headers = {};
  for (let at = 0; at + 1 < fields.length; at += 2) headers[fields[at]] = fields[at + 1];
  // A question is asked at one path.
  return { path: new URL(url).pathname.replace(/^\/authz(?=\/|$)/, ""), headers };
}

// Whether somebody has been given a signature to wait for at `/slow/end`.
let slow = false;

export function judge(text, ticket, verdict) {
  alive();
  const { path, headers } = read(text);
  if (ticket !== 0) {
    const check = tickets.get(ticket);
    tickets.delete(ticket);
    if (path === "/verified/end") end(true);
    return answer({ verdict, about: check?.name, imports });
  }
  switch (path) {
    case "/end":
      return end(true);
    case "":
      return end(false);
    case "/end/silently":
      return end(false);
    case "/wait":
    case "/wait/late":
      return "wait\nfalse";
    case "/slow/end":
      if (slow) return end(false);
      slow = true;
    // Which comes with the fields of a signature.
    case "/signature":
    case "/verified/end": {
      last += 1;
      const { key, signed, signature, name } = headers;
      tickets.set(last, { name, key, signed: bytes(signed), signature: bytes(signature) });
      return `signature\n${last}`;
    }
    default:
      return answer({});
  }
}

export function wait(text) {
  alive();
  const { path } = read(text);
  if (path === "/wait") return Promise.resolve(answer({ waited: true }));
  const own = state.instanceId;
  return new Promise((resolve) => {
    setTimeout(() => {
      if (state.instanceId === own && !ended) resolve(answer({ waited: true }));
    }, 1_000);
  });
}

function part(name) {
  return (ticket) => {
    alive();
    return tickets.get(ticket)?.[name];
  };
}

export const key = part("key");
export const signed = part("signed");
export const signature = part("signature");

// What the platform does, with a failure or a delay where a test asks for one by name.
const subtle = Object.getPrototypeOf(crypto.subtle);
const { importKey, verify } = subtle;
let imports = 0;

subtle.importKey = async function (format, jwk, ...rest) {
  imports += 1;
  if (jwk.kid === "fails" && imports === 1) throw new DOMException("out of order", "OperationError");
  return importKey.call(this, format, jwk, ...rest);
};

subtle.verify = async function (algorithm, key, signature, signed) {
  const begin = new TextDecoder().decode(signed.slice(0, 5));
  if (begin === "slow ") await new Promise((resolve) => setTimeout(resolve, 1_000));
  return verify.call(this, algorithm, key, signature, signed);
};

export const count = () => {};
export const unanswered = () => undefined;
export const cache_control = (_, control) => control;
export const other_cache_fields = () => "";
