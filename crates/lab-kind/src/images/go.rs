//! Programs built from Go modules, each once.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex;

use super::toolchain::{GO, Toolchain};
use crate::observer::{Observer, Step};
use crate::versions::{GO_PROGRAMS, GoProgram, KUBERNETES};
use crate::{Folders, KindError};

/// The module below `kind/kubernetes`.
const MODULE: [(&str, &str); 3] = [
    ("go.mod", include_str!("../../../../kind/kubernetes/go.mod")),
    ("go.sum", include_str!("../../../../kind/kubernetes/go.sum")),
    ("programs.go", include_str!("../../../../kind/kubernetes/programs.go")),
];

/// What builds leave behind, to be removed when nothing is left to build.
#[derive(Clone, Debug)]
pub(crate) struct GoFolders {
    root: PathBuf,
    pub(crate) build: PathBuf,
    pub(crate) modules: PathBuf,
    pub(crate) work: PathBuf,
}

/// The programs of the cache.
pub(crate) struct GoBuilds<'a> {
    folders: &'a Folders,
    observer: &'a dyn Observer,
    /// One build at a time: each uses all processors.
    turn: Mutex<()>,
}

impl<'a> GoBuilds<'a> {
    pub(crate) fn new(folders: &'a Folders, observer: &'a dyn Observer) -> Self {
        Self { folders, observer, turn: Mutex::new(()) }
    }

    /// What names the content of a program that is built by name.
    pub(crate) fn key(program: &GoProgram) -> String {
        key(&["by name", program.package, program.version])
    }

    /// What names the content of the Kubernetes programs.
    pub(crate) fn kubernetes_key() -> String {
        let parts: Vec<&str> =
            MODULE.iter().flat_map(|(name, text)| [*name, *text]).chain([KUBERNETES]).collect();
        key(&parts)
    }

    /// Where a program is, or will be.
    pub(crate) fn place(&self, name: &str, key: &str) -> PathBuf {
        self.folders.root().join("programs").join(format!("{name}-{key}"))
    }

    /// A program of [`GO_PROGRAMS`], built now if it isn't there.
    pub(crate) async fn by_name(&self, name: &str) -> Result<PathBuf, KindError> {
        let program = GO_PROGRAMS
            .iter()
            .find(|program| program.name == name)
            .ok_or_else(|| KindError::program(format!("building {name}"), "no Go module is known for it"))?;
        let place = self.place(name, &Self::key(program));
        let _turn = self.turn.lock().await;
        if place.is_file() {
            return Ok(place);
        }
        let step = Step::begin(self.observer, format!("building {name} {}", program.version));
        let folders = self.go_folders()?;
        let toolchain = Toolchain::search().await?.ready(&folders).await?;
        let out = folders.out()?;
        toolchain
            .command(&folders, &format!("building {name}"))
            .env("GOBIN", out.path())
            .args(["install", "-trimpath", "-ldflags", "-s -w"])
            .args([format!("{}@{}", program.package, program.version)])
            .follow(&step, &self.folders.log(step.name())?)
            .await?;
        keep(&out.path().join(name), &place)?;
        step.done();
        Ok(place)
    }

    /// Kubernetes programs, those that aren't there built now.
    pub(crate) async fn kubernetes(&self, names: &[&str]) -> Result<Vec<(String, PathBuf)>, KindError> {
        let key = Self::kubernetes_key();
        let places: Vec<(String, PathBuf)> =
            names.iter().map(|name| ((*name).to_owned(), self.place(name, &key))).collect();
        let _turn = self.turn.lock().await;
        if places.iter().all(|(_, place)| place.is_file()) {
            return Ok(places);
        }
        let step = Step::begin(self.observer, format!("building Kubernetes {KUBERNETES}"));
        let folders = self.go_folders()?;
        let toolchain = Toolchain::search().await?.ready(&folders).await?;
        for (name, text) in MODULE {
            let path = folders.work.join(name);
            fs::write(&path, text).map_err(KindError::io("writing", &path))?;
        }
        // One at a time, so that an interrupted build has something to go on from.
        for (name, place) in places.iter().filter(|(_, place)| !place.is_file()) {
            step.progress(&format!("{name}: compiling"));
            let out = folders.out()?;
            let built = out.path().join(name);
            toolchain
                .command(&folders, &format!("building {name}"))
                .args(["build", "-trimpath", "-ldflags", &linker_flags(), "-o"])
                .args([&built])
                .args([format!("k8s.io/kubernetes/cmd/{name}")])
                .follow(&step, &self.folders.log(&format!("building {name}"))?)
                .await?;
            keep(&built, place)?;
        }
        step.done();
        Ok(places)
    }

    fn go_folders(&self) -> Result<GoFolders, KindError> {
        let root = self.folders.make("go")?;
        self.folders.make("programs")?;
        Ok(GoFolders {
            build: self.folders.make("go/build")?,
            modules: self.folders.make("go/modules")?,
            work: self.folders.make("go/work")?,
            root,
        })
    }

    /// Removes what only builds need: modules and compiled packages, gigabytes of them.
    pub(crate) fn sweep(&self) -> Result<(), KindError> {
        let folder = self.folders.root().join("go");
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(KindError::io("removing", &folder)(error))
            }
            _ => Ok(()),
        }
    }
}

/// Puts a program that was built in its place, in one go: half a program is never found there.
fn keep(built: &Path, place: &Path) -> Result<(), KindError> {
    fs::rename(built, place).map_err(KindError::io("keeping", built))
}

impl GoFolders {
    /// A folder for what one build makes; gone with the value.
    fn out(&self) -> Result<tempfile::TempDir, KindError> {
        tempfile::tempdir_in(&self.root).map_err(KindError::io("making a folder in", &self.root))
    }
}

/// Strips the programs, and tells them their version: without, a kubeadm believes to be of a development version.
fn linker_flags() -> String {
    let minor = KUBERNETES.split('.').nth(1).unwrap_or_default();
    ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"].iter().fold(
        "-s -w".to_owned(),
        |flags, package| {
            format!(
                "{flags} -X {package}.gitVersion={KUBERNETES} -X {package}.gitMajor=1 -X {package}.gitMinor={minor} \
                 -X {package}.gitTreeState=archive"
            )
        },
    )
}

fn key(parts: &[&str]) -> String {
    let mut digest = Sha256::new();
    for part in parts.iter().chain(&[linker_flags().as_str(), GO]) {
        digest.update(part.len().to_le_bytes());
        digest.update(part.as_bytes());
    }
    hex::encode(digest.finalize())[..16].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observer::Silent;

    #[test]
    fn every_program_has_a_name_of_its_own() {
        let mut keys: Vec<String> = GO_PROGRAMS.iter().map(GoBuilds::key).collect();
        keys.push(GoBuilds::kubernetes_key());
        let count = keys.len();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), count);
    }

    #[test]
    fn the_module_is_the_pinned_version() {
        let required = MODULE[0].1.lines().find(|line| line.contains("k8s.io/kubernetes ")).unwrap();
        assert!(required.contains(KUBERNETES), "{required}");
    }

    #[tokio::test]
    async fn a_program_that_is_there_is_not_built() {
        let folder = tempfile::tempdir().unwrap();
        let folders = Folders::below(folder.path()).unwrap();
        let builds = GoBuilds::new(&folders, &Silent);
        let place = builds.place("kind", &GoBuilds::key(&GO_PROGRAMS[0]));
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::write(&place, "built before").unwrap();
        assert_eq!(builds.by_name("kind").await.unwrap(), place);
        assert_eq!(fs::read_to_string(place).unwrap(), "built before");
    }
}
