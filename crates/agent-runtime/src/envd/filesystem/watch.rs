//! Watching one directory, or the whole tree below it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::ReadFlags;

use super::entry;
use super::inotify::{Inotify, Notice};
use super::messages::{EventType, FilesystemEvent, WatchRequest};
use super::network;
use super::operations::{View, failed};
use crate::envd::accounts::Accounts;
use crate::envd::connect::{Code, RpcError};

/// A watched directory.
#[derive(Debug)]
pub(super) struct Watch {
    inotify: Inotify,
    /// The watched directories by number.
    directories: BTreeMap<i32, PathBuf>,
    root: PathBuf,
    recursive: bool,
    include_entry: bool,
    accounts: Accounts,
}

impl Watch {
    /// Begins to watch.
    pub(super) fn open(view: &View, request: &WatchRequest) -> Result<Self, RpcError> {
        let root = view.resolve(&request.path)?;
        let metadata = fs::metadata(&root).map_err(|problem| failed("watch", &root, &problem))?;
        if !metadata.is_dir() {
            let text = format!("cannot watch {}: it is no directory", root.display());
            return Err(RpcError::new(Code::InvalidArgument, text));
        }
        if !request.allow_network_mounts {
            network::refuse(&root)?;
        }
        let mut watch = Self {
            inotify: Inotify::new().map_err(|problem| failed("watch", &root, &problem))?,
            directories: BTreeMap::new(),
            root: root.clone(),
            recursive: request.recursive,
            include_entry: request.include_entry,
            accounts: view.accounts.clone(),
        };
        watch.add(&root, &mut Vec::new()).map_err(|problem| failed("watch", &root, &problem))?;
        Ok(watch)
    }

    /// Watches `directory` and, when asked to, what is below it; `found` gets every entry that is there already.
    fn add(&mut self, directory: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
        let number = self.inotify.add(directory)?;
        self.directories.insert(number, directory.to_owned());
        if !self.recursive {
            return Ok(());
        }
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let path = entry.path();
            found.push(path.clone());
            if entry.file_type()?.is_dir() {
                self.add_new(&path, found);
            }
        }
        Ok(())
    }

    /// Watches a subdirectory. It may be gone again; that is a notice of its own.
    fn add_new(&mut self, directory: &Path, found: &mut Vec<PathBuf>) {
        if let Err(problem) = self.add(directory, found) {
            tracing::debug!("cannot watch {}: {problem}", directory.display());
        }
    }

    /// Waits for events.
    pub(super) async fn next(&mut self) -> Result<Vec<FilesystemEvent>, RpcError> {
        loop {
            let notices =
                self.inotify.next().await.map_err(|problem| failed("watch", &self.root, &problem))?;
            let mut events = Vec::new();
            for notice in notices {
                self.take(&notice, &mut events)?;
            }
            if !events.is_empty() {
                return Ok(events);
            }
        }
    }

    fn take(&mut self, notice: &Notice, events: &mut Vec<FilesystemEvent>) -> Result<(), RpcError> {
        if notice.flags.contains(ReadFlags::QUEUE_OVERFLOW) {
            let text = format!("changes below {} came too fast: events were lost", self.root.display());
            return Err(RpcError::new(Code::Internal, text));
        }
        let Some(directory) = self.directories.get(&notice.watch).cloned() else { return Ok(()) };
        if notice.flags.contains(ReadFlags::IGNORED) {
            self.directories.remove(&notice.watch);
        }
        // What happens to a subdirectory itself is told by the watch of its parent.
        if notice.name.is_empty() && directory != self.root {
            return Ok(());
        }
        let path = if notice.name.is_empty() { directory } else { directory.join(&notice.name) };
        for kind in notice.kinds() {
            events.push(self.event(&path, kind));
        }
        if self.recursive && notice.flags.contains(ReadFlags::ISDIR) && !notice.name.is_empty() {
            self.follow(&path, notice.flags, events);
        }
        Ok(())
    }

    /// Keeps the watches in step with a directory that came or went.
    fn follow(&mut self, path: &Path, flags: ReadFlags, events: &mut Vec<FilesystemEvent>) {
        if flags.contains(ReadFlags::MOVED_FROM) {
            let gone = self.directories.extract_if(.., |_, directory| directory.starts_with(path));
            for (number, _) in gone {
                self.inotify.remove(number);
            }
        }
        if flags.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO) {
            let mut found = Vec::new();
            self.add_new(path, &mut found);
            // These were made before the watch was there.
            events.extend(found.iter().map(|path| self.event(path, EventType::Create)));
        }
    }

    fn event(&self, path: &Path, kind: EventType) -> FilesystemEvent {
        let name = path.strip_prefix(&self.root).unwrap_or(path);
        let name = if name.as_os_str().is_empty() { Path::new(".") } else { name };
        let told = matches!(kind, EventType::Create | EventType::Write | EventType::Chmod);
        let entry = (self.include_entry && told).then(|| entry::read(path, &self.accounts).ok()).flatten();
        FilesystemEvent { name: name.to_string_lossy().into_owned(), r#type: kind, entry }
    }
}
