//! Which user and group ids exist inside an enclosure that was made without root.
//!
//! With `newuidmap` and a range in `/etc/subuid`, root inside is the caller and ids from 1 on are the range, so that
//! uid 1000 exists. Without them only root exists: a container cannot run as another user then, and every file of
//! the machine that isn't the caller's own seems to belong to nobody.

use std::fs;
use std::path::Path;
use std::process::Command;

/// Which ids exist inside.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Identities {
    /// The enclosure was made by root; all ids of the machine exist.
    Machine,
    /// The caller is root inside, and a range of subordinate ids stands for 1 and up.
    Ranges,
    /// The caller is root inside and there is nobody else; running as another user fails.
    OnlyRoot,
}

impl Identities {
    pub(super) fn code(self) -> &'static str {
        match self {
            Self::Machine => "machine",
            Self::Ranges => "ranges",
            Self::OnlyRoot => "only-root",
        }
    }

    pub(super) fn from_code(code: &str) -> Option<Self> {
        [Self::Machine, Self::Ranges, Self::OnlyRoot].into_iter().find(|kind| kind.code() == code)
    }
}

/// Ids 1 to this one must exist for a range to be worth mapping: uid 1000 is the sandbox user.
const FEWEST: u32 = 1000;

/// Writes the maps of process `pid`, which has just made its user namespace.
pub(super) fn map(pid: u32) -> Result<Identities, String> {
    let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let names = [
        nix::unistd::User::from_uid(user.into()).ok().flatten().map(|user| user.name),
        Some(user.to_string()),
    ];
    let range = |file: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        names.iter().flatten().find_map(|name| subordinate_range(&text, name))
    };
    if let (Some(users), Some(groups)) = (range("/etc/subuid"), range("/etc/subgid"))
        && run_mapper("newuidmap", pid, user, users).is_ok()
    {
        run_mapper("newgidmap", pid, group, groups)?;
        return Ok(Identities::Ranges);
    }
    let write = |file: &str, text: String| {
        let path = format!("/proc/{pid}/{file}");
        fs::write(&path, text).map_err(|error| format!("writing {path}: {error}"))
    };
    write("uid_map", format!("0 {user} 1\n"))?;
    write("setgroups", "deny\n".into())?;
    write("gid_map", format!("0 {group} 1\n"))?;
    Ok(Identities::OnlyRoot)
}

fn run_mapper(program: &str, pid: u32, own: u32, (first, count): (u32, u32)) -> Result<(), String> {
    let candidates = ["/usr/bin", "/bin", "/usr/local/bin", "/usr/sbin"];
    let path = candidates
        .iter()
        .map(|folder| Path::new(folder).join(program))
        .find(|path| path.exists())
        .ok_or_else(|| format!("{program} is not installed"))?;
    let numbers = [pid, 0, own, 1, 1, first, count].map(|number| number.to_string());
    let output = Command::new(path).args(numbers).output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

/// The first range of `/etc/subuid`'s text that belongs to `owner` and is long enough: its start and length.
fn subordinate_range(text: &str, owner: &str) -> Option<(u32, u32)> {
    text.lines().find_map(|line| {
        let mut fields = line.trim().split(':');
        let (name, first, count) = (fields.next()?, fields.next()?, fields.next()?);
        let (first, count) = (first.parse().ok()?, count.parse().ok()?);
        (name == owner && count >= FEWEST).then_some((first, count))
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("ada:100000:65536\n", "ada", Some((100_000, 65536)))]
    #[case("bob:100000:65536\nada:165536:65536\n", "ada", Some((165_536, 65536)))]
    #[case("ada:100000:10\n", "ada", None)]
    #[case("ada:x:65536\n", "ada", None)]
    #[case("", "ada", None)]
    fn subordinate_ranges(#[case] text: &str, #[case] owner: &str, #[case] expected: Option<(u32, u32)>) {
        assert_eq!(subordinate_range(text, owner), expected);
    }

    #[test]
    fn codes_are_read_back() {
        for kind in [Identities::Machine, Identities::Ranges, Identities::OnlyRoot] {
            assert_eq!(Identities::from_code(kind.code()), Some(kind));
        }
        assert_eq!(Identities::from_code("else"), None);
    }
}
