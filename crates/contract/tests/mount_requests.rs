//! The request surface, row by row (`storage.md` §1).
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails hard, with a message")]

use std::collections::BTreeMap;

use contract::errors::{Code, Problem};
use contract::intents::{
    MountIntent, VolumeMount, check_mount_path, check_set, decode_annotation, encode_annotation,
    parse_request,
};
use contract::request;
use proptest::prelude::*;
use rstest::rstest;

const NAME: &str = "e2b.agents.kruise.io/csi-volume-name";
const POINT: &str = "e2b.agents.kruise.io/csi-mount-point";
const SUB: &str = "e2b.agents.kruise.io/csi-subpath";
const CONFIG: &str = "e2b.agents.kruise.io/csi-volume-config";

fn metadata(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn old_keys() -> Vec<(&'static str, &'static str)> {
    vec![(NAME, "pv-old"), (POINT, "/old"), (SUB, "sub")]
}

fn body() -> Vec<VolumeMount> {
    vec![VolumeMount { name: "pv-body".to_owned(), path: "/body".to_owned() }]
}

fn names(intents: &[MountIntent]) -> Vec<&str> {
    intents.iter().map(|intent| intent.pv_name.as_str()).collect()
}

fn list(text: &str) -> Result<Vec<MountIntent>, Problem> {
    parse_request(&mut metadata(&[(CONFIG, text)]), &[])
}

const NEW: &str = r#"[{"pvName":"pv-new","mountPath":"/new"}]"#;

// §1.3
#[rstest]
#[case::body_only(vec![], None, &["pv-body"])]
#[case::old_beats_body(old_keys(), None, &["pv-old"])]
#[case::new_beats_body(vec![], Some(NEW), &["pv-new"])]
#[case::new_beats_old(old_keys(), Some(NEW), &["pv-new"])]
#[case::empty_new_beats_all(old_keys(), Some("[]"), &[])]
#[case::null_new_beats_all(old_keys(), Some("null"), &[])]
fn precedence(#[case] old: Vec<(&str, &str)>, #[case] new: Option<&str>, #[case] expected: &[&str]) {
    let mut metadata = metadata(&old);
    metadata.extend(new.map(|list| (CONFIG.to_owned(), list.to_owned())));
    metadata.insert("user".to_owned(), "kept".to_owned());
    let intents = parse_request(&mut metadata, &body()).expect("accepted");
    assert_eq!(names(&intents), expected);
    assert_eq!(metadata.into_keys().collect::<Vec<_>>(), ["user"], "consumed keys are gone");
}

#[test]
fn old_keys_are_dropped_unseen_when_the_new_key_is_there() {
    let mut metadata = metadata(&[(CONFIG, NEW), (NAME, ""), (POINT, "not a path"), (SUB, "..")]);
    assert_eq!(names(&parse_request(&mut metadata, &[]).expect("accepted")), ["pv-new"]);
}

#[test]
fn a_malformed_new_key_is_never_a_fallback() {
    let mut metadata = metadata(&[(CONFIG, "[{"), (NAME, "pv-old"), (POINT, "/old")]);
    let problem = parse_request(&mut metadata, &body()).expect_err("refused");
    assert_eq!(problem.code(), Code::InvalidMountConfig);
}

#[test]
fn the_body_list_is_checked_even_when_it_loses() {
    let bad = [VolumeMount { name: String::new(), path: "/a".to_owned() }];
    let problem = parse_request(&mut metadata(&[(CONFIG, NEW)]), &bad).expect_err("refused");
    assert_eq!(problem.message(), "volumeMounts[0].name cannot be empty");
}

// §1.4
#[rstest]
#[case::empty_list("[]", 0)]
#[case::null("null", 0)]
#[case::whitespace(" [ { \"pvName\" : \"a\" , \"mountPath\" : \"/a\" } ] ", 1)]
#[case::unknown_member(r#"[{"pvName":"a","mountPath":"/a","secret":{"x":1}}]"#, 1)]
#[case::null_member(
    r#"[{"pvName":"a","mountPath":"/a","subPath":null,"readOnly":null,"attributes":null}]"#,
    1
)]
#[case::missing_pv_name(r#"[{"mountPath":"/a"}]"#, 1)]
fn accepted_lists(#[case] text: &str, #[case] mounts: usize) {
    assert_eq!(list(text).expect("accepted").len(), mounts);
}

#[test]
fn every_member_is_read_the_last_of_a_repeated_one_counts_and_letter_case_does_not() {
    let text = r#"[{"PVName":"a","mountPath":"/x","mountPath":"/a","subPath":"s","readOnly":true,
                    "mountID":"m","attributes":{"k":"v","gone":null}}]"#;
    let expected = MountIntent {
        mount_id: "m".to_owned(),
        pv_name: "a".to_owned(),
        mount_path: "/a".to_owned(),
        sub_path: "s".to_owned(),
        read_only: true,
        attributes: metadata(&[("k", "v")]),
    };
    assert_eq!(list(text).expect("accepted"), [expected]);
}

#[rstest]
#[case::empty("", "is empty")]
#[case::blank("  ", "is empty")]
#[case::no_json("hunter2", "is not JSON at line 1 column 1")]
#[case::truncated(r#"[{"pvName":"hunter2""#, "is not JSON at line 1 column 20")]
#[case::trailing("[] hunter2", "is not JSON at line 1 column 4")]
#[case::object(r#"{"pvName":"hunter2"}"#, "must hold a JSON array, not an object")]
#[case::string(r#""hunter2""#, "must hold a JSON array, not a string")]
#[case::number("5", "must hold a JSON array, not a number")]
#[case::element(r#"["hunter2"]"#, "element 0 must be an object, not a string")]
#[case::text_flag(
    r#"[{"pvName":"hunter2","mountPath":"/a","readOnly":"true"}]"#,
    "element 0 member readOnly must be a boolean, not a string"
)]
#[case::number_sub_path(
    r#"[{"pvName":"a","mountPath":"/a"},{"pvName":"hunter2","mountPath":"/b","subPath":5}]"#,
    "element 1 member subPath must be a string, not a number"
)]
#[case::attributes(
    r#"[{"pvName":"hunter2","mountPath":"/a","attributes":{"k":1}}]"#,
    "member attributes must be an object of strings, not a number"
)]
fn refused_lists_name_key_and_place_and_never_the_value(#[case] text: &str, #[case] reason: &str) {
    let problem = list(text).expect_err("refused");
    assert_eq!((problem.code(), problem.http_status()), (Code::InvalidMountConfig, 400));
    let message = problem.to_string();
    assert!(message.contains("invalid multiCsiMountConfig") && message.contains(CONFIG), "{message}");
    assert!(message.contains(reason), "{message}");
    assert!(!message.contains("hunter2"), "{message}");
}

#[test]
fn a_null_element_has_no_mount_path() {
    let problem = list("[null]").expect_err("refused");
    assert_eq!(problem.code(), Code::InvalidMountPath);
    assert!(problem.message().contains("cannot be empty"), "{problem}");
}

// §1.5
#[rstest]
#[case("/data")]
#[case("/path.with.dots")]
#[case("/var/lib/kubelet/pods")]
#[case("/procfs")]
#[case("/run/csi-data")]
#[case("/mnt/envd2")]
#[case("/mit leerzeichen/ä")]
fn accepted_mount_paths(#[case] path: &str) {
    check_mount_path(path).expect("accepted");
}

#[rstest]
#[case("", "cannot be empty")]
#[case("data", "must start with '/'")]
#[case("./data", "must start with '/'")]
#[case("/path/../etc", "invalid '..' path element")]
#[case("/path/..", "invalid '..' path element")]
#[case("/path/../", "invalid '..' path element")]
#[case("/a..b", "invalid '..' path element")]
#[case("/path/./test", "invalid path elements")]
#[case("/data/", "invalid path elements")]
#[case("//data", "invalid path elements")]
#[case("/a//b", "invalid path elements")]
#[case("/", "root directory")]
#[case("/proc", "/proc")]
#[case("/sys/fs", "/sys")]
#[case("/dev/shm", "/dev")]
#[case("/run/csi/mount-root/oss", "/run/csi")]
#[case("/var/run/csi", "/var/run/csi")]
#[case("/mnt/envd", "/mnt/envd")]
#[case("/a\0b", "null byte")]
fn refused_mount_paths(#[case] path: &str, #[case] phrase: &str) {
    let problem = check_mount_path(path).expect_err("refused");
    assert_eq!(problem.code(), Code::InvalidMountPath);
    assert!(problem.message().contains(phrase), "{problem}");
}

#[test]
fn lengths_of_path_and_component_are_limited() {
    let component = "c".repeat(255);
    check_mount_path(&format!("/{component}")).expect("255 bytes are allowed");
    check_mount_path(&format!("/{component}c")).expect_err("256 are not");
    let path = "/123456789".repeat(409) + "/1234";
    assert_eq!(path.len(), 4095);
    check_mount_path(&path).expect("4095 bytes are allowed");
    check_mount_path(&format!("{path}5")).expect_err("4096 are not");
}

#[rstest]
#[case::old(&[(NAME, "a"), (POINT, "data")], "invalid containerMountPoint [data]")]
#[case::new(&[(CONFIG, r#"[{"pvName":"a","mountPath":"/data/"}]"#)], "invalid containerMountPoint [/data/]")]
#[case::control_characters(&[(NAME, "a"), (POINT, "da\nta")], "invalid containerMountPoint [da\\nta]")]
fn a_bad_path_in_metadata_is_named(#[case] entries: &[(&str, &str)], #[case] phrase: &str) {
    let problem = parse_request(&mut metadata(entries), &[]).expect_err("refused");
    assert!(problem.message().contains(phrase), "{problem}");
}

fn intents(paths: &[&str]) -> Vec<MountIntent> {
    let intent = |path: &&str| MountIntent {
        pv_name: "pv".to_owned(),
        mount_path: (*path).to_owned(),
        ..MountIntent::default()
    };
    paths.iter().map(intent).collect()
}

#[rstest]
#[case::same_volume_twice(&["/a", "/b"], None)]
#[case::common_prefix_is_no_nesting(&["/data", "/data2"], None)]
#[case::duplicate(&["/a", "/b", "/a"], Some(Code::DuplicateMountPath))]
#[case::child_after_parent(&["/a", "/a/b"], Some(Code::NestedMountPath))]
#[case::parent_after_child(&["/a/b/c", "/a"], Some(Code::NestedMountPath))]
fn set_checks(#[case] paths: &[&str], #[case] expected: Option<Code>) {
    assert_eq!(check_set(&intents(paths)).err().map(|problem| problem.code()), expected);
}

#[test]
fn at_most_sixteen_mounts() {
    let paths: Vec<String> = (0..17).map(|index| format!("/m{index}")).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    check_set(&intents(&paths[..16])).expect("sixteen are allowed");
    assert_eq!(check_set(&intents(&paths)).expect_err("seventeen are not").code(), Code::TooManyMounts);
}

#[test]
fn a_list_too_large_for_an_annotation_is_refused_before_anything_is_taken() {
    let mut mounts = intents(&["/a"]);
    mounts[0].attributes.insert("k".to_owned(), "v".repeat(200 * 1024));
    assert_eq!(check_set(&mounts).expect_err("refused").code(), Code::MountListTooLarge);
}

// §1.6
#[rstest]
#[case::name_only(&[(NAME, "a")], Code::IncompleteMountKeys, "must exist together")]
#[case::point_only(&[(POINT, "/a")], Code::IncompleteMountKeys, "must exist together")]
#[case::sub_path_only(&[(SUB, "s")], Code::IncompleteMountKeys, "Forbidden metadata key")]
fn half_of_the_old_keys(#[case] entries: &[(&str, &str)], #[case] code: Code, #[case] phrase: &str) {
    let problem = request::parse(&mut metadata(entries), &[]).expect_err("refused");
    assert_eq!((problem.code(), problem.http_status()), (code, 400));
    assert!(problem.message().contains(phrase), "{problem}");
}

#[test]
fn old_keys_make_one_mount() {
    let mounts = parse_request(&mut metadata(&old_keys()), &[]).expect("accepted");
    let expected = MountIntent {
        pv_name: "pv-old".to_owned(),
        mount_path: "/old".to_owned(),
        sub_path: "sub".to_owned(),
        ..MountIntent::default()
    };
    assert_eq!(mounts, [expected]);
    let empty_name =
        parse_request(&mut metadata(&[(NAME, ""), (POINT, "/a"), (SUB, "")]), &[]).expect("parses");
    assert_eq!((empty_name[0].pv_name.as_str(), empty_name[0].sub_path.as_str()), ("", ""));
}

// §1.7
#[rstest]
#[case(&[("", "/a")], "volumeMounts[0].name cannot be empty")]
#[case(&[("a", "/a"), ("b", "b")], "volumeMounts[1].path is invalid")]
#[case(&[("a", "/a"), ("b", "/a")], "volumeMounts[1].path /a is duplicated")]
fn refused_body_lists(#[case] entries: &[(&str, &str)], #[case] phrase: &str) {
    let mount =
        |(name, path): &(&str, &str)| VolumeMount { name: (*name).to_owned(), path: (*path).to_owned() };
    let mounts: Vec<VolumeMount> = entries.iter().map(mount).collect();
    let problem = parse_request(&mut BTreeMap::new(), &mounts).expect_err("refused");
    assert!(problem.message().contains(phrase), "{problem}");
}

#[test]
fn unknown_members_of_a_body_entry_are_ignored() {
    let mount: VolumeMount = serde_json::from_str(r#"{"name":"a","path":"/a","size":"1Gi"}"#).expect("read");
    assert_eq!(mount, VolumeMount { name: "a".to_owned(), path: "/a".to_owned() });
}

// §7.1
#[test]
fn the_annotation_leaves_out_what_is_empty_and_reads_back() {
    let mounts = list(
        r#"[{"pvName":"a","mountPath":"/a"},{"pvName":"b","mountPath":"/b","subPath":"s","readOnly":true}]"#,
    )
    .expect("accepted");
    let text = encode_annotation(&mounts);
    assert_eq!(
        text,
        r#"[{"pvName":"a","mountPath":"/a"},{"pvName":"b","mountPath":"/b","subPath":"s","readOnly":true}]"#
    );
    assert_eq!(decode_annotation(&text).expect("read back"), mounts);
    decode_annotation("{}").expect_err("a malformed annotation is never ignored");
}

proptest! {
    #[test]
    fn an_accepted_mount_path_is_its_own_normal_form(path in "[/.a\\-\u{0}é ]{0,24}") {
        if check_mount_path(&path).is_ok() {
            prop_assert_eq!(contract::paths::clean(&path), path.clone());
            prop_assert!(path.starts_with('/') && path.len() > 1);
        }
    }

    #[test]
    fn no_text_makes_the_list_decoder_panic_or_quote_it(text in ".{0,64}") {
        let marked = format!("{text}hunter2");
        if let Err(problem) = decode_annotation(&marked) {
            prop_assert!(!problem.to_string().contains("hunter2"));
        }
    }

    #[test]
    fn every_list_reads_back(mounts in proptest::collection::vec(
        ("[a-z]{1,8}", "/[a-z]{1,8}", "[a-z/]{0,8}", any::<bool>()), 0..5,
    )) {
        let mounts: Vec<MountIntent> = mounts
            .into_iter()
            .map(|(pv_name, mount_path, sub_path, read_only)| MountIntent {
                pv_name, mount_path, sub_path, read_only, ..MountIntent::default()
            })
            .collect();
        prop_assert_eq!(decode_annotation(&encode_annotation(&mounts)).expect("reads back"), mounts);
    }
}
