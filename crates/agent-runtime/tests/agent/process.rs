//! `process.Process` without terminals.

use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::rpc::{End, Output, bytes, frame};
use crate::support::{Sandbox, soon};

const START: &str = "/process.Process/Start";

#[tokio::test]
async fn a_command_runs_as_the_user_at_home_with_a_clean_environment() {
    let sandbox = Sandbox::start().await;
    let init = json!({ "envVars": { "A": "default", "B": "default" } });
    sandbox.request(Method::POST, "/init").json(&init).send().await.expect("sent");
    let config = json!({ "cmd": "/bin/bash", "args": ["-c", "id -u; id -G; pwd; env | sort"], "envs": { "B": "mine" } });
    let (_, stream) = sandbox.started(json!({ "process": config, "stdin": false })).await;
    let output = Output::of(stream).await;
    let home = sandbox.home();
    let path = std::env::var("PATH").expect("a path");
    let expected = [
        "1000".to_owned(),
        "1000 44".to_owned(),
        home.display().to_string(),
        "A=default".to_owned(),
        "B=mine".to_owned(),
        "E2B_SANDBOX=false".to_owned(),
        format!("HOME={}", home.display()),
        "LOGNAME=user".to_owned(),
        format!("PATH={path}"),
        format!("PWD={}", home.display()),
        "SHLVL=0".to_owned(),
        "USER=user".to_owned(),
        "_=/usr/bin/env".to_owned(),
    ];
    let lines = output.stdout.lines().filter(|line| !line.starts_with("SHLVL=")).collect::<Vec<_>>();
    assert_eq!(lines, expected.iter().filter(|line| !line.starts_with("SHLVL=")).collect::<Vec<_>>());
    assert_eq!(output.end, json!({ "exitCode": 0, "exited": true, "status": "exit status 0" }));
}

#[rstest]
#[case::status("echo out; echo err >&2; exit 3", 3, true, "exit status 3")]
#[case::signal("kill -TERM $$", -1, false, "signal: terminated")]
#[case::core("ulimit -c 0; kill -SEGV $$", -1, false, "signal: segmentation fault")]
#[tokio::test]
async fn the_end_tells_how_it_ended(
    #[case] command: &str,
    #[case] code: i32,
    #[case] exited: bool,
    #[case] status: &str,
) {
    let sandbox = Sandbox::start().await;
    let (_, stream) = sandbox.shell(command).await;
    let output = Output::of(stream).await;
    let expected = json!({ "exitCode": code, "exited": exited, "status": status, "error": status });
    assert_eq!(output.end, expected);
    if exited {
        assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("out\n", "err\n"));
    }
}

#[rstest]
#[case::no_program(json!({ "cmd": "/no/such/program", "args": ["s3cr3t-argument"] }))]
#[case::no_search_result(json!({ "cmd": "no-such-program" }))]
#[case::no_command(json!({ "cmd": "" }))]
#[case::not_executable(json!({ "cmd": "/etc/passwd" }))]
#[case::no_directory(json!({ "cmd": "/bin/true", "cwd": "/no/such/directory" }))]
#[case::another_home(json!({ "cmd": "/bin/true", "cwd": "~root" }))]
#[case::a_null_byte(json!({ "cmd": "/bin/true", "args": ["a\u{0}b"] }))]
#[tokio::test]
async fn what_cant_be_started(#[case] config: Value) {
    let sandbox = Sandbox::start().await;
    let message = json!({ "process": config });
    let mut stream = sandbox.stream(START, message).await;
    assert_eq!(stream.next().await, Err(End::Error("invalid_argument".into())));
    assert_eq!(sandbox.ask("/process.Process/List", json!({})).await, json!({ "processes": [] }));
}

#[tokio::test]
async fn users_and_directories_can_be_chosen() {
    let sandbox = Sandbox::start().await;
    let config = json!({ "cmd": "/bin/bash", "args": ["-c", "id -un; pwd"], "cwd": "/usr" });
    let message = json!({ "process": config, "stdin": false });
    let root = [("Authorization", "Basic cm9vdDo=")];
    let mut stream = sandbox.stream_with(START, message.clone(), &root).await;
    stream.next().await.expect("the start");
    assert_eq!(Output::of(stream).await.stdout, "root\n/usr\n");
    let unknown = [("Authorization", "Basic ZXZlOg==")];
    let mut stream = sandbox.stream_with(START, message, &unknown).await;
    assert_eq!(stream.next().await, Err(End::Error("unauthenticated".into())));
}

#[tokio::test]
async fn the_calls_limit_kills_the_process_and_what_it_started() {
    let sandbox = Sandbox::start().await;
    let marker = sandbox.path("alive");
    let command = format!("trap '' TERM; (while :; do touch {marker}; sleep 0.02; done) & wait");
    let config = json!({ "cmd": "/bin/bash", "args": ["-c", command] });
    let message = json!({ "process": config, "tag": "limited" });
    let mut stream = sandbox.stream_with(START, message, &[("Connect-Timeout-Ms", "300")]).await;
    stream.next().await.expect("the start");
    let mut watcher =
        sandbox.stream("/process.Process/Connect", json!({ "process": { "tag": "limited" } })).await;
    watcher.next().await.expect("the start");
    assert_eq!(stream.next().await, Err(End::Error("deadline_exceeded".into())));
    assert_eq!(Output::of(watcher).await.end["status"], "signal: killed");
    assert_eq!(sandbox.ask("/process.Process/List", json!({})).await, json!({ "processes": [] }));
}

#[tokio::test]
async fn a_process_outlives_its_stream_and_others_may_attach() {
    let sandbox = Sandbox::start().await;
    let (pid, stream) = sandbox.shell("exec sleep 60").await;
    let selector = json!({ "process": { "pid": pid } });
    drop(stream);
    let mut attached = Vec::new();
    for _ in 0..3 {
        let mut stream = sandbox.stream("/process.Process/Connect", selector.clone()).await;
        assert_eq!(stream.next().await, Ok(json!({ "event": { "start": { "pid": pid } } })));
        attached.push(stream);
    }
    let listed = sandbox.ask("/process.Process/List", json!({})).await;
    assert_eq!(listed["processes"][0]["pid"], pid);
    assert_eq!(listed["processes"][0]["config"]["cmd"], "/bin/bash");
    sandbox
        .ask("/process.Process/SendSignal", json!({ "process": { "pid": pid }, "signal": "SIGNAL_SIGKILL" }))
        .await;
    for stream in attached {
        assert_eq!(Output::of(stream).await.end["status"], "signal: killed");
    }
    let mut late = sandbox.stream("/process.Process/Connect", selector).await;
    assert_eq!(late.next().await, Ok(json!({ "event": { "start": { "pid": pid } } })));
    assert_eq!(Output::of(late).await.end["status"], "signal: killed");
}

#[tokio::test]
async fn output_reaches_everybody_in_order_and_in_bounded_pieces() {
    let sandbox = Sandbox::start().await;
    let (_, stream) = sandbox.shell("seq 1 200000; echo done >&2").await;
    let (messages, end) = stream.rest().await;
    assert_eq!(end, End::Fine);
    let longest =
        messages.iter().filter_map(|message| message["event"]["data"]["stdout"].as_str()).map(str::len).max();
    assert!(longest <= Some((32_usize << 10).div_ceil(3) * 4), "{longest:?}");
    let (_, stream) = sandbox.shell("seq 1 200000; echo done >&2").await;
    let output = Output::of(stream).await;
    let expected = (1..=200_000).fold(String::new(), |text, number| text + &number.to_string() + "\n");
    assert!(output.stdout == expected, "{} bytes of {}", output.stdout.len(), expected.len());
    assert_eq!(output.stderr, "done\n");
}

#[tokio::test]
async fn a_tag_selects_and_text_numbers_are_fine() {
    let sandbox = Sandbox::start().await;
    // It outlives the end of its input until somebody writes to the pipe, so that what is asked then meets it.
    let folder = tempfile::tempdir().expect("a folder");
    let gate = folder.path().join("gate");
    nix::unistd::mkfifo(&gate, nix::sys::stat::Mode::from_bits_truncate(0o666)).expect("a pipe");
    let script = format!("cat; read -r _ < {}", gate.display());
    let config = json!({ "cmd": "/bin/sh", "args": ["-c", script] });
    let (pid, stream) = sandbox.started(json!({ "process": config, "tag": "my-cat", "pty": null })).await;
    let by_tag = json!({ "process": { "tag": "my-cat" }, "input": { "stdin": bytes("tagged ") } });
    sandbox.ask("/process.Process/SendInput", by_tag).await;
    let by_pid = json!({ "process": { "pid": pid.to_string() }, "input": { "stdin": bytes("numbered") } });
    sandbox.ask("/process.Process/SendInput", by_pid).await;
    for _ in 0..2 {
        sandbox.ask("/process.Process/CloseStdin", json!({ "process": { "pid": pid } })).await;
    }
    let late = json!({ "process": { "pid": pid }, "input": { "stdin": bytes("x") } });
    let code = sandbox.refused("/process.Process/SendInput", late).await;
    assert_eq!(code, "internal");
    soon("the pipe", tokio::task::spawn_blocking(move || std::fs::write(gate, "go on\n")))
        .await
        .expect("no panic")
        .expect("written");
    let output = Output::of(stream).await;
    assert_eq!((output.stdout.as_str(), &output.end["exitCode"]), ("tagged numbered", &json!(0)));
}

#[tokio::test]
async fn input_can_be_streamed() {
    let sandbox = Sandbox::start().await;
    let (pid, stream) = sandbox.started(json!({ "process": { "cmd": "/bin/cat" } })).await;
    let messages = [
        json!({ "start": { "process": { "pid": pid } } }),
        json!({ "data": { "input": { "stdin": bytes("one ") } } }),
        json!({ "keepalive": {} }),
        json!({ "data": { "input": { "stdin": bytes("two") } } }),
    ];
    let body = messages.iter().flat_map(frame).collect::<Vec<_>>();
    let request = sandbox.request(Method::POST, "/process.Process/StreamInput");
    let request = request.header("Content-Type", "application/connect+json").body(body);
    let answer = soon("an answer", request.send()).await.expect("sent").bytes().await.expect("read");
    assert_eq!(&answer[..], [&frame(&json!({}))[..], &[2, 0, 0, 0, 2], b"{}"].concat());
    sandbox.ask("/process.Process/CloseStdin", json!({ "process": { "pid": pid } })).await;
    assert_eq!(Output::of(stream).await.stdout, "one two");
}

#[rstest]
#[case::no_start(json!({ "data": { "input": { "stdin": "" } } }), "invalid_argument")]
#[case::nobody(json!({ "start": { "process": { "pid": 1 } } }), "not_found")]
#[tokio::test]
async fn streamed_input_needs_a_process(#[case] message: Value, #[case] code: &str) {
    let sandbox = Sandbox::start().await;
    let mut stream = sandbox.stream("/process.Process/StreamInput", message).await;
    assert_eq!(stream.next().await, Err(End::Error(code.into())));
}

#[rstest]
#[case("/process.Process/SendSignal", json!({ "process": { "pid": 1 }, "signal": 9 }), "not_found")]
#[case("/process.Process/SendSignal", json!({ "process": { "tag": "x" }, "signal": "SIGNAL_SIGKILL" }), "not_found")]
#[case("/process.Process/SendSignal", json!({ "process": {}, "signal": 9 }), "unimplemented")]
#[case("/process.Process/SendInput", json!({ "process": { "pid": 1 } }), "not_found")]
#[case("/process.Process/CloseStdin", json!({}), "unimplemented")]
#[case("/process.Process/Update", json!({ "process": { "pid": 1 } }), "not_found")]
#[case("/process.Process/SendInput", json!({ "input": { "stdin": "*" } }), "invalid_argument")]
#[case("/process.Process/SendSignal", json!([]), "invalid_argument")]
#[tokio::test]
async fn nobody_and_nonsense_are_refused(#[case] method: &str, #[case] message: Value, #[case] code: &str) {
    let sandbox = Sandbox::start().await;
    assert_eq!(sandbox.refused(method, message).await, code);
    let mut stream = sandbox.stream("/process.Process/Connect", json!({ "process": { "pid": 1 } })).await;
    assert_eq!(stream.next().await, Err(End::Error("not_found".into())));
}

#[tokio::test]
async fn a_process_without_input_refuses_it() {
    let sandbox = Sandbox::start().await;
    let (pid, stream) = sandbox.shell("cat; exec sleep 60").await;
    let select = json!({ "pid": pid });
    for (input, code) in [
        (json!({ "stdin": bytes("x") }), "internal"),
        (json!({ "pty": bytes("x") }), "internal"),
        (json!({}), "unimplemented"),
    ] {
        let message = json!({ "process": select, "input": input });
        assert_eq!(sandbox.refused("/process.Process/SendInput", message).await, code);
    }
    let resize = json!({ "process": select, "pty": { "size": { "cols": 10, "rows": 10 } } });
    assert_eq!(sandbox.refused("/process.Process/Update", resize).await, "internal");
    let signal = |signal: &str| json!({ "process": select, "signal": signal });
    assert_eq!(
        sandbox.refused("/process.Process/SendSignal", signal("SIGNAL_SIGHUP")).await,
        "unimplemented"
    );
    sandbox.ask("/process.Process/SendSignal", signal("SIGNAL_SIGTERM")).await;
    assert_eq!(Output::of(stream).await.end["status"], "signal: terminated");
    assert_eq!(sandbox.refused("/process.Process/SendSignal", signal("SIGNAL_SIGKILL")).await, "not_found");
}

#[tokio::test]
async fn silence_is_broken_by_keepalives() {
    let sandbox = Sandbox::start().await;
    let config = json!({ "cmd": "/bin/sleep", "args": ["60"] });
    let headers = [("Keepalive-Ping-Interval", "1")];
    let mut stream = sandbox.stream_with(START, json!({ "process": config }), &headers).await;
    let start = stream.next().await.expect("the start");
    let pid = &start["event"]["start"]["pid"];
    for _ in 0..2 {
        assert_eq!(stream.next().await, Ok(json!({ "event": { "keepalive": {} } })));
    }
    sandbox.ask("/process.Process/SendSignal", json!({ "process": { "pid": pid }, "signal": 15 })).await;
    assert_eq!(Output::of(stream).await.end["exited"], false);
}

#[tokio::test]
async fn bodies_of_another_kind_are_refused() {
    let sandbox = Sandbox::start().await;
    for method in ["/process.Process/List", START] {
        let answer =
            sandbox.request(Method::POST, method).header("Content-Type", "text/plain").body("{}").send();
        assert_eq!(answer.await.expect("sent").status(), 415);
    }
    let packed =
        sandbox.request(Method::POST, "/process.Process/List").header("Content-Type", "application/json");
    let answer = packed.header("Content-Encoding", "gzip").body("{}").send().await.expect("sent");
    assert_eq!(answer.status(), 501);
    let plain = sandbox.request(Method::POST, "/process.Process/List").header("Content-Encoding", "identity");
    let plain = plain.header("Content-Type", "application/json; charset=utf-8").body("");
    assert_eq!(plain.send().await.expect("sent").status(), 200);
}

#[tokio::test]
async fn many_commands_at_once_are_kept_apart() {
    let sandbox = Sandbox::start().await;
    let runs = (0..20).map(async |number| {
        let (_, stream) = sandbox.shell(&format!("echo {number}; exit {number}")).await;
        let output = Output::of(stream).await;
        (output.stdout, output.end["exitCode"].as_i64())
    });
    let outcomes = soon("all commands", futures::future::join_all(runs)).await;
    let expected = (0..20).map(|number| (format!("{number}\n"), Some(number))).collect::<Vec<_>>();
    assert_eq!(outcomes, expected);
}
