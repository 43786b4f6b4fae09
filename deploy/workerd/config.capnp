# Edgekeep's gate on plain workerd, for self-hosting. scripts/run and the tests use
# this very file. Put four files into one folder:
#
#   config.capnp         this file
#   index.js             the worker, as scripts/build-edge makes it
#   index_bg.wasm
#   kv.authorization     one line without a newline at its end: "Bearer " and the
#                        token that the origin's KV listener asks for
#
# and start it there, the variables being in the environment:
#
#   workerd serve config.capnp --socket-addr http=127.0.0.1:8787 --external-addr kv=127.0.0.1:8081
#
# A variable that is not in the environment is null in the worker, which reads it as
# unset. Put a server that ends TLS in front, and let nothing else reach the socket.

using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    (name = "edgekeep", worker = .gate),

    # The origin's read-only KV listener. Never on a public address.
    (name = "kv", external = (
      address = "127.0.0.1:8081",
      http = (injectRequestHeaders = [
        (name = "Authorization", value = embed "kv.authorization"),
      ]),
    )),

    # Upstream and origin are reached by URL, and usually stand on a private address,
    # which workerd refuses unless told otherwise.
    (name = "outbound", network = (
      allow = ["public", "private"],
      tlsOptions = (trustBrowserCas = true),
    )),
  ],

  sockets = [
    (name = "http", address = "127.0.0.1:8787", http = (), service = "edgekeep"),
  ],

# extensions = [(modules = [
#   (name = "edgekeep:limiter", internal = true, esModule = embed "limiter.js"),
# ])],
);

const gate :Workerd.Worker = (
  modules = [
    (name = "index.js", esModule = embed "index.js"),
    (name = "./index_bg.wasm", wasm = embed "index_bg.wasm"),
  ],

  # The same as in wrangler.toml.
  compatibilityDate = "2026-04-01",

  bindings = [
    (name = "ISSUER", fromEnvironment = "ISSUER"),
    (name = "AUDIENCE", fromEnvironment = "AUDIENCE"),
    (name = "JWKS_URL", fromEnvironment = "JWKS_URL"),
    (name = "UPSTREAM_URL", fromEnvironment = "UPSTREAM_URL"),
    (name = "ORIGIN_URL", fromEnvironment = "ORIGIN_URL"),
    (name = "CONTROL_KEYS", fromEnvironment = "CONTROL_KEYS"),
    (name = "REVOCATION_SOURCES", fromEnvironment = "REVOCATION_SOURCES"),
    (name = "POLICY", fromEnvironment = "POLICY"),
    (name = "LEEWAY", fromEnvironment = "LEEWAY"),
    (name = "ALGORITHMS", fromEnvironment = "ALGORITHMS"),
    (name = "ISSUERS", fromEnvironment = "ISSUERS"),
    (name = "AUTHZ", fromEnvironment = "AUTHZ"),
    (name = "LOG", fromEnvironment = "LOG"),

    # Secrets.
    (name = "ORIGIN_TOKEN", fromEnvironment = "ORIGIN_TOKEN"),
    (name = "ASSERTION_KEY", fromEnvironment = "ASSERTION_KEY"),
    (name = "METRICS_TOKEN", fromEnvironment = "METRICS_TOKEN"),

    (name = "EDGEKEEP_KV", kvNamespace = "kv"),

    # A limiter for rules with rate_limit (docs/policy.md): 100 requests in 60 s. Put
    # limiter.js beside this file and take the signs away, here and below.
#   (name = "API_LIMIT", wrapped = (
#     moduleName = "edgekeep:limiter",
#     innerBindings = [(name = "limit", json = "100"), (name = "period", json = "60")],
#   )),
  ],

  globalOutbound = "outbound",
);
