//! The MOUNT protocol: from a path to the handle of a directory, and paths that don't exist yet.
//!
//! File storage in the cloud answers MOUNT on the port of NFS itself. A server that doesn't is asked for its port
//! (port mapper, port 111).

use nfs3_types::mount::{self, MOUNT_PROGRAM, dirpath, mountres3, mountstat3};
use nfs3_types::nfs3::{Nfs3Option, nfs_fh3, nfsstat3, sattr3};
use nfs3_types::portmap::{self, PMAP_PROG};
use nfs3_types::xdr_codec::Opaque;
use thiserror::Error;

use super::attributes::NasVolume;
use super::protocol::{Failure, Nfs, some};
use super::rpc::{Address, Caller, Patience, Procedure, RpcClient, RpcError, pack, unpack};

/// Permissions of a directory that is made because a volume's path doesn't exist.
const MADE_MODE: u32 = 0o777;
/// Permissions of the directories above it.
const PARENT_MODE: u32 = 0o755;

/// A path that can't be mounted.
#[derive(Debug, Error)]
pub(super) enum ExportError {
    /// There is no such path.
    #[error("mounting {source_name} failed, reason given by server: No such file or directory")]
    Missing { source_name: String },
    /// Whoever asks may not.
    #[error("access denied by server while mounting {source_name}")]
    Denied { source_name: String },
    /// Anything else.
    #[error("mounting {source_name} failed: {reason}")]
    Other { source_name: String, reason: String },
    /// The path is missing and can't be made.
    #[error("path {path} does not exist on {server} and can't be made: {reason}")]
    Make { server: String, path: String, reason: String },
}

/// The handle of `path` on the server of `nfs`, which is at `address`.
pub(super) async fn handle_of(
    nfs: &Nfs,
    address: &Address,
    patience: Patience,
    path: &str,
) -> Result<nfs_fh3, ExportError> {
    let source_name = format!("{}:{path}", address.host);
    let answer = match mount_call(&nfs.rpc, path).await {
        Err(RpcError::Unavailable) => elsewhere(address, patience, path).await,
        answer => answer,
    };
    match answer {
        Ok(mountres3::Ok(found)) => Ok(nfs_fh3 { data: Opaque::owned(found.fhandle.0.into_owned()) }),
        Ok(mountres3::Err(mountstat3::MNT3ERR_NOENT | mountstat3::MNT3ERR_NOTDIR)) => {
            Err(ExportError::Missing { source_name })
        }
        Ok(mountres3::Err(mountstat3::MNT3ERR_ACCES | mountstat3::MNT3ERR_PERM))
        | Err(RpcError::Denied(_)) => Err(ExportError::Denied { source_name }),
        Ok(mountres3::Err(status)) => Err(ExportError::Other { source_name, reason: status.to_string() }),
        Err(error) => Err(ExportError::Other { source_name, reason: error.to_string() }),
    }
}

async fn mount_call(rpc: &RpcClient, path: &str) -> Result<mountres3<'static>, RpcError> {
    let procedure = Procedure {
        program: mount::PROGRAM,
        version: mount::VERSION,
        number: MOUNT_PROGRAM::MOUNTPROC3_MNT as u32,
    };
    let arguments = pack(&dirpath(Opaque::borrowed(path.as_bytes())))?;
    unpack(&mut rpc.call(&Caller::ROOT, procedure, &arguments, None).await?)
}

/// Asks the port mapper where MOUNT is, and then there.
async fn elsewhere(
    address: &Address,
    patience: Patience,
    path: &str,
) -> Result<mountres3<'static>, RpcError> {
    let at = |port| RpcClient::new(Address { host: address.host.clone(), port }, patience);
    let procedure = Procedure {
        program: portmap::PROGRAM,
        version: portmap::VERSION,
        number: PMAP_PROG::PMAPPROC_GETPORT as u32,
    };
    let arguments = pack(&portmap::mapping {
        prog: mount::PROGRAM,
        vers: mount::VERSION,
        prot: portmap::IPPROTO_TCP,
        port: 0,
    })?;
    let mapper = at(portmap::PMAP_PORT);
    let port: u32 = unpack(&mut mapper.call(&Caller::ROOT, procedure, &arguments, None).await?)?;
    match u16::try_from(port) {
        Ok(0) | Err(_) => Err(RpcError::Unavailable),
        Ok(port) => mount_call(&at(port), path).await,
    }
}

/// Whether the path of `volume` isn't there, as the nearest directory above it that can be mounted has it. A server may
/// say of a path that is missing that nobody may have it (NFS-Ganesha does).
pub(super) async fn is_missing(nfs: &Nfs, address: &Address, patience: Patience, volume: &NasVolume) -> bool {
    for parent in volume.parents() {
        let Ok(mut at) = handle_of(nfs, address, patience, parent).await else { continue };
        for name in volume.path[parent.len()..].split('/').filter(|name| !name.is_empty()) {
            match nfs.lookup(&Caller::ROOT, &at, name.as_bytes()).await {
                Ok(found) => at = found.object,
                Err(failure) => return failure.is(nfsstat3::NFS3ERR_NOENT),
            }
        }
        return false;
    }
    false
}

/// The words for a path that isn't there.
pub(super) fn missing(volume: &NasVolume) -> ExportError {
    ExportError::Missing { source_name: volume.source() }
}

/// Makes the path of `volume`, in the nearest directory above it that can be mounted.
pub(super) async fn make_path(
    nfs: &Nfs,
    address: &Address,
    patience: Patience,
    volume: &NasVolume,
) -> Result<(), ExportError> {
    let failed = |reason: String| ExportError::Make {
        server: volume.server.clone(),
        path: volume.path.clone(),
        reason,
    };
    let mut last = "a root is never made".to_owned();
    for parent in volume.parents() {
        let mut at = match handle_of(nfs, address, patience, parent).await {
            Ok(handle) => handle,
            Err(error) => {
                last = error.to_string();
                continue;
            }
        };
        let below = volume.path[parent.len()..].trim_start_matches('/');
        let mut rest = Some(below);
        while let Some(path) = rest {
            let (name, mode);
            (name, mode, rest) = match path.split_once('/') {
                Some((name, rest)) => (name, PARENT_MODE, Some(rest.trim_start_matches('/'))),
                None => (path, MADE_MODE, None),
            };
            at = make_directory(nfs, &at, name.as_bytes(), mode)
                .await
                .map_err(|failure| failed(failure.errno().desc().to_owned()))?;
        }
        tracing::info!(server = %volume.server, path = %volume.path, "made the path of a volume");
        return Ok(());
    }
    Err(failed(last))
}

/// Makes a directory, or finds the one that another sandbox has just made.
async fn make_directory(nfs: &Nfs, parent: &nfs_fh3, name: &[u8], mode: u32) -> Result<nfs_fh3, Failure> {
    let caller = &Caller::ROOT;
    let attributes = sattr3 { mode: Nfs3Option::Some(mode), ..sattr3::default() };
    let made = match nfs.make_directory(caller, parent, name, attributes.clone()).await {
        Ok(made) => some(made.obj),
        Err(failure) if failure.is(nfsstat3::NFS3ERR_EXIST) => {
            return Ok(nfs.lookup(caller, parent, name).await?.object);
        }
        Err(failure) => return Err(failure),
    };
    let handle = match made {
        Some(handle) => handle,
        None => nfs.lookup(caller, parent, name).await?.object,
    };
    // The server's own mask may have taken permissions away.
    nfs.set_attributes(caller, &handle, attributes).await?;
    Ok(handle)
}
