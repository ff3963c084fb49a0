//! Telling network file systems from local ones, by the file system's magic number.

use std::path::Path;

use crate::envd::connect::{Code, RpcError};

const FUSE: i64 = 0x6573_5546;
const NFS: i64 = 0x6969;
const SMB: i64 = 0x517b;
const SMB2: i64 = 0xfe53_4d42;
const CIFS: i64 = 0xff53_4d42;

/// Refuses a directory on a network file system: changes made by others cause no events there.
pub(super) fn refuse(path: &Path) -> Result<(), RpcError> {
    let what = format!("cannot tell the file system of {}", path.display());
    let found = rustix::fs::statfs(path).map_err(|errno| RpcError::from_io(&what, &errno.into()))?;
    if is_network(found.f_type) {
        let text =
            format!("cannot watch {}: it is on a network mount; allow network mounts to try", path.display());
        return Err(RpcError::new(Code::InvalidArgument, text));
    }
    Ok(())
}

fn is_network(magic: i64) -> bool {
    // The field is signed on some machines, and the larger numbers are negative in 32 bits.
    [FUSE, NFS, SMB, SMB2, CIFS].contains(&(magic & 0xffff_ffff))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::fuse(0x6573_5546, true)]
    #[case::nfs(0x6969, true)]
    #[case::cifs_as_negative(-0x00ac_b2be, true)]
    #[case::overlay(0x794c_7630, false)]
    #[case::tmpfs(0x0102_1994, false)]
    fn magic_numbers(#[case] magic: i64, #[case] expected: bool) {
        assert_eq!(is_network(magic), expected);
    }
}
