//! What NFS-Ganesha offers, and how its configuration says so.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use lab::{ExportAccess, ExportOptions, Squash};

use crate::KindError;

/// The folder of the container below which the files of all exports are: `/share` is `/exports/share` there.
pub const EXPORTS: &str = "/exports";

/// The path by which this machine, and nobody else, mounts [`EXPORTS`]: as root, whatever the rules of exports below are.
pub const ADMINISTRATION: &str = "/administration";

/// A folder that clients can mount.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NfsExport {
    /// Its path as clients know it, such as `/share`: absolute, without `.`, `..`, quotes or control characters.
    pub path: String,
    /// What clients may do, and whose rights they have. A capacity is not enforced.
    pub options: ExportOptions,
}

/// What is offered. File handles have the number of their export in them, so an export keeps its number.
#[derive(Debug)]
pub(crate) struct Offered {
    pub(crate) exports: BTreeMap<String, (u16, NfsExport)>,
    /// The last number that was given.
    pub(crate) last: u16,
}

/// The first number that an export gets; 0 is the root of version 4, which is off, 1 that of [`ADMINISTRATION`].
const FIRST: u16 = 2;

impl Offered {
    /// Nothing yet. What an earlier process has offered has other numbers, as far as chance goes: the server takes no
    /// folder for an export of another number.
    pub(crate) fn nothing() -> Self {
        Self { exports: BTreeMap::new(), last: rand::random_range(FIRST..u16::MAX / 2) }
    }

    /// A number that no export has.
    pub(crate) fn next(&mut self) -> u16 {
        loop {
            self.last = if self.last == u16::MAX { FIRST } else { self.last + 1 };
            if !self.exports.values().any(|(taken, _)| *taken == self.last) {
                return self.last;
            }
        }
    }

    /// NFS-Ganesha's configuration. The administrator's export and `mark`, which stands last, are for one client.
    pub(crate) fn render(&self, (mark, mark_path): &(u16, String), administrator: &str) -> String {
        let mut text = String::new();
        let client = format!(
            "  CLIENT {{ Clients = {administrator}; Protocols = 3; Access_Type = RW; Squash = No_Root_Squash; }}\n"
        );
        block(&mut text, 1, "", ADMINISTRATION, ("None", "No_Root_Squash"), &client);
        for (number, export) in self.exports.values() {
            let access = match export.options.access {
                ExportAccess::Refused => "None",
                ExportAccess::ReadOnly => "RO",
                ExportAccess::ReadWrite => "RW",
            };
            let squash = match export.options.squash {
                Squash::None => "No_Root_Squash",
                Squash::Root => "Root_Squash",
                Squash::All => "All_Squash",
            };
            block(&mut text, *number, &export.path, &export.path, (access, squash), "");
        }
        block(&mut text, *mark, "", mark_path, ("None", "No_Root_Squash"), &client);
        text
    }
}

fn block(
    text: &mut String,
    number: u16,
    folder: &str,
    path: &str,
    (access, squash): (&str, &str),
    more: &str,
) {
    writeln!(
        text,
        "EXPORT {{\n  Export_Id = {number};\n  Path = \"{EXPORTS}{folder}\";\n  Pseudo = \"{path}\";\n  \
         Access_Type = {access};\n  Squash = {squash};\n  Anonymous_Uid = 65534;\n  Anonymous_Gid = 65534;\n  \
         SecType = sys;\n  Protocols = 3;\n  Transports = TCP, UDP;\n  PrivilegedPort = false;\n  \
         FSAL {{ Name = VFS; }}\n{more}}}",
    )
    .unwrap_or_default();
}

/// Whether a folder can have this path, and the configuration too.
pub(crate) fn check(path: &str) -> Result<(), KindError> {
    let clean = path.strip_prefix('/').is_some_and(|rest| {
        rest.split('/').all(|part| !matches!(part, "" | "." | ".."))
            && !path.chars().any(|char| char.is_control() || matches!(char, '"' | '\\' | '%'))
    });
    if clean {
        Ok(())
    } else {
        Err(KindError::program(format!("offering {path:?}"), "no folder has such a path"))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn export(path: &str) -> NfsExport {
        NfsExport { path: path.into(), options: ExportOptions::default() }
    }

    #[test]
    fn clients_name_an_export_by_its_own_path() {
        let options =
            ExportOptions { access: ExportAccess::ReadOnly, squash: Squash::All, ..ExportOptions::default() };
        let read_only = NfsExport { options, ..export("/other/deep") };
        let exports = [(7, export("/share")), (9, read_only)];
        let exports = exports.map(|(number, export)| (export.path.clone(), (number, export))).into();
        let offered = Offered { exports, last: 12 };
        let text = offered.render(&(12, "/reading-12".to_owned()), "172.18.0.1");
        for part in [
            "Export_Id = 7;\n  Path = \"/exports/share\";\n  Pseudo = \"/share\";\n  Access_Type = RW;\n  Squash = No_Root_Squash;",
            "Export_Id = 9;\n  Path = \"/exports/other/deep\";\n  Pseudo = \"/other/deep\";\n  Access_Type = RO;\n  Squash = All_Squash;",
            "Export_Id = 1;\n  Path = \"/exports\";\n  Pseudo = \"/administration\";\n  Access_Type = None;",
            "CLIENT { Clients = 172.18.0.1; Protocols = 3; Access_Type = RW; Squash = No_Root_Squash; }",
        ] {
            assert!(text.contains(part), "{text}");
        }
        let last = text.rsplit("EXPORT {").next().unwrap_or_default();
        assert!(last.contains("Pseudo = \"/reading-12\"") && last.contains("Access_Type = None"), "{last}");
    }

    #[test]
    fn an_export_keeps_its_number_and_no_other_gets_it() {
        let exports =
            [("/a".to_owned(), (u16::MAX, export("/a"))), ("/b".to_owned(), (3, export("/b")))].into();
        let mut offered = Offered { exports, last: u16::MAX - 1 };
        assert_eq!([offered.next(), offered.next(), offered.next()], [2, 4, 5]);
    }

    #[rstest]
    #[case("share")]
    #[case("/")]
    #[case("/a/../b")]
    #[case("/a//b")]
    #[case("/a\";}")]
    #[case("/a\nb")]
    fn what_is_no_path_is_refused(#[case] path: &str) {
        assert!(check(path).is_err());
    }
}
