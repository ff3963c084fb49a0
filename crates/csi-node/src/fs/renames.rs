//! Renames: an object store has none, so objects are copied on the server and the old ones deleted.

use std::collections::HashMap;

use fuser::Errno;
use futures::StreamExt as _;

use super::attributes::{DIRECTORY_CONTENT, Kind, Stat};
use super::failure::{Outcome, errno};
use super::file::Writing;
use super::media;
use super::volume::Volume;
use crate::s3::{Payload, S3Error};

/// Copies and deletions at once.
const PARALLEL: usize = 16;
/// Objects longer than this are copied in parts; S3 copies up to 5 GiB at once.
const LONGEST_COPY: u64 = 4 << 30;
/// Length of such a part, in bytes.
const COPIED_PART: u64 = 1 << 30;

/// A name in a directory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    /// Inode number of the directory.
    pub(super) parent: u64,
    /// The name.
    pub(super) name: &'a str,
}

impl Volume {
    /// Gives what is at `from` the name `to`, whatever had that name before.
    pub(super) async fn rename(&self, from: Place<'_>, to: Place<'_>, replace: bool) -> Outcome<()> {
        let Some(ino) = self.nodes().child(from.parent, from.name) else { return Err(Errno::ENOENT) };
        if !replace {
            match self.lookup(to.parent, to.name).await {
                Ok(existing) => {
                    self.nodes().forget(existing, 1);
                    return Err(Errno::EEXIST);
                }
                Err(error) if error.code() == Errno::ENOENT.code() => {}
                Err(error) => return Err(error),
            }
        }
        if self.stat(ino)?.kind == Kind::Directory {
            self.rename_directory(ino, from, to).await
        } else {
            self.rename_file(ino, from, to).await
        }
    }

    async fn rename_file(&self, ino: u64, from: Place<'_>, to: Place<'_>) -> Outcome<()> {
        let _tree = self.tree.read().await;
        let old = self.key(&self.child_path(from.parent, from.name)?);
        let new = self.key(&self.child_path(to.parent, to.name)?);
        let replaced = self.nodes().child(to.parent, to.name).filter(|other| *other != ino);
        let open = self.nodes().get(ino).and_then(|node| node.file.clone());
        let mut content = match &open {
            Some(file) => Some(file.content.lock().await),
            None => None,
        };
        if let Some(content) = &mut content {
            self.save_content(ino, content).await?;
        }
        if let Some(replaced) = replaced {
            self.keep_content(replaced).await?;
        }
        let stat = self.stat(ino)?;
        let media = if stat.kind == Kind::File {
            media::renamed(&stat.content_type, from.name, to.name)
        } else {
            None
        };
        let etag = self.copy_object(&old, &new, &stat, media).await.map_err(|error| errno(&error))?;
        self.bucket.delete(&old).await.map_err(|error| errno(&error))?;
        if let Some(content) = &mut content
            && let Writing::Scratch(scratch) = &mut content.writing
        {
            scratch.rebase(&etag);
        }
        self.ahead.clear();
        let mut nodes = self.nodes();
        nodes.rename(ino, to.parent, to.name);
        if let Some(node) = nodes.get_mut(ino) {
            if node.cached_pages == node.stat.etag {
                node.cached_pages.clone_from(&etag);
            }
            node.stat.etag = etag;
            if let Some(media) = media {
                node.stat.content_type = media.to_owned();
            }
            node.changes += 1;
        }
        Ok(())
    }

    async fn rename_directory(&self, ino: u64, from: Place<'_>, to: Place<'_>) -> Outcome<()> {
        let _tree = self.tree.write().await;
        let old = self.directory_key(&self.child_path(from.parent, from.name)?);
        let new_path = self.child_path(to.parent, to.name)?;
        let new = self.directory_key(&new_path);
        let replaced = self.nodes().child(to.parent, to.name).filter(|other| *other != ino);
        if !self.is_empty_directory(replaced.unwrap_or(0), &new_path).await? {
            return Err(Errno::ENOTEMPTY);
        }
        let open = self.nodes().open_files(ino);
        for file in &open {
            let mut content = file.content.lock().await;
            self.save_content(file.ino, &mut content).await?;
        }
        let etags = self.move_objects(&old, &new, &self.stat(ino)?).await?;
        for file in &open {
            let mut content = file.content.lock().await;
            let key = self.path(file.ino).map(|path| self.key(&path)).unwrap_or_default();
            let etag = key.strip_prefix(&old).and_then(|name| etags.get(name));
            if let (Writing::Scratch(scratch), Some(etag)) = (&mut content.writing, etag) {
                scratch.rebase(etag);
            }
        }
        self.ahead.clear();
        let mut nodes = self.nodes();
        nodes.rename(ino, to.parent, to.name);
        nodes.expire(ino);
        Ok(())
    }

    /// Moves every object whose key begins with `old`; answers the new version tags by the rest of the key. Old
    /// objects are deleted only when every copy is there.
    async fn move_objects(&self, old: &str, new: &str, directory: &Stat) -> Outcome<HashMap<String, String>> {
        let mut objects = Vec::new();
        let mut next = None;
        loop {
            let page =
                self.bucket.list(old, false, 1000, next.as_deref()).await.map_err(|error| errno(&error))?;
            objects.extend(page.objects);
            next = page.next;
            if next.is_none() {
                break;
            }
        }
        if !objects.iter().any(|object| object.key == old) {
            let put =
                self.bucket.put(new, Payload::default(), DIRECTORY_CONTENT, &directory.metadata()).await;
            put.map_err(|error| errno(&error))?;
        }
        let copies = futures::stream::iter(objects.clone()).map(|object| async move {
            let name = object.key.strip_prefix(old).unwrap_or_default();
            let stat = Stat { size: object.size, ..directory.clone() };
            let etag = self.copy_object(&object.key, &format!("{new}{name}"), &stat, None).await?;
            Ok::<_, S3Error>((name.to_owned(), etag))
        });
        let mut copies = copies.buffer_unordered(PARALLEL);
        let mut etags = HashMap::with_capacity(objects.len());
        while let Some(copied) = copies.next().await {
            etags.extend([copied.map_err(|error| errno(&error))?]);
        }
        drop(copies);
        let deletions =
            futures::stream::iter(objects).map(|object| async move { self.bucket.delete(&object.key).await });
        let mut deletions = deletions.buffer_unordered(PARALLEL);
        while let Some(deleted) = deletions.next().await {
            deleted.map_err(|error| errno(&error))?;
        }
        Ok(etags)
    }

    /// Copies an object with what is attached to it, or, with `media`, with that media type and the attributes of
    /// `stat`. Answers the version tag of the copy.
    async fn copy_object(
        &self,
        from: &str,
        to: &str,
        stat: &Stat,
        media: Option<&str>,
    ) -> Result<String, S3Error> {
        if stat.size <= LONGEST_COPY {
            let metadata = stat.metadata();
            return self.bucket.copy(from, to, media.map(|media| (media, &metadata))).await;
        }
        let info = self.bucket.head(from).await?.ok_or_else(|| S3Error::Malformed {
            operation: "CopyObject",
            reason: format!("{from:?} went away"),
        })?;
        let upload =
            self.bucket.create_upload(to, media.unwrap_or(&info.content_type), &info.metadata).await?;
        let mut parts = Vec::new();
        let mut at = 0;
        for number in 1.. {
            if at >= info.size {
                break;
            }
            let end = (at + COPIED_PART).min(info.size);
            match self.bucket.copy_part(to, &upload, number, from, &info.etag, at..end).await {
                Ok(part) => parts.push(part),
                Err(error) => {
                    self.bucket.abort_upload(to, &upload).await?;
                    return Err(error);
                }
            }
            at = end;
        }
        self.bucket.complete_upload(to, &upload, &parts).await
    }
}
