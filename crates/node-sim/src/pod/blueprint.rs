//! From a container's definition to what the shim starts.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use contract::names::annotations;
use k8s_openapi::api::core::v1::{
    ConfigMap, Container, Pod, PodSecurityContext, Secret, SecurityContext, VolumeMount,
};
use kube::{Api, ResourceExt as _};
use rustix::thread::CapabilitySet;

use super::environment::{self, EnvironmentError, Sources, command_line, expand, references};
use super::termination::MESSAGE_FILE;
use super::{PodContext, Sandbox, spec_of};
use crate::catalogue::Image;
use crate::checkpoints::StoreError;
use crate::shim::protocol::{ContainerSpec, MountSpec, Overlay, ProcessSpec, Propagation};

/// Why a container can't be described.
#[derive(Debug, thiserror::Error)]
pub(super) enum BlueprintError {
    /// Its environment refers to something that isn't there.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    /// Something that it refers to could not be asked for.
    #[error("reading {what} failed")]
    Api {
        /// Kind and name.
        what: String,
        /// Why it failed.
        #[source]
        source: kube::Error,
    },
    /// Its definition contradicts itself or the pod's.
    #[error("{0}")]
    Definition(String),
    /// The checkpoint that it is made from isn't here.
    #[error(transparent)]
    Checkpoint(#[from] StoreError),
    /// Its folders could not be made.
    #[error("making the container's folders failed")]
    Folders(#[from] io::Error),
}

/// Devices that a privileged container finds besides the ordinary ones.
const PRIVILEGED_DEVICES: [&str; 1] = ["fuse"];

/// What root in an ordinary container may do: the usual set of container runtimes without `MKNOD`, since no device
/// controller stands behind it here.
pub(super) fn default_capabilities() -> CapabilitySet {
    CapabilitySet::AUDIT_WRITE
        | CapabilitySet::CHOWN
        | CapabilitySet::DAC_OVERRIDE
        | CapabilitySet::FOWNER
        | CapabilitySet::FSETID
        | CapabilitySet::KILL
        | CapabilitySet::NET_BIND_SERVICE
        | CapabilitySet::NET_RAW
        | CapabilitySet::SETFCAP
        | CapabilitySet::SETGID
        | CapabilitySet::SETPCAP
        | CapabilitySet::SETUID
        | CapabilitySet::SYS_CHROOT
}

/// Describes one attempt of a container; its folders are made below `place`.
pub(super) async fn blueprint(
    context: &PodContext,
    sandbox: &Sandbox,
    container: &Container,
    image: &Image,
    place: &Path,
) -> Result<ContainerSpec, BlueprintError> {
    let pod = context.pod();
    let sources = sources(context, container).await?;
    let mut environment = image.environment.clone();
    environment.push(("HOSTNAME".to_owned(), context.name.clone()));
    for (name, value) in environment::environment(&pod, container, &sources)? {
        environment.retain(|(existing, _)| *existing != name);
        environment.push((name, value));
    }
    let mut mounts = mounts(context, sandbox, container, image, &environment)?;
    let overlays = overlays(context, &kept_layers(context, &pod, container)?, image, place)?;
    mounts.push(termination_message(container, place)?);
    let security = container.security_context.clone().unwrap_or_default();
    let privileged = security.privileged == Some(true);
    let read_only_root = security.read_only_root_filesystem == Some(true);
    let process = process(&pod, container, &security, image, environment)?;
    Ok(ContainerSpec {
        namespaces: sandbox.namespaces.paths(),
        root: place.join("root"),
        overlays,
        mounts,
        devices: devices(privileged),
        privileged,
        read_only_root,
        user_namespace: context.node.user_namespace,
        process,
    })
}

fn devices(privileged: bool) -> Vec<String> {
    let wanted = PRIVILEGED_DEVICES.iter().filter(|_| privileged);
    wanted.filter(|name| Path::new("/dev").join(name).exists()).map(|name| (*name).to_owned()).collect()
}

async fn sources(context: &PodContext, container: &Container) -> Result<Sources, BlueprintError> {
    let (maps, secrets) = references(container);
    let mut sources = Sources { facts: context.facts(), ..Sources::default() };
    let failed = |what: String| move |source| BlueprintError::Api { what, source };
    for name in maps {
        let api: Api<ConfigMap> = Api::namespaced(context.client().clone(), &context.namespace);
        let found = api.get_opt(&name).await.map_err(failed(format!("configmap {name}")))?;
        sources.config_maps.insert(name, found);
    }
    for name in secrets {
        let api: Api<Secret> = Api::namespaced(context.client().clone(), &context.namespace);
        let found = api.get_opt(&name).await.map_err(failed(format!("secret {name}")))?;
        sources.secrets.insert(name, found);
    }
    Ok(sources)
}

/// The layers of the checkpoint that the pod is made from, the newest first.
fn kept_layers(
    context: &PodContext,
    pod: &Pod,
    container: &Container,
) -> Result<Vec<PathBuf>, BlueprintError> {
    match pod.annotations().get(annotations::RESTORE_FROM) {
        Some(id) => Ok(context.node.checkpoints.layers(id, &context.namespace, &container.name)?),
        None => Ok(Vec::new()),
    }
}

/// Makes the writable layers and says how they lie over what a checkpoint kept and the base.
fn overlays(context: &PodContext, kept: &[PathBuf], image: &Image, place: &Path) -> io::Result<Vec<Overlay>> {
    let make = |path: &Path| DirBuilder::new().recursive(true).mode(0o755).create(path);
    make(&place.join("root"))?;
    let mut overlays = Vec::new();
    for (number, (target, lower)) in context.node.base.layers.iter().enumerate() {
        let (upper, work) = (place.join(format!("upper{number}")), place.join(format!("work{number}")));
        make(&upper)?;
        make(&work)?;
        let kept = kept.iter().map(|layers| layers.join(number.to_string()));
        let lower = kept.chain([lower.clone()]).collect();
        overlays.push(Overlay { target: target.clone(), lower, upper, work });
    }
    // Folders that belong to nobody here (in a user namespace) can't be written to, so what has to be writable, and
    // the mount points of the image's own files, are made in the layers.
    make(&in_layer(&overlays, Path::new("/usr/local/bin")))?;
    for (_, target) in &image.files {
        let file = in_layer(&overlays, target);
        file.parent().map_or(Ok(()), make)?;
        fs::write(file, "")?;
    }
    for (_, target) in &image.folders {
        make(&in_layer(&overlays, target))?;
    }
    Ok(overlays)
}

/// Where a path of the container is in the writable layers.
fn in_layer(overlays: &[Overlay], path: &Path) -> PathBuf {
    let path = path.strip_prefix("/").unwrap_or(path);
    let innermost = overlays
        .iter()
        .rev()
        .find_map(|overlay| path.strip_prefix(&overlay.target).ok().map(|rest| overlay.upper.join(rest)));
    innermost.unwrap_or_else(|| path.to_owned())
}

fn mounts(
    context: &PodContext,
    sandbox: &Sandbox,
    container: &Container,
    image: &Image,
    environment: &[(String, String)],
) -> Result<Vec<MountSpec>, BlueprintError> {
    let plain = |source: PathBuf, target: PathBuf, read_only| MountSpec {
        source,
        sub_path: None,
        target,
        read_only,
        propagation: Propagation::None,
    };
    let mut mounts: Vec<_> =
        image.files.iter().map(|(from, to)| plain(from.clone(), to.clone(), true)).collect();
    mounts.extend(image.folders.iter().map(|(from, to)| plain(from.clone(), to.clone(), false)));
    for file in ["hosts", "hostname", "resolv.conf"] {
        mounts.push(plain(context.directory.join("etc").join(file), Path::new("/etc").join(file), false));
    }
    let mut volumes = Vec::new();
    for mount in container.volume_mounts.iter().flatten() {
        volumes.push(volume_mount(&sandbox.volumes, mount, environment)?);
    }
    // A mount inside another one comes after it.
    volumes.sort_by_key(|mount: &MountSpec| mount.target.components().count());
    mounts.extend(volumes);
    Ok(mounts)
}

/// The file that takes the container's last words.
fn termination_message(container: &Container, place: &Path) -> io::Result<MountSpec> {
    let source = place.join(MESSAGE_FILE);
    fs::write(&source, "")?;
    fs::set_permissions(&source, fs::Permissions::from_mode(0o666))?;
    let target = container.termination_message_path.as_deref().filter(|path| path.starts_with('/'));
    Ok(MountSpec {
        source,
        sub_path: None,
        target: target.unwrap_or("/dev/termination-log").into(),
        read_only: false,
        propagation: Propagation::None,
    })
}

fn volume_mount(
    volumes: &BTreeMap<String, PathBuf>,
    mount: &VolumeMount,
    environment: &[(String, String)],
) -> Result<MountSpec, BlueprintError> {
    let source = volumes
        .get(&mount.name)
        .ok_or_else(|| BlueprintError::Definition(format!("volume {:?} is not in the pod", mount.name)))?;
    let value = |name: &str| {
        environment.iter().find(|(existing, _)| existing == name).map(|(_, value)| value.clone())
    };
    let sub_path = match (&mount.sub_path, &mount.sub_path_expr) {
        (Some(path), _) if !path.is_empty() => Some(path.clone()),
        (_, Some(expression)) if !expression.is_empty() => Some(expand(expression, value)),
        _ => None,
    };
    let leaves = |path: &String| path.starts_with('/') || path.split('/').any(|part| part == "..");
    if let Some(path) = sub_path.as_ref().filter(|path| leaves(path)) {
        return Err(BlueprintError::Definition(format!(
            "subPath {path:?} leads out of volume {:?}",
            mount.name
        )));
    }
    let propagation = match mount.mount_propagation.as_deref() {
        None | Some("None") => Propagation::None,
        Some("HostToContainer") => Propagation::HostToContainer,
        Some("Bidirectional") => Propagation::Bidirectional,
        Some(other) => {
            return Err(BlueprintError::Definition(format!("mountPropagation {other:?} is unknown")));
        }
    };
    let target = Path::new("/").join(&mount.mount_path);
    Ok(MountSpec {
        source: source.clone(),
        sub_path: sub_path.map(PathBuf::from),
        target,
        read_only: mount.read_only == Some(true),
        propagation,
    })
}

fn process(
    pod: &Pod,
    container: &Container,
    security: &SecurityContext,
    image: &Image,
    mut environment: Vec<(String, String)>,
) -> Result<ProcessSpec, BlueprintError> {
    let of_pod: PodSecurityContext = spec_of(pod).security_context.unwrap_or_default();
    let id = |own: Option<i64>, pods: Option<i64>| {
        let id = own.or(pods).unwrap_or(0);
        u32::try_from(id).map_err(|_| BlueprintError::Definition(format!("{id} is no user or group id")))
    };
    let user = id(security.run_as_user, of_pod.run_as_user)?;
    let group = id(security.run_as_group, of_pod.run_as_group)?;
    if security.run_as_non_root.or(of_pod.run_as_non_root) == Some(true) && user == 0 {
        let name = &container.name;
        let message = format!("container has runAsNonRoot and image will run as root (container: {name})");
        return Err(BlueprintError::Definition(message));
    }
    let mut groups = Vec::new();
    for id in of_pod.supplemental_groups.iter().flatten().chain(&of_pod.fs_group) {
        groups.push(
            u32::try_from(*id).map_err(|_| BlueprintError::Definition(format!("{id} is no group id")))?,
        );
    }
    if environment.iter().all(|(name, _)| name != "HOME") {
        environment.push(("HOME".to_owned(), home_of(user).to_owned()));
    }
    Ok(ProcessSpec {
        args: command_line(container, &image.entry_point, &environment),
        environment,
        working_directory: container.working_dir.clone().unwrap_or_default(),
        user,
        group,
        groups,
        capabilities: capabilities(security)?.bits(),
        no_new_privileges: security.allow_privilege_escalation == Some(false),
    })
}

/// Homes of the users that every image knows.
fn home_of(user: u32) -> &'static str {
    match user {
        0 => "/root",
        1000 => "/home/user",
        _ => "/",
    }
}

fn capabilities(security: &SecurityContext) -> Result<CapabilitySet, BlueprintError> {
    let mut set = default_capabilities();
    let Some(wanted) = &security.capabilities else { return Ok(set) };
    let named = |name: &String| {
        let short = name.strip_prefix("CAP_").unwrap_or(name);
        match short {
            "ALL" => Ok(CapabilitySet::all()),
            short => CapabilitySet::from_name(short)
                .ok_or_else(|| BlueprintError::Definition(format!("unknown capability {name:?}"))),
        }
    };
    for name in wanted.drop.iter().flatten() {
        set.remove(named(name)?);
    }
    for name in wanted.add.iter().flatten() {
        set.insert(named(name)?);
    }
    Ok(set)
}

/// Writes the files of `/etc` that are the pod's own.
pub(super) fn write_pod_files(context: &PodContext, sandbox_address: &str) -> io::Result<()> {
    let folder = context.directory.join("etc");
    fs::create_dir_all(&folder)?;
    let pod = context.pod();
    let spec = spec_of(&pod);
    let hostname = spec.hostname.as_deref().unwrap_or(&context.name);
    let options = context.node.network.options();
    let mut hosts = format!(
        "# written by the node\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n{sandbox_address}\t{hostname}\n"
    );
    for (address, names) in &options.hosts {
        let _ = writeln!(hosts, "{address}\t{}", names.join("\t"));
    }
    for alias in spec.host_aliases.iter().flatten() {
        let names = alias.hostnames.as_deref().unwrap_or_default();
        let _ = writeln!(hosts, "{}\t{}", alias.ip, names.join("\t"));
    }
    fs::write(folder.join("hosts"), hosts)?;
    fs::write(folder.join("hostname"), format!("{hostname}\n"))?;
    let resolver = match options.nameserver {
        Some(address) => {
            format!(
                "nameserver {address}\nsearch {}.svc.cluster.local svc.cluster.local\noptions ndots:5\n",
                context.namespace
            )
        }
        None => "# this lab has no name server\n".to_owned(),
    };
    fs::write(folder.join("resolv.conf"), resolver)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    #[rstest]
    #[case(json!({}), &["NET_RAW", "CHOWN"], &["SYS_ADMIN", "MKNOD", "SYS_PTRACE"])]
    #[case(json!({"capabilities": {"drop": ["ALL"], "add": ["CAP_NET_ADMIN"]}}), &["NET_ADMIN"], &["CHOWN"])]
    #[case(json!({"capabilities": {"add": ["SYS_PTRACE"]}}), &["SYS_PTRACE", "CHOWN"], &["SYS_ADMIN"])]
    fn capabilities_follow_the_definition(
        #[case] security: Value,
        #[case] has: &[&str],
        #[case] lacks: &[&str],
    ) {
        let security = serde_json::from_value(security).expect("a security context");
        let set = capabilities(&security).expect("capabilities");
        let contains = |name: &&str| set.contains(CapabilitySet::from_name(name).expect("a capability"));
        assert!(has.iter().all(contains) && !lacks.iter().any(contains), "{set:?}");
    }

    #[rstest]
    #[case(json!({"name": "v", "mountPath": "/m", "subPath": "../x"}), "leads out")]
    #[case(json!({"name": "v", "mountPath": "/m", "subPathExpr": "$(UP)/x"}), "leads out")]
    #[case(json!({"name": "w", "mountPath": "/m"}), "not in the pod")]
    #[case(json!({"name": "v", "mountPath": "/m", "mountPropagation": "Sideways"}), "unknown")]
    fn bad_mounts_are_refused(#[case] mount: Value, #[case] expected: &str) {
        let volumes = BTreeMap::from([("v".to_owned(), PathBuf::from("/volumes/v"))]);
        let mount = serde_json::from_value(mount).expect("a mount");
        let error = volume_mount(&volumes, &mount, &[("UP".into(), "..".into())]).expect_err("refused");
        assert!(error.to_string().contains(expected), "{error}");
    }
}
