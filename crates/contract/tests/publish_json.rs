//! protobuf JSON of publish requests (`storage.md` §3.5).
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails hard, with a message")]

use contract::errors::Code;
use contract::publish::{from_json, to_json};
use csi_api::volume_capability::{AccessMode, AccessType, BlockVolume, MountVolume};
use csi_api::{NodePublishVolumeRequest, VolumeCapability};
use proptest::prelude::*;
use rstest::rstest;
use serde_json::{Value, json};

fn oss_json() -> Value {
    json!({
        "volumeId": "oss-pv-sandbox-system-abc123",
        "targetPath": "/data-oss",
        "volumeCapability": {"mount": {}, "accessMode": {"mode": "SINGLE_NODE_WRITER"}},
        "secrets": {"akId": "AKID", "akSecret": "AKSECRET"},
        "volumeContext": {"bucket": "demo-bucket", "path": "/data-subPath"},
    })
}

fn oss_request() -> NodePublishVolumeRequest {
    let map = |entries: &[(&str, &str)]| {
        entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    NodePublishVolumeRequest {
        volume_id: "oss-pv-sandbox-system-abc123".to_owned(),
        target_path: "/data-oss".to_owned(),
        volume_capability: Some(VolumeCapability {
            access_type: Some(AccessType::Mount(MountVolume::default())),
            access_mode: Some(AccessMode { mode: 1 }),
        }),
        secrets: map(&[("akId", "AKID"), ("akSecret", "AKSECRET")]),
        volume_context: map(&[("bucket", "demo-bucket"), ("path", "/data-subPath")]),
        ..NodePublishVolumeRequest::default()
    }
}

#[test]
fn defaults_are_left_out_and_an_empty_mount_is_an_empty_object() {
    assert_eq!(to_json(&oss_request()), oss_json());
}

#[test]
fn what_is_written_is_read() {
    assert_eq!(from_json(&oss_json()).expect("read"), oss_request());
}

#[test]
fn original_names_enum_numbers_and_nulls_are_read_too() {
    let json = json!({
        "volume_id": "v", "target_path": "/t", "readonly": true, "publish_context": null, "stagingTargetPath": null,
        "volume_capability": {
            "mount": {"fs_type": "nfs", "mount_flags": ["a,b", "c"], "volume_mount_group": "g"},
            "access_mode": {"mode": 2},
        },
    });
    let request = from_json(&json).expect("read");
    let Some(AccessType::Mount(mount)) =
        request.volume_capability.clone().and_then(|found| found.access_type)
    else {
        panic!("a mount");
    };
    assert_eq!(
        (mount.fs_type.as_str(), mount.mount_flags.len(), mount.volume_mount_group.as_str()),
        ("nfs", 2, "g")
    );
    let written = to_json(&request);
    assert_eq!(written["volumeCapability"]["accessMode"]["mode"], "SINGLE_NODE_READER_ONLY");
    assert_eq!(written["volumeCapability"]["mount"]["mountFlags"], json!(["a,b", "c"]));
    assert_eq!(written["readonly"], true);
}

#[rstest]
#[case::base64(json!("hunter2"), "must be an object")]
#[case::null(json!(null), "must be an object")]
#[case::unknown(json!({"secretz": {"akSecret": "hunter2"}}), "secretz is an unknown field")]
#[case::unknown_inside(json!({"volumeCapability": {"mount": {"flags": ["hunter2"]}}}), "volumeCapability.mount.flags is an unknown field")]
#[case::both_oneof(json!({"volumeCapability": {"mount": {}, "block": {}}}), "both block and mount")]
#[case::twice(json!({"volumeId": "a", "volume_id": "hunter2"}), "volumeId is given twice")]
#[case::number(json!({"volumeId": 5}), "volumeId must be a string")]
#[case::text_flag(json!({"readonly": "true"}), "readonly must be a boolean")]
#[case::map_value(json!({"secrets": {"akSecret": ["hunter2"]}}), "secrets must be an object of strings")]
#[case::map(json!({"secrets": "hunter2"}), "secrets must be an object of strings")]
#[case::flags(json!({"volumeCapability": {"mount": {"mountFlags": "hunter2"}}}), "mountFlags must be a list of strings")]
#[case::mode(json!({"volumeCapability": {"accessMode": {"mode": "hunter2"}}}), "accessMode.mode is no known access mode")]
#[case::mode_number(json!({"volumeCapability": {"accessMode": {"mode": 1.5}}}), "accessMode.mode is no 32-bit number")]
#[case::block(json!({"volumeCapability": {"block": {"x": 1}}}), "volumeCapability.block.x is an unknown field")]
fn refused_bodies_name_the_field_and_never_the_value(#[case] json: Value, #[case] phrase: &str) {
    let problem = from_json(&json).expect_err("refused");
    assert_eq!((problem.code(), problem.http_status()), (Code::InvalidPublishRequest, 400));
    assert!(problem.message().contains(phrase), "{problem}");
    assert!(!problem.to_string().contains("hunter2"), "{problem}");
}

#[test]
fn an_unknown_enum_number_stays_a_number() {
    let json = json!({"volumeCapability": {"accessMode": {"mode": 99}}});
    assert_eq!(to_json(&from_json(&json).expect("read")), json);
}

fn texts() -> impl Strategy<Value = std::collections::BTreeMap<String, String>> {
    proptest::collection::btree_map("[a-zA-Z]{1,8}", ".{0,8}", 0..4)
}

proptest! {
    #[test]
    fn every_request_reads_back(
        ids in (".{0,12}", ".{0,12}", ".{0,12}"), readonly: bool, maps in (texts(), texts(), texts()),
        flags in proptest::collection::vec(".{0,6}", 0..3), mode in 0_i32..9, kind in 0..3,
    ) {
        let access_type = match kind {
            0 => None,
            1 => Some(AccessType::Block(BlockVolume {})),
            _ => Some(AccessType::Mount(MountVolume { mount_flags: flags, ..MountVolume::default() })),
        };
        let request = NodePublishVolumeRequest {
            volume_id: ids.0, staging_target_path: ids.1, target_path: ids.2, readonly,
            publish_context: maps.0, secrets: maps.1, volume_context: maps.2,
            volume_capability: Some(VolumeCapability { access_type, access_mode: Some(AccessMode { mode }) }),
        };
        prop_assert_eq!(from_json(&to_json(&request)).expect("reads back"), request);
    }
}
