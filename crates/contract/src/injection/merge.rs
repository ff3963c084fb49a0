//! Merging agent-runtime and csi (`kubernetes.md` §4.3).

use k8s_openapi::api::core::v1::{Container, EnvVar, Pod, PodSpec, Volume, VolumeMount};

use super::post_start;
use super::template::RuntimeTemplate;

pub(super) fn agent_runtime(pod: &mut Pod, template: RuntimeTemplate, clashes: &mut Vec<String>) {
    let spec = pod.spec.get_or_insert_default();
    if has_any_container(spec, &template.csi_sidecar) {
        return;
    }
    spec.init_containers.get_or_insert_default().extend(template.csi_sidecar);
    let Some(main) = spec.containers.first_mut() else { return };
    if let Some(added) = template.main_container {
        add_env(main, added.env.unwrap_or_default(), clashes);
        add_mounts(main, added.volume_mounts.unwrap_or_default(), clashes);
        if let Some(hook) = added.lifecycle.and_then(|lifecycle| lifecycle.post_start) {
            post_start::chain(main, hook, clashes);
        }
    }
    add_volumes(spec, template.volume, clashes);
}

pub(super) fn csi(pod: &mut Pod, template: RuntimeTemplate, clashes: &mut Vec<String>) {
    let spec = pod.spec.get_or_insert_default();
    if has_any_container(spec, &template.csi_sidecar) || spec.containers.is_empty() {
        return;
    }
    spec.init_containers.get_or_insert_default().extend(template.csi_sidecar);
    if let (Some(main), Some(added)) = (spec.containers.first_mut(), template.main_container) {
        add_env(main, added.env.unwrap_or_default(), clashes);
        add_mounts(main, added.volume_mounts.unwrap_or_default(), clashes);
    }
    add_volumes(spec, template.volume, clashes);
}

/// The idempotence guard: any of the sidecars is in the pod already.
fn has_any_container(spec: &PodSpec, sidecars: &[Container]) -> bool {
    let mut present = spec.init_containers.iter().flatten().chain(&spec.containers);
    present.any(|container| sidecars.iter().any(|sidecar| sidecar.name == container.name))
}

fn add_env(main: &mut Container, added: Vec<EnvVar>, clashes: &mut Vec<String>) {
    let env = main.env.get_or_insert_default();
    for variable in added {
        match env.iter().find(|existing| existing.name == variable.name) {
            None => env.push(variable),
            Some(existing) if *existing == variable => {}
            Some(_) => clashes.push(format!(
                "env {} is set by the pod template, the injected one is dropped",
                variable.name
            )),
        }
    }
}

fn add_mounts(main: &mut Container, added: Vec<VolumeMount>, clashes: &mut Vec<String>) {
    let mounts = main.volume_mounts.get_or_insert_default();
    for mount in added {
        match mounts.iter().find(|existing| same_path(&existing.mount_path, &mount.mount_path)) {
            None => mounts.push(mount),
            Some(existing) if *existing == mount => {}
            Some(existing) => clashes.push(format!(
                "mount path {} is used by volume {} of the pod template, the injected mount of volume {} is dropped",
                mount.mount_path, existing.name, mount.name
            )),
        }
    }
}

fn same_path(one: &str, other: &str) -> bool {
    one.trim_end_matches('/') == other.trim_end_matches('/')
}

fn add_volumes(spec: &mut PodSpec, added: Vec<Volume>, clashes: &mut Vec<String>) {
    let volumes = spec.volumes.get_or_insert_default();
    for volume in added {
        match volumes.iter().find(|existing| existing.name == volume.name) {
            None => volumes.push(volume),
            Some(existing) if *existing == volume => {}
            Some(_) => clashes.push(format!(
                "volume {} is declared by the pod template, the injected one is dropped",
                volume.name
            )),
        }
    }
}
