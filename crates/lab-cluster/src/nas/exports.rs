//! The exports of one lab.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lab::{Capability, ExportCall, ExportOptions, ExportReply, LabError, NetworkFileSystem};

use super::files::{self, FileError, Target};
use super::session::{NfsError, Place, Session};
use crate::access::NasOptions;
use crate::backend::NAME;
use crate::names::Names;
use crate::powers::Powers;

/// How long the server may take for one call.
const LIMIT: Duration = Duration::from_secs(60);
/// How long the removal of all exports may take.
const REMOVAL_LIMIT: Duration = Duration::from_secs(20);

/// A server, and the exports that a lab has there.
pub(crate) struct Exports {
    pub(super) options: NasOptions,
    place: Place,
    names: Names,
    /// Who can change what the server offers, where somebody can.
    administrator: Option<Arc<dyn Powers>>,
    /// The lab's exports, by the file's names.
    offered: Mutex<BTreeSet<String>>,
}

impl Exports {
    /// Finds the server.
    pub(crate) async fn find(
        options: &NasOptions,
        names: &Names,
        powers: Option<Arc<dyn Powers>>,
    ) -> Result<Self, NfsError> {
        let place = Place::find(&options.outside_host, options.outside_port).await?;
        let administrator =
            powers.filter(|powers| powers.capabilities().contains(&Capability::NetworkFileSystem));
        let (options, names) = (options.clone(), names.clone());
        Ok(Self { options, place, names, administrator, offered: Mutex::default() })
    }

    /// Tries whether labs can make exports there: whether a folder can be made, as root, and removed.
    ///
    /// # Errors
    /// What is in the way.
    pub(crate) async fn check(&self) -> Result<(), String> {
        let folder = &self.options.outside_folder;
        let said = |error: &dyn std::error::Error| lab::chain(error);
        let mut session = Session::open(self.place, folder).await.map_err(|error| said(&error))?;
        let name = format!("{}check", self.names.prefix());
        let target = Target::new(&format!("{folder}/{name}"), vec![name], 0).map_err(|error| said(&error))?;
        files::make_directory(&mut session, &target).await.map_err(|error| said(&error))?;
        let made = files::look(&mut session, &target).await.map_err(|error| said(&error))?;
        files::delete(&mut session, &target).await.map_err(|error| said(&error))?;
        if made.uid == 0 {
            return Ok(());
        }
        Err(format!("a folder that root makes there belongs to user {}: root is squashed", made.uid))
    }

    /// Where the lab's access says that the server is.
    pub(crate) fn access(&self) -> NetworkFileSystem {
        NetworkFileSystem {
            inside_server: self.options.inside_server.clone(),
            outside_address: self.place.nfs,
            outside_mount_port: self.place.mount.port(),
            path_prefix: self.names.export_path("/"),
        }
    }

    /// Does what `call` asks.
    ///
    /// # Errors
    /// When the server gives no answer, or the call takes what no administrator is there for.
    pub(crate) async fn answer(&self, call: &ExportCall) -> Result<ExportReply, LabError> {
        let act = async {
            match self.act(call).await {
                Ok(reply) => Ok(reply),
                Err(Trouble::File(FileError::Refused { code, message })) => {
                    Ok(ExportReply::Refused { code: code.to_owned(), message })
                }
                Err(Trouble::File(error @ FileError::Server { .. })) => Err(self.failed(&error)),
                Err(Trouble::Session(error)) => Err(self.failed(&error)),
                Err(Trouble::Lab(error)) => Err(error),
            }
        };
        tokio::time::timeout(LIMIT, act).await.unwrap_or_else(|_| {
            Err(LabError::Deadline {
                deadline: "deadline of the NFS server's answer",
                limit: LIMIT,
                last: format!("{} had not answered", self.options.outside_host),
            })
        })
    }

    async fn act(&self, call: &ExportCall) -> Result<ExportReply, Trouble> {
        let done = |()| ExportReply::Done;
        let path = match call {
            ExportCall::Export { path, options } => {
                return self.export(path, *options).await.map(done);
            }
            ExportCall::Put { path, .. }
            | ExportCall::MakeDirectory { path }
            | ExportCall::Symlink { path, .. }
            | ExportCall::Get { path }
            | ExportCall::Look { path }
            | ExportCall::List { path }
            | ExportCall::Delete { path } => path,
        };
        let target = self.target(path)?;
        let mut session = self.session().await?;
        let session = &mut session;
        Ok(match call {
            ExportCall::Export { .. } => ExportReply::Done,
            ExportCall::Put { content, .. } => done(files::put(session, &target, content.as_bytes()).await?),
            ExportCall::MakeDirectory { .. } => done(files::make_directory(session, &target).await?),
            ExportCall::Symlink { to, .. } => done(files::symlink(session, &target, to).await?),
            ExportCall::Get { .. } => {
                let content = files::get(session, &target).await?;
                ExportReply::Content(String::from_utf8_lossy(&content).into_owned())
            }
            ExportCall::Look { .. } => ExportReply::Entries(vec![files::look(session, &target).await?]),
            ExportCall::List { .. } => ExportReply::Entries(files::list(session, &target).await?),
            ExportCall::Delete { .. } => done(files::delete(session, &target).await?),
        })
    }

    async fn export(&self, path: &str, options: ExportOptions) -> Result<(), Trouble> {
        let is_new = self.is_new(path)?;
        let administrator = self.administrator.as_ref();
        let lacks = |capability: Capability| {
            !administrator.is_some_and(|powers| powers.capabilities().contains(&capability))
        };
        let plain = ExportOptions { capacity_bytes: options.capacity_bytes, ..ExportOptions::default() };
        for (asked, capability) in [
            (options != plain, Capability::ExportRules),
            (options.capacity_bytes.is_some(), Capability::ExportCapacity),
        ] {
            if asked && lacks(capability) {
                let what = capability.to_string();
                return Err(Trouble::Lab(LabError::Unsupported { backend: NAME, what }));
            }
        }
        if is_new {
            let names = self.real_names(path);
            let target = Target::new(path, names.clone(), names.len())?;
            let mut session = self.session().await?;
            files::make_directory(&mut session, &target).await?;
            files::open_up(&mut session, &target).await?;
        }
        if let Some(administrator) = administrator {
            administrator.export(&self.names.export_path(path), options).await.map_err(Trouble::Lab)?;
        }
        self.lock().insert(path.to_owned());
        Ok(())
    }

    /// Whether the path isn't offered yet; one that can't be is refused in the embedded lab's words.
    fn is_new(&self, path: &str) -> Result<bool, FileError> {
        let refused = |message: String| FileError::Refused { code: "EINVAL", message };
        let is_clean =
            path.len() > 1 && path.starts_with('/') && !path.ends_with('/') && !path.contains("//");
        if !is_clean || parts(path).any(|part| matches!(part, "." | "..")) || path.contains('\0') {
            let message =
                format!("export {path:?} is not an absolute path without `.`, `..` and empty parts");
            return Err(refused(message));
        }
        let offered = self.lock();
        if offered.contains(path) {
            return Ok(false);
        }
        let within = |inner: &str, outer: &str| {
            parts(inner).collect::<Vec<_>>().starts_with(&parts(outer).collect::<Vec<_>>())
        };
        match offered.iter().find(|other| within(path, other) || within(other, path)) {
            Some(other) => Err(refused(format!("export {path} overlaps with export {other}"))),
            None => Ok(true),
        }
    }

    /// The file that a path of the scenario means.
    fn target(&self, path: &str) -> Result<Target, FileError> {
        let offered = self.lock();
        let all: Vec<&str> = parts(path).collect();
        let export = offered.iter().find(|export| all.starts_with(&parts(export).collect::<Vec<_>>()));
        match export {
            Some(export) if path.starts_with('/') => {
                Target::new(path, self.real_names(path), parts(export).count())
            }
            _ => {
                let message = format!("no export is at or above {path}");
                Err(FileError::Refused { code: "EINVAL", message })
            }
        }
    }

    /// The names of a path on the server, from the folder in which the labs' exports are.
    fn real_names(&self, path: &str) -> Vec<String> {
        let mut names: Vec<String> = parts(path).map(str::to_owned).collect();
        if let Some(first) = names.first_mut() {
            *first = self.names.real(first);
        }
        names
    }

    async fn session(&self) -> Result<Session, NfsError> {
        Session::open(self.place, &self.options.outside_folder).await
    }

    /// Takes every export of the lab back and removes what is in it, and whatever else has its tag. The words say what
    /// is still there.
    pub(crate) async fn remove(&self) -> Result<(), String> {
        let work = async {
            if let Some(administrator) = &self.administrator {
                let withdrawn = administrator.withdraw(&self.names.export_path("/")).await;
                withdrawn.map_err(|error| lab::chain(&error))?;
            }
            let mut session = self.session().await.map_err(|error| lab::chain(&error))?;
            let removed = files::remove_all(&mut session, self.names.prefix()).await;
            removed.map_err(|error| lab::chain(&error))
        };
        let outcome = tokio::time::timeout(REMOVAL_LIMIT, work).await;
        outcome.unwrap_or_else(|_| Err(format!("it took more than {REMOVAL_LIMIT:?}"))).map_err(|reason| {
            let NasOptions { inside_server, folder, .. } = &self.options;
            let prefix = self.names.prefix();
            format!("NFS folders {inside_server}:{folder}/{prefix}* may still be there: {reason}")
        })
    }

    fn failed(&self, error: &dyn std::error::Error) -> LabError {
        LabError::Part {
            lab: self.names.tag().to_owned(),
            part: format!("NFS server {}", self.options.outside_host),
            reason: lab::chain(error),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.offered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a call came to nothing.
enum Trouble {
    File(FileError),
    Session(NfsError),
    Lab(LabError),
}

impl From<FileError> for Trouble {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}

impl From<NfsError> for Trouble {
    fn from(error: NfsError) -> Self {
        Self::Session(error)
    }
}

/// The parts of a path.
fn parts(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|part| !part.is_empty())
}
