//! A pod's volumes: folders of the node, prepared before the first container and removed after the last.
//!
//! Every `emptyDir` is a mount of its own in a peer group of its own, which is what lets a mount made under it in one
//! container appear in the others, as far as their `mountPropagation` asks for it.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};

use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{
    ConfigMap, DownwardAPIVolumeFile, KeyToPath, Pod, ResourceFieldSelector, Secret, Volume,
};
use k8s_openapi::api::core::v1::{
    HostPathVolumeSource, ServiceAccount, ServiceAccountTokenProjection, VolumeProjection,
};
use kube::api::PostParams;
use kube::{Api, Client};
use rustix::mount::{MountPropagationFlags, mount_bind, mount_change};

use super::environment::{self, Facts};
use crate::mounts;

/// Why a volume isn't ready. Event `FailedMount`.
#[derive(Debug, thiserror::Error)]
#[error("MountVolume.SetUp failed for volume {volume:?} : {reason}")]
pub(crate) struct VolumeError {
    volume: String,
    reason: String,
}

/// What a volume is made from, apart from its own description.
#[derive(Clone)]
pub(crate) struct VolumeContext<'a> {
    pub(crate) client: &'a Client,
    pub(crate) pod: &'a Pod,
    pub(crate) namespace: &'a str,
    pub(crate) facts: &'a Facts,
    /// Paths of the machine that pods may use.
    pub(crate) host_paths: &'a [PathBuf],
}

/// Where each volume is on the node, by name.
pub(crate) type Volumes = BTreeMap<String, PathBuf>;

/// Files of a projected volume: path, content, mode.
type Files = Vec<(PathBuf, Vec<u8>, u32)>;

/// Prepares `volume` under `directory` and returns its path.
pub(crate) async fn prepare(
    context: &VolumeContext<'_>,
    volume: &Volume,
    directory: &Path,
) -> Result<PathBuf, VolumeError> {
    let failed = |reason: String| VolumeError { volume: volume.name.clone(), reason };
    if let Some(host_path) = &volume.host_path {
        return allowed_host_path(host_path, context.host_paths).map_err(failed);
    }
    let place = directory.join(&volume.name);
    if volume.empty_dir.is_some() || is_plain(volume) {
        make_shared_folder(&place).map_err(|error| failed(error.to_string()))?;
        return Ok(place);
    }
    let files = files_of(context, volume).await.map_err(failed)?;
    make_folder(&place, 0o755)
        .and_then(|()| write_files(&place, files))
        .map_err(|error| failed(error.to_string()))?;
    Ok(place)
}

/// A volume without any source is an `emptyDir`, as the API server would have defaulted it.
fn is_plain(volume: &Volume) -> bool {
    serde_json::to_value(volume)
        .is_ok_and(|value| value.as_object().is_some_and(|members| members.len() == 1))
}

fn make_folder(path: &Path, mode: u32) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(mode).create(path)?;
    fs::set_permissions(path, Permissions::from_mode(mode))
}

fn make_shared_folder(path: &Path) -> io::Result<()> {
    make_folder(path, 0o777)?;
    mount_bind(path, path)?;
    // A peer group of its own: private first, in case the folder was shared already.
    mount_change(path, MountPropagationFlags::PRIVATE)?;
    Ok(mount_change(path, MountPropagationFlags::SHARED)?)
}

/// Devices and folders of the machine are an allow-list: a pod must not see anything else of it.
fn allowed_host_path(source: &HostPathVolumeSource, allowed: &[PathBuf]) -> Result<PathBuf, String> {
    let path = Path::new(&source.path);
    if path.components().any(|component| component == Component::ParentDir) {
        return Err(format!("hostPath {} must not contain '..'", source.path));
    }
    if !allowed.iter().any(|prefix| path.starts_with(prefix)) {
        return Err(format!("hostPath {} is not one that this node shares with pods", source.path));
    }
    let metadata = fs::metadata(path).map_err(|error| format!("hostPath {}: {error}", source.path))?;
    let kind = metadata.file_type();
    let fits = match source.type_.as_deref().unwrap_or_default() {
        "" | "DirectoryOrCreate" | "FileOrCreate" => true,
        "Directory" => kind.is_dir(),
        "File" => kind.is_file(),
        "Socket" => kind.is_socket(),
        "CharDevice" => kind.is_char_device(),
        "BlockDevice" => kind.is_block_device(),
        other => return Err(format!("hostPath type {other:?} is unknown")),
    };
    if fits {
        return Ok(path.to_owned());
    }
    Err(format!(
        "hostPath type check failed: {} is not a {}",
        source.path,
        source.type_.as_deref().unwrap_or_default()
    ))
}

async fn files_of(context: &VolumeContext<'_>, volume: &Volume) -> Result<Files, String> {
    if let Some(source) = &volume.config_map {
        let mode = source.default_mode.unwrap_or(0o644);
        return config_map_files(context, &source.name, source.items.as_deref(), source.optional, mode).await;
    }
    if let Some(source) = &volume.secret {
        let mode = source.default_mode.unwrap_or(0o644);
        let name = source.secret_name.as_deref().unwrap_or_default();
        return secret_files(context, name, source.items.as_deref(), source.optional, mode).await;
    }
    if let Some(source) = &volume.downward_api {
        let items = source.items.as_deref().unwrap_or_default();
        return downward_files(context, items, source.default_mode.unwrap_or(0o644));
    }
    if let Some(source) = &volume.projected {
        let mode = source.default_mode.unwrap_or(0o644);
        let mut files = Vec::new();
        for projection in source.sources.iter().flatten() {
            files.extend(projected_files(context, projection, mode).await?);
        }
        return Ok(files);
    }
    Err("this node knows emptyDir, configMap, secret, projected, downwardAPI and hostPath volumes only"
        .to_owned())
}

async fn projected_files(
    context: &VolumeContext<'_>,
    projection: &VolumeProjection,
    mode: i32,
) -> Result<Files, String> {
    if let Some(source) = &projection.config_map {
        return config_map_files(context, &source.name, source.items.as_deref(), source.optional, mode).await;
    }
    if let Some(source) = &projection.secret {
        return secret_files(context, &source.name, source.items.as_deref(), source.optional, mode).await;
    }
    if let Some(source) = &projection.downward_api {
        return downward_files(context, source.items.as_deref().unwrap_or_default(), mode);
    }
    if let Some(source) = &projection.service_account_token {
        return token_file(context, source, mode).await;
    }
    Err("this node projects configMap, secret, downwardAPI and serviceAccountToken only".to_owned())
}

/// A token of the pod's service account, bound to the pod. It is asked for once, when the pod starts, and not renewed.
async fn token_file(
    context: &VolumeContext<'_>,
    source: &ServiceAccountTokenProjection,
    mode: i32,
) -> Result<Files, String> {
    let path = inner_path(&source.path)?;
    let metadata = &context.pod.metadata;
    let account = context.pod.spec.as_ref().and_then(|spec| spec.service_account_name.as_deref());
    let account = account.filter(|name| !name.is_empty()).unwrap_or("default");
    let request = TokenRequest {
        spec: TokenRequestSpec {
            audiences: source.audience.iter().filter(|audience| !audience.is_empty()).cloned().collect(),
            expiration_seconds: source.expiration_seconds,
            bound_object_ref: Some(BoundObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                name: metadata.name.clone(),
                uid: metadata.uid.clone(),
            }),
        },
        ..TokenRequest::default()
    };
    let accounts: Api<ServiceAccount> = Api::namespaced(context.client.clone(), context.namespace);
    let answer = accounts
        .create_token_request(account, &PostParams::default(), &request)
        .await
        .map_err(|error| format!("failed to fetch token of service account {account:?}: {error}"))?;
    let token = answer.status.map(|status| status.token).ok_or("the API server answered without a token")?;
    let bits = u32::try_from(mode).unwrap_or(0o644) & 0o777;
    Ok(vec![(path, token.into_bytes(), bits)])
}

async fn config_map_files(
    context: &VolumeContext<'_>,
    name: &str,
    items: Option<&[KeyToPath]>,
    optional: Option<bool>,
    mode: i32,
) -> Result<Files, String> {
    let api: Api<ConfigMap> = Api::namespaced(context.client.clone(), context.namespace);
    let mut content = BTreeMap::new();
    match api.get_opt(name).await.map_err(|error| format!("configmap {name:?}: {error}"))? {
        Some(map) => {
            content.extend(map.data.into_iter().flatten().map(|(key, value)| (key, value.into_bytes())));
            content.extend(map.binary_data.into_iter().flatten().map(|(key, value)| (key, value.0)));
        }
        None if optional == Some(true) => {}
        None => return Err(format!("configmap {name:?} not found")),
    }
    selected(content, items, optional, mode, name)
}

async fn secret_files(
    context: &VolumeContext<'_>,
    name: &str,
    items: Option<&[KeyToPath]>,
    optional: Option<bool>,
    mode: i32,
) -> Result<Files, String> {
    let api: Api<Secret> = Api::namespaced(context.client.clone(), context.namespace);
    let content = match api.get_opt(name).await.map_err(|error| format!("secret {name:?}: {error}"))? {
        Some(secret) => secret.data.into_iter().flatten().map(|(key, value)| (key, value.0)).collect(),
        None if optional == Some(true) => BTreeMap::new(),
        None => return Err(format!("secret {name:?} not found")),
    };
    selected(content, items, optional, mode, name)
}

/// The keys that `items` selects, or all of them.
fn selected(
    mut content: BTreeMap<String, Vec<u8>>,
    items: Option<&[KeyToPath]>,
    optional: Option<bool>,
    mode: i32,
    name: &str,
) -> Result<Files, String> {
    let bits = |mode: i32| u32::try_from(mode).unwrap_or(0o644) & 0o777;
    let Some(items) = items else {
        return Ok(content.into_iter().map(|(key, value)| (PathBuf::from(key), value, bits(mode))).collect());
    };
    let mut files = Vec::new();
    for item in items {
        match content.remove(&item.key) {
            Some(value) => files.push((inner_path(&item.path)?, value, bits(item.mode.unwrap_or(mode)))),
            None if optional == Some(true) => {}
            None => return Err(format!("references non-existent key {} of {name}", item.key)),
        }
    }
    Ok(files)
}

fn downward_files(
    context: &VolumeContext<'_>,
    items: &[DownwardAPIVolumeFile],
    mode: i32,
) -> Result<Files, String> {
    items
        .iter()
        .map(|item| {
            let text = match (&item.field_ref, &item.resource_field_ref) {
                (Some(reference), _) => environment::field(context.pod, &reference.field_path, context.facts),
                (None, Some(reference)) => resource_of(context.pod, reference),
                (None, None) => Ok(String::new()),
            };
            let text = text.map_err(|error| error.to_string())?;
            let bits = u32::try_from(item.mode.unwrap_or(mode)).unwrap_or(0o644) & 0o777;
            Ok((inner_path(&item.path)?, text.into_bytes(), bits))
        })
        .collect()
}

fn resource_of(
    pod: &Pod,
    reference: &ResourceFieldSelector,
) -> Result<String, environment::EnvironmentError> {
    let name = reference.container_name.as_deref().unwrap_or_default();
    let spec = pod.spec.as_ref();
    let container = spec.and_then(|spec| spec.containers.iter().find(|container| container.name == name));
    match container {
        Some(container) => environment::resource(container, reference),
        None => Err(environment::EnvironmentError::Field(format!("{name}:{}", reference.resource))),
    }
}

/// A relative path that stays inside the volume.
fn inner_path(path: &str) -> Result<PathBuf, String> {
    let path = Path::new(path);
    let inside =
        path.components().all(|component| matches!(component, Component::Normal(_) | Component::CurDir));
    if inside && path.components().next().is_some() {
        return Ok(path.to_owned());
    }
    Err(format!("path {} leads out of the volume", path.display()))
}

/// Writes the files as kubelet lays them out: the content in a dated folder, `..data` a link to it, and a link
/// through `..data` for each top-level name, so that all files change at once.
fn write_files(place: &Path, files: Files) -> io::Result<()> {
    const CONTENT: &str = "..content_1";
    let content = place.join(CONTENT);
    make_folder(&content, 0o755)?;
    std::os::unix::fs::symlink(CONTENT, place.join("..data"))?;
    for (path, bytes, mode) in files {
        let file = content.join(&path);
        if let Some(parent) = file.parent() {
            make_folder(parent, 0o755)?;
        }
        fs::write(&file, bytes)?;
        fs::set_permissions(&file, Permissions::from_mode(mode))?;
        if let Some(first) = path.components().next() {
            let link = place.join(first);
            if fs::symlink_metadata(&link).is_err() {
                std::os::unix::fs::symlink(Path::new("..data").join(first), link)?;
            }
        }
    }
    Ok(())
}

/// Detaches every mount under `directory`, the innermost first. Nothing here waits for a file system to answer.
pub(crate) fn detach_all(directory: &Path) -> io::Result<()> {
    for mount in mounts::table_of("self")?.into_iter().rev() {
        if Path::new(&mount.mount_point).starts_with(directory) {
            let flags = rustix::mount::UnmountFlags::DETACH | rustix::mount::UnmountFlags::NOFOLLOW;
            match rustix::mount::unmount(&mount.mount_point, flags) {
                // Propagation may have taken it away together with another one.
                Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("a/b", true)]
    #[case("../a", false)]
    #[case("/a", false)]
    #[case("a/../../b", false)]
    #[case("", false)]
    fn paths_inside_a_volume(#[case] path: &str, #[case] inside: bool) {
        assert_eq!(inner_path(path).is_ok(), inside);
    }

    #[rstest]
    #[case("/dev/null", "CharDevice", true)]
    #[case("/dev/null", "File", false)]
    #[case("/dev/../etc/passwd", "", false)]
    #[case("/etc", "Directory", false)]
    fn host_paths_are_an_allow_list(#[case] path: &str, #[case] kind: &str, #[case] allowed: bool) {
        let source = HostPathVolumeSource { path: path.to_owned(), type_: Some(kind.to_owned()) };
        assert_eq!(allowed_host_path(&source, &["/dev/null".into()]).is_ok(), allowed);
    }

    #[test]
    fn files_are_reached_through_one_link() {
        let place = tempfile::tempdir().expect("a directory");
        let files = vec![("a".into(), b"1".to_vec(), 0o600), ("d/b".into(), b"2".to_vec(), 0o644)];
        write_files(place.path(), files).expect("written");
        assert_eq!(fs::read(place.path().join("d/b")).expect("a file"), b"2");
        assert_eq!(fs::read_link(place.path().join("a")).expect("a link"), Path::new("..data/a"));
        let mode = fs::metadata(place.path().join("a")).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
