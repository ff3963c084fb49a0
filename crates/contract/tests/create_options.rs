//! Extension keys and remaining metadata of a create request (`e2b-api.md` §6.1, `storage.md` §1.2).
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails hard, with a message")]

use std::collections::BTreeMap;

use contract::errors::Code;
use contract::extensions::{Extensions, Retention, is_qualified_name};
use contract::{duration, quantity, request};
use jiff::SignedDuration;
use proptest::prelude::*;
use rstest::rstest;

fn key(name: &str) -> String {
    format!("e2b.agents.kruise.io/{name}")
}

fn parse(entries: &[(&str, &str)]) -> Result<Extensions, contract::errors::Problem> {
    let mut metadata: BTreeMap<String, String> =
        entries.iter().map(|(name, value)| (key(name), (*value).to_owned())).collect();
    request::parse(&mut metadata, &[]).map(|options| options.extensions)
}

#[test]
fn every_key_is_read_and_consumed() {
    let entries = [
        ("claim-timeout-seconds", "5"),
        ("wait-ready-timeout-seconds", "-1"),
        ("cpu-request", "500m"),
        ("cpu-limit", "2"),
        ("image", "registry/img:v2"),
        ("skip-init-runtime", "true"),
        ("reserve-failed-sandbox-for", "1h30m"),
        ("reserve-failed-sandbox", "true"),
        ("reserve-paused-sandbox-duration", "forever"),
        ("create-on-no-stock", "false"),
        ("never-timeout", "true"),
        ("return-sandbox-ip", "true"),
        ("sandbox-name", "clone-1"),
    ];
    let read = parse(&entries).expect("accepted");
    let expected = Extensions {
        claim_timeout_seconds: Some(5),
        wait_ready_timeout_seconds: Some(-1),
        cpu_request: Some("500m".to_owned()),
        cpu_limit: Some("2".to_owned()),
        image: Some("registry/img:v2".to_owned()),
        skip_init_runtime: true,
        reserve_failed_sandbox: Retention::For(SignedDuration::from_secs(5400)),
        reserve_paused_sandbox_duration: Some("forever".to_owned()),
        no_create_on_no_stock: true,
        never_timeout: true,
        return_sandbox_ip: true,
        sandbox_name: Some("clone-1".to_owned()),
        ..Extensions::default()
    };
    assert_eq!(read, expected);
    assert!(!read.create_on_no_stock());
}

#[rstest]
#[case("claim-timeout-seconds", "soon")]
#[case("wait-ready-timeout-seconds", "1.5")]
#[case("cpu-request", "0")]
#[case("cpu-limit", "fast")]
#[case("image", "")]
#[case("reserve-failed-sandbox-for", "-1s")]
#[case("reserve-failed-sandbox-for", "5")]
#[case("reserve-paused-sandbox-duration", "0s")]
#[case("reserve-paused-sandbox-duration", "never")]
#[case("sandbox-name", "")]
#[case("sandbox-name", "Upper")]
#[case("sandbox-generate-name", "under_score")]
fn a_bad_value_is_a_400_that_names_the_key(#[case] name: &str, #[case] value: &str) {
    let problem = parse(&[(name, value)]).expect_err("refused");
    assert_eq!((problem.code(), problem.http_status()), (Code::InvalidParameter, 400));
    assert!(problem.message().starts_with("Bad extension param"), "{problem}");
    assert!(problem.message().contains(&key(name)), "{problem}");
}

#[rstest]
#[case(&[], Retention::Never)]
#[case(&[("reserve-failed-sandbox", "true")], Retention::Forever)]
#[case(&[("reserve-failed-sandbox", "yes")], Retention::Never)]
#[case(&[("reserve-failed-sandbox", "true"), ("reserve-failed-sandbox-for", "never")], Retention::Never)]
#[case(&[("reserve-failed-sandbox-for", "forever")], Retention::Forever)]
#[case(&[("reserve-failed-sandbox-for", "0s")], Retention::Never)]
fn retention_of_failed_sandboxes(#[case] entries: &[(&str, &str)], #[case] expected: Retention) {
    assert_eq!(parse(entries).expect("accepted").reserve_failed_sandbox, expected);
}

#[test]
fn the_two_naming_keys_exclude_each_other() {
    parse(&[("sandbox-name", "a"), ("sandbox-generate-name", "b-")]).expect_err("refused");
    assert_eq!(
        parse(&[("sandbox-generate-name", "b-")]).expect("accepted").sandbox_generate_name.as_deref(),
        Some("b-")
    );
}

#[test]
fn skipping_the_runtime_and_mounting_exclude_each_other() {
    let entries = [("skip-init-runtime", "true"), ("csi-volume-name", "pv"), ("csi-mount-point", "/a")];
    let problem = parse(&entries).expect_err("refused");
    assert_eq!((problem.code(), problem.http_status()), (Code::MountNeedsRuntimeInit, 400));
    parse(&[("skip-init-runtime", "true"), ("csi-volume-config", "[]")]).expect("no mount, no conflict");
}

// DECISIONS row 15
#[rstest]
#[case("csi-volume-conf", "csi-volume-config")]
#[case("csi-volumename", "csi-volume-name")]
#[case("csi-mountpoint", "csi-mount-point")]
#[case("CSI-SubPath", "csi-subpath")]
#[case("skip-runtime-init", "skip-init-runtime")]
fn an_unknown_key_is_a_400_that_names_the_nearest(#[case] wrong: &str, #[case] right: &str) {
    let problem = parse(&[(wrong, "x")]).expect_err("refused");
    assert_eq!((problem.code(), problem.http_status()), (Code::UnknownExtensionKey, 400));
    let message = problem.message();
    assert!(message.contains("Forbidden metadata key") && message.contains(&key(wrong)), "{message}");
    assert!(message.contains(&format!("nearest is {:?}", key(right))), "{message}");
}

#[rstest]
#[case("user", Ok(()))]
#[case("example.com/team", Ok(()))]
#[case("agents.kruise.io/lock", Err(Code::UnknownExtensionKey))]
#[case("two words", Err(Code::InvalidMetadataKey))]
#[case("", Err(Code::InvalidMetadataKey))]
#[case("/name", Err(Code::InvalidMetadataKey))]
#[case("UPPER.com/name", Err(Code::InvalidMetadataKey))]
#[case("a/b/c", Err(Code::InvalidMetadataKey))]
fn remaining_keys(#[case] key: &str, #[case] expected: Result<(), Code>) {
    let mut metadata = BTreeMap::from([(key.to_owned(), "value".to_owned())]);
    let found = request::parse(&mut metadata, &[]).map(|_| ()).map_err(|problem| problem.code());
    assert_eq!(found, expected);
    assert_eq!(metadata.len(), 1, "the user's own entries stay");
}

#[test]
fn labels_are_taken_out_and_checked() {
    let mut metadata = BTreeMap::from([("label:team".to_owned(), "blue".to_owned())]);
    let options = request::parse(&mut metadata, &[]).expect("accepted");
    assert_eq!(options.extensions.labels["team"], "blue");
    assert!(metadata.is_empty());
    for (key, value) in
        [("label:a b", ""), ("label:", ""), ("label:x", "no spaces"), ("label:agents.kruise.io/x", "")]
    {
        let mut metadata = BTreeMap::from([(key.to_owned(), value.to_owned())]);
        let problem = request::parse(&mut metadata, &[]).expect_err("refused");
        assert_eq!(problem.code(), Code::InvalidParameter, "{key}");
    }
}

#[rstest]
#[case("1h30m", Some(5_400_000_000_000))]
#[case("-1.5s", Some(-1_500_000_000))]
#[case("100ms", Some(100_000_000))]
#[case("1µs", Some(1_000))]
#[case("1us2ns", Some(1_002))]
#[case(".5m", Some(30_000_000_000))]
#[case("0", Some(0))]
#[case("+5s", Some(5_000_000_000))]
#[case("", None)]
#[case("5", None)]
#[case("s", None)]
#[case(".s", None)]
#[case("1.2.3s", None)]
#[case("1d", None)]
#[case("9999999h", None)]
fn go_durations(#[case] text: &str, #[case] nanoseconds: Option<i64>) {
    assert_eq!(duration::parse(text), nanoseconds.map(SignedDuration::from_nanos));
}

#[rstest]
#[case("500m", true)]
#[case("1.5", true)]
#[case("2e3", true)]
#[case("1Gi", true)]
#[case("0", false)]
#[case("0.0", false)]
#[case("-1", false)]
#[case("1.2.3", false)]
#[case("m", false)]
#[case("1x", false)]
#[case("", false)]
fn quantities_above_zero(#[case] text: &str, #[case] expected: bool) {
    assert_eq!(quantity::is_positive(text), expected);
}

proptest! {
    #[test]
    fn no_text_makes_a_parser_panic(text in ".{0,40}") {
        let _ = duration::parse(&text);
        let _ = quantity::is_positive(&text);
        let _ = is_qualified_name(&text);
        let mut metadata = BTreeMap::from([(text.clone(), text)]);
        let _ = request::parse(&mut metadata, &[]);
    }

    #[test]
    fn whole_numbers_of_units_are_exact(hours in 0_i64..1000, minutes in 0_i64..60, seconds in 0_i64..60) {
        let text = format!("{hours}h{minutes}m{seconds}s");
        let expected = SignedDuration::from_secs(hours * 3600 + minutes * 60 + seconds);
        prop_assert_eq!(duration::parse(&text), Some(expected));
    }
}
