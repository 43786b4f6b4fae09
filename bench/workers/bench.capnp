# What scripts/bench runs in workerd, a process for each constant. Every worker has the
# compatibility date and the outbound network of deploy/workerd/config.capnp.

using Workerd = import "/workerd/workerd.capnp";

const outbound :Workerd.Service = (name = "outbound", network = (allow = ["public", "private"]));
const date :Text = "2026-04-01";

# Judges nothing. `bound` passes every request to a second worker of the same process, as
# the gate must in order to be answered without a network.
const noop :Workerd.Config = (
  services = [
    (name = "answer", worker = (
      modules = [(name = "noop.js", esModule = embed "noop.js")],
      compatibilityDate = .date,
    )),
    (name = "bound", worker = (
      modules = [(name = "noop.js", esModule = embed "noop.js")],
      compatibilityDate = .date,
      bindings = [(name = "UPSTREAM", service = "answer")],
    )),
    (name = "forward", worker = (
      modules = [(name = "noop.js", esModule = embed "noop.js")],
      compatibilityDate = .date,
      bindings = [(name = "UPSTREAM_URL", fromEnvironment = "UPSTREAM_URL")],
      globalOutbound = "outbound",
    )),
    .outbound,
  ],
  sockets = [
    (name = "answer", http = (), service = "answer"),
    (name = "bound", http = (), service = "bound"),
    (name = "forward", http = (), service = "forward"),
  ],
);

# Judges nothing either, and handles every request as a gate must. In `bound` its upstream is the no-op
# worker, as the gate's is.
const carrier :Workerd.Config = (
  services = [
    (name = "ok", worker = (
      modules = [(name = "noop.js", esModule = embed "noop.js")],
      compatibilityDate = .date,
    )),
    (name = "answer", worker = (
      modules = [(name = "carrier.js", esModule = embed "carrier.js")],
      compatibilityDate = .date,
    )),
    (name = "bound", worker = (
      modules = [(name = "carrier.js", esModule = embed "carrier.js")],
      compatibilityDate = .date,
      bindings = [(name = "UPSTREAM", service = "ok")],
    )),
    (name = "forward", worker = (
      modules = [(name = "carrier.js", esModule = embed "carrier.js")],
      compatibilityDate = .date,
      bindings = [(name = "UPSTREAM_URL", fromEnvironment = "UPSTREAM_URL")],
      globalOutbound = "outbound",
    )),
    .outbound,
  ],
  sockets = [
    (name = "answer", http = (), service = "answer"),
    (name = "bound", http = (), service = "bound"),
    (name = "forward", http = (), service = "forward"),
  ],
);

const jose :Workerd.Config = (
  services = [
    (name = "answer", worker = (
      modules = [(name = "jose.js", esModule = embed "jose.js")],
      compatibilityDate = .date,
      bindings = [
        (name = "ISSUER", fromEnvironment = "ISSUER"),
        (name = "AUDIENCE", fromEnvironment = "AUDIENCE"),
        (name = "JWKS_URL", fromEnvironment = "JWKS_URL"),
      ],
      globalOutbound = "outbound",
    )),
    (name = "forward", worker = (
      modules = [(name = "jose.js", esModule = embed "jose.js")],
      compatibilityDate = .date,
      bindings = [
        (name = "ISSUER", fromEnvironment = "ISSUER"),
        (name = "AUDIENCE", fromEnvironment = "AUDIENCE"),
        (name = "JWKS_URL", fromEnvironment = "JWKS_URL"),
        (name = "UPSTREAM_URL", fromEnvironment = "UPSTREAM_URL"),
      ],
      globalOutbound = "outbound",
    )),
    .outbound,
  ],
  sockets = [
    (name = "answer", http = (), service = "answer"),
    (name = "forward", http = (), service = "forward"),
  ],
);

const hono :Workerd.Config = (
  services = [
    (name = "answer", worker = (
      modules = [(name = "hono.js", esModule = embed "hono.js")],
      compatibilityDate = .date,
      bindings = [
        (name = "ISSUER", fromEnvironment = "ISSUER"),
        (name = "AUDIENCE", fromEnvironment = "AUDIENCE"),
        (name = "JWKS", fromEnvironment = "JWKS"),
      ],
    )),
    (name = "forward", worker = (
      modules = [(name = "hono.js", esModule = embed "hono.js")],
      compatibilityDate = .date,
      bindings = [
        (name = "ISSUER", fromEnvironment = "ISSUER"),
        (name = "AUDIENCE", fromEnvironment = "AUDIENCE"),
        (name = "JWKS", fromEnvironment = "JWKS"),
        (name = "UPSTREAM_URL", fromEnvironment = "UPSTREAM_URL"),
      ],
      globalOutbound = "outbound",
    )),
    .outbound,
  ],
  sockets = [
    (name = "answer", http = (), service = "answer"),
    (name = "forward", http = (), service = "forward"),
  ],
);

const tsndr :Workerd.Config = (
  services = [
    (name = "answer", worker = (
      modules = [(name = "tsndr.js", esModule = embed "tsndr.js")],
      compatibilityDate = .date,
      bindings = [
        (name = "ISSUER", fromEnvironment = "ISSUER"),
        (name = "AUDIENCE", fromEnvironment = "AUDIENCE"),
        (name = "JWKS", fromEnvironment = "JWKS"),
      ],
    )),
    (name = "forward", worker = (
      modules = [(name = "tsndr.js", esModule = embed "tsndr.js")],
      compatibilityDate = .date,
      bindings = [
        (name = "ISSUER", fromEnvironment = "ISSUER"),
        (name = "AUDIENCE", fromEnvironment = "AUDIENCE"),
        (name = "JWKS", fromEnvironment = "JWKS"),
        (name = "UPSTREAM_URL", fromEnvironment = "UPSTREAM_URL"),
      ],
      globalOutbound = "outbound",
    )),
    .outbound,
  ],
  sockets = [
    (name = "answer", http = (), service = "answer"),
    (name = "forward", http = (), service = "forward"),
  ],
);

# The gate as it is deployed. In `answer` it answers whoever asks it about a request, as Envoy does;
# in `bound` its upstream is the no-op worker of the same process by a service binding, in `forward`
# an HTTP server.
const gate :Workerd.Config = (
  services = [
    (name = "ok", worker = (
      modules = [(name = "noop.js", esModule = embed "noop.js")],
      compatibilityDate = .date,
    )),
    (name = "answer", worker = (
      modules = [
        (name = "index.js", esModule = embed "gate/index.js"),
        (name = "./index_bg.wasm", wasm = embed "gate/index_bg.wasm"),
      ],
      compatibilityDate = .date,
      bindings = [
        (name = "AUTHZ", text = "envoy"),
        (name = "UPSTREAM_URL", fromEnvironment = "UPSTREAM_URL"),
        (name = "ISSUER", fromEnvironment = "ISSUER"),
        (name = "AUDIENCE", fromEnvironment = "AUDIENCE"),
        (name = "JWKS_URL", fromEnvironment = "JWKS_URL"),
        (name = "ORIGIN_URL", fromEnvironment = "ORIGIN_URL"),
        (name = "CONTROL_KEYS", fromEnvironment = "CONTROL_KEYS"),
        (name = "REVOCATION_SOURCES", fromEnvironment = "REVOCATION_SOURCES"),
        (name = "POLICY", fromEnvironment = "POLICY"),
        (name = "LOG", fromEnvironment = "LOG"),
        (name = "EDGEKEEP_KV", kvNamespace = "kv"),
      ],
      globalOutbound = "outbound",
    )),
    (name = "bound", worker = (
      modules = [
        (name = "index.js", esModule = embed "gate/index.js"),
        (name = "./index_bg.wasm", wasm = embed "gate/index_bg.wasm"),
      ],
      compatibilityDate = .date,
      bindings = [
        (name = "UPSTREAM", service = "ok"),
        (name = "UPSTREAM_URL", fromEnvironment = "UPSTREAM_URL"),
        (name = "ISSUER", fromEnvironment = "ISSUER"),
        (name = "AUDIENCE", fromEnvironment = "AUDIENCE"),
        (name = "JWKS_URL", fromEnvironment = "JWKS_URL"),
        (name = "ORIGIN_URL", fromEnvironment = "ORIGIN_URL"),
        (name = "CONTROL_KEYS", fromEnvironment = "CONTROL_KEYS"),
        (name = "REVOCATION_SOURCES", fromEnvironment = "REVOCATION_SOURCES"),
        (name = "POLICY", fromEnvironment = "POLICY"),
        (name = "LOG", fromEnvironment = "LOG"),
        (name = "EDGEKEEP_KV", kvNamespace = "kv"),
      ],
      globalOutbound = "outbound",
    )),
    (name = "forward", worker = (
      modules = [
        (name = "index.js", esModule = embed "gate/index.js"),
        (name = "./index_bg.wasm", wasm = embed "gate/index_bg.wasm"),
      ],
      compatibilityDate = .date,
      bindings = [
        (name = "UPSTREAM_URL", fromEnvironment = "UPSTREAM_URL"),
        (name = "ISSUER", fromEnvironment = "ISSUER"),
        (name = "AUDIENCE", fromEnvironment = "AUDIENCE"),
        (name = "JWKS_URL", fromEnvironment = "JWKS_URL"),
        (name = "ORIGIN_URL", fromEnvironment = "ORIGIN_URL"),
        (name = "CONTROL_KEYS", fromEnvironment = "CONTROL_KEYS"),
        (name = "REVOCATION_SOURCES", fromEnvironment = "REVOCATION_SOURCES"),
        (name = "POLICY", fromEnvironment = "POLICY"),
        (name = "LOG", fromEnvironment = "LOG"),
        (name = "EDGEKEEP_KV", kvNamespace = "kv"),
      ],
      globalOutbound = "outbound",
    )),
    (name = "kv", external = (http = ())),
    .outbound,
  ],
  sockets = [
    (name = "answer", http = (), service = "answer"),
    (name = "bound", http = (), service = "bound"),
    (name = "forward", http = (), service = "forward"),
  ],
);

# Verification alone, many times a request.
const verify :Workerd.Config = (
  services = [
    (name = "answer", worker = (
      modules = [
        (name = "verify.js", esModule = embed "verify.js"),
        (name = "./verify.wasm", wasm = embed "verify.wasm"),
      ],
      compatibilityDate = .date,
      bindings = [
        (name = "ISSUER", fromEnvironment = "ISSUER"),
        (name = "AUDIENCE", fromEnvironment = "AUDIENCE"),
        (name = "JWKS", fromEnvironment = "JWKS"),
        (name = "CONTROL_KEYS", fromEnvironment = "CONTROL_KEYS"),
      ],
    )),
  ],
  sockets = [
    (name = "answer", http = (), service = "answer"),
  ],
);
