//! Runtimes that this system doesn't know: everything is added, nothing may clash (`kubernetes.md` §4.3).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};

use super::template::RuntimeTemplate;
use crate::errors::{Code, Problem};

pub(super) fn inject(pod: &mut Pod, runtime: &str, template: RuntimeTemplate) -> Result<(), Problem> {
    let spec = pod.spec.get_or_insert_default();
    check(spec, runtime, &template)?;
    if !template.init_containers.is_empty() {
        spec.init_containers.get_or_insert_default().extend(template.init_containers);
    }
    spec.containers.extend(template.containers);
    if !template.volume.is_empty() {
        spec.volumes.get_or_insert_default().extend(template.volume);
    }
    add_absent(&mut pod.metadata.labels, template.labels);
    add_absent(&mut pod.metadata.annotations, template.annotations);
    Ok(())
}

fn check(spec: &PodSpec, runtime: &str, template: &RuntimeTemplate) -> Result<(), Problem> {
    let mut containers: Vec<&str> = names(spec.init_containers.iter().flatten().chain(&spec.containers));
    for name in names(template.init_containers.iter().chain(&template.containers)) {
        if containers.contains(&name) {
            return Err(conflict(runtime, &format!("container {name}")));
        }
        containers.push(name);
    }
    let mut volumes: Vec<&str> = spec.volumes.iter().flatten().map(|volume| volume.name.as_str()).collect();
    for volume in &template.volume {
        if volumes.contains(&volume.name.as_str()) {
            return Err(conflict(runtime, &format!("volume {}", volume.name)));
        }
        volumes.push(&volume.name);
    }
    Ok(())
}

fn names<'a>(containers: impl Iterator<Item = &'a Container>) -> Vec<&'a str> {
    containers.map(|container| container.name.as_str()).collect()
}

fn conflict(runtime: &str, item: &str) -> Problem {
    Problem::new(
        Code::InjectionConflict,
        format!("failed to inject runtime {runtime}: inject conflicting with the pod's own {item}"),
    )
}

fn add_absent(present: &mut Option<BTreeMap<String, String>>, added: BTreeMap<String, String>) {
    if added.is_empty() {
        return;
    }
    let present = present.get_or_insert_default();
    for (key, value) in added {
        present.entry(key).or_insert(value);
    }
}
