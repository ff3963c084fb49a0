//! Names: look up, make and remove directories, links and files; change attributes.

use bytes::Bytes;
use fuser::Errno;
use jiff::Timestamp;
use tokio::time::Instant;

use super::attributes::{DIRECTORY_CONTENT, Kind, PERMISSIONS, Stat};
use super::failure::{Outcome, errno};
use super::nodes::ROOT;
use super::volume::Volume;
use crate::s3::Payload;

/// Longest target of a link, in bytes.
const LONGEST_TARGET: u64 = 4096;

/// Attributes to change.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Changes {
    /// Permission bits.
    pub(super) mode: Option<u32>,
    /// Owner.
    pub(super) uid: Option<u32>,
    /// Group.
    pub(super) gid: Option<u32>,
    /// Last access.
    pub(super) atime: Option<Timestamp>,
    /// Last change of the content.
    pub(super) mtime: Option<Timestamp>,
}

impl Changes {
    fn is_empty(&self) -> bool {
        self.mode.is_none() && self.uid.is_none() && self.gid.is_none() && !self.sets_times()
    }

    fn sets_times(&self) -> bool {
        self.atime.is_some() || self.mtime.is_some()
    }

    fn apply(&self, stat: &mut Stat) {
        stat.mode = self.mode.map_or(stat.mode, |mode| mode & PERMISSIONS);
        stat.uid = self.uid.unwrap_or(stat.uid);
        stat.gid = self.gid.unwrap_or(stat.gid);
        stat.atime = self.atime.unwrap_or(stat.atime);
        stat.mtime = self.mtime.unwrap_or(stat.mtime);
    }
}

impl Volume {
    /// The inode of `name` in `parent` if no question to the store is needed; counted as looked up.
    pub(super) fn try_lookup(&self, parent: u64, name: &str) -> Option<u64> {
        let ino = self.nodes().child(parent, name)?;
        if !self.is_fresh(ino, self.options.attributes_live) && !self.is_being_written(ino) {
            return None;
        }
        self.nodes().looked_up(ino);
        Some(ino)
    }

    /// The inode of `name` in `parent`, counted as looked up.
    pub(super) async fn lookup(&self, parent: u64, name: &str) -> Outcome<u64> {
        if let Some(ino) = self.try_lookup(parent, name) {
            return Ok(ino);
        }
        let _tree = self.tree.read().await;
        let path = self.child_path(parent, name)?;
        let known = self.known(parent, name);
        let doubtful = known.is_none() && self.nodes().get(parent).is_some_and(|node| node.last_name_missing);
        let found = match self.asked_ahead(parent, name, &path).await {
            Some(stat) => Some(stat),
            None if doubtful => self.ask_doubting(&path).await?,
            None => self.ask(&path, known.map_or(Kind::File, |(_, _, kind)| kind)).await?,
        };
        let mut nodes = self.nodes();
        if let Some(directory) = nodes.get_mut(parent) {
            directory.last_name_missing = found.is_none();
        }
        let now_known = nodes.child(parent, name).and_then(|ino| Some((ino, nodes.get(ino)?.changes)));
        let ino = match (now_known, found) {
            // It was changed here while the store was asked, so that the answer may be old.
            (Some((ino, changes)), _)
                if known.is_none_or(|(old, count, _)| (old, count) != (ino, changes)) =>
            {
                ino
            }
            (Some((ino, _)), None) => {
                nodes.remove(ino);
                return Err(Errno::ENOENT);
            }
            (None, None) => return Err(Errno::ENOENT),
            (_, Some(stat)) => nodes.record(parent, name, stat, Some(Instant::now())),
        };
        nodes.looked_up(ino);
        Ok(ino)
    }

    /// Number, count of changes and kind of the node called `name` in `parent`.
    fn known(&self, parent: u64, name: &str) -> Option<(u64, u64, Kind)> {
        let nodes = self.nodes();
        let ino = nodes.child(parent, name)?;
        nodes.get(ino).map(|node| (ino, node.changes, node.stat.kind))
    }

    /// Makes a directory.
    pub(super) async fn make_directory(&self, parent: u64, name: &str, stat: Stat) -> Outcome<u64> {
        let _tree = self.tree.read().await;
        let path = self.child_path(parent, name)?;
        self.put_marker(&path, &stat).await?;
        Ok(self.made(parent, name, stat))
    }

    async fn put_marker(&self, path: &str, stat: &Stat) -> Outcome<String> {
        let key = self.directory_key(path);
        let put = self.bucket.put(&key, Payload::default(), DIRECTORY_CONTENT, &stat.metadata()).await;
        put.map_err(|error| errno(&error))
    }

    fn made(&self, parent: u64, name: &str, stat: Stat) -> u64 {
        self.ahead.changed(parent);
        let mut nodes = self.nodes();
        let ino = nodes.record(parent, name, stat, Some(Instant::now()));
        if let Some(node) = nodes.get_mut(ino) {
            node.changes += 1;
        }
        nodes.looked_up(ino);
        ino
    }

    /// Makes a symbolic link: an object whose content is its target.
    pub(super) async fn make_link(
        &self,
        parent: u64,
        name: &str,
        target: &str,
        mut stat: Stat,
    ) -> Outcome<u64> {
        if target.len() as u64 > LONGEST_TARGET {
            return Err(Errno::ENAMETOOLONG);
        }
        let _tree = self.tree.read().await;
        let path = self.child_path(parent, name)?;
        let destination = self.destination(&path, &stat);
        let payload = Payload::from(Bytes::copy_from_slice(target.as_bytes()));
        let put =
            self.bucket.put(&destination.key, payload, &destination.content_type, &destination.metadata);
        stat.etag = put.await.map_err(|error| errno(&error))?;
        stat.size = target.len() as u64;
        Ok(self.made(parent, name, stat))
    }

    /// The target of the link `ino`.
    pub(super) async fn read_link(&self, ino: u64) -> Outcome<Vec<u8>> {
        let stat = self.stat(ino)?;
        if stat.kind != Kind::Link {
            return Err(Errno::EINVAL);
        }
        let _tree = self.tree.read().await;
        let key = self.key(&self.path(ino)?);
        let (_, mut body) =
            self.bucket.get(&key, 0..LONGEST_TARGET, None).await.map_err(|error| errno(&error))?;
        let mut target = Vec::new();
        while let Some(data) = body.next().await.map_err(|error| errno(&error))? {
            target.extend_from_slice(&data);
        }
        // Other tools end the target with a line break.
        while target.last().is_some_and(u8::is_ascii_whitespace) {
            target.pop();
        }
        Ok(target)
    }

    /// Removes the file or link `name`. Who has it open keeps its content.
    pub(super) async fn unlink(&self, parent: u64, name: &str) -> Outcome<()> {
        let _tree = self.tree.read().await;
        let path = self.child_path(parent, name)?;
        let known = self.nodes().child(parent, name);
        if let Some(ino) = known {
            if self.stat(ino)?.kind == Kind::Directory {
                return Err(Errno::EISDIR);
            }
            self.keep_content(ino).await?;
        }
        let unsaved = known.is_some_and(|ino| self.stat(ino).is_ok_and(|stat| stat.etag.is_empty()));
        if !unsaved {
            self.bucket.delete(&self.key(&path)).await.map_err(|error| errno(&error))?;
        }
        self.ahead.changed(parent);
        if let Some(ino) = known {
            self.nodes().remove(ino);
        }
        Ok(())
    }

    /// If `ino` is open, brings its content here: its object is about to go.
    pub(super) async fn keep_content(&self, ino: u64) -> Outcome<()> {
        let open = self.nodes().get(ino).and_then(|node| node.file.clone());
        let Some(file) = open else { return Ok(()) };
        let mut content = file.content.lock().await;
        self.make_detached(ino, &mut content).await
    }

    /// Removes the empty directory `name`.
    pub(super) async fn remove_directory(&self, parent: u64, name: &str) -> Outcome<()> {
        let _tree = self.tree.read().await;
        let path = self.child_path(parent, name)?;
        let known = self.nodes().child(parent, name);
        if !self.is_empty_directory(known.unwrap_or(0), &path).await? {
            return Err(Errno::ENOTEMPTY);
        }
        self.bucket.delete(&self.directory_key(&path)).await.map_err(|error| errno(&error))?;
        self.ahead.changed(parent);
        if let Some(ino) = known {
            self.nodes().remove(ino);
        }
        Ok(())
    }

    /// Changes attributes of `ino`. Those of a file that is being written are saved with its content.
    pub(super) async fn change_attributes(&self, ino: u64, changes: Changes) -> Outcome<()> {
        if changes.is_empty() {
            return Ok(());
        }
        if ino == ROOT {
            return Err(Errno::EPERM);
        }
        let kind = self.stat(ino)?.kind;
        if kind == Kind::File {
            let file = self.attach(ino).await?;
            let changed = self.change_file_attributes(&file, changes).await;
            self.detach(&file).await;
            return changed;
        }
        let _tree = self.tree.read().await;
        let path = self.path(ino)?;
        let mut stat = self.stat(ino)?;
        changes.apply(&mut stat);
        stat.etag = if kind == Kind::Directory {
            self.put_marker(&path, &stat).await?
        } else {
            let to = self.destination(&path, &stat);
            let copied = self.bucket.copy(&to.key, &to.key, Some((&to.content_type, &to.metadata))).await;
            copied.map_err(|error| errno(&error))?
        };
        if let Some(node) = self.nodes().get_mut(ino) {
            self.ahead.changed(node.parent);
            node.stat = stat;
            node.checked = Some(Instant::now());
            node.changes += 1;
        }
        Ok(())
    }

    async fn change_file_attributes(&self, file: &super::file::File, changes: Changes) -> Outcome<()> {
        let _tree = self.tree.read().await;
        let mut content = file.content.lock().await;
        content.check()?;
        let before = self.stat(file.ino)?;
        if let Some(node) = self.nodes().get_mut(file.ino) {
            changes.apply(&mut node.stat);
            node.changes += 1;
        }
        content.attributes_dirty = true;
        content.times_set |= changes.sets_times();
        if content.dirty {
            return Ok(());
        }
        let saved = self.save_content(file.ino, &mut content).await;
        if saved.is_err() {
            content.attributes_dirty = false;
            if let Some(node) = self.nodes().get_mut(file.ino) {
                node.stat = before;
            }
        }
        saved
    }
}
