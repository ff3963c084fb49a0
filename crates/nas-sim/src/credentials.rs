//! Who asks, and what the modes of files let them do.

use rustix::fs::{FileType, Statx};

use crate::attributes::file_type;

/// The account that squashed users act as: `nobody`.
pub(crate) const NOBODY: u32 = 65534;

/// A user with their groups.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Credentials {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
}

/// What somebody wants to do with a file; several can be asked at once.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Wish(u32);

impl Wish {
    pub(crate) const READ: Self = Self(0o4);
    pub(crate) const WRITE: Self = Self(0o2);
    pub(crate) const EXECUTE: Self = Self(0o1);
    /// Change a directory's entries.
    pub(crate) const CHANGE_ENTRIES: Self = Self(0o3);
}

impl Credentials {
    /// Whoever sends no credentials.
    pub(crate) fn nobody() -> Self {
        Self { uid: NOBODY, gid: NOBODY, groups: Vec::new() }
    }

    pub(crate) fn is_root(&self) -> bool {
        self.uid == 0
    }

    pub(crate) fn is_member(&self, gid: u32) -> bool {
        self.gid == gid || self.groups.contains(&gid)
    }

    pub(crate) fn owns(&self, file: &Statx) -> bool {
        self.is_root() || self.uid == file.stx_uid
    }

    /// Whether the file's mode lets them do it.
    pub(crate) fn may(&self, wish: Wish, file: &Statx) -> bool {
        let mode = u32::from(file.stx_mode);
        if self.is_root() {
            let executable = mode & 0o111 != 0 || file_type(file) == FileType::Directory;
            return wish.0 & Wish::EXECUTE.0 == 0 || executable;
        }
        let granted = if self.uid == file.stx_uid {
            mode >> 6
        } else if self.is_member(file.stx_gid) {
            mode >> 3
        } else {
            mode
        };
        granted & wish.0 == wish.0
    }

    /// The same for the contents of a file that may be open already: NFSv3 has no open, so who owns a file may read
    /// and write it whatever its mode has become since, and who may run a file may read it.
    pub(crate) fn may_use(&self, wish: Wish, file: &Statx) -> bool {
        self.owns(file) || self.may(wish, file) || (wish == Wish::READ && self.may(Wish::EXECUTE, file))
    }

    /// Whether they may take `entry` out of `directory`, as far as its sticky bit says.
    pub(crate) fn may_remove(&self, entry: &Statx, directory: &Statx) -> bool {
        u32::from(directory.stx_mode) & 0o1000 == 0 || self.owns(entry) || self.owns(directory)
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use rstest::rstest;
    use rustix::fs::{AtFlags, Mode, StatxFlags};

    use super::*;

    fn file_of_root_with(mode: u32) -> Statx {
        let file = tempfile::tempfile().expect("a file");
        rustix::fs::fchmod(&file, Mode::from_raw_mode(mode)).expect("a mode");
        let flags = AtFlags::EMPTY_PATH;
        let mut stat =
            rustix::fs::statx(file.as_fd(), "", flags, StatxFlags::BASIC_STATS).expect("attributes");
        (stat.stx_uid, stat.stx_gid) = (0, 50);
        stat
    }

    #[rstest]
    #[case(0o644, 1000, &[], Wish::READ, true)]
    #[case(0o640, 1000, &[], Wish::READ, false)]
    #[case(0o640, 1000, &[50], Wish::READ, true)]
    #[case(0o604, 1000, &[50], Wish::READ, false)]
    #[case(0o644, 1000, &[], Wish::WRITE, false)]
    #[case(0o000, 0, &[], Wish::WRITE, true)]
    #[case(0o644, 0, &[], Wish::EXECUTE, false)]
    #[case(0o722, 1000, &[], Wish::CHANGE_ENTRIES, false)]
    fn modes_decide(
        #[case] mode: u32,
        #[case] uid: u32,
        #[case] groups: &[u32],
        #[case] wish: Wish,
        #[case] expected: bool,
    ) {
        let credentials = Credentials { uid, gid: uid, groups: groups.to_vec() };
        assert_eq!(credentials.may(wish, &file_of_root_with(mode)), expected);
    }
}
