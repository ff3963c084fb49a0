//! The columns of built-in kinds.

use jiff::Timestamp;
use serde_json::Value;

use super::{Printer, age, pods, workloads};
use crate::kinds::ResourceType;

/// How a built-in kind is printed.
pub(super) fn printer(resource: &ResourceType) -> Printer {
    match (resource.group.as_str(), resource.plural.as_str()) {
        ("", "pods") => pods::PRINTER,
        ("", "namespaces") => Printer {
            heads: &[("Name", false), ("Status", false), ("Age", false)],
            cells: |object, now| vec![name(object), object["status"]["phase"].clone(), age(object, now)],
        },
        ("", "secrets") => Printer {
            heads: &[("Name", false), ("Type", false), ("Data", false), ("Age", false)],
            cells: |object, now| {
                vec![name(object), object["type"].clone(), size(&object["data"]).into(), age(object, now)]
            },
        },
        ("", "configmaps") => Printer {
            heads: &[("Name", false), ("Data", false), ("Age", false)],
            cells: |object, now| {
                let entries = size(&object["data"]) + size(&object["binaryData"]);
                vec![name(object), entries.into(), age(object, now)]
            },
        },
        ("", "serviceaccounts") => Printer {
            heads: &[("Name", false), ("Secrets", false), ("Age", false)],
            cells: |object, now| {
                let secrets = object["secrets"].as_array().map_or(0, Vec::len);
                vec![name(object), secrets.into(), age(object, now)]
            },
        },
        ("", "persistentvolumes") => VOLUMES,
        ("", "persistentvolumeclaims") => CLAIMS,
        ("", "services") => SERVICES,
        ("", "nodes") => NODES,
        ("" | "events.k8s.io", "events") => EVENTS,
        ("coordination.k8s.io", "leases") => Printer {
            heads: &[("Name", false), ("Holder", false), ("Age", false)],
            cells: |object, now| {
                vec![name(object), object["spec"]["holderIdentity"].clone(), age(object, now)]
            },
        },
        ("apps" | "batch", _) => workloads::printer(&resource.plural),
        _ => Printer {
            heads: &[("Name", false), ("Created At", false)],
            cells: |object, _| vec![name(object), object["metadata"]["creationTimestamp"].clone()],
        },
    }
}

pub(super) fn name(object: &Value) -> Value {
    object["metadata"]["name"].clone()
}

pub(super) fn age(object: &Value, now: Timestamp) -> Value {
    age::since(&object["metadata"]["creationTimestamp"], now).into()
}

fn size(map: &Value) -> usize {
    map.as_object().map_or(0, serde_json::Map::len)
}

pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A text, or `<none>`.
pub(super) fn or_none(value: &Value) -> Value {
    if text(value).is_empty() { "<none>".into() } else { value.clone() }
}

/// Access modes in their short form.
fn access_modes(modes: &Value) -> Value {
    let short = |mode: &Value| match text(mode) {
        "ReadWriteOnce" => "RWO",
        "ReadOnlyMany" => "ROX",
        "ReadWriteMany" => "RWX",
        "ReadWriteOncePod" => "RWOP",
        _ => "?",
    };
    modes.as_array().into_iter().flatten().map(short).collect::<Vec<_>>().join(",").into()
}

/// The phase of something that may be on its way out.
fn phase(object: &Value) -> Value {
    if object["metadata"]["deletionTimestamp"].is_null() {
        object["status"]["phase"].clone()
    } else {
        "Terminating".into()
    }
}

fn unset(value: &Value) -> Value {
    if text(value).is_empty() { "<unset>".into() } else { value.clone() }
}

const VOLUMES: Printer = Printer {
    heads: &[
        ("Name", false),
        ("Capacity", false),
        ("Access Modes", false),
        ("Reclaim Policy", false),
        ("Status", false),
        ("Claim", false),
        ("StorageClass", false),
        ("VolumeAttributesClass", false),
        ("Reason", false),
        ("Age", false),
        ("VolumeMode", true),
    ],
    cells: |object, now| {
        let (spec, status) = (&object["spec"], &object["status"]);
        let claim = &spec["claimRef"];
        let claim = if claim.is_object() {
            format!("{}/{}", text(&claim["namespace"]), text(&claim["name"]))
        } else {
            String::new()
        };
        vec![
            name(object),
            spec["capacity"]["storage"].clone(),
            access_modes(&spec["accessModes"]),
            spec["persistentVolumeReclaimPolicy"].clone(),
            phase(object),
            claim.into(),
            text(&spec["storageClassName"]).into(),
            unset(&spec["volumeAttributesClassName"]),
            text(&status["reason"]).into(),
            age(object, now),
            spec["volumeMode"].clone(),
        ]
    },
};

const CLAIMS: Printer = Printer {
    heads: &[
        ("Name", false),
        ("Status", false),
        ("Volume", false),
        ("Capacity", false),
        ("Access Modes", false),
        ("StorageClass", false),
        ("VolumeAttributesClass", false),
        ("Age", false),
        ("VolumeMode", true),
    ],
    cells: |object, now| {
        let (spec, status) = (&object["spec"], &object["status"]);
        vec![
            name(object),
            phase(object),
            text(&spec["volumeName"]).into(),
            text(&status["capacity"]["storage"]).into(),
            access_modes(&status["accessModes"]),
            text(&spec["storageClassName"]).into(),
            unset(&spec["volumeAttributesClassName"]),
            age(object, now),
            spec["volumeMode"].clone(),
        ]
    },
};

const SERVICES: Printer = Printer {
    heads: &[
        ("Name", false),
        ("Type", false),
        ("Cluster-IP", false),
        ("External-IP", false),
        ("Port(s)", false),
        ("Age", false),
        ("Selector", true),
    ],
    cells: |object, now| {
        let spec = &object["spec"];
        let ports = spec["ports"].as_array().into_iter().flatten();
        let ports =
            ports.map(|port| format!("{}/{}", port["port"], port["protocol"].as_str().unwrap_or("TCP")));
        let ports = ports.collect::<Vec<_>>().join(",");
        vec![
            name(object),
            spec["type"].as_str().unwrap_or("ClusterIP").into(),
            or_none(&spec["clusterIP"]),
            "<none>".into(),
            or_none(&ports.into()),
            age(object, now),
            workloads::labels(&spec["selector"]),
        ]
    },
};

const NODES: Printer = Printer {
    heads: &[
        ("Name", false),
        ("Status", false),
        ("Roles", false),
        ("Age", false),
        ("Version", false),
        ("Internal-IP", true),
        ("OS-Image", true),
        ("Kernel-Version", true),
        ("Container-Runtime", true),
    ],
    cells: |object, now| {
        let status = &object["status"];
        let conditions = status["conditions"].as_array().into_iter().flatten();
        let mut ready =
            conditions.filter(|condition| condition["type"] == "Ready").map(|condition| &condition["status"]);
        let mut state = match ready.next_back().and_then(Value::as_str) {
            Some("True") => "Ready".to_owned(),
            Some(_) => "NotReady".to_owned(),
            None => "Unknown".to_owned(),
        };
        if object["spec"]["unschedulable"] == true {
            state.push_str(",SchedulingDisabled");
        }
        let labels = object["metadata"]["labels"].as_object().into_iter().flatten();
        let roles = labels.filter_map(|(key, _)| key.strip_prefix("node-role.kubernetes.io/"));
        let roles = roles.collect::<Vec<_>>().join(",");
        let addresses = status["addresses"].as_array().into_iter().flatten();
        let mut address =
            addresses.filter(|address| address["type"] == "InternalIP").map(|address| &address["address"]);
        let info = &status["nodeInfo"];
        vec![
            name(object),
            state.into(),
            or_none(&roles.into()),
            age(object, now),
            info["kubeletVersion"].clone(),
            address.next_back().map_or_else(|| "<none>".into(), Clone::clone),
            info["osImage"].clone(),
            info["kernelVersion"].clone(),
            info["containerRuntimeVersion"].clone(),
        ]
    },
};

const EVENTS: Printer = Printer {
    heads: &[
        ("Last Seen", false),
        ("Type", false),
        ("Reason", false),
        ("Object", false),
        ("Subobject", true),
        ("Source", true),
        ("Message", false),
        ("First Seen", true),
        ("Count", true),
        ("Name", true),
    ],
    cells: |object, now| {
        // Either face of an event may be asked for.
        let pick = |core: &str, modern: &str| match object.get(core) {
            Some(value) => value.clone(),
            None => object[modern].clone(),
        };
        let subject = pick("involvedObject", "regarding");
        let source = pick("source", "deprecatedSource");
        let first = pick("firstTimestamp", "deprecatedFirstTimestamp");
        let last = pick("lastTimestamp", "deprecatedLastTimestamp");
        let either = |time: &Value, other: &Value| if time.is_null() { other.clone() } else { time.clone() };
        let first = either(&first, &object["eventTime"]);
        let last = either(&object["series"]["lastObservedTime"], &either(&last, &first));
        let count = object["series"]["count"].as_i64().or_else(|| pick("count", "deprecatedCount").as_i64());
        let component = match text(&source["component"]) {
            "" => pick("reportingComponent", "reportingController"),
            component => component.into(),
        };
        vec![
            age::since(&last, now).into(),
            object["type"].clone(),
            object["reason"].clone(),
            format!("{}/{}", text(&subject["kind"]).to_lowercase(), text(&subject["name"])).into(),
            text(&subject["fieldPath"]).into(),
            component,
            text(&pick("message", "note")).trim().into(),
            age::since(&first, now).into(),
            count.unwrap_or(1).into(),
            name(object),
        ]
    },
};
