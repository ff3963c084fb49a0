//! Writes and cuts open files: front to back as a stream, anywhere else in a scratch file.

use std::sync::Arc;

use fuser::Errno;

use super::failure::Outcome;
use super::file::{Content, File, Writing, pour};
use super::opening::Handle;
use super::scratch::Scratch;
use super::stream::{Destination, Stream};
use super::volume::Volume;

impl Volume {
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
}
