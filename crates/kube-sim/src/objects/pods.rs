//! Pods: the defaults a kubelet relies on, and the checks a user notices.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::names::is_label;
use super::{default, items, items_mut};
use crate::api::update::Part;
use crate::error::Cause;

/// Lists of containers in a pod's spec.
pub(crate) const CONTAINER_LISTS: [&str; 2] = ["initContainers", "containers"];

/// Fills in what the API server fills in.
pub(super) fn complete(pod: &mut Value, now: &str) {
    let spec = &mut pod["spec"];
    if !spec.is_object() {
        return;
    }
    default(spec, "restartPolicy", "Always");
    default(spec, "dnsPolicy", "ClusterFirst");
    default(spec, "schedulerName", "default-scheduler");
    default(spec, "terminationGracePeriodSeconds", 30);
    default(spec, "enableServiceLinks", true);
    default(spec, "securityContext", json!({}));
    for list in CONTAINER_LISTS {
        items_mut(&mut spec[list]).for_each(complete_container);
        drop_null(spec, list);
    }
    items_mut(&mut spec["volumes"]).for_each(complete_volume);
    drop_null(spec, "volumes");
    let bound = spec["nodeName"].as_str().is_some_and(|name| !name.is_empty());
    let class = quality_of_service(spec);
    default(pod, "status", json!({}));
    let status = &mut pod["status"];
    default(status, "phase", "Pending");
    default(status, "qosClass", class);
    if bound && status["conditions"].is_null() {
        status["conditions"] = json!([{"type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": now}]);
    }
}

/// Indexing for writing leaves `null` where nothing was.
fn drop_null(object: &mut Value, member: &str) {
    if object[member].is_null()
        && let Some(members) = object.as_object_mut()
    {
        members.remove(member);
    }
}

fn complete_container(container: &mut Value) {
    let latest = is_latest(container["image"].as_str().unwrap_or_default());
    default(container, "imagePullPolicy", if latest { "Always" } else { "IfNotPresent" });
    default(container, "terminationMessagePath", "/dev/termination-log");
    default(container, "terminationMessagePolicy", "File");
    default(container, "resources", json!({}));
    for port in items_mut(&mut container["ports"]) {
        default(port, "protocol", "TCP");
    }
    drop_null(container, "ports");
    for variable in items_mut(&mut container["env"]) {
        if variable["valueFrom"]["fieldRef"].is_object() {
            default(&mut variable["valueFrom"]["fieldRef"], "apiVersion", "v1");
        } else {
            drop_null(variable, "valueFrom");
        }
    }
    drop_null(container, "env");
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if container[probe].is_object() {
            complete_probe(&mut container[probe]);
        } else {
            drop_null(container, probe);
        }
    }
    // A limit without a request is the request too.
    if let Some(limits) = container["resources"]["limits"].as_object().cloned() {
        for (name, amount) in limits {
            default(&mut container["resources"], "requests", json!({}));
            default(&mut container["resources"]["requests"], &name, amount);
        }
    }
    drop_null(&mut container["resources"], "limits");
}

fn is_latest(image: &str) -> bool {
    let last = image.rsplit('/').next().unwrap_or_default();
    !last.contains('@') && last.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}

fn complete_probe(probe: &mut Value) {
    default(probe, "timeoutSeconds", 1);
    default(probe, "periodSeconds", 10);
    default(probe, "successThreshold", 1);
    default(probe, "failureThreshold", 3);
    if probe["httpGet"].is_object() {
        default(&mut probe["httpGet"], "scheme", "HTTP");
        default(&mut probe["httpGet"], "path", "/");
    } else {
        drop_null(probe, "httpGet");
    }
}

fn complete_volume(volume: &mut Value) {
    let sources = volume.as_object().map_or(0, |members| members.len().saturating_sub(1));
    if sources == 0 {
        volume["emptyDir"] = json!({});
    }
    for (source, mode) in [
        ("configMap", "defaultMode"),
        ("secret", "defaultMode"),
        ("projected", "defaultMode"),
        ("downwardAPI", "defaultMode"),
    ] {
        if volume[source].is_object() {
            default(&mut volume[source], mode, 0o644);
        } else {
            drop_null(volume, source);
        }
    }
    if volume["hostPath"].is_object() {
        default(&mut volume["hostPath"], "type", "");
    } else {
        drop_null(volume, "hostPath");
    }
}

fn quality_of_service(spec: &Value) -> &'static str {
    let containers = || CONTAINER_LISTS.into_iter().flat_map(|list| items(&spec[list]));
    let empty = |container: &Value| {
        let none = |value: &Value| value.as_object().is_none_or(Map::is_empty);
        none(&container["resources"]["limits"]) && none(&container["resources"]["requests"])
    };
    if containers().all(empty) {
        return "BestEffort";
    }
    let full = |container: &Value| {
        let resources = &container["resources"];
        ["cpu", "memory"].iter().all(|name| {
            !resources["limits"][name].is_null() && resources["limits"][name] == resources["requests"][name]
        })
    };
    if containers().all(full) { "Guaranteed" } else { "Burstable" }
}

/// Everything wrong with a pod; `before` is what it was and which part is written.
pub(super) fn check(pod: &Value, before: Option<(Part, &Value)>) -> Vec<Cause> {
    let mut causes = Vec::new();
    let spec = &pod["spec"];
    if items(&spec["containers"]).is_empty() {
        causes.push(Cause::required("spec.containers", ""));
    }
    let volumes = check_volumes(spec, &mut causes);
    let mut names = BTreeSet::new();
    for list in CONTAINER_LISTS {
        for (index, container) in items(&spec[list]).iter().enumerate() {
            let field = format!("spec.{list}[{index}]");
            check_container(container, &field, &volumes, &mut causes);
            let name = container["name"].as_str().unwrap_or_default();
            if !name.is_empty() && !names.insert(name) {
                causes.push(Cause::duplicate(format!("{field}.name"), &container["name"]));
            }
        }
    }
    let policies = ["Always", "OnFailure", "Never"];
    if !policies.iter().any(|policy| spec["restartPolicy"] == *policy) {
        causes.push(Cause::unsupported(
            "spec.restartPolicy",
            &spec["restartPolicy"],
            &policies.map(Value::from),
        ));
    }
    if let Some((Part::Resize, current)) = before {
        causes.extend(check_resize(&current["spec"], spec));
    } else if let Some((part, current)) = before
        && !matches!(part, Part::Status)
        && !unchanged(part, &current["spec"], spec)
    {
        causes.push(Cause::forbidden(
            "spec",
            "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
        ));
    }
    causes
}

fn check_volumes<'p>(spec: &'p Value, causes: &mut Vec<Cause>) -> BTreeSet<&'p str> {
    let mut names = BTreeSet::new();
    for (index, volume) in items(&spec["volumes"]).iter().enumerate() {
        let field = format!("spec.volumes[{index}]");
        let name = volume["name"].as_str().unwrap_or_default();
        if name.is_empty() {
            causes.push(Cause::required(format!("{field}.name"), ""));
        } else if !is_label(name) {
            let detail =
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-'";
            causes.push(Cause::invalid(format!("{field}.name"), &volume["name"], detail));
        } else if !names.insert(name) {
            causes.push(Cause::duplicate(format!("{field}.name"), &volume["name"]));
        }
        let sources = volume.as_object().map_or(0, |members| members.len().saturating_sub(1));
        if sources > 1 {
            causes.push(Cause::forbidden(field, "may not specify more than 1 volume type"));
        }
    }
    names
}

fn check_container(container: &Value, field: &str, volumes: &BTreeSet<&str>, causes: &mut Vec<Cause>) {
    let name = container["name"].as_str().unwrap_or_default();
    if name.is_empty() {
        causes.push(Cause::required(format!("{field}.name"), ""));
    } else if !is_label(name) {
        let detail = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-'";
        causes.push(Cause::invalid(format!("{field}.name"), &container["name"], detail));
    }
    if container["image"].as_str().unwrap_or_default().is_empty() {
        causes.push(Cause::required(format!("{field}.image"), ""));
    }
    let mut paths = BTreeSet::new();
    for (index, mount) in items(&container["volumeMounts"]).iter().enumerate() {
        let field = format!("{field}.volumeMounts[{index}]");
        let path = mount["mountPath"].as_str().unwrap_or_default();
        if path.is_empty() {
            causes.push(Cause::required(format!("{field}.mountPath"), ""));
        } else if !paths.insert(path) {
            causes.push(Cause::invalid(format!("{field}.mountPath"), &mount["mountPath"], "must be unique"));
        }
        let volume = mount["name"].as_str().unwrap_or_default();
        if volume.is_empty() {
            causes.push(Cause::required(format!("{field}.name"), ""));
        } else if !volumes.contains(volume) {
            causes.push(Cause::not_found(format!("{field}.name"), &mount["name"]));
        }
        let privileged = container["securityContext"]["privileged"] == true;
        if mount["mountPropagation"] == "Bidirectional" && !privileged {
            let detail = "Bidirectional mount propagation is available only to privileged containers";
            causes.push(Cause::forbidden(format!("{field}.mountPropagation"), detail));
        }
    }
    for (index, variable) in items(&container["env"]).iter().enumerate() {
        if variable["name"].as_str().unwrap_or_default().is_empty() {
            causes.push(Cause::required(format!("{field}.env[{index}].name"), ""));
        }
    }
}

/// What is wrong with other resources for a running pod.
fn check_resize(old: &Value, new: &Value) -> Vec<Cause> {
    if !unchanged(Part::Resize, old, new) {
        return vec![Cause::forbidden("spec", "only cpu and memory resources are mutable")];
    }
    let (before, after) = (quality_of_service(old), quality_of_service(new));
    if before == after {
        return Vec::new();
    }
    let detail = "Pod QOS Class may not change as a result of resizing";
    vec![Cause::invalid("spec", &json!(after), detail)]
}

/// Whether only those members of a running pod's spec differ that may.
fn unchanged(part: Part, old: &Value, new: &Value) -> bool {
    let comparable = |spec: &Value| {
        let mut spec = spec.clone();
        for list in CONTAINER_LISTS {
            for container in items_mut(&mut spec[list]) {
                if part == Part::Resize {
                    blank_resizable(container);
                } else if let Some(members) = container.as_object_mut() {
                    members.remove("image");
                    members.remove("imagePullPolicy");
                }
            }
        }
        if let Some(members) = spec.as_object_mut() {
            if part != Part::Resize {
                members.remove("activeDeadlineSeconds");
                members.remove("tolerations");
                members.remove("terminationGracePeriodSeconds");
            }
            if part == Part::EphemeralContainers {
                members.remove("ephemeralContainers");
            }
            members.retain(|_, value| !value.is_null());
        }
        spec
    };
    comparable(old) == comparable(new)
}

/// Takes away what a resize may change.
fn blank_resizable(container: &mut Value) {
    let Some(resources) = container.get_mut("resources").and_then(Value::as_object_mut) else { return };
    for list in ["requests", "limits"] {
        let Some(amounts) = resources.get_mut(list).and_then(Value::as_object_mut) else { continue };
        amounts.retain(|name, _| name != "cpu" && name != "memory");
        if amounts.is_empty() {
            resources.remove(list);
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn pod() -> Value {
        json!({"metadata": {"name": "p"}, "spec": {
            "containers": [{"name": "main", "image": "busybox:1", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
            "volumes": [{"name": "v"}],
        }})
    }

    #[test]
    fn a_bare_pod_is_completed_and_valid() {
        let mut pod = pod();
        complete(&mut pod, "now");
        assert_eq!(pod["spec"]["restartPolicy"], "Always");
        assert_eq!(pod["spec"]["volumes"][0]["emptyDir"], json!({}));
        assert_eq!(pod["status"]["qosClass"], "BestEffort");
        assert!(check(&pod, None).is_empty());
        let again = pod.clone();
        complete(&mut pod, "later");
        assert_eq!(pod, again);
    }

    #[rstest]
    #[case("/spec/containers", json!([]), "spec.containers")]
    #[case("/spec/containers/0/name", json!("Main"), "spec.containers[0].name")]
    #[case("/spec/containers/0/image", json!(""), "spec.containers[0].image")]
    #[case("/spec/containers/0/volumeMounts/0/name", json!("w"), "spec.containers[0].volumeMounts[0].name")]
    #[case("/spec/volumes", json!([{"name": "v"}, {"name": "v"}]), "spec.volumes[1].name")]
    #[case("/spec/containers/0/volumeMounts", json!([{"name": "v", "mountPath": "/v"}, {"name": "v", "mountPath": "/v"}]),
        "spec.containers[0].volumeMounts[1].mountPath")]
    #[case("/spec/containers/0/volumeMounts", json!([{"name": "v", "mountPath": "/v", "mountPropagation": "Bidirectional"}]),
        "spec.containers[0].volumeMounts[0].mountPropagation")]
    fn a_wrong_pod_is_refused(#[case] pointer: &str, #[case] value: Value, #[case] field: &str) {
        let mut pod = pod();
        *pod.pointer_mut(pointer).expect("in the sample") = value;
        complete(&mut pod, "now");
        let causes = check(&pod, None);
        assert_eq!(causes.iter().map(|cause| cause.field.as_str()).collect::<Vec<_>>(), [field]);
    }

    #[rstest]
    #[case("/spec/containers/0/image", json!("other"), true)]
    #[case("/spec/restartPolicy", json!("Never"), false)]
    #[case("/spec/containers/0/volumeMounts", json!([]), false)]
    fn a_running_pod_keeps_its_spec(#[case] pointer: &str, #[case] value: Value, #[case] allowed: bool) {
        let mut old = pod();
        complete(&mut old, "now");
        let mut new = old.clone();
        *new.pointer_mut(pointer).expect("in the sample") = value;
        assert_eq!(check(&new, Some((Part::Main, &old))).is_empty(), allowed);
    }

    #[rstest]
    #[case::more(json!({"requests": {"cpu": "2", "memory": "2Gi"}}), None)]
    #[case::of_another_class(json!({}), Some("Pod QOS Class may not change"))]
    #[case::something_else(json!({"requests": {"cpu": "1", "gpu": "1"}}), Some("only cpu and memory resources are mutable"))]
    fn resources_change_through_resize(#[case] resources: Value, #[case] refused: Option<&str>) {
        let mut old = pod();
        old["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "1"}});
        complete(&mut old, "now");
        let mut new = old.clone();
        new["spec"]["containers"][0]["resources"] = resources;
        let causes = check(&new, Some((Part::Resize, &old)));
        assert_eq!(causes.len(), usize::from(refused.is_some()), "{causes:?}");
        assert!(
            causes.iter().all(|cause| refused.is_some_and(|said| cause.message.contains(said))),
            "{causes:?}"
        );
        new["spec"]["containers"][0]["image"] = json!("other");
        assert!(!check(&new, Some((Part::Resize, &old))).is_empty(), "an image is no resource");
    }

    #[rstest]
    #[case("busybox", true)]
    #[case("busybox:latest", true)]
    #[case("busybox:1", false)]
    #[case("registry:5000/busybox", true)]
    #[case("busybox@sha256:00", false)]
    fn only_latest_is_always_pulled(#[case] image: &str, #[case] latest: bool) {
        assert_eq!(is_latest(image), latest);
    }
}
