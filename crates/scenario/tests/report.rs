//! The report folder: what each file says, and that the page needs nothing but itself.
#![allow(clippy::expect_used, clippy::panic, reason = "a test may fail hard")]

mod common;

use std::sync::Arc;

use common::{Bench, Double, Script, document, pool_event};
use lab::{Capability, Mount};
use regex::Regex;
use scenario::{RunError, Silent, Style, Summary, render_failures, render_table};
use serde_json::{Value, json};

/// A run with one scenario that holds, one that fails and one that is skipped. `KEEP_REPORT=DIR` leaves its report
/// there, to be looked at.
async fn reported() -> (Bench, Summary) {
    let mut bench = Bench::new();
    if let Some(folder) = std::env::var_os("KEEP_REPORT") {
        bench.options.report = folder.into();
    }
    let warning = json!({
        "type": "Warning", "reason": "FailedMount", "message": "failed to check bucket \"demo\": Bucket not found",
        "involvedObject": {"kind": "Sandbox", "name": "pool-a"},
    });
    let script = Script {
        entries: vec![
            pool_event("ADDED", "pool-a", false),
            ("kubernetes", "ADDED", "Event/default/e1".into(), warning),
            (
                "csi",
                "NodePublishVolume",
                "/data-oss".into(),
                json!({"code": "Internal", "message": "<b>markup</b>"}),
            ),
            ("mounts", "mounted", "/data-oss".into(), json!({"fileSystem": "fuse.ossfs"})),
        ],
        mounts: vec![Mount {
            path: "/run/csi/mount-root/oss/0123".into(),
            links: vec!["/data-oss".into()],
            file_system: "fuse.ossfs".into(),
            source: "ossfs".into(),
            read_only: true,
            options: vec![],
        }],
        missing: vec![Capability::Clock],
        ..Script::default()
    };
    let double = Double::new(script).await;
    double.creates().await;
    let create = "steps:\n  - create: {as: sbx, template: pool}\n    expect: {status: 201}\n";
    let holds = document(create);
    let fails = document(&format!(
        "{create}  - mounts: {{in: sbx}}\n    expect: [{{path: /data-oss, readOnly: false}}]\n"
    ));
    let skipped = document(&format!("{create}  - advance: 300s\n"));
    let text = [("holds", holds), ("fails", fails), ("is-skipped", skipped)]
        .map(|(name, text)| text.replace("name: tried", &format!("name: {name}, description: It {name}.")))
        .join("---\n");
    let summary = bench.run(&double, &text).await;
    (bench, summary)
}

#[tokio::test]
async fn what_came_of_the_scenarios_is_told_although_the_disk_is_full() {
    let bench = Bench::new();
    let fill = format!("ln -s /dev/full {}", bench.options.report.join("junit.xml").display());
    let text = document(&format!("steps:\n  - shell: {{command: '{fill}'}}\n    expect: {{exitCode: 0}}\n"));
    let plan = scenario::load(&[bench.write("scenario.yaml", &text)]).expect("a plan");
    let double = Double::new(Script::default()).await;
    let ran = scenario::run(&plan, &double, &bench.options, Arc::new(Silent), bench.stop.clone()).await;
    let Err(RunError::Unreported { summary, source }) = ran else { panic!("{ran:?}") };
    assert_eq!(summary.exit_status(), 0, "{summary:?}");
    assert!(source.to_string().ends_with("junit.xml failed"), "{source}");
}

#[tokio::test]
async fn the_page_needs_nothing_but_itself_and_shows_what_failed() {
    let (bench, _) = reported().await;
    let page = bench.report("report.html");
    for outside in ["<script", "src=", "<link", "@import", "url("] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(page.contains("&lt;b&gt;markup"), "what comes from outside is escaped");
    for told in ["id=\"fails\"", "[0].readOnly", "expected: false", "FailedMount", "It holds."] {
        assert!(page.contains(told), "{told}");
    }
    assert!(page.contains("light dark"), "both colour schemes");
    let failed_call =
        Regex::new(r#"class="mark bad"[^>]*><title>NodePublishVolume &#x2f;data-oss"#).expect("a constant");
    assert!(failed_call.is_match(&page), "the timeline shows which call failed");
}

#[tokio::test]
async fn the_files_for_programs_agree_with_the_summary() {
    let (bench, summary) = reported().await;
    let json: Value = serde_json::from_str(&bench.report("report.json")).expect("JSON");
    let verdicts: Vec<_> = json["scenarios"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|result| result["verdict"].clone())
        .collect();
    assert_eq!(verdicts, ["held", "failed", "skipped"]);
    assert_eq!(json["seed"], 7);
    assert_eq!(json["scenarios"][1]["failures"][0]["differences"][0]["path"], "[0].readOnly");
    let junit = bench.report("junit.xml");
    for told in [
        "tests=\"3\"",
        "failures=\"1\"",
        "skipped=\"1\"",
        "actual:   true",
        "moving the clock",
        "value=\"7\"",
    ] {
        assert!(junit.contains(told), "{told} in {junit}");
    }
    let lines = bench.report("fails/journal.jsonl");
    let last: Value = serde_json::from_str(lines.lines().last().expect("a line")).expect("JSON");
    assert_eq!((&last["kind"], &last["body"]["verdict"]), (&json!("verdict"), &json!("failed")));
    assert_eq!(lines.lines().count(), summary.scenarios[1].entries);
    assert!(bench.report("fails/objects.yaml").contains("# Sandbox/default/pool-a"));
    assert!(!bench.options.report.join("holds/failure.txt").exists());
}

#[tokio::test]
async fn the_table_and_the_failures_fit_on_a_screen() {
    let (bench, summary) = reported().await;
    let times = Regex::new(r"\d+\.\d\d+ s").expect("a constant");
    let text = render_table(&summary, Style::Plain) + &render_failures(&summary, Style::Plain);
    let text = text.replace(&bench.options.report.display().to_string(), "REPORT");
    let text = text.replace(&bench.folder.path().display().to_string(), "FOLDER");
    insta::assert_snapshot!(times.replace_all(&text, "0.00 s"));
    assert!(render_table(&summary, Style::Colour).contains("\u{1b}[31mfailed"));
}
