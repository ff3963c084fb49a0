//! From the path a client names to the path that is meant (`e2b-api.md` §9.3).

use std::path::{Component, Path, PathBuf};

use super::accounts::Account;

/// Why a path can't be used.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(crate) enum PathError {
    #[error("path {0:?} names another user's home: use ~ or ~/…")]
    ForeignHome(String),
    #[error("path {0:?} contains a null byte")]
    NullByte(String),
}

/// The absolute path meant by `path`: relative ones are below the account's home, `~` is the home, and nothing at all
/// is `workdir`, or else the home. `.` and `..` are resolved as text.
pub(crate) fn resolve(path: &str, account: &Account, workdir: Option<&Path>) -> Result<PathBuf, PathError> {
    if path.contains('\0') {
        return Err(PathError::NullByte(path.into()));
    }
    if path.is_empty() {
        return Ok(normalize(&account.home.join(workdir.unwrap_or(Path::new("")))));
    }
    let Some(below) = path.strip_prefix('~') else { return Ok(normalize(&account.home.join(path))) };
    if !below.is_empty() && !below.starts_with('/') {
        return Err(PathError::ForeignHome(path.into()));
    }
    Ok(normalize(&account.home.join(below.trim_start_matches('/'))))
}

/// `path` without `.`, `..`, doubled and trailing slashes, by its text alone.
pub(crate) fn normalize(path: &Path) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                clean.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn ada() -> Account {
        Account { name: "ada".into(), uid: 1, gid: 1, home: "/home/ada".into(), groups: vec![] }
    }

    #[rstest]
    #[case::absolute("/etc/hosts", None, "/etc/hosts")]
    #[case::dots("/a/./b/../c//d/", None, "/a/c/d")]
    #[case::above_the_root("/../../x", None, "/x")]
    #[case::relative("a/b", Some("/work"), "/home/ada/a/b")]
    #[case::home("~", None, "/home/ada")]
    #[case::below_home("~/x", None, "/home/ada/x")]
    #[case::nothing("", None, "/home/ada")]
    #[case::nothing_with_a_workdir("", Some("/work"), "/work")]
    #[case::nothing_with_a_relative_workdir("", Some("work"), "/home/ada/work")]
    fn resolved(#[case] path: &str, #[case] workdir: Option<&str>, #[case] expected: &str) {
        assert_eq!(resolve(path, &ada(), workdir.map(Path::new)), Ok(expected.into()));
    }

    #[rstest]
    #[case("~eve/x", PathError::ForeignHome("~eve/x".into()))]
    #[case("a\0b", PathError::NullByte("a\0b".into()))]
    fn refused(#[case] path: &str, #[case] expected: PathError) {
        assert_eq!(resolve(path, &ada(), None), Err(expected));
    }
}
