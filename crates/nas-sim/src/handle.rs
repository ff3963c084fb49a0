//! File handles: what a client holds in place of a path.

use nfs3_types::nfs3::{nfs_fh3, nfsstat3};
use nfs3_types::xdr_codec::Opaque;

use crate::status::Result;

/// The first bytes of every handle; the last one is the layout's version.
const MARK: [u8; 4] = *b"MLN\x01";

/// Bytes of a handle: the mark, a generation and three numbers.
const LENGTH: usize = 4 + 4 + 3 * 8;

/// A file, named so that neither a rename nor a restart of the server makes it another one.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Handle {
    /// The server's generation; handles of an earlier one are stale.
    pub(crate) generation: u32,
    /// The export, by the hash of its path.
    pub(crate) export: u64,
    /// The inode's number.
    pub(crate) inode: u64,
    /// When the inode was born, in nanoseconds: its number may be given to another file later.
    pub(crate) birth: u64,
}

impl Handle {
    /// The handle as it goes over the wire.
    pub(crate) fn encode(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(LENGTH);
        bytes.extend(MARK);
        bytes.extend(self.generation.to_be_bytes());
        for number in [self.export, self.inode, self.birth] {
            bytes.extend(number.to_be_bytes());
        }
        bytes
    }

    /// The handle as the protocol's type.
    pub(crate) fn to_fh(self) -> nfs_fh3 {
        nfs_fh3 { data: Opaque::owned(self.encode()) }
    }

    /// Reads what a client sent.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let bad = || nfsstat3::NFS3ERR_BADHANDLE;
        let rest = bytes.strip_prefix(&MARK).ok_or_else(bad)?;
        let (generation, rest) = rest.split_first_chunk::<4>().ok_or_else(bad)?;
        let (export, rest) = rest.split_first_chunk::<8>().ok_or_else(bad)?;
        let (inode, rest) = rest.split_first_chunk::<8>().ok_or_else(bad)?;
        let (birth, rest) = rest.split_first_chunk::<8>().ok_or_else(bad)?;
        if !rest.is_empty() {
            return Err(bad());
        }
        Ok(Self {
            generation: u32::from_be_bytes(*generation),
            export: u64::from_be_bytes(*export),
            inode: u64::from_be_bytes(*inode),
            birth: u64::from_be_bytes(*birth),
        })
    }
}

/// A number for a text that is the same in every process: FNV-1a.
pub(crate) fn stable_hash(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(generation: u32, export: u64, inode: u64, birth: u64) {
            let handle = Handle { generation, export, inode, birth };
            prop_assert_eq!(Handle::decode(&handle.encode()), Ok(handle));
        }

        #[test]
        fn what_nobody_encoded_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(handle) = Handle::decode(&bytes) {
                prop_assert_eq!(handle.encode(), bytes);
            }
        }
    }
}
