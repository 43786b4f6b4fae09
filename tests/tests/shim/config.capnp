using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [(name = "shim", worker = .shim)],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "shim")],
);

const shim :Workerd.Worker = (
  modules = [
    (name = "shim.js", esModule = embed "shim.js"),
    (name = "index.js", esModule = embed "index.js"),
  ],
  # The same as the gate's.
  compatibilityDate = "2026-04-01",

  bindings = [(name = "AUTHZ", fromEnvironment = "AUTHZ")],
);
