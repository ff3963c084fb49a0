//! The Go of this machine, or a newer one that it fetches.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::go::GoFolders;
use crate::KindError;
use crate::command::{Run, find};

/// The oldest Go that builds everything.
pub(crate) const GO: &str = "1.24.6";
/// The oldest Go that fetches a newer one by itself. For an older one (Debian 12 has 1.19) we do, in the same way:
/// a toolchain is a module.
const GO_THAT_FETCHES: (u32, u32) = (1, 21);
/// The oldest Go that knows modules well enough for that.
const GO_OLDEST: (u32, u32) = (1, 16);
/// How long a build may take: Kubernetes needs eight minutes of two processors that have nothing else to do.
const BUILD_DEADLINE: Duration = Duration::from_secs(3600);

/// A Go.
#[derive(Clone, Debug)]
pub(crate) struct Toolchain {
    go: PathBuf,
    /// Its version as it says it, such as `go1.26.8`.
    pub(crate) version: String,
}

impl Toolchain {
    /// Finds the one of this machine.
    pub(crate) async fn search() -> Result<Self, KindError> {
        const REMEDY: &str = "install it (Debian, Ubuntu: apt-get install golang-go)";
        let go =
            find("go").or_else(|| Some(PathBuf::from("/usr/local/go/bin/go")).filter(|path| path.is_file()));
        let go = go.ok_or_else(|| KindError::machine("there is no Go on this machine", REMEDY))?;
        let said = Run::new("asking Go for its version", &go).args(["env", "GOVERSION"]).output().await?;
        let version = said.trim().to_owned();
        if parse_version(&version).is_some_and(|found| found < GO_OLDEST) {
            return Err(KindError::machine(format!("Go is too old: {version}"), REMEDY));
        }
        Ok(Self { go, version })
    }

    /// One that builds everything: this one, or one that it fetches now.
    pub(crate) async fn ready(self, folders: &GoFolders) -> Result<Self, KindError> {
        if parse_version(&self.version).is_none_or(|found| found >= GO_THAT_FETCHES) {
            return Ok(self);
        }
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let action = format!("fetching Go {GO}");
        let said = self
            .command(folders, &action)
            .args(["mod", "download", "-json"])
            .args([format!("golang.org/toolchain@v0.0.1-go{GO}.linux-{architecture}")])
            .output()
            .await?;
        let folder = serde_json::from_str::<Value>(&said)
            .ok()
            .and_then(|answer| answer["Dir"].as_str().map(PathBuf::from))
            .ok_or_else(|| KindError::program(action, "Go did not say where it is"))?;
        // Modules hold no programs, as far as a Go that old knows.
        make_executable(&folder.join("bin"))?;
        make_executable(&folder.join("pkg/tool"))?;
        Ok(Self { go: folder.join("bin/go"), version: format!("go{GO}") })
    }

    /// As in `GOTOOLCHAIN`: this one if it is new enough, else the pinned one; a newer one where a module asks for it.
    fn choice(&self) -> String {
        let pinned = parse_version(&format!("go{GO}"));
        match parse_version(&self.version) {
            Some(found) if Some(found) < pinned => format!("go{GO}+auto"),
            _ => "auto".to_owned(),
        }
    }

    /// A command of it that says nothing to, and takes nothing from, the user's own settings for builds.
    pub(crate) fn command(&self, folders: &GoFolders, action: &str) -> Run {
        Run::new(action, &self.go)
            .env("GOTOOLCHAIN", self.choice())
            .env("GOCACHE", folders.build.as_os_str())
            .env("GOMODCACHE", folders.modules.as_os_str())
            .env("CGO_ENABLED", "0")
            .env("GOWORK", "off")
            // Modules that can be removed again without changing modes first.
            .env("GOFLAGS", "-modcacherw -buildvcs=false")
            .directory(&folders.work)
            .within("deadline of a Go build", BUILD_DEADLINE)
    }
}

/// Gives everybody the right to run what is in a folder and below.
fn make_executable(folder: &Path) -> Result<(), KindError> {
    for entry in fs::read_dir(folder).map_err(KindError::io("reading", folder))? {
        let path = entry.map_err(KindError::io("reading", folder))?.path();
        if path.is_dir() {
            make_executable(&path)?;
        } else {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
                .map_err(KindError::io("setting the mode of", &path))?;
        }
    }
    Ok(())
}

/// `go1.26.8`, `go1.19`: major and minor. A development version has none and is taken as it is.
fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.strip_prefix("go")?.split('.');
    let major = parts.next()?.parse().ok()?;
    let minor = parts.next()?.split(|char: char| !char.is_ascii_digit()).next()?.parse().ok()?;
    Some((major, minor))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("go1.26.8", Some((1, 26)))]
    #[case("go1.19", Some((1, 19)))]
    #[case("go1.24rc1", Some((1, 24)))]
    #[case("devel +abc", None)]
    fn versions_are_read(#[case] text: &str, #[case] expected: Option<(u32, u32)>) {
        assert_eq!(parse_version(text), expected);
    }

    #[rstest]
    #[case("go1.26.8", "auto")]
    #[case("go1.24.6", "auto")]
    #[case("go1.22.1", "go1.24.6+auto")]
    fn a_go_that_is_new_enough_is_used(#[case] version: &str, #[case] expected: &str) {
        let toolchain = Toolchain { go: "go".into(), version: version.to_owned() };
        assert_eq!(toolchain.choice(), expected);
    }

    #[test]
    fn a_fetched_go_can_be_run() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("tool/linux/compile");
        fs::create_dir_all(program.parent().unwrap()).unwrap();
        fs::write(&program, "").unwrap();
        make_executable(&folder.path().join("tool")).unwrap();
        assert_eq!(fs::metadata(program).unwrap().permissions().mode() & 0o111, 0o111);
    }
}
