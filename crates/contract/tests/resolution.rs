//! From intent and PersistentVolume to the CSI request, row by row (`storage.md` §2).
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails hard, with a message")]

use base64::Engine as _;
use contract::errors::{Code, Problem};
use contract::intents::MountIntent;
use contract::paths::{clean, md5_hex, staging_directory, staging_path};
use contract::resolve::{
    DriverList, ResolvedMount, SecretReference, merge_sub_path, resolve, secret_reference, suffix_from,
};
use csi_api::NodePublishVolumeRequest;
use csi_api::volume_capability::AccessType;
use k8s_openapi::api::core::v1::{PersistentVolume, Secret};
use proptest::prelude::*;
use prost::Message as _;
use rstest::rstest;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

fn oss_volume() -> Value {
    json!({
        "metadata": {"name": "oss-pv-sandbox-system", "labels": {"alicloud-pvname": "oss-pv-sandbox-system"}},
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "capacity": {"storage": "50Gi"},
            "csi": {
                "driver": "ossplugin.csi.alibabacloud.com",
                "nodePublishSecretRef": {"name": "oss-secret", "namespace": "sandbox-system"},
                "volumeAttributes": {
                    "bucket": "demo-bucket",
                    "otherOpts": "-o umask=022 -o allow_other",
                    "url": "oss-cn-test.example",
                },
                "volumeHandle": "oss-pv-sandbox-system",
            },
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": "test",
            "volumeMode": "Filesystem",
        },
    })
}

fn nas_volume() -> Value {
    json!({
        "metadata": {"name": "nas-pv-sandbox-system"},
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "capacity": {"storage": "5Gi"},
            "csi": {
                "driver": "nasplugin.csi.alibabacloud.com",
                "volumeAttributes": {"server": "xxx.xxx.extreme.nas.aliyuncs.com", "path": "/share"},
                "volumeHandle": "nas-pv-sandbox-system",
            },
            "mountOptions": ["nolock,tcp,noresvport", "vers=3"],
            "persistentVolumeReclaimPolicy": "Retain",
            "volumeMode": "Filesystem",
        },
    })
}

fn volume(json: Value) -> PersistentVolume {
    serde_json::from_value(json).expect("a PersistentVolume")
}

fn secret(entries: &[(&str, &str)]) -> Secret {
    let data = entries
        .iter()
        .map(|(key, value)| ((*key).to_owned(), k8s_openapi::ByteString(value.as_bytes().to_vec())));
    Secret { data: Some(data.collect()), ..Secret::default() }
}

fn access_key() -> Secret {
    secret(&[("akId", "AKID"), ("akSecret", "AKSECRET")])
}

fn intent(pv: &str, path: &str, sub_path: &str) -> MountIntent {
    MountIntent {
        pv_name: pv.to_owned(),
        mount_path: path.to_owned(),
        sub_path: sub_path.to_owned(),
        ..MountIntent::default()
    }
}

fn oss(json: Value, secret: Option<&Secret>) -> Result<ResolvedMount, Problem> {
    let intent = intent("oss-pv-sandbox-system", "/data-oss", "data-subPath");
    resolve(&intent, &volume(json), secret, &DriverList::default(), "abc123")
}

fn nas(json: Value, intent: &MountIntent) -> Result<ResolvedMount, Problem> {
    resolve(intent, &volume(json), None, &DriverList::default(), "abc123")
}

fn nas_intent() -> MountIntent {
    intent("nas-pv-sandbox-system", "/data-nas", "data-subPath")
}

fn sha256(request: &NodePublishVolumeRequest) -> (usize, String) {
    let bytes = request.encode_to_vec();
    (bytes.len(), hex::encode(Sha256::digest(&bytes)))
}

// §2.7, §2.8
#[test]
fn the_nas_example_is_the_golden_vector() {
    let mount = nas(nas_volume(), &nas_intent()).expect("resolves");
    assert_eq!(mount.driver, "nasplugin.csi.alibabacloud.com");
    assert_eq!(mount.mount_path, "/data-nas");
    let expected = (153, "8206650e12a5179302245583fd9b667de20c74e78c09680b21737a31352c8ef0".to_owned());
    assert_eq!(sha256(&mount.request), expected);
    let golden = "ChxuYXMtcHYtc2FuZGJveC1zeXN0ZW0tYWJjMTIzIgkvZGF0YS1uYXMqJRIfEhVub2xvY2ssdGNwLG5vcmVzdnBvcnQSBnZlcnM9MxoCCAFCGwoEcGF0aBITL3NoYXJlL2RhdGEtc3ViUGF0aEIqCgZzZXJ2ZXISIHh4eC54eHguZXh0cmVtZS5uYXMuYWxpeXVuY3MuY29t";
    let bytes = base64::engine::general_purpose::STANDARD.decode(golden).expect("base64");
    let decoded = NodePublishVolumeRequest::decode(bytes.as_slice()).expect("protobuf");
    assert_eq!(decoded, mount.request);
}

#[test]
fn the_oss_example_is_the_golden_vector() {
    let mount = oss(oss_volume(), Some(&access_key())).expect("resolves");
    let expected = (201, "00d00c4f0d8e28175b5af68a16da8c4be41725e9ed824caf18c3992c5a486dea".to_owned());
    assert_eq!(sha256(&mount.request), expected);
    assert_eq!(mount.request.volume_context["path"], "/data-subPath");
    assert!(!format!("{mount:?}").contains("AKSECRET"), "Debug shows no secret");
}

/// Go writes the oneof `mount` after `access_mode`: swaps the two in the encoded capability.
fn in_go_order(request: &NodePublishVolumeRequest) -> Vec<u8> {
    let capability = request.volume_capability.clone().expect("a capability");
    let mount_only = csi_api::VolumeCapability { access_mode: None, ..capability.clone() }.encode_to_vec();
    let mode_only = csi_api::VolumeCapability { access_type: None, ..capability.clone() }.encode_to_vec();
    let whole = capability.encode_to_vec();
    let (normal, swapped) =
        ([mount_only.clone(), mode_only.clone()].concat(), [mode_only, mount_only].concat());
    assert_eq!(whole, normal);
    let bytes = request.encode_to_vec();
    let at =
        bytes.windows(whole.len()).position(|window| window == whole).expect("the capability is in there");
    [&bytes[..at], &swapped, &bytes[at + whole.len()..]].concat()
}

#[rstest]
#[case::nas(nas(nas_volume(), &nas_intent()), "14253138e857f4fe819e644569685dfbe125e6e31952397486869d6cccbb0f51")]
#[case::oss(oss(oss_volume(), Some(&access_key())), "3a3bffc9e277a29c661c88bf256d49b087cc9ab9c14b0c9bb9cbdeb29a1e7e9b")]
fn the_field_order_of_go_is_read_as_well(
    #[case] mount: Result<ResolvedMount, Problem>,
    #[case] digest: &str,
) {
    let request = mount.expect("resolves").request;
    let bytes = in_go_order(&request);
    assert_eq!(hex::encode(Sha256::digest(&bytes)), digest);
    assert_eq!(NodePublishVolumeRequest::decode(bytes.as_slice()).expect("protobuf"), request);
}

#[rstest]
#[case("/data", "4caa791091d21d23e63637080226f370")]
#[case("/workspace", "eab0d61a99b6696edb3d2aff87b585e8")]
#[case("/app/working", "4079184d856ecc166ed19d4887083405")]
#[case("/data-oss", "f69ed0682da4107631b80bf6fe851d69")]
#[case("/data-nas", "483fe5e1d20e8ef3ea6f0331af761ca6")]
fn md5_vectors(#[case] path: &str, #[case] digest: &str) {
    assert_eq!(md5_hex(path), digest);
}

#[test]
fn staging_directories_are_named_after_driver_and_path() {
    let digest = "f69ed0682da4107631b80bf6fe851d69";
    assert_eq!(staging_directory("ossplugin.csi.alibabacloud.com", "/data-oss"), format!("oss/{digest}"));
    assert_eq!(
        staging_path("/run/csi/mount-root/", "nasplugin.csi.alibabacloud.com", "/data-oss"),
        format!("/run/csi/mount-root/nas/{digest}")
    );
}

#[test]
fn the_multi_mount_example_is_read_only() {
    let mut pv = nas_volume();
    pv["metadata"]["name"] = json!("pv-nas-fast");
    let intent = MountIntent { read_only: true, ..intent("pv-nas-fast", "/data-nas", "data-subPath") };
    let request = nas(pv, &intent).expect("resolves").request;
    let mode =
        request.volume_capability.and_then(|capability| capability.access_mode).map(|access| access.mode);
    assert_eq!((request.readonly, mode), (true, Some(2)));
    assert_eq!(request.volume_id, "pv-nas-fast-abc123");
}

// §2.1
fn with(mut json: Value, pointer: &str, value: Value) -> Value {
    let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
    let parent = json.pointer_mut(parent).and_then(Value::as_object_mut).expect("an object there");
    if value.is_null() {
        parent.remove(name);
    } else {
        parent.insert(name.to_owned(), value);
    }
    json
}

#[rstest]
#[case::no_csi(with(oss_volume(), "/spec/csi", json!(null)), Code::VolumeNotCsi, "no found csi object")]
#[case::foreign_driver(with(oss_volume(), "/spec/csi/driver", json!("x.example")), Code::DriverNotSupported, "driver x.example is not supported in current environment")]
#[case::driver_case(with(oss_volume(), "/spec/csi/driver", json!("OSSPLUGIN.csi.alibabacloud.com")), Code::DriverNotSupported, "is not supported")]
#[case::foreign_secret(with(oss_volume(), "/spec/csi/nodePublishSecretRef/namespace", json!("default")), Code::SecretNamespaceForbidden, "invalid node publish secret ref namespace default")]
#[case::no_secret_reference(with(oss_volume(), "/spec/csi/nodePublishSecretRef", json!(null)), Code::SecretReferenceMissing, "oss secret is required")]
#[case::relative_base(with(oss_volume(), "/spec/csi/volumeAttributes/path", json!("share")), Code::InvalidSubPath, "failed to merge and validate paths")]
#[case::auth_type(with(oss_volume(), "/spec/csi/volumeAttributes/authType", json!("rrsa")), Code::AuthTypeNotSupported, "AccessKey only")]
#[case::auth_type_any_case(with(oss_volume(), "/spec/csi/volumeAttributes/AuthType", json!("sts")), Code::AuthTypeNotSupported, "AccessKey only")]
#[case::agent_identity(with(oss_volume(), "/spec/csi/volumeAttributes/authType", json!("agent-identity")), Code::AuthTypeNotSupported, "AccessKey only")]
#[case::key_as_attribute(with(oss_volume(), "/spec/csi/volumeAttributes/akSecret", json!("hunter2")), Code::CredentialsInAttributes, "akSecret")]
fn refused_volumes(#[case] json: Value, #[case] code: Code, #[case] phrase: &str) {
    let problem = oss(json, Some(&access_key())).expect_err("refused");
    assert_eq!((problem.code(), problem.http_status()), (code, 400));
    assert!(problem.message().contains(phrase), "{problem}");
    assert!(!problem.to_string().contains("hunter2"), "{problem}");
    assert_eq!(problem.object(), Some("PersistentVolume/oss-pv-sandbox-system"));
}

#[test]
fn an_intent_without_a_name_finds_no_volume() {
    let problem = nas(nas_volume(), &intent("", "/data", "")).expect_err("refused");
    assert_eq!(problem.code(), Code::VolumeNameMissing);
    assert!(problem.message().contains("no found persistent volume name"), "{problem}");
}

#[test]
fn a_missing_secret_is_named() {
    let problem = oss(oss_volume(), None).expect_err("refused");
    assert_eq!(
        (problem.code(), problem.object()),
        (Code::SecretNotFound, Some("Secret/sandbox-system/oss-secret"))
    );
    assert!(problem.message().contains("failed to get secret object"), "{problem}");
}

// §2.2
#[rstest]
#[case("a,b", &["a", "b"])]
#[case(" a , ,b,a,", &["a", "b"])]
#[case("", &[])]
fn driver_lists(#[case] text: &str, #[case] expected: &[&str]) {
    assert_eq!(DriverList::parse(text).iter().collect::<Vec<_>>(), expected);
}

#[test]
fn an_unset_variable_means_the_two_product_drivers() {
    for value in [None, Some(""), Some(" , ")] {
        let list = DriverList::from_variable(value);
        assert!(
            list.contains("ossplugin.csi.alibabacloud.com")
                && list.contains("nasplugin.csi.alibabacloud.com")
        );
    }
    assert!(!DriverList::from_variable(Some("x")).contains("ossplugin.csi.alibabacloud.com"));
}

// §2.3
#[rstest]
#[case::same(json!("sandbox-system"), Some("sandbox-system"))]
#[case::empty(json!(""), Some("sandbox-system"))]
#[case::absent(json!(null), Some("sandbox-system"))]
#[case::other(json!("default"), None)]
fn namespaces_of_the_secret(#[case] namespace: Value, #[case] expected: Option<&str>) {
    let json = with(oss_volume(), "/spec/csi/nodePublishSecretRef/namespace", namespace);
    let expected = expected.map(|namespace| {
        Some(SecretReference { namespace: namespace.to_owned(), name: "oss-secret".to_owned() })
    });
    assert_eq!(secret_reference(&volume(json)).ok(), expected);
}

#[test]
fn agent_identity_ignores_the_secret_and_its_namespace() {
    let json = with(nas_volume(), "/spec/csi/volumeAttributes/authType", json!("agent-identity"));
    let json = with(json, "/spec/csi/nodePublishSecretRef", json!({"name": "s", "namespace": "default"}));
    assert_eq!(secret_reference(&volume(json.clone())).expect("not checked"), None);
    assert!(nas(json, &nas_intent()).expect("resolves").request.secrets.is_empty());
}

#[test]
fn a_nas_volume_needs_no_secret_and_takes_every_key_of_one() {
    assert!(nas(nas_volume(), &nas_intent()).expect("resolves").request.secrets.is_empty());
    let json = with(nas_volume(), "/spec/csi/nodePublishSecretRef", json!({"name": "s"}));
    let secret = secret(&[("any", " value\n")]);
    let mount = resolve(&nas_intent(), &volume(json), Some(&secret), &DriverList::default(), "abc123");
    assert_eq!(mount.expect("resolves").request.secrets["any"], " value\n", "verbatim");
}

#[rstest]
#[case::no_id(&[("akSecret", "hunter2")], Code::SecretKeyMissing, "the key akId")]
#[case::no_secret(&[("akId", "hunter2")], Code::SecretKeyMissing, "the key akSecret")]
#[case::blank(&[("akId", "hunter2"), ("akSecret", " \n")], Code::SecretKeyMissing, "the key akSecret")]
#[case::nothing(&[], Code::SecretKeyMissing, "the keys akId and akSecret")]
#[case::wrong_case(&[("akid", "hunter2"), ("aksecret", "hunter2")], Code::SecretKeyMissing, "the keys akId and akSecret")]
#[case::alternative_not_tried(&[("akId", "hunter2"), ("AccessKeyId", "hunter2"), ("AccessKeySecret", "hunter2")], Code::SecretKeyMissing, "the key akSecret")]
#[case::half_alternative(&[("AccessKeyId", "hunter2")], Code::SecretKeyMissing, "the keys akId and akSecret")]
#[case::temporary(&[("AccessKeyId", "hunter2"), ("AccessKeySecret", "hunter2"), ("SecurityToken", "hunter2")], Code::AuthTypeNotSupported, "SecurityToken")]
fn refused_secrets(#[case] entries: &[(&str, &str)], #[case] code: Code, #[case] phrase: &str) {
    let problem = oss(oss_volume(), Some(&secret(entries))).expect_err("refused");
    assert_eq!((problem.code(), problem.http_status()), (code, 400));
    assert!(problem.message().contains(phrase), "{problem}");
    assert!(problem.message().contains("sandbox-system/oss-secret"), "{problem}");
    assert!(!problem.to_string().contains("hunter2"), "{problem}");
}

#[test]
fn the_alternative_pair_counts_when_both_keys_are_blank() {
    let secret = secret(&[("accesskeyid", "a"), ("ACCESSKEYSECRET", "b"), ("akId", " ")]);
    assert_eq!(oss(oss_volume(), Some(&secret)).expect("resolves").request.secrets.len(), 3);
}

#[test]
fn a_secret_that_is_no_text_names_its_key_only() {
    let mut secret = access_key();
    secret.data.get_or_insert_default().insert("akId".to_owned(), k8s_openapi::ByteString(vec![0xff, 0xfe]));
    let problem = oss(oss_volume(), Some(&secret)).expect_err("refused");
    assert!(problem.message().contains("akId"), "{problem}");
}

// §2.4
#[rstest]
#[case(&["ReadWriteMany"], false, false)]
#[case(&["ReadWriteMany"], true, true)]
#[case(&["ReadOnlyMany"], false, true)]
#[case(&["ReadOnlyMany"], true, true)]
#[case(&["ReadOnlyMany", "ReadWriteMany"], false, false)]
#[case(&["ReadOnlyMany", "ReadWriteOncePod"], false, false)]
#[case(&["ReadWriteOnce"], false, false)]
#[case(&["ReadWriteOncePod"], false, false)]
#[case(&[], false, false)]
fn access_modes(#[case] modes: &[&str], #[case] wanted: bool, #[case] expected: bool) {
    let json = with(nas_volume(), "/spec/accessModes", json!(modes));
    let request = nas(json, &MountIntent { read_only: wanted, ..nas_intent() }).expect("resolves").request;
    let mode =
        request.volume_capability.and_then(|capability| capability.access_mode).map(|access| access.mode);
    assert_eq!((request.readonly, mode), (expected, Some(if expected { 2 } else { 1 })));
}

// §2.5
#[rstest]
#[case("/", "data-subPath", "/data-subPath")]
#[case("/share", "subdir", "/share/subdir")]
#[case("/share/", "subdir", "/share/subdir")]
#[case("/share", "/subdir", "/share/subdir")]
#[case("/share", "//subdir", "/share/subdir")]
#[case("/share/", "/subdir/nested/", "/share/subdir/nested")]
#[case("/share/data", "user/./files/../docs", "/share/data/user/docs")]
#[case("/share/", "a/b/c/./d/../e", "/share/a/b/c/e")]
#[case("/share", "a/..", "/share")]
#[case("/share", "with space/ü%", "/share/with space/ü%")]
fn merged_sub_paths(#[case] base: &str, #[case] sub_path: &str, #[case] expected: &str) {
    assert_eq!(merge_sub_path(base, sub_path).expect("merges"), expected);
}

#[rstest]
#[case("/share", ".", "cannot be . or ..")]
#[case("/share", "..", "cannot be . or ..")]
#[case("/share", "/", "cannot be . or ..")]
#[case("/share", "///", "cannot be . or ..")]
#[case("/share", "../etc/passwd", "must not traverse to parent")]
#[case("/share", "subdir/../../etc/passwd", "must not traverse to parent")]
#[case("/share", "../../../x", "must not traverse to parent")]
#[case("/share", "..foo", "must not traverse to parent")]
#[case("/share", "x\0y", "contains null byte")]
#[case("", "subdir", "base path cannot be empty")]
#[case("share", "subdir", "must be an absolute path")]
#[case("/share/../x", "s", "is not within base path")]
fn refused_sub_paths(#[case] base: &str, #[case] sub_path: &str, #[case] phrase: &str) {
    let problem = merge_sub_path(base, sub_path).expect_err("refused");
    assert_eq!((problem.code(), problem.http_status()), (Code::InvalidSubPath, 400));
    assert!(problem.message().contains("failed to merge and validate paths"), "{problem}");
    assert!(problem.message().contains(phrase), "{problem}");
}

#[test]
fn an_empty_sub_path_leaves_the_attributes_as_they_are() {
    let json = with(nas_volume(), "/spec/csi/volumeAttributes/path", json!("//odd/./"));
    let request = nas(json, &intent("nas-pv-sandbox-system", "/data", "")).expect("resolves").request;
    assert_eq!(request.volume_context["path"], "//odd/./");
}

#[test]
fn the_path_attribute_is_found_in_any_letter_case_and_rewritten_in_place() {
    let json = with(nas_volume(), "/spec/csi/volumeAttributes", json!({"server": "s", "Path": "/share"}));
    let context = nas(json, &nas_intent()).expect("resolves").request.volume_context;
    assert_eq!(context.get("Path").map(String::as_str), Some("/share/data-subPath"));
    assert!(!context.contains_key("path"), "no second, competing key");
}

// §2.6
#[test]
fn mount_options_stay_as_they_are_and_other_fields_of_the_volume_do_not_matter() {
    let json = with(nas_volume(), "/spec/csi/fsType", json!("nfs"));
    let json = with(json, "/spec/csi/readOnly", json!(true));
    let json = with(json, "/status", json!({"phase": "Released"}));
    let request = nas(json, &nas_intent()).expect("resolves").request;
    let Some(AccessType::Mount(mount)) =
        request.volume_capability.and_then(|capability| capability.access_type)
    else {
        panic!("a mount capability");
    };
    assert_eq!(
        (mount.fs_type.as_str(), mount.mount_flags),
        ("nfs", vec!["nolock,tcp,noresvport".to_owned(), "vers=3".to_owned()])
    );
    assert!(!request.readonly, "spec.csi.readOnly is not consulted");
}

#[test]
fn suffixes_have_six_characters_of_the_alphabet() {
    for random in [0, 1, 36, u64::MAX] {
        let suffix = suffix_from(random);
        assert_eq!(suffix.len(), 6);
        assert!(suffix.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()), "{suffix}");
    }
    assert_ne!(suffix_from(1), suffix_from(2));
}

proptest! {
    #[test]
    fn a_merged_path_stays_inside_its_base(base in "/[a-z./]{0,12}", sub_path in "[a-z./\u{0}]{0,16}") {
        if let Ok(merged) = merge_sub_path(&base, &sub_path) {
            let stem = base.trim_end_matches('/');
            let inside = merged == stem || merged.starts_with(&format!("{stem}/"));
            prop_assert!(inside);
            prop_assert!(!merged.split('/').any(|component| component == ".."));
            prop_assert!(!merged.contains('\0'));
            prop_assert_eq!(clean(&merged), merged);
        }
    }

    #[test]
    fn cleaning_twice_changes_nothing(path in "[a./]{0,16}") {
        prop_assert_eq!(clean(&clean(&path)), clean(&path));
    }
}
