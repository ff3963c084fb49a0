//! The port mapper: NFS and MOUNT are on one port.

use nfs3_types::portmap::{IPPROTO_TCP, mapping};
use nfs3_types::xdr_codec::{List, Void};

use crate::procedures::read;
use crate::rpc::{self, Refusal};
use crate::{mount, procedures};

/// The program's number.
pub(crate) use nfs3_types::portmap::PROGRAM;
/// Its version.
pub(crate) use nfs3_types::portmap::VERSION;

/// The name of a procedure, without its prefix.
pub(crate) fn name_of(procedure: u32) -> &'static str {
    match procedure {
        0 => "NULL",
        3 => "GETPORT",
        4 => "DUMP",
        _ => "?",
    }
}

/// Carries a procedure out; `port` is the one that everything is on.
pub(crate) fn call(id: u32, procedure: u32, arguments: &[u8], port: u16) -> Result<Vec<u8>, Refusal> {
    let programs =
        [(PROGRAM, VERSION), (mount::PROGRAM, mount::VERSION), (procedures::PROGRAM, procedures::VERSION)];
    let packed = match procedure {
        0 => rpc::answer(id, &Void),
        3 => {
            let asked: mapping = read(arguments)?;
            let known = asked.prot == IPPROTO_TCP && programs.contains(&(asked.prog, asked.vers));
            rpc::answer(id, &if known { u32::from(port) } else { 0 })
        }
        4 => {
            let entry = |(prog, vers)| mapping { prog, vers, prot: IPPROTO_TCP, port: u32::from(port) };
            rpc::answer(id, &List(programs.map(entry).to_vec()))
        }
        _ => return Err(Refusal::Procedure),
    };
    packed.map_err(|_| Refusal::Arguments)
}
