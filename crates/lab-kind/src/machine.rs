//! What the kind backend needs of the machine: the rows of `doctor`, and the look at the disk before anything is made.

use std::path::Path;

use lab::Requirement;
use nix::sys::statvfs::statvfs;

use crate::cluster::KindProgram;
use crate::command::find;
use crate::docker::{self, Choice, DaemonPolicy, Docker};
use crate::images::{GoBuilds, Source, Toolchain, reachable};
use crate::observer::Silent;
use crate::versions::{KIND, KUBERNETES};
use crate::{Folders, KindError};

const GIGABYTE: u64 = 1_000_000_000;
/// What a cluster takes while it runs, and images that are there.
const SPACE_TO_RUN: u64 = 6 * GIGABYTE;
/// What building everything takes at its peak.
const SPACE_TO_BUILD: u64 = 12 * GIGABYTE;

/// Every requirement, checked now: which daemon and which images would be used, and what is missing for them. Starts
/// nothing; asks the registry once.
pub async fn requirements(folders: &Folders) -> Vec<Requirement> {
    let choice = docker::search(DaemonPolicy::Auto).await;
    let source = match &choice {
        Ok(Choice::Existing(docker)) => source(docker).await,
        // A daemon that doesn't run can't pull; the docker program asks by itself.
        Ok(Choice::Start { program, .. }) => ask_without_daemon(program).await,
        Err(_) => Source::Build,
    };
    let building = source == Source::Build;
    vec![
        daemon(choice),
        images(source),
        kind(folders, building).await,
        go(building).await,
        mmdebstrap(building),
        disk(folders, if building { SPACE_TO_BUILD } else { SPACE_TO_RUN }),
    ]
}

/// The row for a machine that has no place to keep anything.
pub fn no_folder(error: &KindError) -> Requirement {
    Requirement {
        name: "cache folder",
        purpose: "images and clusters are kept there",
        met: false,
        optional: false,
        found: error.to_string(),
        remedy: "set XDG_CACHE_HOME to a folder you can write".to_owned(),
    }
}

async fn source(docker: &Docker) -> Source {
    match reachable(docker).await {
        Ok(Ok(())) => Source::Registry,
        Ok(Err(_)) | Err(_) => Source::Build,
    }
}

async fn ask_without_daemon(program: &Path) -> Source {
    let docker = Docker::new(program.to_owned(), None, true);
    match crate::images::described(&docker).await {
        Ok(Ok(())) => Source::Registry,
        Ok(Err(_)) | Err(_) => Source::Build,
    }
}

fn daemon(choice: Result<Choice, KindError>) -> Requirement {
    let requirement = |met, found: String, remedy: String| Requirement {
        name: "Docker",
        purpose: "nodes and storage servers are containers",
        met,
        optional: false,
        found,
        remedy,
    };
    match choice {
        Ok(choice) => requirement(true, choice.to_string(), String::new()),
        Err(KindError::Machine { missing, remedy }) => requirement(false, missing, remedy),
        Err(error) => {
            requirement(false, error.to_string(), "see what Docker says: docker version".to_owned())
        }
    }
}

fn images(source: Source) -> Requirement {
    let found = match source {
        Source::Registry => source.to_string(),
        Source::Build => format!("no registry answers: {source}, once"),
    };
    Requirement {
        name: "images",
        purpose: "of nodes and storage servers",
        met: true,
        optional: false,
        found,
        remedy: String::new(),
    }
}

async fn kind(folders: &Folders, building: bool) -> Requirement {
    let requirement = |met, found: String, remedy: String| Requirement {
        name: "kind",
        purpose: "makes the cluster",
        met,
        optional: false,
        found,
        remedy,
    };
    if KindProgram::built(&GoBuilds::new(folders, &Silent)).is_some() {
        return requirement(true, format!("kind {KIND}, built before"), String::new());
    }
    match KindProgram::on_path().await {
        Ok(Some((_, version))) => requirement(true, format!("kind {version}"), String::new()),
        Ok(None) => match Toolchain::search().await {
            Ok(_) => requirement(true, format!("kind {KIND} will be built"), String::new()),
            Err(error) if building => {
                requirement(false, error.to_string(), format!("install kind {KIND} or newer, and Go"))
            }
            Err(error) => requirement(false, error.to_string(), format!("install kind {KIND} or newer")),
        },
        Err(error) => requirement(false, error.to_string(), format!("install kind {KIND} or newer")),
    }
}

async fn go(building: bool) -> Requirement {
    let (met, found, remedy) = match Toolchain::search().await {
        Ok(toolchain) => (true, toolchain.version, String::new()),
        Err(KindError::Machine { missing, remedy }) => (false, missing, remedy),
        Err(error) => (false, error.to_string(), "see what Go says: go version".to_owned()),
    };
    Requirement {
        name: "Go",
        purpose: "without a registry Kubernetes, MinIO and kind are built from their modules",
        met,
        optional: !building,
        found: if met { format!("{found}, for Kubernetes {KUBERNETES}") } else { found },
        remedy,
    }
}

fn mmdebstrap(building: bool) -> Requirement {
    let found = find("mmdebstrap");
    Requirement {
        name: "mmdebstrap",
        purpose: "without a registry images are built from Debian packages",
        met: found.is_some(),
        optional: !building,
        found: found.map_or_else(|| "it is not installed".to_owned(), |path| path.display().to_string()),
        remedy: "apt-get install mmdebstrap".to_owned(),
    }
}

fn disk(folders: &Folders, needed: u64) -> Requirement {
    let root = folders.root().display();
    let (met, found) = match free(folders.root()) {
        Ok(bytes) => (bytes >= needed, format!("{} GB free below {root}", bytes / GIGABYTE)),
        Err(error) => (false, format!("{error}")),
    };
    Requirement {
        name: "disk",
        purpose: "images, and the files of the cluster",
        met,
        optional: false,
        found,
        remedy: format!(
            "make room for {} GB, or set XDG_CACHE_HOME to a folder on a larger disk",
            needed / GIGABYTE
        ),
    }
}

/// Refuses to begin on a disk that is nearly full: a kubelet on it would evict every pod.
pub(crate) fn check_disk(folders: &Folders) -> Result<(), KindError> {
    refuse_full(disk(folders, SPACE_TO_RUN))
}

/// Refuses to begin to build everything where there is no room for it.
pub(crate) fn check_disk_to_build(folders: &Folders) -> Result<(), KindError> {
    refuse_full(disk(folders, SPACE_TO_BUILD))
}

fn refuse_full(requirement: Requirement) -> Result<(), KindError> {
    if requirement.met {
        return Ok(());
    }
    Err(KindError::machine(format!("the disk is nearly full ({})", requirement.found), requirement.remedy))
}

fn free(path: &Path) -> Result<u64, KindError> {
    let found = statvfs(path).map_err(|errno| KindError::io("looking at the disk of", path)(errno.into()))?;
    Ok(found.blocks_available() * found.fragment_size())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_said_before_anything_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let folders = Folders::below(folder.path()).unwrap();
        refuse_full(disk(&folders, 1)).unwrap();
        let error = refuse_full(disk(&folders, u64::MAX)).unwrap_err().to_string();
        assert!(error.starts_with("the disk is nearly full ("), "{error}");
        assert!(error.contains("XDG_CACHE_HOME"), "{error}");
    }

    #[test]
    fn a_daemon_that_may_not_be_used_comes_with_its_remedy() {
        let row = daemon(Err(KindError::machine("you may not", "ask")));
        assert!(!row.met && row.found == "you may not" && row.remedy == "ask");
    }
}
