using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    (name = "worker", worker = .worker),
    (name = "outbound", network = (allow = ["private"])),
  ],
  sockets = [
    (name = "http", address = "127.0.0.1:0", http = (), service = "worker"),
  ],
);

const worker :Workerd.Worker = (
  modules = [
    (name = "worker.js", esModule = embed "worker.js"),
    (name = "./edgekeep_bg.wasm", wasm = embed "edgekeep_bg.wasm"),
  ],
  # The same as in wrangler.toml.
  compatibilityDate = "2026-04-01",
  bindings = [
    (name = "OPTIONS", fromEnvironment = "OPTIONS"),
  ],
  globalOutbound = "outbound",
);
