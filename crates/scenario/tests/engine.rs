//! The engine against a double of a lab: verdicts, what failures say, the report, the exit status.
#![allow(clippy::expect_used, clippy::panic, reason = "a test may fail hard")]

mod common;

use std::time::Duration;

use common::{Bench, Double, SECRET, Script, document, leftover, pool_event};
use insta::assert_snapshot;
use lab::{Capability, Mount, SharedPart};
use scenario::Verdict;
use serde_json::json;

const CREATE: &str = "steps:\n  - create: {as: sbx, template: pool}\n    expect: {status: 201}\n";

async fn created(script: Script) -> Double {
    let double = Double::new(script).await;
    double.creates().await;
    double
}

#[tokio::test]
async fn a_scenario_that_holds() {
    let bench = Bench::new();
    let double =
        created(Script { entries: vec![pool_event("ADDED", "pool-a", false)], ..Script::default() }).await;
    let text = document(
        "steps:\n  - create: {as: sbx, template: pool, metadata: {user: alice}}\n    \
         expect: {status: 201, sandbox: {sandboxID: default--pool-a, metadata: {user: {oneOf: [alice, bob]}}}}\n  \
         - info: {sandbox: '${sbx.id}'}\n    expect: {status: 404, code: 404, message: {contains: 'no sandbox'}}\n\
         pools: [{set: pool, untouched: true}]\n",
    );
    let refused = json!({"code": 404, "message": "no sandbox", "request_id": "r1"});
    double.answers("GET", "/sandboxes/default--pool-a", 404, refused).await;
    let summary = bench.run(&double, &text).await;
    assert_eq!(bench.failures(&summary), "");
    assert_eq!(summary.scenarios[0].verdict, Verdict::Held);
    assert_eq!(summary.exit_status(), 0);
    let parts: Vec<_> = summary.scenarios[0].parts.iter().map(|part| part.name).collect();
    assert_eq!(parts, ["up", "setup", "ready", "steps", "expectations", "cleanup", "down"]);
    let killed = double.server.received_requests().await.expect("recorded");
    assert!(
        killed.iter().any(|request| request.method.as_str() == "DELETE"),
        "the sandbox is ended at the end"
    );
}

#[tokio::test]
async fn a_refusal_that_nobody_expected_fails_even_with_another_expectation() {
    let bench = Bench::new();
    let double = Double::new(Script::default()).await;
    let body = json!({"code": 400, "message": "no found persistent volume name"});
    double.answers("POST", "/v2/sandboxes", 400, body).await;
    let text = document(
        "steps:\n  - create: {as: sbx, template: pool}\n    expect: {sandbox: {templateID: pool}}\n",
    );
    let summary = bench.run(&double, &text).await;
    assert_eq!(summary.exit_status(), 1);
    assert_snapshot!(bench.failures(&summary));
}

#[tokio::test]
async fn an_outcome_that_differs_says_where_and_shows_the_last_entries() {
    let bench = Bench::new();
    let entries = vec![
        ("csi", "NodePublishVolume", "/data".to_owned(), json!({"code": "Internal"})),
        ("e2b", "POST /sandboxes", "Sandbox/default/pool-a".to_owned(), json!({"status": 500})),
    ];
    let double = Double::new(Script { entries, ..Script::default() }).await;
    double.answers("POST", "/v2/sandboxes", 500, json!({"code": 500, "message": "boom"})).await;
    let text = document(
        "steps:\n  - create: {as: sbx, template: pool}\n    \
         expect: {status: 400, message: {contains: persistent}}\n",
    );
    assert_snapshot!(bench.failures(&bench.run(&double, &text).await));
}

#[tokio::test]
async fn mounts_are_compared_as_a_whole() {
    let bench = Bench::new();
    let mount = |path: &str, links: &[&str], read_only| Mount {
        path: path.into(),
        links: links.iter().map(|&link| link.to_owned()).collect(),
        file_system: "fuse.ossfs".into(),
        source: "ossfs".into(),
        read_only,
        options: vec![],
    };
    let mounts =
        vec![mount("/proc", &[], false), mount("/run/csi/mount-root/oss/0123", &["/data-oss"], true)];
    let double = created(Script { mounts, ..Script::default() }).await;
    let text = document(&format!(
        "{CREATE}  - mounts: {{in: sbx}}\n    \
         expect: [{{path: /data-oss, readOnly: false, driver: ossplugin.csi.alibabacloud.com}}]\n"
    ));
    assert_snapshot!(bench.failures(&bench.run(&double, &text).await));
}

#[tokio::test]
async fn a_state_that_lasted_no_time_is_seen() {
    let bench = Bench::new();
    let script = Script {
        entries: vec![pool_event("ADDED", "pool-a", false)],
        on_mounts: vec![pool_event("MODIFIED", "pool-a", true), pool_event("MODIFIED", "pool-a", false)],
        ..Script::default()
    };
    let double = created(script).await;
    let text = document(&format!(
        "{CREATE}  - mounts: {{in: sbx}}\n    expect: []\npools: [{{set: pool, untouched: true}}]\n"
    ));
    let summary = bench.run(&double, &text).await;
    assert_eq!(summary.scenarios[0].verdict, Verdict::Failed);
    assert_snapshot!(bench.failures(&summary));
}

#[tokio::test]
async fn a_consumed_sandbox_is_counted_once_and_must_go() {
    let bench = Bench::new();
    let entries = vec![pool_event("ADDED", "pool-a", false), pool_event("ADDED", "pool-b", false)];
    let on_mounts = vec![
        pool_event("MODIFIED", "pool-a", true),
        pool_event("MODIFIED", "pool-a", true),
        pool_event("ADDED", "pool-c", false),
        pool_event("DELETED", "pool-a", true),
    ];
    let steps = format!("limits: {{eventually: 50ms}}\n{CREATE}  - mounts: {{in: sbx}}\n    expect: []\n");
    let text = document(&format!("{steps}pools: [{{set: pool, consumed: 1, deleted: true}}]\n"));
    let double =
        created(Script { entries: entries.clone(), on_mounts: on_mounts.clone(), ..Script::default() }).await;
    assert_eq!(bench.failures(&bench.run(&double, &text).await), "");
    let double = created(Script { entries, on_mounts: on_mounts[..3].to_vec(), ..Script::default() }).await;
    assert_snapshot!(bench.failures(&bench.run(&double, &text).await));
}

#[tokio::test]
async fn what_the_journal_hears_late_is_judged_too() {
    let bench = Bench::new();
    let entries = vec![pool_event("ADDED", "pool-a", false), pool_event("ADDED", "pool-b", false)];
    let claim = vec![pool_event("MODIFIED", "pool-a", true)];
    let caught_up = Script { entries: entries.clone(), on_catch_up: claim.clone(), ..Script::default() };
    let later = Script { entries, later: claim, ..Script::default() };
    for script in [caught_up.clone(), later] {
        let double = created(script).await;
        let text = document(&format!("{CREATE}pools: [{{set: pool, consumed: 1}}]\n"));
        assert_eq!(bench.failures(&bench.run(&double, &text).await), "");
    }
    let double = created(caught_up).await;
    let text = document(&format!("{CREATE}pools: [{{set: pool, untouched: true}}]\n"));
    assert_eq!(bench.run(&double, &text).await.scenarios[0].verdict, Verdict::Failed);
}

#[tokio::test]
async fn a_pool_that_the_journal_knows_nothing_of_never_passes() {
    let bench = Bench::new();
    let double = created(Script::default()).await;
    let summary =
        bench.run(&double, &document(&format!("{CREATE}pools: [{{set: pool, untouched: true}}]\n"))).await;
    assert_snapshot!(bench.failures(&summary));
}

#[tokio::test]
async fn journal_expectations_say_what_came_nearest() {
    let bench = Bench::new();
    let entries = vec![
        ("csi", "NodePublishVolume", "/data".to_owned(), json!({"code": "Internal", "driver": "oss"})),
        ("csi", "NodePublishVolume", "/other".to_owned(), json!({"code": "Ok", "driver": "oss"})),
        (
            "kubernetes",
            "ADDED",
            "Event/default/e1".to_owned(),
            json!({"type": "Warning", "reason": "Failed"}),
        ),
    ];
    let double = created(Script { entries, ..Script::default() }).await;
    let text = document(&format!(
        "limits: {{eventually: 30ms}}\n{CREATE}\
         eventually:\n  - entry: {{source: csi, kind: NodePublishVolume, subject: /data, body: {{code: Ok}}}}\n\
         never:\n  - event: {{type: Warning}}\n\
         count:\n  - entry: {{source: csi, kind: NodePublishVolume}}\n    exactly: 1\n\
         order:\n  - entries: [{{source: csi, subject: /other}}, {{source: csi, subject: /data}}]\n"
    ));
    let summary = bench.run(&double, &text).await;
    assert_eq!(summary.scenarios[0].failures.len(), 4);
    assert_snapshot!(bench.failures(&summary));
}

#[tokio::test]
async fn what_is_left_over_names_its_step() {
    let bench = Bench::new();
    let leftovers = vec![vec![leftover("pool-a")], vec![]];
    let double = created(Script { leftovers, ..Script::default() }).await;
    let summary = bench.run(&double, &document(CREATE)).await;
    assert_eq!(bench.failures(&summary), "", "what is gone within the limit is not left over");

    let double = created(Script { leftovers: vec![vec![leftover("pool-a")]], ..Script::default() }).await;
    let text = document(&format!("limits: {{cleanup: 60ms}}\n{CREATE}"));
    assert_snapshot!(bench.failures(&bench.run(&double, &text).await));
}

#[tokio::test]
async fn a_lab_that_does_not_go_down_fails_its_scenario() {
    let bench = Bench::new();
    let double = created(Script { down_error: true, ..Script::default() }).await;
    let summary = bench.run(&double, &document(CREATE)).await;
    assert_eq!(summary.exit_status(), 1);
    assert_snapshot!(bench.failures(&summary));
}

/// Nothing that the scenario waits for comes any more, so that it doesn't wait.
#[tokio::test]
async fn a_lab_that_ends_by_itself_ends_its_scenario() {
    let bench = Bench::new();
    let end = json!({"phase": "ended", "part": "inside", "reason": "its first process ended"});
    let on_mounts = vec![("lab", "phase", "tried".to_owned(), end)];
    let double = created(Script { on_mounts, ..Script::default() }).await;
    let wait = "  - eventually: {entry: {source: csi}, within: 1h}\n";
    let text = document(&format!("{CREATE}  - mounts: {{in: sbx}}\n    expect: []\n{wait}"));
    let run = tokio::time::timeout(Duration::from_secs(20), bench.run(&double, &text));
    let summary = run.await.expect("the end of the run within 20 s");
    assert_eq!(summary.scenarios[0].verdict, Verdict::Failed);
    let failures = bench.failures(&summary);
    assert!(failures.contains("inside of lab tried failed: its first process ended"), "{failures}");
}

#[tokio::test]
async fn what_the_backend_lacks_is_a_named_skip() {
    let bench = Bench::new();
    let double = created(Script { missing: vec![Capability::MountTable], ..Script::default() }).await;
    let text = document(&format!("{CREATE}  - mounts: {{in: sbx}}\n    expect: []\n"));
    let summary = bench.run(&double, &text).await;
    let reason = "the double backend lacks reading a sandbox's mount table".to_owned();
    assert_eq!(summary.scenarios[0].verdict, Verdict::Skipped { reason });
    assert_eq!(summary.exit_status(), 0);
    assert!(bench.report("junit.xml").contains("lacks reading"));
}

#[rstest::rstest]
#[case::at_the_start(
    "storage: {nas: {/share: {}}, exports: {/share: {squash: root}}}\n",
    "",
    Capability::ExportRules,
    "rules of access"
)]
#[case::later(
    "",
    "  - nas: {export: /share, options: {access: refused}}\n",
    Capability::ExportRules,
    "rules of access"
)]
#[case::capacity(
    "storage: {nas: {/share: {}}, exports: {/share: {capacityBytes: 1}}}\n",
    "",
    Capability::ExportCapacity,
    "limited capacity"
)]
#[case::a_sidecars_mounts(
    "",
    "count:\n  - entry: {source: mounts, subject: 'Pod/default/*/csi-sidecar:**'}\n    exactly: 0\n",
    Capability::ServerJournal,
    "sidecars' mounts"
)]
#[tokio::test]
async fn what_a_file_needs_beyond_the_usual_is_told_from_it(
    #[case] storage: &str,
    #[case] step: &str,
    #[case] missing: Capability,
    #[case] words: &str,
) {
    let bench = Bench::new();
    let double = created(Script { missing: vec![missing], ..Script::default() }).await;
    let text = document(&format!("{storage}{CREATE}{step}"));
    let summary = bench.run(&double, &text).await;
    let verdict = &summary.scenarios[0].verdict;
    assert!(matches!(verdict, Verdict::Skipped { reason } if reason.contains(words)), "{verdict:?}");
}

#[tokio::test]
async fn a_machine_that_cannot_run_it_has_an_exit_status_of_its_own() {
    let bench = Bench::new();
    let double = Double::new(Script { up_error: true, ..Script::default() }).await;
    let summary = bench.run(&double, &document(CREATE)).await;
    assert_eq!(summary.exit_status(), 3);
    assert!(scenario::render_table(&summary, scenario::Style::Plain).contains("load the module"));
}

#[tokio::test]
async fn what_is_started_goes_on_while_other_steps_are_carried_out() {
    let bench = Bench::new();
    let double = created(Script::default()).await;
    // The first program ends when the second one has run, and would wait forever before it.
    let text = document(
        "steps:\n  - background: waiting\n    shell: {command: 'until [ -e FOLDER/go ]; do sleep 0.01; done; echo went; exit 3'}\n  \
         - shell: {command: 'touch FOLDER/go'}\n  - join: waiting\n    expect: {exitCode: 3, stdout: \"went\\n\"}\n  \
         - background: failing\n    shell: {command: 'false'}\n  - join: failing\n",
    )
    .replace("FOLDER", &bench.folder.path().display().to_string());
    let summary = bench.run(&double, &text).await;
    assert!(summary.scenarios[0].steps[2].held, "{}", bench.failures(&summary));
    assert_snapshot!(bench.failures(&summary));
}

#[tokio::test]
async fn a_secret_that_shows_fails_its_scenario() {
    let bench = Bench::new();
    let on_mounts = vec![("csi", "NodePublishVolume", "/data".to_owned(), json!({"message": SECRET}))];
    let double = created(Script { on_mounts, ..Script::default() }).await;
    let text = document(&format!("{CREATE}  - mounts: {{in: sbx}}\n    expect: []\n"));
    let summary = bench.run(&double, &text).await;
    assert_eq!(summary.scenarios[0].verdict, Verdict::Failed);
    assert_snapshot!(bench.failures(&summary));
}

#[tokio::test]
async fn secrets_are_in_no_file_of_the_report() {
    let bench = Bench::new();
    let double = Double::new(Script::default()).await;
    let body = json!({"code": 500, "message": format!("the driver said {SECRET} and more")});
    double.answers("POST", "/v2/sandboxes", 500, body).await;
    bench.run(&double, &document(CREATE)).await;
    for file in ["report.json", "junit.xml", "report.html", "tried/journal.jsonl", "tried/failure.txt"] {
        let text = bench.report(file);
        assert!(!text.contains(SECRET), "{file}");
        assert!(text.contains("[redacted]"), "{file} has the message");
    }
}

#[tokio::test]
async fn stopping_ends_a_run_at_once_with_a_report() {
    let bench = Bench::new();
    let double = created(Script { leftovers: vec![vec![leftover("x")]], ..Script::default() }).await;
    let stop = bench.stop.clone();
    let text = document(&format!("{CREATE}  - eventually: {{entry: {{source: csi}}, within: 60s}}\n"));
    let running = bench.run(&double, &text);
    let stopping = async {
        // The run has come to the waiting step once the sandbox is made.
        while double.server.received_requests().await.is_none_or(|requests| requests.is_empty()) {
            tokio::task::yield_now().await;
        }
        stop.cancel();
    };
    let both = async { tokio::join!(running, stopping).0 };
    let summary = tokio::time::timeout(Duration::from_secs(2), both).await.expect("ended within 2 s");
    assert_eq!(summary.scenarios[0].verdict, Verdict::Stopped);
    assert_eq!(summary.exit_status(), 1);
    assert!(bench.report("report.json").contains("\"stopped\": true"));
}

#[tokio::test]
async fn programs_outside_get_the_labs_addresses_and_no_more() {
    let bench = Bench::new();
    let double = created(Script::default()).await;
    let text = document(
        "steps:\n  - shell: {command: 'echo $E2B_DOMAIN $E2B_API_KEY; env | grep -c CARGO'}\n    \
         expect: {stdout: \"lab.test key-of-the-double\\n0\\n\", exitCode: 1}\n  \
         - shell: {command: 'sleep 5', timeout: 50ms}\n    expect: {exitCode: 0}\n",
    );
    let summary = bench.run(&double, &text).await;
    assert!(summary.scenarios[0].steps[0].held);
    assert_snapshot!(bench.failures(&summary));
}

#[tokio::test]
async fn within_repeats_a_step_that_looks() {
    let bench = Bench::new();
    let double = Double::new(Script::default()).await;
    let text = document(
        "steps:\n  - shell: {command: 'echo x >> count; wc -l < count; pwd'}\n    within: 5s\n    \
         expect: {stdout: {startsWith: '3'}}\n",
    )
    .replace("count;", &format!("{0}/count; wc -l < {0}/count;", bench.folder.path().display()));
    let summary = bench.run(&double, &text.replace("wc -l < count;", "")).await;
    assert_eq!(bench.failures(&summary), "");
}

#[tokio::test]
async fn the_filter_must_leave_something() {
    let mut bench = Bench::new();
    bench.options.filter = Some("other".into());
    let double = Double::new(Script::default()).await;
    let path = bench.write("scenario.yaml", &document(CREATE));
    let plan = scenario::load(&[path]).expect("right");
    let silent = std::sync::Arc::new(scenario::Silent);
    let error = scenario::run(&plan, &double, &bench.options, silent, bench.stop.clone()).await;
    assert_eq!(
        error.expect_err("nothing").to_string(),
        "no scenario's name contains `other`; there are: tried"
    );
}

#[tokio::test]
async fn a_scenario_that_disturbs_what_is_shared_runs_beside_those_that_do_not_use_it() {
    let mut bench = Bench::new();
    bench.options.jobs = 8;
    let double = Double::new(Script { shared: SharedPart::ALL.into(), ..Script::default() }).await;
    let scenario = |name: &str, fault: &str| {
        let steps = format!("steps:\n  - fault: {{as: f, inject: {fault}}}\n    expect: {{status: 200}}\n");
        let text = document(&format!("{steps}  - heal: {{fault: f}}\n"));
        text.replace("name: tried", &format!("name: {name}"))
    };
    let documents = [
        scenario("killer", "{kill: {component: manager}}"),
        scenario("first-outage", "{oss: {gone: true}}"),
        scenario("store-a", "{oss: {error: '500'}}"),
        scenario("second-outage", "{oss: {hang: true}}"),
        scenario("store-b", "{oss: {error: '500'}}"),
        scenario("share", "{nas: {stale: true}}"),
    ];
    let summary = bench.run(&double, &documents.join("---\n")).await;
    assert_eq!(bench.failures(&summary), "");
    let order: Vec<_> = summary.scenarios.iter().map(|result| result.name.as_str()).collect();
    assert_eq!(order[..2], ["killer", "first-outage"], "as in the file");
    let company = double.company.lock().expect("no panic");
    assert_eq!(company.met.len(), 6, "all came up: {company:?}");
    assert!(company.met["killer"].contains("share"), "it comes up beside others: {company:?}");
    assert!(company.met_at_work["killer"].is_empty(), "{company:?}");
    for outage in ["first-outage", "second-outage"] {
        let met: Vec<_> = company.met_at_work[outage].iter().filter(|name| *name != "share").collect();
        assert!(met.is_empty(), "{outage} met {met:?}");
        assert!(bench.report(&format!("{outage}/journal.jsonl")).contains(r#""kind":"apart""#));
    }
    assert!(company.met["first-outage"].contains("share"), "{company:?}");
    assert!(company.met["store-a"].contains("store-b"), "{company:?}");
}

#[tokio::test]
async fn who_kills_the_controller_runs_beside_everybody_but_another_killer() {
    let mut bench = Bench::new();
    bench.options.jobs = 8;
    let double = Double::new(Script { shared: SharedPart::ALL.into(), ..Script::default() }).await;
    let scenario = |name: &str, steps: &str| {
        document(&format!("steps:\n{steps}\n")).replace("name: tried", &format!("name: {name}"))
    };
    let killer = "  - fault: {inject: {kill: {component: controller}}}\n    expect: {status: 200}";
    let looks = "  - fault: {inject: {oss: {error: '500'}}}\n    expect: {status: 200}";
    let documents = [scenario("first", killer), scenario("second", killer), scenario("other", looks)];
    let summary = bench.run(&double, &documents.join("---\n")).await;
    assert_eq!(bench.failures(&summary), "");
    let company = double.company.lock().expect("no panic");
    assert!(company.met["first"].contains("other"), "{company:?}");
    assert!(!company.met_at_work["first"].contains("second"), "{company:?}");
}

#[tokio::test]
async fn the_next_scenario_begins_while_one_goes_down_where_the_backend_says_so() {
    for aside in [true, false] {
        let mut bench = Bench::new();
        bench.options.jobs = 1;
        let double = created(Script { down_aside: aside, ..Script::default() }).await;
        let documents =
            ["first", "second"].map(|name| document(CREATE).replace("name: tried", &format!("name: {name}")));
        let summary = bench.run(&double, &documents.join("---\n")).await;
        assert_eq!(bench.failures(&summary), "");
        let company = double.company.lock().expect("no panic");
        assert_eq!(company.met["first"].contains("second"), aside, "{company:?}");
    }
}

#[tokio::test]
async fn a_request_that_nobody_answers_is_an_outcome_that_can_be_expected() {
    let bench = Bench::new();
    let double = Double::new(Script::default()).await;
    // A gateway before the API.
    double.answers("POST", "/v2/sandboxes", 502, json!({"code": 502, "message": "no upstream"})).await;
    let steps = "steps:\n  - create: {template: pool}\n    expect:";
    let summary = bench.run(&double, &document(&format!("{steps} {{answered: false, status: 502}}\n"))).await;
    assert_eq!(bench.failures(&summary), "");
    // Where nothing is said of it, it is a failure.
    let summary =
        bench.run(&double, &document(&format!("{steps} {{sandbox: {{templateID: pool}}}}\n"))).await;
    assert!(bench.failures(&summary).contains("no upstream"), "{}", bench.failures(&summary));
    // An answer that refuses is an answer.
    let double = Double::new(Script::default()).await;
    double.answers("POST", "/v2/sandboxes", 503, json!({"code": 503, "message": "try later"})).await;
    let summary = bench.run(&double, &document(&format!("{steps} {{answered: false}}\n"))).await;
    assert_eq!(summary.exit_status(), 1);
}
