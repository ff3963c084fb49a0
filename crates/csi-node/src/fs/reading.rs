//! Reads open files: what is being written here from memory or the scratch file, the rest from the store.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use fuser::Errno;
use tokio::time::Instant;

use super::attributes::{Kind, Stat};
use super::failure::{Outcome, errno};
use super::file::Writing;
use super::opening::{EAGER, Handle};
use super::reader::{Reader, Source};
use super::volume::Volume;

/// Size of a page, in bytes.
const PAGE: u64 = 4096;

impl Volume {
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

    /// As [`Volume::refresh`], for a file that is about to be read: a short one comes along with its attributes, in
    /// the same question, and whoever reads it is answered.
    pub(super) async fn refresh_reading(&self, ino: u64, life: Duration) -> Outcome<Option<Reader>> {
        if self.is_fresh(ino, life) || self.is_being_written(ino) {
            return Ok(None);
        }
        if let Some(reader) = self.fetch_short(ino).await? {
            return Ok(Some(reader));
        }
        self.refresh(ino, life).await.map(|()| None)
    }

    /// Fetches the file `ino` if it is short and the kernel needs its content; nothing if that told nothing of use.
    async fn fetch_short(&self, ino: u64) -> Outcome<Option<Reader>> {
        let changes = {
            let nodes = self.nodes();
            let Some(node) = nodes.get(ino) else { return Ok(None) };
            // Of what was written here the kernel has the whole pages only, and nobody knows whether the last is one.
            let wanted = if node.cached_pages.is_empty() { EAGER } else { PAGE };
            if node.stat.kind != Kind::File || node.stat.size == 0 || node.stat.size > wanted {
                return Ok(None);
            }
            node.changes
        };
        let _tree = self.tree.read().await;
        let key = self.key(&self.path(ino)?);
        let (info, body) = match self.bucket.get(&key, 0..EAGER, None).await {
            Ok(found) => found,
            // It may be a directory by now, or empty.
            Err(error) if error.is_not_found() || error.is_past_end() => return Ok(None),
            Err(error) => return Err(errno(&error)),
        };
        let stat = Stat::of_object(&info, false);
        let mut nodes = self.nodes();
        let node = nodes.get_mut(ino).filter(|node| node.changes == changes && node.stat.kind == stat.kind);
        let Some(node) = node else { return Ok(None) };
        let source = Source { key, etag: stat.etag.clone(), size: stat.size };
        node.stat = stat;
        node.checked = Some(Instant::now());
        drop(nodes);
        Ok(Some(Reader::of_body(self.bucket.clone(), source, EAGER, body)))
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

    /// The object of `ino` as it is now.
    pub(super) fn source(&self, ino: u64) -> Outcome<Source> {
        let nodes = self.nodes();
        let path = nodes.path(ino).ok_or(Errno::ESTALE)?;
        let stat = &nodes.get(ino).ok_or(Errno::ESTALE)?.stat;
        Ok(Source { key: self.key(&path), etag: stat.etag.clone(), size: stat.size })
    }
}
