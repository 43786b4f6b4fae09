# shellcheck shell=bash
# Sourced by every script: where things are, and the few functions they share.
#
# Everything that takes long to build or to download lives in EDGEKEEP_CACHE_DIR,
# outside the checkout, so that a second checkout finds it ready.

EDGEKEEP_ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
export EDGEKEEP_ROOT
export EDGEKEEP_CACHE_DIR="${EDGEKEEP_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/edgekeep}"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$EDGEKEEP_CACHE_DIR/target}"
# The worker may be compiled by another compiler than the rest (see scripts/setup):
# a folder of its own keeps the two from rebuilding each other's dependencies.
export EDGEKEEP_WASM_TARGET_DIR="${EDGEKEEP_WASM_TARGET_DIR:-$EDGEKEEP_CACHE_DIR/target-wasm}"
export WRANGLER_SEND_METRICS=false

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() { say "$*"; exit 1; }

# lock_version CRATE: the version of a crate that Cargo.lock names.
lock_version() {
    awk -v name="$1" '
        $1 == "name" { found = ($3 == "\"" name "\"") }
        found && $1 == "version" { gsub(/"/, "", $3); print $3; exit }
    ' "$EDGEKEEP_ROOT/Cargo.lock"
}

# npm_folder FOLDER: where the packages of FOLDER/package-lock.json are installed.
npm_folder() {
    local lock_hash
    lock_hash="$(sha256sum "$1/package-lock.json")"
    printf '%s/npm/%s\n' "$EDGEKEEP_CACHE_DIR" "${lock_hash:0:16}"
}

# npm_install FOLDER: installs them unless they are there already.
npm_install() {
    local folder fresh
    folder="$(npm_folder "$1")"
    if [ ! -e "$folder/.complete" ]; then
        say "installing the npm packages of ${1#"$EDGEKEEP_ROOT/"}"
        fresh="$folder.$$"
        rm -rf "$fresh"
        mkdir -p "$fresh"
        cp "$1/package.json" "$1/package-lock.json" "$fresh/"
        # Install scripts are not run: the binaries come in the platform packages.
        (cd "$fresh" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2) ||
            die "npm ci failed in ${1#"$EDGEKEEP_ROOT/"}"
        touch "$fresh/.complete"
        rm -rf "$folder"
        mv "$fresh" "$folder"
    fi
}

# workerd_platform: the suffix of workerd's package for this machine.
workerd_platform() {
    case "$(uname -s)-$(uname -m)" in
        Linux-x86_64) echo linux-64 ;;
        Linux-aarch64) echo linux-arm64 ;;
        Darwin-x86_64) echo darwin-64 ;;
        Darwin-arm64) echo darwin-arm64 ;;
        *) die "workerd has no build for $(uname -s) on $(uname -m)" ;;
    esac
}

EDGEKEEP_NPM_DIR="$(npm_folder "$EDGEKEEP_ROOT/scripts/npm")"
# The binary itself, not npm's launcher: a signal reaches it, and its pid is the child's.
EDGEKEEP_WORKERD="${EDGEKEEP_WORKERD:-$EDGEKEEP_NPM_DIR/node_modules/@cloudflare/workerd-$(workerd_platform)/bin/workerd}"
WASM_BINDGEN_BIN="$EDGEKEEP_CACHE_DIR/tools/wasm-bindgen-cli-$(lock_version wasm-bindgen)/bin/wasm-bindgen"
WASM_PACK_VERSION=0.15.1
WASM_PACK_BIN="$EDGEKEEP_CACHE_DIR/tools/wasm-pack-$WASM_PACK_VERSION/bin/wasm-pack"
# One that is installed already serves as well.
CARGO_DENY_VERSION=0.20.2
CARGO_DENY_BIN="$(command -v cargo-deny || echo "$EDGEKEEP_CACHE_DIR/tools/cargo-deny-$CARGO_DENY_VERSION/bin/cargo-deny")"
# Empty where there is none: scripts/test then leaves out what needs a browser.
EDGEKEEP_CHROMEDRIVER="${EDGEKEEP_CHROMEDRIVER:-$(command -v chromedriver || true)}"
EDGEKEEP_FIREFOX="${EDGEKEEP_FIREFOX:-$(command -v firefox-esr || command -v firefox || true)}"
# Installed or, by scripts/setup, only unpacked. The tests that need them are left out without them.
EDGEKEEP_NGINX="${EDGEKEEP_NGINX:-$(command -v nginx || echo "$EDGEKEEP_CACHE_DIR/tools/servers/nginx")}"
EDGEKEEP_CADDY="${EDGEKEEP_CADDY:-$(command -v caddy || echo "$EDGEKEEP_CACHE_DIR/tools/servers/caddy")}"
TRAEFIK_VERSION=3.7.15
EDGEKEEP_TRAEFIK="${EDGEKEEP_TRAEFIK:-$(command -v traefik || echo "$EDGEKEEP_CACHE_DIR/tools/servers/traefik-$TRAEFIK_VERSION")}"
SCHEMATHESIS_VERSION=4.32.5
SCHEMATHESIS_BIN="$EDGEKEEP_CACHE_DIR/tools/schemathesis-$SCHEMATHESIS_VERSION/bin/schemathesis"
WASM_OPT_BIN="$EDGEKEEP_NPM_DIR/node_modules/.bin/wasm-opt"
ESBUILD_BIN="$EDGEKEEP_NPM_DIR/node_modules/.bin/esbuild"
# Where the npm package is tested, too. The programs themselves: npm's launchers want install scripts.
EDGEKEEP_RUNTIMES_DIR="$(npm_folder "$EDGEKEEP_ROOT/scripts/npm/runtimes")"
EDGEKEEP_DENO="${EDGEKEEP_DENO:-$(compgen -G "$EDGEKEEP_RUNTIMES_DIR/node_modules/@deno/*/deno" | head -n 1 || true)}"
EDGEKEEP_BUN="${EDGEKEEP_BUN:-$(compgen -G "$EDGEKEEP_RUNTIMES_DIR/node_modules/@oven/*/bin/bun" | head -n 1 || true)}"
EDGEKEEP_WRANGLER="${EDGEKEEP_WRANGLER:-$(npm_folder "$EDGEKEEP_ROOT/scripts/npm/wrangler")/node_modules/.bin/wrangler}"
TSC_BIN="$EDGEKEEP_RUNTIMES_DIR/node_modules/.bin/tsc"
export WASM_PACK_VERSION WASM_PACK_BIN EDGEKEEP_RUNTIMES_DIR EDGEKEEP_DENO EDGEKEEP_BUN EDGEKEEP_WRANGLER TSC_BIN
export EDGEKEEP_NPM_DIR EDGEKEEP_WORKERD WASM_BINDGEN_BIN WASM_OPT_BIN ESBUILD_BIN
export CARGO_DENY_VERSION CARGO_DENY_BIN SCHEMATHESIS_VERSION SCHEMATHESIS_BIN EDGEKEEP_CHROMEDRIVER EDGEKEEP_FIREFOX EDGEKEEP_NGINX EDGEKEEP_CADDY
export TRAEFIK_VERSION EDGEKEEP_TRAEFIK
