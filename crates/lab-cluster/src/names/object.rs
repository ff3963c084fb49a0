//! The places in objects and requests where a scenario's names stand.

use contract::names::{SYSTEM_NAMESPACE, annotations};
use serde_json::{Map, Value, json};

use super::{LAB_LABEL, Names, Owner};

/// What a body of a request is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Write {
    /// An object as it shall be: of a create, an update or an apply.
    Object,
    /// The members of an object that change.
    Merge,
}

/// The members of a PersistentVolume's CSI source that refer to a Secret.
const SECRET_REFERENCES: [&str; 5] = [
    "nodePublishSecretRef",
    "nodeStageSecretRef",
    "nodeExpandSecretRef",
    "controllerPublishSecretRef",
    "controllerExpandSecretRef",
];

/// Puts the cluster's names into an object of the resource `plural`, which is written into `namespace` (the file's name
/// of it; empty for a cluster-wide one).
pub(crate) fn into_object(names: &Names, object: &mut Value, plural: &str, namespace: &str, write: Write) {
    metadata(names, object, plural, namespace, write);
    match plural {
        "persistentvolumes" => persistent_volume(names, object),
        "sandboxclaims" => {
            if let Some(Value::Array(mounts)) = object.pointer_mut("/spec/dynamicVolumesMount") {
                for mount in mounts {
                    rename(names, mount.get_mut("pvName"));
                }
            }
        }
        "networkpolicies" | "trafficpolicies" => namespace_selectors(names, object),
        _ => {}
    }
}

fn metadata(names: &Names, object: &mut Value, plural: &str, namespace: &str, write: Write) {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    if let Some(Value::String(namespace)) = metadata.get_mut("namespace") {
        *namespace = names.namespace(namespace);
    }
    let shared = matches!(plural, "persistentvolumes" | "namespaces")
        || (plural == "secrets" && Names::owner(namespace) == Owner::System && !namespace.is_empty());
    if shared {
        rename(names, metadata.get_mut("name"));
        if write == Write::Object {
            let labels = metadata.entry("labels").or_insert_with(|| json!({}));
            if !labels.is_object() {
                *labels = json!({});
            }
            labels[LAB_LABEL] = names.tag().into();
        }
    }
    let list = metadata
        .get_mut("annotations")
        .and_then(|annotations| annotations.get_mut(annotations::CSI_VOLUME_CONFIG));
    if let Some(Value::String(list)) = list {
        *list = mounts(names, list);
    }
}

fn persistent_volume(names: &Names, object: &mut Value) {
    let Some(source) = object.pointer_mut("/spec/csi").and_then(Value::as_object_mut) else { return };
    for member in SECRET_REFERENCES {
        let Some(reference) = source.get_mut(member).and_then(Value::as_object_mut) else { continue };
        let namespace = reference.get("namespace").and_then(Value::as_str).map(str::to_owned);
        match namespace.as_deref() {
            Some(SYSTEM_NAMESPACE) => rename(names, reference.get_mut("name")),
            Some(namespace) => {
                reference.insert("namespace".to_owned(), names.namespace(namespace).into());
            }
            None => {}
        }
    }
    if let Some(attributes) = source.get_mut("volumeAttributes").and_then(Value::as_object_mut) {
        bucket(names, attributes);
        export(names, attributes);
    }
}

/// The path at the lab's NFS server; one at another server, that may not even be there, stays. Drivers read the names of
/// attributes in any letter case.
fn export(names: &Names, attributes: &mut Map<String, Value>) {
    let spelled = |attributes: &Map<String, Value>, name: &str| {
        attributes.keys().find(|key| key.eq_ignore_ascii_case(name)).cloned()
    };
    let server = spelled(attributes, "server").and_then(|key| attributes[&key].as_str());
    if !server.is_some_and(|server| names.has_exports_at(server)) {
        return;
    }
    let key = spelled(attributes, "path").unwrap_or_else(|| "path".to_owned());
    if let Value::String(path) = attributes.entry(key).or_insert_with(|| "".into()) {
        *path = names.export_path(path);
    }
}

/// The bucket, also where the endpoint's host begins with it.
fn bucket(names: &Names, attributes: &mut Map<String, Value>) {
    let Some(bucket) = attributes.get("bucket").and_then(Value::as_str).map(str::to_owned) else { return };
    rename(names, attributes.get_mut("bucket"));
    if let Some(Value::String(url)) = attributes.get_mut("url") {
        let (scheme, host) =
            url.split_once("://").map_or(("", url.as_str()), |(scheme, host)| (scheme, host));
        if !bucket.is_empty() && host.starts_with(&format!("{bucket}.")) {
            let separator = if scheme.is_empty() { "" } else { "://" };
            *url = format!("{scheme}{separator}{}", names.real(host));
        }
    }
}

/// Selectors of a policy's peers that mean a namespace by its name.
fn namespace_selectors(names: &Names, value: &mut Value) {
    match value {
        Value::Object(members) => {
            let selector = members.get_mut("namespaceSelector").and_then(|it| it.get_mut("matchLabels"));
            if let Some(Value::String(name)) =
                selector.and_then(|it| it.get_mut("kubernetes.io/metadata.name"))
            {
                *name = names.namespace(name);
            }
            members.values_mut().for_each(|member| namespace_selectors(names, member));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| namespace_selectors(names, item)),
        _ => {}
    }
}

/// A mount list as in annotation `csi-volume-config`, with the cluster's names of volumes. A text that is no such list
/// stays as it is, for whoever has to refuse it.
pub(crate) fn mounts(names: &Names, list: &str) -> String {
    let Ok(Value::Array(mut entries)) = serde_json::from_str::<Value>(list) else { return list.to_owned() };
    let mut changed = false;
    for entry in entries.iter_mut().filter_map(Value::as_object_mut) {
        changed |= rename_member(names, entry, "pvName");
    }
    if changed { Value::Array(entries).to_string() } else { list.to_owned() }
}

fn rename_member(names: &Names, members: &mut Map<String, Value>, key: &str) -> bool {
    let before = members.get(key).cloned();
    rename(names, members.get_mut(key));
    members.get(key) != before.as_ref()
}

/// An empty name stays empty: it is refused as such.
#[expect(clippy::needless_pass_by_value, reason = "what `get_mut` returns")]
fn rename(names: &Names, name: Option<&mut Value>) {
    if let Some(Value::String(name)) = name
        && !name.is_empty()
    {
        *name = names.real(name);
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn written(plural: &str, namespace: &str, mut object: Value) -> Value {
        into_object(&Names::new("mltag12"), &mut object, plural, namespace, Write::Object);
        object
    }

    #[test]
    fn a_volume_its_secret_and_its_bucket_go_together() {
        let volume = json!({
            "metadata": {"name": "oss"},
            "spec": {"csi": {
                "driver": "ossplugin.csi.alibabacloud.com",
                "nodePublishSecretRef": {"name": "oss-secret", "namespace": "sandbox-system"},
                "volumeAttributes": {"bucket": "demo", "url": "http://oss"},
                "volumeHandle": "oss",
            }},
        });
        let expected = json!({
            "metadata": {"name": "mltag12-oss", "labels": {LAB_LABEL: "mltag12"}},
            "spec": {"csi": {
                "driver": "ossplugin.csi.alibabacloud.com",
                "nodePublishSecretRef": {"name": "mltag12-oss-secret", "namespace": "sandbox-system"},
                "volumeAttributes": {"bucket": "mltag12-demo", "url": "http://oss"},
                "volumeHandle": "oss",
            }},
        });
        assert_eq!(written("persistentvolumes", "", volume.clone()), expected);
        assert_eq!(written("persistentvolumes", "", expected.clone()), expected, "twice is once");
    }

    #[test]
    fn a_buckets_domain_goes_with_the_bucket() {
        let volume = |bucket: &str, url: &str| json!({"spec": {"csi": {"volumeAttributes": {"bucket": bucket, "url": url}}}});
        let before = volume("demo", "https://demo.oss.example");
        assert_eq!(
            written("persistentvolumes", "", before),
            volume("mltag12-demo", "https://mltag12-demo.oss.example")
        );
        let before = volume("demo", "demonstration.example");
        assert_eq!(written("persistentvolumes", "", before), volume("mltag12-demo", "demonstration.example"));
    }

    #[rstest]
    #[case::the_labs_server("nas.example", "path", "/share/data", "/export/mltag12-share/data")]
    #[case::in_any_case("nas.example", "PATH", "/share", "/export/mltag12-share")]
    #[case::another_server("192.0.2.1", "path", "/share", "/share")]
    #[case::with_a_port("nas.example:2049", "path", "/share", "/share")]
    #[case::with_a_path("nas.example:/share", "path", "/share", "/share")]
    #[case::relative("nas.example", "path", "share", "share")]
    fn a_path_at_the_labs_server_is_the_labs(
        #[case] server: &str,
        #[case] key: &str,
        #[case] path: &str,
        #[case] real: &str,
    ) {
        let names = Names::new("mltag12").with_nas("nas.example", "/export");
        let volume =
            |path: &str| json!({"spec": {"csi": {"volumeAttributes": {"Server": server, key: path}}}});
        let mut object = volume(path);
        for _ in 0..2 {
            into_object(&names, &mut object, "persistentvolumes", "", Write::Object);
            assert_eq!(object["spec"], volume(real)["spec"]);
        }
    }

    #[test]
    fn a_volume_without_a_path_does_not_get_the_servers_root() {
        let names = Names::new("mltag12").with_nas("nas.example", "");
        let mut object = json!({"spec": {"csi": {"volumeAttributes": {"server": "nas.example"}}}});
        into_object(&names, &mut object, "persistentvolumes", "", Write::Object);
        assert_eq!(object["spec"]["csi"]["volumeAttributes"]["path"], "/mltag12-");
    }

    #[test]
    fn a_secret_elsewhere_keeps_its_name_in_the_renamed_namespace() {
        let secret = json!({"metadata": {"name": "oss-secret", "namespace": "default"}});
        let expected = json!({"metadata": {"name": "oss-secret", "namespace": "mltag12-default"}});
        assert_eq!(written("secrets", "default", secret), expected);
        let reference =
            json!({"spec": {"csi": {"nodePublishSecretRef": {"name": "s", "namespace": "default"}}}});
        let expected =
            json!({"spec": {"csi": {"nodePublishSecretRef": {"name": "s", "namespace": "mltag12-default"}}}});
        assert_eq!(written("persistentvolumes", "", reference), expected);
    }

    #[test]
    fn a_claim_names_the_renamed_volumes() {
        let claim = json!({"metadata": {"name": "c"}, "spec": {"dynamicVolumesMount": [{"pvName": "oss", "mountPath": "/d"}]}});
        let expected = json!({"metadata": {"name": "c"}, "spec": {"dynamicVolumesMount": [{"pvName": "mltag12-oss", "mountPath": "/d"}]}});
        assert_eq!(written("sandboxclaims", "default", claim), expected);
    }

    #[test]
    fn a_list_of_mounts_that_is_none_is_left_alone() {
        let names = Names::new("mltag12");
        for text in ["[{\"pvName\":\"SENTINEL", "{}", "", "[1]", "[{\"pvName\":\"\"}]"] {
            assert_eq!(mounts(&names, text), text);
        }
        assert_eq!(mounts(&names, "[{\"pvName\":\"a\"}]"), "[{\"pvName\":\"mltag12-a\"}]");
    }
}
