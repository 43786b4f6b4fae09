//! `edgekeep openapi`

use std::io::Write as _;

pub(super) fn run() -> anyhow::Result<()> {
    let mut document = crate::openapi::document().to_pretty_json()?;
    document.push('\n');
    // Not `println!`: a reader such as `head` may go away, which is no reason to panic.
    Ok(std::io::stdout().lock().write_all(document.as_bytes())?)
}
