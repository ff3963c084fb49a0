//! `docs/scenarios.md` and the schema tell what the program does.
#![allow(clippy::expect_used, clippy::panic, reason = "a test may fail hard")]

use std::path::Path;

#[test]
fn the_reference_page_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/scenarios.md");
    let made = scenario::reference_page();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &made).expect("written");
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == made,
        "docs/scenarios.md is stale; run: UPDATE_DOCS=1 cargo test -p scenario --test reference_page"
    );
}

#[test]
fn every_step_has_its_section() {
    let page = scenario::reference_page();
    for action in scenario::model::ACTIONS {
        assert!(page.contains(&format!("| `{action}` | ")), "{action}");
    }
    assert!(!page.contains("| `` |") && !page.contains("any | |"), "every member is described");
}

#[test]
fn the_schema_refuses_unknown_fields_like_the_program() {
    let schema = scenario::schema().to_value();
    assert_eq!(schema["additionalProperties"], false);
    assert_eq!(schema["$defs"]["Step"]["additionalProperties"], false);
    let actions: Vec<_> = scenario::model::ACTIONS.to_vec();
    let known = schema["$defs"]["Step"]["properties"].as_object().expect("a mapping");
    assert!(actions.iter().all(|action| known.contains_key(*action)));
}

#[test]
fn every_link_of_the_page_leads_to_a_heading() {
    let page = scenario::reference_page();
    let headings: Vec<String> = page
        .lines()
        .filter_map(|line| {
            line.strip_prefix('#').map(|rest| rest.trim_start_matches('#').trim().to_lowercase())
        })
        .collect();
    for link in page.split("](#").skip(1).filter_map(|rest| rest.split(')').next()) {
        assert!(headings.iter().any(|heading| heading == link), "#{link}");
    }
}
