//! The container's own user accounts, read from `passwd` and `group` at every use: commands may change them.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

/// The first id that is tried for a new account.
const FIRST_ID: u32 = 1000;

/// A user of the container.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) home: PathBuf,
    /// All groups, the main one included.
    pub(crate) groups: Vec<u32>,
}

/// The folder with `passwd` and `group`.
#[derive(Clone, Debug)]
pub(crate) struct Accounts {
    directory: PathBuf,
}

struct Line<'a> {
    name: &'a str,
    id: u32,
    rest: Vec<&'a str>,
}

fn parse(line: &str) -> Option<Line<'_>> {
    let mut fields = line.split(':');
    let (name, _password, id) = (fields.next()?, fields.next()?, fields.next()?.parse().ok()?);
    Some(Line { name, id, rest: fields.collect() })
}

impl Accounts {
    /// Accounts as described in `directory`, which is `/etc` outside tests.
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    fn read(&self, file: &str) -> io::Result<String> {
        match fs::read_to_string(self.directory.join(file)) {
            Err(problem) if problem.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            outcome => outcome,
        }
    }

    /// The account called `name`, if there is one.
    pub(crate) fn find(&self, name: &str) -> io::Result<Option<Account>> {
        self.search(|line| line.name == name)
    }

    /// The account with the number `uid`, if there is one.
    pub(crate) fn find_uid(&self, uid: u32) -> io::Result<Option<Account>> {
        self.search(|line| line.id == uid)
    }

    fn search(&self, wanted: impl Fn(&Line<'_>) -> bool) -> io::Result<Option<Account>> {
        let users = self.read("passwd")?;
        let Some(line) = users.lines().filter_map(parse).find(wanted) else { return Ok(None) };
        let Some(gid) = line.rest.first().and_then(|gid| gid.parse().ok()) else { return Ok(None) };
        let home = line.rest.get(2).filter(|home| !home.is_empty()).map_or("/", |home| *home);
        Ok(Some(Account {
            name: line.name.to_owned(),
            uid: line.id,
            gid,
            home: home.into(),
            groups: self.groups_of(line.name, gid)?,
        }))
    }

    fn groups_of(&self, name: &str, main: u32) -> io::Result<Vec<u32>> {
        let groups = self.read("group")?;
        let others = groups.lines().filter_map(parse).filter(|group| {
            group.id != main
                && group.rest.first().is_some_and(|members| members.split(',').any(|member| member == name))
        });
        Ok(std::iter::once(main).chain(others.map(|group| group.id)).collect())
    }

    /// The name of the user with the number `uid`, or the number itself.
    pub(crate) fn user_name(&self, uid: u32) -> String {
        self.name_in("passwd", uid)
    }

    /// The name of the group with the number `gid`, or the number itself.
    pub(crate) fn group_name(&self, gid: u32) -> String {
        self.name_in("group", gid)
    }

    fn name_in(&self, file: &str, id: u32) -> String {
        let text = self.read(file).unwrap_or_default();
        let found = text.lines().filter_map(parse).find(|line| line.id == id);
        found.map_or_else(|| id.to_string(), |line| line.name.to_owned())
    }

    /// Makes the account `name` with the home folder `home` if it is missing. It may become root through sudo without
    /// a password, where sudo is installed.
    pub(crate) fn ensure(&self, name: &str, home: &Path) -> io::Result<()> {
        let account = match self.find(name)? {
            Some(account) => account,
            None => self.add(name, home)?,
        };
        if !account.home.exists() {
            fs::create_dir_all(&account.home)?;
            chown(&account.home, Some(account.uid), Some(account.gid))?;
        }
        Ok(())
    }

    fn add(&self, name: &str, home: &Path) -> io::Result<Account> {
        let id = self.free_id()?;
        let home_text = home.display();
        self.append("group", &format!("{name}:x:{id}:\n"))?;
        self.append("passwd", &format!("{name}:x:{id}:{id}::{home_text}:/bin/bash\n"))?;
        let rules = self.directory.join("sudoers.d");
        if rules.is_dir() {
            let rule = rules.join(name);
            fs::write(&rule, format!("{name} ALL=(ALL:ALL) NOPASSWD: ALL\n"))?;
            fs::set_permissions(&rule, Permissions::from_mode(0o440))?;
        }
        Ok(Account { name: name.into(), uid: id, gid: id, home: home.into(), groups: vec![id] })
    }

    fn append(&self, file: &str, line: &str) -> io::Result<()> {
        let before = self.read(file)?;
        let separator = if before.is_empty() || before.ends_with('\n') { "" } else { "\n" };
        let mut output = OpenOptions::new().append(true).create(true).open(self.directory.join(file))?;
        output.write_all(format!("{separator}{line}").as_bytes())
    }

    /// The first number from [`FIRST_ID`] that no user and no group has. In a user namespace that maps only one user
    /// nobody else can exist, so that an account there is another name of that one.
    fn free_id(&self) -> io::Result<u32> {
        if !is_mapped(&fs::read_to_string("/proc/self/uid_map").unwrap_or_default(), FIRST_ID) {
            return Ok(0);
        }
        let (users, groups) = (self.read("passwd")?, self.read("group")?);
        let taken = users.lines().chain(groups.lines()).filter_map(parse).map(|line| line.id);
        let taken = taken.collect::<std::collections::BTreeSet<_>>();
        Ok((FIRST_ID..u32::MAX).find(|id| !taken.contains(id)).unwrap_or(FIRST_ID))
    }
}

/// Whether `map`, the text of a `uid_map`, has a user `id`. An unreadable map maps everybody.
fn is_mapped(map: &str, id: u32) -> bool {
    let mut ranges = map.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let first = words.next()?.parse::<u64>().ok()?;
        let length = words.nth(1)?.parse::<u64>().ok()?;
        Some(first..first.saturating_add(length))
    });
    map.trim().is_empty() || ranges.any(|range| range.contains(&u64::from(id)))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn accounts(users: &str, groups: &str) -> (tempfile::TempDir, Accounts) {
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join("passwd"), users).expect("written");
        fs::write(directory.path().join("group"), groups).expect("written");
        let accounts = Accounts::new(directory.path().to_owned());
        (directory, accounts)
    }

    #[test]
    fn an_account_has_its_groups() {
        let (_directory, accounts) = accounts(
            "root:x:0:0:root:/root:/bin/bash\nada:x:1001:1002::/home/ada:/bin/sh\nbroken\n",
            "root:x:0:\nada:x:1002:\nwheel:x:10:root,ada\naudio:x:29:adam\n",
        );
        let ada = accounts.find("ada").expect("readable").expect("there");
        assert_eq!((ada.uid, ada.gid, ada.groups), (1001, 1002, vec![1002, 10]));
        assert_eq!(accounts.find("eve").expect("readable"), None);
        assert_eq!(accounts.user_name(1001), "ada");
        assert_eq!(accounts.user_name(4000), "4000");
        assert_eq!(accounts.group_name(10), "wheel");
    }

    #[test]
    fn a_missing_account_is_made_once_with_its_home_and_sudo() {
        let (directory, accounts) =
            accounts("root:x:0:0::/root:/bin/sh\nada:x:1000:1000::/:/bin/sh", "ada:x:1000:\n");
        let home = directory.path().join("home/user");
        fs::create_dir(directory.path().join("sudoers.d")).expect("made");
        for _ in 0..2 {
            accounts.ensure("user", &home).expect("made");
        }
        let user = accounts.find("user").expect("readable").expect("there");
        assert_eq!((user.uid, user.gid, user.home.as_path()), (1001, 1001, home.as_path()));
        assert!(home.is_dir());
        let users = fs::read_to_string(directory.path().join("passwd")).expect("readable");
        assert_eq!(users.matches("\nuser:").count(), 1);
        assert!(directory.path().join("sudoers.d/user").exists());
    }

    #[rstest]
    #[case::everybody("         0          0 4294967295\n", true)]
    #[case::one("         0       1000          1\n", false)]
    #[case::two_ranges("0 1000 1\n1 100000 65536\n", true)]
    #[case::unreadable("", true)]
    fn a_user_namespace_limits_who_can_exist(#[case] map: &str, #[case] expected: bool) {
        assert_eq!(is_mapped(map, FIRST_ID), expected);
    }
}
