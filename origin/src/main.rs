//! The `edgekeep` command.

use std::process::ExitCode;

use clap::Parser as _;
use edgekeep_origin::cli::Command;

fn main() -> ExitCode {
    Command::parse().run()
}
