//! Contents of files: open, read, write, cut, save, close.
//!
//! Locks are taken in this order: the volume's tree, a file's content, the nodes.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fuser::Errno;
use tokio::time::Instant;

use super::attributes::{Kind, Stat};
use super::failure::{Outcome, errno};
use super::file::{Content, File, Writing, pour};
use super::reader::{Reader, Source};
use super::scratch::Scratch;
use super::stream::{Destination, Stream};
use super::volume::Volume;

/// An `open` believes attributes of this age: they come from the lookup that is part of the same `open`.
const OPEN_TRUSTS: Duration = Duration::from_millis(50);
/// An object up to this size is fetched as soon as it is opened for reading.
const EAGER: u64 = 1 << 20;

/// One open of a file.
#[derive(Debug)]
pub(super) struct Handle {
    /// The file, shared with the other handles.
    pub(super) file: Arc<File>,
    /// Whether writes go to the end.
    append: bool,
    reader: Mutex<Option<Arc<Reader>>>,
}

impl Handle {
    fn reader(&self) -> Option<Arc<Reader>> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_reader(&self, reader: Option<Arc<Reader>>) {
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
        if !mode.truncate {
            // Where it is gone the kernel is to look again, and then to make it if it was asked to.
            self.refresh(ino, OPEN_TRUSTS)
                .await
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
        if mode.read
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
                let node = nodes.get_mut(ino).ok_or(Errno::ESTALE)?;
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

    /// Reads without waiting, if the bytes are here; answers whether `take` was called.
    pub(super) fn try_read(&self, handle: &Handle, range: Range<u64>, take: impl FnOnce(&[u8])) -> bool {
        let Ok(content) = handle.file.content.try_lock() else { return false };
        if !matches!(content.writing, Writing::Unchanged) || content.failed.is_some() {
            return false;
        }
        let Some(reader) = handle.reader() else { return false };
        let current =
            self.nodes().get(handle.file.ino).is_some_and(|node| node.stat.etag == reader.source().etag);
        drop(content);
        current && reader.try_read(range, take)
    }

    /// Gives the bytes of `range`, shorter at the end of the file, to `take`.
    pub(super) async fn read(
        &self,
        handle: &Handle,
        range: Range<u64>,
        take: impl FnOnce(&[u8]),
    ) -> Outcome<()> {
        let mut slot = Some(take);
        let mut take = |data: &[u8]| {
            if let Some(take) = slot.take() {
                take(data);
            }
        };
        let Some(reader) = self.read_own(handle, range.clone(), &mut take).await? else { return Ok(()) };
        let Err(error) = reader.read(range.clone(), &mut take).await else { return Ok(()) };
        handle.set_reader(None);
        if !(error.is_not_found() || error.is_changed() || error.is_past_end()) {
            return Err(errno(&error));
        }
        // Somebody else wrote another version, or renamed it; the file goes on with what is there now.
        let ino = handle.file.ino;
        if let Some(node) = self.nodes().get_mut(ino) {
            node.checked = None;
            node.cached_pages.clear();
        }
        self.refresh(ino, Duration::ZERO).await.map_err(|_| Errno::EIO)?;
        let Some(reader) = self.read_own(handle, range.clone(), &mut take).await? else { return Ok(()) };
        reader.read(range, &mut take).await.map_err(|error| {
            tracing::warn!(%error, "an object changes faster than it can be read");
            Errno::EIO
        })
    }

    /// Gives the bytes of `range` to `take` if the content is being written here; else answers who reads them from
    /// the store.
    async fn read_own(
        &self,
        handle: &Handle,
        range: Range<u64>,
        take: impl FnOnce(&[u8]),
    ) -> Outcome<Option<Arc<Reader>>> {
        let ino = handle.file.ino;
        let _tree = self.tree.read().await;
        let mut content = handle.file.content.lock().await;
        content.check()?;
        if let Writing::Stream(stream) = &content.writing {
            if let Some(bytes) = stream.read(range.clone()) {
                take(&bytes);
                return Ok(None);
            }
            // Some of it has gone out: the object is made now and read back.
            self.save_content(ino, &mut content).await?;
        }
        if let Writing::Scratch(scratch) = &mut content.writing {
            let key = self.nodes().path(ino).map(|path| self.key(&path));
            take(&scratch.read(&self.bucket, key.as_deref(), range).await?);
            return Ok(None);
        }
        self.reader_for(handle).map(Some)
    }

    fn reader_for(&self, handle: &Handle) -> Outcome<Arc<Reader>> {
        let source = self.source(handle.file.ino)?;
        if let Some(reader) = handle.reader().filter(|reader| *reader.source() == source) {
            return Ok(reader);
        }
        let reader = Arc::new(Reader::new(self.bucket.clone(), source));
        handle.set_reader(Some(Arc::clone(&reader)));
        Ok(reader)
    }

    fn source(&self, ino: u64) -> Outcome<Source> {
        let nodes = self.nodes();
        let path = nodes.path(ino).ok_or(Errno::ESTALE)?;
        let stat = &nodes.get(ino).ok_or(Errno::ESTALE)?.stat;
        Ok(Source { key: self.key(&path), etag: stat.etag.clone(), size: stat.size })
    }

    /// Writes without waiting, if that needs neither the store nor a lock; answers the length if it did.
    pub(super) fn try_write(&self, handle: &Handle, offset: u64, data: &[u8]) -> Option<u32> {
        let mut content = handle.file.content.try_lock().ok()?;
        if content.failed.is_some() {
            return None;
        }
        let Writing::Stream(stream) = &mut content.writing else { return None };
        let at = stream.length();
        if !(handle.append || offset == at) || !stream.try_append(data, &self.parts) {
            return None;
        }
        content.dirty = true;
        content.save_failed = false;
        self.written(handle.file.ino, at + data.len() as u64);
        u32::try_from(data.len()).ok()
    }

    /// Writes `data` at `offset`, or at the end if the handle appends.
    pub(super) async fn write(&self, handle: &Handle, offset: u64, data: &[u8]) -> Outcome<u32> {
        let ino = handle.file.ino;
        let _tree = self.tree.read().await;
        let mut content = handle.file.content.lock().await;
        content.check()?;
        let stat = self.stat(ino)?;
        let offset = if handle.append { stat.size } else { offset };
        let end = offset.checked_add(data.len() as u64).ok_or(Errno::EFBIG)?;
        let in_order = match &content.writing {
            Writing::Unchanged => stat.size == 0 && offset == 0 && !content.detached,
            Writing::Stream(stream) => stream.length() == offset,
            Writing::Scratch(_) => false,
        };
        if !in_order {
            self.make_scratch(ino, &mut content).await?;
        } else if matches!(content.writing, Writing::Unchanged) {
            content.writing = Writing::Stream(Stream::default());
        }
        let outcome = match &mut content.writing {
            Writing::Stream(stream) => {
                let appended =
                    stream.append(data, &self.bucket, &self.parts, || self.stream_destination(ino)).await;
                if let Err(error) = appended {
                    content.failed = Some(error);
                }
                appended
            }
            Writing::Scratch(scratch) => scratch.write(offset, data),
            Writing::Unchanged => Err(Errno::EIO),
        };
        content.dirty = true;
        content.save_failed = false;
        outcome?;
        self.written(ino, end);
        u32::try_from(data.len()).map_err(|_| Errno::EFBIG)
    }

    /// A stream's object gets its time from the store: when the upload begins, nobody knows when it will end.
    fn stream_destination(&self, ino: u64) -> Outcome<Destination> {
        let nodes = self.nodes();
        let path = nodes.path(ino).ok_or(Errno::EIO)?;
        let stat = &nodes.get(ino).ok_or(Errno::EIO)?.stat;
        let mut destination = self.destination(&path, stat);
        destination.metadata.remove("mtime");
        destination.metadata.remove("atime");
        Ok(destination)
    }

    fn written(&self, ino: u64, end: u64) {
        let now = self.now();
        if let Some(node) = self.nodes().get_mut(ino) {
            node.stat.size = node.stat.size.max(end);
            node.stat.mtime = now;
            node.changes += 1;
        }
    }

    /// Turns the content into one that can be changed anywhere.
    async fn make_scratch(&self, ino: u64, content: &mut Content) -> Outcome<()> {
        let directory = &self.options.scratch_directory;
        if let Writing::Stream(stream) = &mut content.writing {
            if let Some(chunks) = stream.take_unsent() {
                let mut scratch = Scratch::empty(directory)?;
                pour(chunks, &mut scratch)?;
                content.writing = Writing::Scratch(scratch);
                return Ok(());
            }
            self.save_content(ino, content).await?;
        }
        if matches!(content.writing, Writing::Unchanged) {
            let stat = self.stat(ino)?;
            content.writing = Writing::Scratch(Scratch::of_object(directory, &stat.etag, stat.size)?);
        }
        Ok(())
    }

    /// Brings all of the content here, because the object is about to go. From then on nothing is saved.
    pub(super) async fn make_detached(&self, ino: u64, content: &mut Content) -> Outcome<()> {
        if content.failed.is_none() {
            self.make_scratch(ino, content).await?;
            let key = self.path(ino).map(|path| self.key(&path))?;
            if let Writing::Scratch(scratch) = &mut content.writing {
                scratch.detach(&self.bucket, Some(&key)).await?;
            }
        }
        content.detached = true;
        Ok(())
    }

    /// Sets the length of `file`.
    pub(super) async fn truncate_file(&self, file: &Arc<File>, size: u64) -> Outcome<()> {
        let _tree = self.tree.read().await;
        let mut content = file.content.lock().await;
        content.check()?;
        let before = self.stat(file.ino)?.size;
        if size == 0 && !content.detached {
            if let Writing::Stream(stream) = &mut content.writing {
                stream.discard(&self.bucket).await;
            }
            content.writing = Writing::Stream(Stream::default());
        } else if size != before {
            self.make_scratch(file.ino, &mut content).await?;
            if let Writing::Scratch(scratch) = &mut content.writing {
                scratch.truncate(size)?;
            }
        }
        content.dirty = true;
        content.save_failed = false;
        let now = self.now();
        if let Some(node) = self.nodes().get_mut(file.ino) {
            node.stat.size = size;
            node.stat.mtime = now;
            node.changes += 1;
        }
        Ok(())
    }

    /// Saves `file` if anything of it isn't on the store.
    pub(super) async fn save(&self, file: &Arc<File>) -> Outcome<()> {
        let _tree = self.tree.read().await;
        let mut content = file.content.lock().await;
        self.save_content(file.ino, &mut content).await
    }

    /// As [`Volume::save`], for who holds the locks.
    pub(super) async fn save_content(&self, ino: u64, content: &mut Content) -> Outcome<()> {
        content.check()?;
        if content.detached || !(content.dirty || content.attributes_dirty) {
            return Ok(());
        }
        let path = self.path(ino)?;
        let stat = self.stat(ino)?;
        let destination = self.destination(&path, &stat);
        let saved = self.save_to(&destination, content).await;
        content.save_failed = saved.is_err();
        let (etag, exact_time) = match saved {
            Ok(saved) => saved,
            Err(error) => {
                if matches!(&content.writing, Writing::Stream(stream) if stream.length() != stat.size) {
                    // Parts that had gone out are lost.
                    content.failed = Some(error);
                }
                return Err(error);
            }
        };
        content.dirty = false;
        content.attributes_dirty = false;
        content.times_set = false;
        if let Some(node) = self.nodes().get_mut(ino) {
            self.ahead.changed(node.parent);
            node.cached_pages.clone_from(&etag);
            node.stat.etag = etag;
            node.checked = exact_time.then(Instant::now);
            node.changes += 1;
        }
        Ok(())
    }

    /// Saves the content; answers the version tag and whether the object has the attributes of `destination`
    /// exactly.
    async fn save_to(&self, destination: &Destination, content: &mut Content) -> Outcome<(String, bool)> {
        let attributes = Some((destination.content_type.as_str(), &destination.metadata));
        match &mut content.writing {
            Writing::Unchanged => {
                let etag = self.bucket.copy(&destination.key, &destination.key, attributes).await;
                etag.map(|etag| (etag, true)).map_err(|error| errno(&error))
            }
            Writing::Scratch(scratch) => {
                scratch.save(&self.bucket, &self.parts, destination).await.map(|etag| (etag, true))
            }
            Writing::Stream(stream) => {
                let begun_with = stream.destination().map(|begun| begun.metadata.clone());
                let mut etag = stream.finish(&self.bucket, &self.parts, destination).await?;
                content.writing = Writing::Unchanged;
                let Some(begun_with) = begun_with else { return Ok((etag, true)) };
                let differs = ["mode", "uid", "gid"]
                    .iter()
                    .any(|name| begun_with.get(*name) != destination.metadata.get(*name));
                if !(differs || content.times_set) {
                    return Ok((etag, false));
                }
                let copied = self.bucket.copy(&destination.key, &destination.key, attributes).await;
                etag = copied.map_err(|error| errno(&error))?;
                Ok((etag, true))
            }
        }
    }
}
