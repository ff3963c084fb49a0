//! The MOUNT program: from a path to the handle of a directory.

use std::net::IpAddr;
use std::sync::Arc;

use lab::ExportAccess as Access;
use nfs3_types::mount::{dirpath, export_node, exports, fhandle3, mountbody, mountlist, mountres3_ok, name};
use nfs3_types::mount::{mountres3, mountstat3};
use nfs3_types::nfs3::nfsstat3;
use nfs3_types::xdr_codec::{List, Opaque, Void};
use serde_json::json;

use crate::account::Account;
use crate::export::{Export, check_name};
use crate::procedures::read;
use crate::rpc::{self, Refusal};
use crate::server::State;

/// The program's number.
pub(crate) use nfs3_types::mount::PROGRAM;
/// Its version.
pub(crate) use nfs3_types::mount::VERSION;

/// The names of its procedures.
pub(crate) const NAMES: [&str; 6] = ["NULL", "MNT", "DUMP", "UMNT", "UMNTALL", "EXPORT"];

/// `AUTH_UNIX`, the flavour of credentials that the server reads.
const FLAVOURS: [u32; 1] = [1];

/// The longest path, in bytes.
const LONGEST_PATH: usize = 1024;

/// The name of a procedure as RFC 1813 writes it, without its prefix.
pub(crate) fn name_of(procedure: u32) -> &'static str {
    usize::try_from(procedure).ok().and_then(|index| NAMES.get(index)).copied().unwrap_or("?")
}

/// Carries a procedure out.
pub(crate) fn call(
    state: &State,
    account: &Account,
    id: u32,
    procedure: u32,
    arguments: &[u8],
) -> Result<Vec<u8>, Refusal> {
    let client = account.client();
    let packed = match procedure {
        0 => rpc::answer(id, &Void),
        1 => {
            let path: dirpath<'static> = read(arguments)?;
            rpc::answer(id, &mount(state, account, &path.0))
        }
        2 => rpc::answer(id, &dump(state)),
        3 => {
            let path: dirpath<'static> = read(arguments)?;
            let path = String::from_utf8_lossy(&path.0).into_owned();
            account.tell("UMNT", &path, json!({}));
            state.mounted().remove(&(client, path));
            rpc::answer(id, &Void)
        }
        4 => {
            state.mounted().retain(|(mounted, _)| *mounted != client);
            rpc::answer(id, &Void)
        }
        5 => rpc::answer(id, &list_exports(state)),
        _ => return Err(Refusal::Procedure),
    };
    packed.map_err(|_| Refusal::Arguments)
}

/// MNT that a fault answers.
pub(crate) fn refused_mount(
    account: &Account,
    id: u32,
    arguments: &[u8],
    status: u32,
) -> Result<Vec<u8>, Refusal> {
    let path: dirpath<'static> = read(arguments)?;
    account.tell("MNT", &String::from_utf8_lossy(&path.0), json!({"status": format!("fault {status}")}));
    rpc::answer(id, &status).map_err(|_| Refusal::Arguments)
}

fn mount(state: &State, account: &Account, path: &[u8]) -> mountres3<'static> {
    let outcome = find(state, path);
    let text = String::from_utf8_lossy(path).into_owned();
    let status = outcome.as_ref().err().copied().unwrap_or(mountstat3::MNT3_OK);
    account.tell("MNT", &text, json!({"status": status.to_string()}));
    match outcome {
        Ok(handle) => {
            let client: IpAddr = account.client();
            state.mounted().insert((client, text));
            let fhandle = fhandle3(Opaque::owned(handle));
            mountres3::Ok(mountres3_ok { fhandle, auth_flavors: FLAVOURS.to_vec() })
        }
        Err(status) => mountres3::Err(status),
    }
}

/// Goes down from the export, through directories only: a symbolic link on the way is none, wherever it leads.
fn find(state: &State, path: &[u8]) -> Result<Vec<u8>, mountstat3> {
    if path.len() > LONGEST_PATH {
        return Err(mountstat3::MNT3ERR_NAMETOOLONG);
    }
    let components: Vec<&[u8]> =
        path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").collect();
    let (export, below) = state.export_above(&components).ok_or(mountstat3::MNT3ERR_NOENT)?;
    if export.options().access == Access::Refused {
        return Err(mountstat3::MNT3ERR_ACCES);
    }
    descend(state, &export, below).map_err(|status| match status {
        nfsstat3::NFS3ERR_NOENT => mountstat3::MNT3ERR_NOENT,
        nfsstat3::NFS3ERR_NOTDIR => mountstat3::MNT3ERR_NOTDIR,
        nfsstat3::NFS3ERR_INVAL => mountstat3::MNT3ERR_INVAL,
        nfsstat3::NFS3ERR_NAMETOOLONG => mountstat3::MNT3ERR_NAMETOOLONG,
        nfsstat3::NFS3ERR_ACCES => mountstat3::MNT3ERR_ACCES,
        _ => mountstat3::MNT3ERR_IO,
    })
}

fn descend(state: &State, export: &Arc<Export>, below: &[&[u8]]) -> Result<Vec<u8>, nfsstat3> {
    let mut at = export.top()?;
    for component in below {
        check_name(component)?;
        at = export.child(&at, component)?.directory()?;
    }
    Ok(state.handle(export, &at.stat).encode())
}

fn dump(state: &State) -> mountlist<'static, 'static> {
    let body = |(client, path): &(IpAddr, String)| mountbody {
        ml_hostname: name(Opaque::owned(client.to_string().into_bytes())),
        ml_directory: dirpath(Opaque::owned(path.clone().into_bytes())),
    };
    List(state.mounted().iter().map(body).collect())
}

fn list_exports(state: &State) -> exports<'static, 'static> {
    let offered = state.exports();
    let offered = offered.iter().filter(|export| export.options().access != Access::Refused);
    let node = |export: &Arc<Export>| export_node {
        ex_dir: dirpath(Opaque::owned(export.path.clone().into_bytes())),
        ex_groups: List::default(),
    };
    List(offered.map(node).collect())
}
