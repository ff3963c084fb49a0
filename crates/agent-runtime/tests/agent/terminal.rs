//! `process.Process` with terminals.

use serde_json::{Value, json};

use crate::support::rpc::{Output, Stream, bytes};
use crate::support::{Sandbox, soon};

async fn terminal(sandbox: &Sandbox) -> (u64, Stream) {
    let envs = json!({ "TERM": "dumb", "PS1": "", "HISTFILE": "/dev/null" });
    let config = json!({ "cmd": "/bin/bash", "args": ["--norc", "-i"], "envs": envs });
    sandbox.started(json!({ "process": config, "pty": { "size": { "cols": 91, "rows": 17 } } })).await
}

async fn type_in(sandbox: &Sandbox, pid: u64, text: &str) {
    let message = json!({ "process": { "pid": pid }, "input": { "pty": bytes(text) } });
    sandbox.ask("/process.Process/SendInput", message).await;
}

/// Reads until the terminal has shown `text`.
async fn shown(stream: &mut Stream, text: &str) {
    use base64::Engine as _;
    let mut screen = Vec::new();
    let look = async {
        while !String::from_utf8_lossy(&screen).contains(text) {
            let message = stream.next().await.unwrap_or_else(|end| panic!("{end:?} after {screen:?}"));
            let data =
                message["event"]["data"]["pty"].as_str().unwrap_or_else(|| panic!("no pty: {message}"));
            screen.extend(base64::prelude::BASE64_STANDARD.decode(data).expect("base64"));
        }
    };
    soon(&format!("{text:?} on the screen"), look).await;
}

#[tokio::test]
async fn a_terminal_has_a_size_and_takes_input() {
    let sandbox = Sandbox::start().await;
    let (pid, mut stream) = terminal(&sandbox).await;
    type_in(&sandbox, pid, "tty; echo \"$(stty size)\" is $((1 + 1))\n").await;
    shown(&mut stream, "17 91 is 2").await;
    let size = json!({ "process": { "pid": pid }, "pty": { "size": { "cols": 120, "rows": 40 } } });
    sandbox.ask("/process.Process/Update", size).await;
    type_in(&sandbox, pid, "echo \"$(stty size)\" is $((2 + 1))\n").await;
    shown(&mut stream, "40 120 is 3").await;
    type_in(&sandbox, pid, "exit 4\n").await;
    let output = Output::of(stream).await;
    assert_eq!(output.end["exitCode"], 4);
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("", ""), "everything is pty");
}

#[tokio::test]
async fn control_c_interrupts_what_is_in_the_foreground() {
    let sandbox = Sandbox::start().await;
    let (pid, mut stream) = terminal(&sandbox).await;
    // Who says so is in the foreground: a shell's own `echo` would come before its next command is.
    type_in(&sandbox, pid, "sh -c \"echo re''ady; exec sleep 600\"\n").await;
    shown(&mut stream, "ready").await;
    type_in(&sandbox, pid, "\u{3}").await;
    type_in(&sandbox, pid, "echo status $?\n").await;
    shown(&mut stream, "status 130").await;
    let kill = json!({ "process": { "pid": pid }, "signal": "SIGNAL_SIGKILL" });
    sandbox.ask("/process.Process/SendSignal", kill).await;
    assert_eq!(Output::of(stream).await.end["status"], "signal: killed");
}

#[tokio::test]
async fn a_terminal_has_no_standard_input() {
    let sandbox = Sandbox::start().await;
    let (pid, mut stream) = terminal(&sandbox).await;
    let select: Value = json!({ "pid": pid });
    let stdin = json!({ "process": select, "input": { "stdin": bytes("x") } });
    assert_eq!(sandbox.refused("/process.Process/SendInput", stdin).await, "internal");
    assert_eq!(sandbox.refused("/process.Process/CloseStdin", json!({ "process": select })).await, "unknown");
    type_in(&sandbox, pid, "echo still he''re\n").await;
    shown(&mut stream, "still here").await;
}
