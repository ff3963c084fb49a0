//! The agent as a program of its own, for its tests.

use std::process::ExitCode;

fn main() -> ExitCode {
    csi_node::main(std::env::args_os().collect())
}
