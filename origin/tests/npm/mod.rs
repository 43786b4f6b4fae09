//! Real servers from npm, for tests that need one at the other end.
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]

use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The folder of the npm packages that are pinned in `scripts/npm`, installed if need be.
pub(crate) fn node_modules() -> &'static str {
    static FOLDER: OnceLock<String> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let script = r#"set -eu; . scripts/env.sh; mkdir -p "$EDGEKEEP_CACHE_DIR"
            exec 9>"$EDGEKEEP_CACHE_DIR/setup.lock"; flock 9
            npm_install "$EDGEKEEP_ROOT/scripts/npm"; npm_folder "$EDGEKEEP_ROOT/scripts/npm""#;
        let output = Command::new("bash")
            .args(["-c", script])
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        assert!(output.status.success());
        format!(
            "{}/node_modules",
            String::from_utf8(output.stdout).unwrap().trim()
        )
    })
}
