//! Opens, makes and closes files; the last user of a file saves what is left of it.
//!
//! Locks are taken in this order: the volume's tree, a file's content, the nodes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fuser::Errno;

use super::attributes::{Kind, Stat};
use super::failure::Outcome;
use super::file::{File, Writing};
use super::reader::Reader;
use super::volume::Volume;

/// An `open` believes attributes of this age: they come from the lookup that is part of the same `open`.
pub(super) const OPEN_TRUSTS: Duration = Duration::from_millis(50);
/// An object up to this size is fetched as soon as it is opened for reading.
pub(super) const EAGER: u64 = 1 << 20;

/// One open of a file.
#[derive(Debug)]
pub(super) struct Handle {
    /// The file, shared with the other handles.
    pub(super) file: Arc<File>,
    /// Whether writes go to the end.
    pub(super) append: bool,
    reader: Mutex<Option<Arc<Reader>>>,
}

impl Handle {
    /// Who reads the object for this handle, if anybody does yet.
    pub(super) fn reader(&self) -> Option<Arc<Reader>> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has `reader` read the object from now on.
    pub(super) fn set_reader(&self, reader: Option<Arc<Reader>>) {
        *self.reader.lock().unwrap_or_else(PoisonError::into_inner) = reader;
    }
}

/// How a file is to be opened.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OpenMode {
    /// For reading.
    pub(super) read: bool,
    /// Emptied.
    pub(super) truncate: bool,
    /// Writes go to the end.
    pub(super) append: bool,
}

impl Volume {
    /// Opens the file `ino`; answers the handle and whether the kernel's pages of it are still right.
    pub(super) async fn open(&self, ino: u64, mode: OpenMode) -> Outcome<(u64, bool)> {
        match self.stat(ino)?.kind {
            Kind::File => {}
            Kind::Directory => return Err(Errno::EISDIR),
            Kind::Link => return Err(Errno::ELOOP),
        }
        if self.nodes().get(ino).is_none_or(|node| node.removed && node.file.is_none()) {
            // The name went away after it was looked up: the kernel looks it up again.
            return Err(Errno::ESTALE);
        }
        let mut reader = None;
        if !mode.truncate {
            // Where it is gone the kernel is to look again, and then to make it if it was asked to.
            let refreshed = if mode.read {
                self.refresh_reading(ino, OPEN_TRUSTS).await
            } else {
                self.refresh(ino, OPEN_TRUSTS).await.map(|()| None)
            };
            reader = refreshed
                .map_err(|error| if error.code() == Errno::ENOENT.code() { Errno::ESTALE } else { error })?;
        }
        let file = self.attach(ino).await?;
        let handle =
            Arc::new(Handle { file: Arc::clone(&file), append: mode.append, reader: Mutex::default() });
        if mode.truncate {
            let emptied = self.truncate_file(&file, 0).await;
            if let Err(error) = emptied {
                self.detach(&file).await;
                return Err(error);
            }
        }
        let stat = self.stat(ino)?;
        let keep = {
            let mut nodes = self.nodes();
            nodes.get_mut(ino).is_some_and(|node| {
                let keep = !stat.etag.is_empty() && node.cached_pages == stat.etag;
                node.cached_pages.clone_from(&stat.etag);
                keep
            })
        };
        if let Some(reader) = reader.filter(|reader| reader.source().etag == stat.etag) {
            handle.set_reader(Some(Arc::new(reader)));
        } else if mode.read
            && !keep
            && !mode.truncate
            && stat.size > 0
            && stat.size <= EAGER
            && !self.is_being_written(ino)
            && let Ok(source) = self.source(ino)
        {
            let reader = Reader::new(self.bucket.clone(), source);
            reader.prefetch();
            handle.set_reader(Some(Arc::new(reader)));
        }
        Ok((self.add_file_handle(handle), keep))
    }

    /// Makes a new file; it is on the store when it is first saved. Answers its inode number and handle.
    pub(super) async fn create(
        &self,
        parent: u64,
        name: &str,
        stat: Stat,
        append: bool,
    ) -> Outcome<(u64, u64)> {
        self.child_path(parent, name)?;
        let existing = self.nodes().child(parent, name).filter(|ino| self.is_being_written(*ino));
        if existing.is_some() {
            return Err(Errno::EEXIST);
        }
        let (ino, file) = {
            let mut nodes = self.nodes();
            if let Some(old) = nodes.child(parent, name) {
                nodes.remove(old);
            }
            let ino = nodes.record(parent, name, stat, None);
            let file = Arc::new(File::fresh(ino));
            if let Some(node) = nodes.get_mut(ino) {
                node.file = Some(Arc::clone(&file));
                node.changes += 1;
            }
            nodes.looked_up(ino);
            (ino, file)
        };
        file.content.lock().await.handles += 1;
        let handle = Handle { file, append, reader: Mutex::default() };
        Ok((ino, self.add_file_handle(Arc::new(handle))))
    }

    /// The content of `ino`, counted as used once more.
    pub(super) async fn attach(&self, ino: u64) -> Outcome<Arc<File>> {
        loop {
            let file = {
                let mut nodes = self.nodes();
                // The last user of an unsaved file may have let go of its name meanwhile: what would be written to it
                // now could never be saved.
                let node = nodes.get_mut(ino).filter(|node| !node.removed || node.file.is_some());
                let node = node.ok_or(Errno::ESTALE)?;
                Arc::clone(node.file.get_or_insert_with(|| Arc::new(File::unchanged(ino))))
            };
            let mut content = file.content.lock().await;
            let current = self.nodes().get(ino).and_then(|node| node.file.clone());
            if current.is_some_and(|current| Arc::ptr_eq(&current, &file)) {
                content.handles += 1;
                drop(content);
                return Ok(file);
            }
            // Its last user closed it meanwhile.
        }
    }

    /// One user of `file` less; the last one saves what is left and lets go of it.
    pub(super) async fn detach(&self, file: &Arc<File>) {
        let _tree = self.tree.read().await;
        let mut content = file.content.lock().await;
        content.handles = content.handles.saturating_sub(1);
        if content.handles > 0 {
            return;
        }
        let unsaved = (content.dirty || content.attributes_dirty) && !content.detached;
        if unsaved && !content.save_failed && content.failed.is_none() {
            // Pages of a memory map may have been written after the last close.
            if let Err(error) = self.save_content(file.ino, &mut content).await {
                tracing::warn!(errno = error.code(), "what was written after the last close is lost");
            }
        }
        if let Writing::Stream(stream) = &mut content.writing {
            stream.discard(&self.bucket).await;
        }
        let mut nodes = self.nodes();
        let lost = content.dirty || content.failed.is_some();
        let mut gone = false;
        if let Some(node) = nodes.get_mut(file.ino) {
            gone = lost && node.is_unsaved();
            node.file = None;
            if lost {
                node.checked = None;
            }
        }
        if gone {
            nodes.remove(file.ino);
        }
        nodes.drop_unused(file.ino);
    }

    /// Closes the handle for good.
    pub(super) async fn release(&self, number: u64) {
        if let Some(handle) = self.remove_file_handle(number) {
            self.detach(&handle.file).await;
        }
    }
}
