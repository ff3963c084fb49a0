//! The agent as a program of its own; `mountlab agent-runtime` runs the same function.

use std::process::ExitCode;

fn main() -> ExitCode {
    agent_runtime::main(std::env::args_os().collect())
}
