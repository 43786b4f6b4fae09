//! What is in the npm package, what its README says, and what a verdict costs.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

use edgekeep_tests::edge::root;
use edgekeep_tests::house::House;
use edgekeep_tests::http::Call;
use edgekeep_tests::issuer::Issuer;
use edgekeep_tests::keys::{self, Key, claims};
use edgekeep_tests::origin::Tokens;
use edgekeep_tests::package::{Host, Package, built, options, project, script};
use edgekeep_tests::process;
use serde_json::{Value, json};

use crate::npm::trusting;

fn run(command: Command, input: &str) -> String {
    let output = process::run(command, input.as_bytes());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

#[test]
fn packs_what_it_names_and_nothing_else() {
    let mut command = Command::new("npm");
    command
        .args(["pack", "--dry-run", "--json", "--offline"])
        .current_dir(built());
    let packed: Value = serde_json::from_str(&run(command, "")).unwrap();
    let packed: BTreeSet<&str> = packed[0]["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| file["path"].as_str().unwrap())
        .collect();
    let manifest = std::fs::read(built().join("package.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let named = manifest["files"].as_array().unwrap();
    let mut named: BTreeSet<&str> = named.iter().map(|file| file.as_str().unwrap()).collect();
    named.insert("package.json");
    assert_eq!(packed, named);
    // And every file that is there is named.
    for entry in std::fs::read_dir(built()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(name == "wasm" || named.contains(name.as_str()), "{name}");
    }
    for absent in ["dependencies", "peerDependencies", "scripts", "bin"] {
        assert!(manifest.get(absent).is_none(), "{absent}");
    }
    let workspace = std::fs::read_to_string(root().join("Cargo.toml"));
    let version = format!("version = \"{}\"", manifest["version"].as_str().unwrap());
    assert!(
        workspace.unwrap().contains(&version),
        "the workspace's version"
    );
}

#[test]
fn is_as_large_as_its_document_says() {
    const SIZES: &str = r#"
        const { readFileSync, readdirSync } = require("fs");
        const { gzipSync } = require("zlib");
        const names = readdirSync(".", { recursive: true });
        for (const end of [".wasm", ".js"]) {
          const text = names.filter((name) => name.endsWith(end)).map((name) => readFileSync(name));
          const all = Buffer.concat(text);
          console.log(all.length, gzipSync(all).length);
        }"#;
    let mut command = Command::new("node");
    command.args(["-e", SIZES]).current_dir(built());
    let sizes = run(command, "");
    let mut sizes = sizes
        .split_whitespace()
        .map(|size| size.parse::<f64>().unwrap());
    let document = std::fs::read_to_string(root().join("docs/javascript.md")).unwrap();
    for row in ["| `edgekeep_bg.wasm` | ", "| JavaScript | "] {
        let line = document
            .lines()
            .find_map(|line| line.strip_prefix(row))
            .unwrap();
        let said = line.split(" KB").take(2);
        for said in said.map(|text| text.trim_start_matches(", ").parse::<f64>().unwrap()) {
            let size = sizes.next().unwrap() / 1_000.0;
            // Another compiler makes another file.
            let is_near = (said - size).abs() <= 0.5 + 0.03 * size;
            assert!(is_near, "{row}: {said} KB, but it is {size}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_the_option_that_is_wrong() {
    let issuer = Issuer::start(&Key::es256(1)).await;
    let good = options(&issuer, &json!({}));
    let package = Package::start(Host::Node, &json!([good]));
    for (options, expected) in [
        (json!(good), "ok"),
        (json!([good]), "ok"),
        (json!([good, good]), "TypeError: issuer: "),
        (json!([]), "TypeError: expected 1 to 16 issuers"),
        (json!(null), "TypeError: expected 1 to 16 issuers"),
        (
            json!("https://id.example"),
            "TypeError: expected 1 to 16 issuers",
        ),
        (
            options_without(&good, "revocation"),
            "TypeError: revocation: expected",
        ),
        (
            options_without(&good, "audience"),
            "TypeError: audience: is missing",
        ),
        (
            options_with(&good, "algorithms", &json!(["none"])),
            "TypeError: algorithms: expected",
        ),
        (
            options_with(&good, "leeway", &json!(1e9)),
            "TypeError: leeway: expected",
        ),
        (
            options_with(&good, "clockTolerance", &json!(5)),
            "TypeError: clockTolerance: is not",
        ),
        (
            options_with(&good, "jwksUrl", &json!("javascript:0")),
            "TypeError: jwksUrl: expected",
        ),
    ] {
        let said = package.ask("/options", &options.to_string()).await;
        assert!(said.starts_with(expected), "{options}: {said}");
    }
}

fn options_with(options: &Value, name: &str, value: &Value) -> Value {
    let mut options = options.clone();
    options[name] = value.clone();
    options
}

fn options_without(options: &Value, name: &str) -> Value {
    let mut options = options.clone();
    options.as_object_mut().unwrap().remove(name);
    options
}

#[test]
fn the_verdict_script_answers_line_by_line() {
    let key = Key::es256(1);
    let set: Value = serde_json::from_str(&keys::set(&[&key])).unwrap();
    let options = json!([{
        "issuer": "https://id.example", "audience": "api", "revocation": "none", "jwks": set,
    }]);
    let mut at_2100 = claims("https://id.example", &json!({"nbf": null}));
    at_2100["iat"] = json!(4_102_444_800_i64);
    at_2100["exp"] = json!(4_102_445_700_i64);
    let folder = project();
    let mut command = script(Host::Node, folder.path(), "verdicts.mjs");
    command
        .env("EDGEKEEP_OPTIONS", options.to_string())
        .env("EDGEKEEP_NOW", "4102444800");
    let input = format!(
        "good\t{}\nempty\t\ncontrol\t{}\nearly\t{}\n",
        key.issue(&at_2100),
        json!("a\u{0}\n.b.c"),
        key.issue(&claims("https://id.example", &json!({})))
    );
    assert_eq!(
        run(command, &input),
        "good\tok user-1\nempty\ttoken_missing\ncontrol\ttoken_malformed\nearly\ttoken_expired\n"
    );
}

/// The steps over the boundary that docs/javascript.md accounts for.
#[test]
fn a_verdict_crosses_into_webassembly_three_times_and_never_back() {
    let key = Key::es256(1);
    let set: Value = serde_json::from_str(&keys::set(&[&key])).unwrap();
    let options = json!([{
        "issuer": "https://id.example", "audience": "api", "revocation": "none", "jwks": set,
    }]);
    let folder = project();
    let mut command = script(Host::Node, folder.path(), "crossings.mjs");
    command.env("EDGEKEEP_OPTIONS", options.to_string());
    let token = key.issue(&claims("https://id.example", &json!({})));
    let said: Value = serde_json::from_str(&run(command, &token)).unwrap();
    let crossings = json!({"judge_judge": 1, "__wbindgen_malloc": 1, "__wbindgen_free": 1});
    for kind in ["first", "repeated", "refused"] {
        assert_eq!(said[kind]["into"], crossings, "{kind}: {said}");
        assert_eq!(said[kind]["out_of"], json!({}), "{kind}: {said}");
    }
}

/// The block of the README that has `part` in it.
fn block(part: &str) -> String {
    let readme = std::fs::read_to_string(built().join("README.md")).unwrap();
    let blocks = readme.split("```js\n").skip(1);
    let mut blocks = blocks.map(|rest| rest.split("```").next().unwrap());
    let block = blocks.find(|block| block.contains(part));
    block.unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_readme_does_what_it_says() {
    let house = House::start().await;
    let tokens = house
        .origin
        .register("ada@example.com", "correct horse battery staple")
        .await;
    let issuer = house.origin.url();
    let trusted = trusting(&house.origin);
    let control = trusted["revocation"]["controlKeys"].to_string();
    let program = block("createServer")
        .replace("https://auth.example.com", &issuer)
        .replace("JSON.parse(process.env.CONTROL_KEYS)", &control)
        .replace(
            ".listen(3000)",
            ".listen(0, '127.0.0.1', function () { console.log(`ready ${this.address().port}`); })",
        );
    let folder = project();
    std::fs::write(folder.path().join("readme.mjs"), program).unwrap();
    let command = script(Host::Node, folder.path(), "readme.mjs");
    greets(&Package::listening(command, folder), &tokens).await;

    // And the worker, which reaches the issuer through its binding and nothing else.
    let folder = project();
    std::fs::write(folder.path().join("worker.js"), block("env.ORIGIN")).unwrap();
    let config = folder.path().join("worker.capnp");
    let text = std::fs::read_to_string(&config).unwrap();
    let service = format!(
        "services = [\n(name = \"origin\", external = (address = \"{}\", http = ())),",
        house.origin.address()
    );
    let bindings = "(name = \"ISSUER\", fromEnvironment = \"ISSUER\"),
        (name = \"CONTROL_KEYS\", fromEnvironment = \"CONTROL_KEYS\"),
        (name = \"ORIGIN\", service = \"origin\"),";
    let bound = text
        .replace("services = [", &service)
        .replace("allow = [\"private\"]", "allow = []")
        .replace(
            "(name = \"OPTIONS\", fromEnvironment = \"OPTIONS\"),",
            bindings,
        );
    std::fs::write(&config, bound).unwrap();
    let variables = [("ISSUER", issuer), ("CONTROL_KEYS", control)];
    greets(&Package::in_workerd(folder, &variables), &tokens).await;
}

/// The program of the README lets in who has a token, and nobody else.
async fn greets(program: &Package, tokens: &Tokens) {
    let call = || Call::new(program.address(), "GET", "/");
    for (call, expected) in [
        (
            call().bearer(&tokens.access),
            (200, format!("Hello {}", tokens.user())),
        ),
        (call(), (401, "token_missing".to_owned())),
        (call().bearer("x"), (401, "token_malformed".to_owned())),
    ] {
        let answer = call.send().await.unwrap();
        assert_eq!((answer.status, answer.text()), expected);
    }
}

/// A program that has nothing left to do ends, though its list is still kept checked.
pub(crate) async fn ends_when_it_is_done(host: Host) {
    let key = Key::es256(1);
    let issuer = Issuer::start(&key).await;
    let good = key.issue(&claims(&issuer.url(), &json!({})));
    let folder = project();
    let mut command = script(host, folder.path(), "verdicts.mjs");
    let options = json!([options(&issuer, &json!({}))]);
    command.env("EDGEKEEP_OPTIONS", options.to_string());
    let begun = Instant::now();
    let said = tokio::task::block_in_place(|| run(command, &format!("good\t{good}\n")));
    assert_eq!(said, "good\tok user-1\n");
    assert!(begun.elapsed() < Duration::from_secs(8), "{host:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_in_node_ends_when_it_is_done() {
    ends_when_it_is_done(Host::Node).await;
}

#[test]
fn the_commands_of_the_docs_do_what_they_say() {
    let docs = std::fs::read_to_string(root().join("docs/javascript.md")).unwrap();
    let blocks: Vec<&str> = docs
        .split("```sh\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    let [build, verdicts] = blocks[..] else {
        panic!("two blocks: {blocks:?}");
    };
    let script = build.split_whitespace().next().unwrap();
    assert!(root().join(script).is_file(), "{script}");
    let folder = tempfile::tempdir().unwrap();
    let script = verdicts
        .replace("mktemp -d", "mktemp -d -p \"$FOLDER\"")
        .replace("\"$OLDPWD/build/npm\"", "\"$BUILT\"");
    assert!(
        script.contains("$BUILT") && script.contains("$FOLDER"),
        "{script}"
    );
    let mut command = Command::new("bash");
    command
        .args(["-euc", &script])
        .current_dir(root())
        .env("FOLDER", folder.path())
        .env("BUILT", built().canonicalize().unwrap());
    assert_eq!(
        run(command, ""),
        "empty\ttoken_missing\nnone\talgorithm_not_allowed\n"
    );
}
