//! Other people's packages for a language, such as its official SDK: installed once and kept in a cache folder.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::programs::{self, Finished, Program, ProgramError};

/// Fetching packages may take this long.
const LIMIT: Duration = Duration::from_secs(300);

/// Packages that could not be installed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PackagesError {
    /// The cache folder can't be used.
    #[error("{action} {path} failed")]
    Cache {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// A program couldn't be run.
    #[error("a {language} environment with {packages} could not be made")]
    Program {
        language: &'static str,
        packages: String,
        #[source]
        source: ProgramError,
    },
    /// A program failed.
    #[error(
        "a {language} environment with {packages} could not be made, {step} ended with {exit_code}: {said}"
    )]
    Failed { language: &'static str, packages: String, step: &'static str, exit_code: i32, said: String },
}

/// A command that takes part in an installation.
pub(crate) struct Command {
    /// What an error calls it.
    pub(crate) name: &'static str,
    pub(crate) arguments: Vec<String>,
}

/// Packages of a language, and how a folder gets them.
#[derive(Clone, Copy)]
pub(crate) struct Packages {
    /// As people write it.
    pub(crate) language: &'static str,
    /// The folder's place below the cache.
    pub(crate) folder: &'static str,
    /// What is installed, pinned.
    pub(crate) pinned: &'static [&'static str],
    /// Files of ours that the folder starts with, by name.
    pub(crate) files: &'static [(&'static str, &'static str)],
    /// The commands that fill the folder.
    pub(crate) install: fn(&Path, &[&str]) -> Vec<Command>,
    /// How the names of the variables begin that tell the installer how this machine reaches its index.
    pub(crate) settings: &'static [&'static str],
}

impl Packages {
    /// The folder that has the packages, below `cache`.
    pub(crate) async fn installed(self, cache: &Path) -> Result<PathBuf, PackagesError> {
        let folder = cache.join(self.folder);
        let ready = folder.join("ready");
        let contents = self.contents();
        let is_ready = || std::fs::read_to_string(&ready).is_ok_and(|there| there == contents);
        if is_ready() {
            return Ok(folder);
        }
        let _lock = lock(&folder).await?;
        if !is_ready() {
            self.make(&folder).await?;
            std::fs::write(&ready, &contents).map_err(failed("write", &ready))?;
        }
        Ok(folder)
    }

    /// What makes one folder differ from another, so that one of an older Mountlab isn't taken for ours.
    fn contents(self) -> String {
        let files = self.files.iter().map(|(_, text)| *text);
        self.pinned.iter().copied().chain(files).collect::<Vec<_>>().join("\n")
    }

    async fn make(self, folder: &Path) -> Result<(), PackagesError> {
        let language = self.language;
        // It may have the rests of an attempt that was cut short.
        if folder.exists() {
            std::fs::remove_dir_all(folder).map_err(failed("remove", folder))?;
        }
        std::fs::create_dir_all(folder).map_err(failed("make folder", folder))?;
        for (name, text) in self.files {
            let path = folder.join(name);
            std::fs::write(&path, text).map_err(failed("write", &path))?;
        }
        for Command { name: step, arguments } in (self.install)(folder, self.pinned) {
            let packages = self.pinned.join(" and ");
            let program = Program { arguments, environment: self.reaches_out(), stdin: None, limit: LIMIT };
            let Finished { exit_code, stderr, .. } = programs::run(&program)
                .await
                .map_err(|source| PackagesError::Program { language, packages: packages.clone(), source })?;
            if exit_code != 0 {
                let said = stderr.trim_end().to_owned();
                return Err(PackagesError::Failed { language, packages, step, exit_code, said });
            }
        }
        Ok(())
    }

    /// How this machine reaches the index: the installer's own settings, and proxies.
    fn reaches_out(self) -> Vec<(String, String)> {
        let wanted = |name: &str| {
            let name = name.to_ascii_uppercase();
            self.settings.iter().any(|start| name.starts_with(start)) || name.ends_with("_PROXY")
        };
        std::env::vars().filter(|(name, _)| wanted(name)).collect()
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> PackagesError + use<> {
    let path = path.to_owned();
    move |source| PackagesError::Cache { action, path, source }
}

/// Keeps two runs from filling the same folder at once; released when the file is closed.
async fn lock(folder: &Path) -> Result<File, PackagesError> {
    let parent = folder.parent().unwrap_or(folder).to_owned();
    std::fs::create_dir_all(&parent).map_err(failed("make folder", &parent))?;
    let path = folder.with_extension("lock");
    let file = File::create(&path).map_err(failed("open", &path))?;
    let waiting = tokio::task::spawn_blocking(move || file.lock().map(|()| file));
    match waiting.await {
        Ok(locked) => locked.map_err(failed("lock", &path)),
        Err(error) => Err(failed("lock", &path)(std::io::Error::other(error))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(install: fn(&Path, &[&str]) -> Vec<Command>) -> Packages {
        Packages {
            language: "Test",
            folder: "test/one-1.0",
            pinned: &["one==1.0"],
            files: &[("start.txt", "ours\n")],
            install,
            settings: &["TEST_"],
        }
    }

    fn shell(name: &'static str, line: &str, folder: &Path) -> Command {
        let folder = folder.display().to_string();
        Command { name, arguments: ["sh", "-c", line, "sh", &folder].map(str::to_owned).to_vec() }
    }

    fn adds_a_line(folder: &Path, pinned: &[&str]) -> Vec<Command> {
        let line =
            format!("cd \"$1\" && cat start.txt >> installed && echo {} >> installed", pinned.join(" "));
        vec![shell("install", &line, folder)]
    }

    #[tokio::test]
    async fn several_runs_at_once_install_once() {
        let cache = tempfile::tempdir().expect("a folder");
        let packages = with(adds_a_line);
        let results = tokio::join!(packages.installed(cache.path()), packages.installed(cache.path()));
        let folder = results.0.expect("installed");
        assert_eq!(results.1.expect("installed"), folder);
        assert_eq!(packages.installed(cache.path()).await.expect("there"), folder);
        assert_eq!(folder, cache.path().join("test/one-1.0"));
        let installed = std::fs::read_to_string(folder.join("installed")).expect("a file");
        assert_eq!(installed, "ours\none==1.0\n");
    }

    #[tokio::test]
    async fn what_an_older_version_installed_is_replaced() {
        let cache = tempfile::tempdir().expect("a folder");
        let older = Packages { files: &[("start.txt", "older\n"), ("other.txt", "")], ..with(adds_a_line) };
        let folder = older.installed(cache.path()).await.expect("installed");
        with(adds_a_line).installed(cache.path()).await.expect("installed");
        let installed = std::fs::read_to_string(folder.join("installed")).expect("a file");
        assert_eq!(installed, "ours\none==1.0\n");
        assert!(!folder.join("other.txt").exists());
    }

    #[tokio::test]
    async fn an_installation_that_fails_is_told_and_tried_again() {
        let cache = tempfile::tempdir().expect("a folder");
        let packages = with(|folder, _| {
            let line = "test -e \"$1.tried\" || { touch \"$1.tried\"; echo no such package >&2; exit 3; }";
            vec![shell("fetch", line, folder)]
        });
        let error = packages.installed(cache.path()).await.expect_err("a failure");
        let expected =
            "a Test environment with one==1.0 could not be made, fetch ended with 3: no such package";
        assert_eq!(error.to_string(), expected);
        packages.installed(cache.path()).await.expect("the second attempt");
    }

    #[tokio::test]
    async fn an_installer_that_is_not_there_is_named() {
        let cache = tempfile::tempdir().expect("a folder");
        let packages =
            with(|_, _| vec![Command { name: "install", arguments: vec!["no-such-installer".to_owned()] }]);
        let error = packages.installed(cache.path()).await.expect_err("a failure");
        assert_eq!(error.to_string(), "a Test environment with one==1.0 could not be made");
        let cause = std::error::Error::source(&error).expect("a cause").to_string();
        assert_eq!(cause, "no-such-installer can't be started");
    }
}
