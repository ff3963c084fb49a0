//! The faults of this lab: what a handle stands for, and the folder that CSI agents read theirs from.
//!
//! `docs/design/0009-faults-at-csi-calls.md` says how a rule reaches an agent here and on other backends.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use contract::names::csi_agent::{self, OssMounter};
use journal::{Journal, source};
use lab::{CsiFault, FaultHandle};
use node_sim::Addition;
use serde_json::json;

/// Faults that were injected and can be healed, by handle.
pub(crate) struct Faults {
    directory: PathBuf,
    journal: Journal,
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    last: u64,
    in_force: BTreeMap<u64, Placed>,
}

/// What a handle stands for.
pub(crate) enum Placed {
    /// A rule of the object store.
    ObjectStore(oss_sim::FaultId),
    /// A rule of the NFS server.
    NetworkFileSystem(nas_sim::FaultId),
    /// The object store's limit.
    Capacity,
    /// The file of a rule for CSI agents.
    Csi(PathBuf),
    /// Something that can't be healed: a process that was killed.
    Past,
}

impl Faults {
    /// No faults yet; those of CSI calls will be in `directory`, which exists.
    pub(crate) fn new(directory: PathBuf, journal: Journal) -> Self {
        Self { directory, journal, book: Mutex::default() }
    }

    /// Remembers a fault that was injected.
    pub(crate) fn enter(&self, placed: Placed) -> FaultHandle {
        let mut book = self.book();
        book.last += 1;
        let handle = book.last;
        book.in_force.insert(handle, placed);
        FaultHandle(handle)
    }

    /// Takes the fault out of the book, for healing.
    pub(crate) fn leave(&self, handle: FaultHandle) -> Option<Placed> {
        self.book().in_force.remove(&handle.0)
    }

    /// Tells the journal of a limit that is in force, or none.
    pub(crate) fn tell_capacity(&self, handle: FaultHandle, bytes: Option<u64>) {
        let kind = if bytes.is_some() { "injected" } else { "healed" };
        self.journal.record(
            source::FAULT,
            kind,
            &format!("oss-capacity/{}", handle.0),
            json!({"bytes": bytes}),
        );
    }

    /// Puts a rule where the agents look, in one step: no agent ever reads half of it.
    pub(crate) fn inject_csi(&self, fault: &CsiFault) -> io::Result<FaultHandle> {
        if let Some(contradiction) = fault.contradiction() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, contradiction));
        }
        let mut book = self.book();
        let number = book.last + 1;
        let file = self.directory.join(format!("{number}.json"));
        let draft = file.with_extension("draft");
        std::fs::write(&draft, serde_json::to_vec(fault)?)?;
        self.journal.record(source::FAULT, "injected", &format!("csi/{number}"), json!(fault));
        std::fs::rename(&draft, &file)?;
        book.last = number;
        book.in_force.insert(number, Placed::Csi(file));
        Ok(FaultHandle(number))
    }

    /// Takes a rule away; calls that hang because of it go on.
    pub(crate) fn heal_csi(&self, handle: FaultHandle, file: &Path) -> io::Result<()> {
        std::fs::remove_file(file)?;
        self.journal.record(source::FAULT, "healed", &format!("csi/{}", handle.0), json!({}));
        Ok(())
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the images of the CSI agent have here: the folder of faults, with the tag of the product document's note
/// on 504 the defect of that tag, and the word of what mounts OSS volumes. None of it is in the ConfigMap, which a scenario may
/// read and edit.
pub(crate) fn images(directory: &Path, oss_mounter: OssMounter) -> Vec<Addition> {
    let agent = |tag: Option<&str>, environment: Vec<(String, String)>| Addition {
        image: csi_agent::IMAGE.to_owned(),
        tag: tag.map(str::to_owned),
        environment,
        folders: Vec::new(),
    };
    let place = csi_agent::FAULTS_DIRECTORY.to_owned();
    let hangs = json!([{"call": "NodePublishVolume", "hang": true}]).to_string();
    let mut images = vec![
        Addition {
            folders: vec![(directory.to_owned(), PathBuf::from(&place))],
            ..agent(None, vec![(csi_agent::FAULTS_VARIABLE.to_owned(), place)])
        },
        agent(Some(csi_agent::HANGING_TAG), vec![(csi_agent::DEFECTS_VARIABLE.to_owned(), hangs)]),
    ];
    if oss_mounter != OssMounter::default() {
        let word = (csi_agent::OSS_MOUNTER_VARIABLE.to_owned(), oss_mounter.name().to_owned());
        images.push(agent(None, vec![word]));
    }
    images
}
