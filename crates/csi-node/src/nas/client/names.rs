//! Names: found, made, moved and removed.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use nfs3_types::nfs3::{Nfs3Option, createhow3, devicedata3, mknoddata3, nfsstat3, sattr3, specdata3};
use nix::errno::Errno;
use tokio::time::Instant;

use super::super::protocol::some;
use super::super::rpc::Caller;
use super::nodes::{Hidden, Known, Node};
use super::share::{Outcome, Share};
use crate::fuse::Entry;

const TYPE_MASK: u32 = 0o170_000;
const TYPE_FILE: u32 = 0o100_000;
const TYPE_CHARACTERS: u32 = 0o020_000;
const TYPE_BLOCKS: u32 = 0o060_000;
const TYPE_PIPE: u32 = 0o010_000;
const TYPE_SOCKET: u32 = 0o140_000;

fn with_mode(mode: u32) -> sattr3 {
    sattr3 { mode: Nfs3Option::Some(mode & 0o7777), ..sattr3::default() }
}

impl Share {
    /// What `name` stands for, if nobody has to be asked.
    pub(super) fn try_lookup(&self, directory: &Node, name: &[u8]) -> Option<Entry> {
        let known = directory.name(name)?;
        self.nodes.is_fresh(&known).then(|| self.entry(directory, name, known).1)
    }

    pub(super) async fn lookup(&self, caller: &Caller, directory: &Node, name: &[u8]) -> Outcome<Entry> {
        if let Some(known) = directory.name(name) {
            if self.nodes.is_fresh(&known) {
                return Ok(self.entry(directory, name, known).1);
            }
            let asked = Instant::now();
            if let Ok(attributes) = self.nfs.attributes(caller, &known.handle).await {
                let known = Known { handle: known.handle, attributes, asked };
                return Ok(self.entry(directory, name, known).1);
            }
        }
        let asked = Instant::now();
        match self.nfs.lookup(caller, &directory.handle, name).await {
            Ok(found) => {
                if let Some(attributes) = some(found.dir_attributes) {
                    directory.learn(&attributes, asked);
                }
                let parts = (Nfs3Option::Some(found.object), found.obj_attributes);
                let known = self.known(caller, directory, name, parts, asked).await?;
                Ok(self.entry(directory, name, known).1)
            }
            Err(failure) => {
                directory.remove_name(name);
                if failure.is_stale() {
                    directory.distrust();
                }
                Err(failure.into())
            }
        }
    }

    /// Makes a file, or with `exclusive` fails if there is one. `empty` cuts one that is there.
    pub(super) async fn create(
        &self,
        caller: &Caller,
        directory: &Node,
        name: &[u8],
        mode: u32,
        (exclusive, empty): (bool, bool),
    ) -> Outcome<(Arc<Node>, Entry)> {
        let size = if empty { Nfs3Option::Some(0) } else { Nfs3Option::None };
        let attributes = sattr3 { size, ..with_mode(mode) };
        let how = if exclusive { createhow3::GUARDED(attributes) } else { createhow3::UNCHECKED(attributes) };
        let asked = Instant::now();
        let made = self.nfs.create(caller, &directory.handle, name, how).await?;
        directory.learn_change(made.dir_wcc, asked);
        let known = self.known(caller, directory, name, (made.obj, made.obj_attributes), asked).await?;
        Ok(self.entry(directory, name, known))
    }

    pub(super) async fn make_directory(
        &self,
        caller: &Caller,
        directory: &Node,
        name: &[u8],
        mode: u32,
    ) -> Outcome<Entry> {
        let asked = Instant::now();
        let made = self.nfs.make_directory(caller, &directory.handle, name, with_mode(mode)).await?;
        directory.learn_change(made.dir_wcc, asked);
        let known = self.known(caller, directory, name, (made.obj, made.obj_attributes), asked).await?;
        Ok(self.entry(directory, name, known).1)
    }

    pub(super) async fn make_link(
        &self,
        caller: &Caller,
        directory: &Node,
        name: &[u8],
        target: &[u8],
    ) -> Outcome<Entry> {
        let asked = Instant::now();
        let made = self.nfs.make_link(caller, &directory.handle, name, target, with_mode(0o777)).await?;
        directory.learn_change(made.dir_wcc, asked);
        let known = self.known(caller, directory, name, (made.obj, made.obj_attributes), asked).await?;
        Ok(self.entry(directory, name, known).1)
    }

    pub(super) async fn make_node(
        &self,
        caller: &Caller,
        directory: &Node,
        name: &[u8],
        mode: u32,
        device: u32,
    ) -> Outcome<Entry> {
        let dev_attributes = with_mode(mode);
        let spec = specdata3 {
            specdata1: (device >> 8) & 0xfff,
            specdata2: (device & 0xff) | ((device >> 12) & 0xfff00),
        };
        let what = match mode & TYPE_MASK {
            0 | TYPE_FILE => {
                return Ok(self.create(caller, directory, name, mode, (true, false)).await?.1);
            }
            TYPE_PIPE => mknoddata3::NF3FIFO(dev_attributes),
            TYPE_SOCKET => mknoddata3::NF3SOCK(dev_attributes),
            TYPE_CHARACTERS => mknoddata3::NF3CHR(devicedata3 { dev_attributes, spec }),
            TYPE_BLOCKS => mknoddata3::NF3BLK(devicedata3 { dev_attributes, spec }),
            _ => return Err(Errno::EINVAL),
        };
        let asked = Instant::now();
        let made = self.nfs.make_node(caller, &directory.handle, name, what).await?;
        directory.learn_change(made.dir_wcc, asked);
        let known = self.known(caller, directory, name, (made.obj, made.obj_attributes), asked).await?;
        Ok(self.entry(directory, name, known).1)
    }

    pub(super) async fn link(
        &self,
        caller: &Caller,
        node: &Node,
        directory: &Node,
        name: &[u8],
    ) -> Outcome<Entry> {
        let asked = Instant::now();
        let made = self.nfs.link(caller, &node.handle, &directory.handle, name).await?;
        directory.learn_change(made.linkdir_wcc, asked);
        let parts = (Nfs3Option::Some(node.handle.clone()), made.file_attributes);
        let known = self.known(caller, directory, name, parts, asked).await?;
        Ok(self.entry(directory, name, known).1)
    }

    pub(super) async fn unlink(&self, caller: &Caller, directory: &Arc<Node>, name: &[u8]) -> Outcome<()> {
        let node = self.node_of(caller, directory, name).await;
        if let Some(node) = &node
            && is_open(node)
        {
            self.hide(caller, node, directory, name).await?;
            self.remove_if_closed(caller, node).await;
            return Ok(());
        }
        let asked = Instant::now();
        let removed = self.nfs.remove(caller, &directory.handle, name).await;
        directory.remove_name(name);
        if let Some(node) = node {
            // One link less.
            node.distrust();
        }
        directory.learn_change(removed?.dir_wcc, asked);
        Ok(())
    }

    pub(super) async fn remove_directory(
        &self,
        caller: &Caller,
        directory: &Node,
        name: &[u8],
    ) -> Outcome<()> {
        let asked = Instant::now();
        let removed = self.nfs.remove_directory(caller, &directory.handle, name).await?;
        directory.remove_name(name);
        directory.learn_change(removed.dir_wcc, asked);
        Ok(())
    }

    pub(super) async fn rename(
        &self,
        caller: &Caller,
        from: (&Arc<Node>, &[u8]),
        to: (&Arc<Node>, &[u8]),
    ) -> Outcome<()> {
        let moved = self.node_of(caller, from.0, from.1).await;
        let replaced = self.node_of(caller, to.0, to.1).await;
        let same = moved.as_ref().zip(replaced.as_ref()).is_some_and(|(one, other)| Arc::ptr_eq(one, other));
        let hidden = match &replaced {
            Some(node) if is_open(node) && !same && !node.is_directory() => {
                Some(self.hide(caller, node, to.0, to.1).await?)
            }
            _ => None,
        };
        let asked = Instant::now();
        let places = ((&from.0.handle, from.1), (&to.0.handle, to.1));
        let renamed = match self.nfs.rename(caller, places.0, places.1).await {
            Ok(renamed) => renamed,
            Err(failure) => {
                if let (Some(hidden), Some(node)) = (hidden, &replaced) {
                    self.bring_back(caller, node, &hidden, to).await;
                }
                return Err(failure.into());
            }
        };
        if let (Some(_), Some(node)) = (hidden, &replaced) {
            self.remove_if_closed(caller, node).await;
        }
        if !same {
            let known = from.0.remove_name(from.1);
            to.0.remove_name(to.1);
            if let Some(known) = known {
                to.0.add_name(Bytes::copy_from_slice(to.1), known);
            }
        }
        from.0.learn_change(renamed.fromdir_wcc, asked);
        if !Arc::ptr_eq(from.0, to.0) {
            to.0.learn_change(renamed.todir_wcc, asked);
        }
        for node in moved.into_iter().chain(replaced) {
            // Their times of change and their links are others now.
            if !node.is_directory() {
                node.distrust();
            }
        }
        Ok(())
    }

    /// The node of `name` if the kernel knows it. What can't be found out counts as unknown: the operation itself
    /// will say why.
    async fn node_of(&self, caller: &Caller, directory: &Node, name: &[u8]) -> Option<Arc<Node>> {
        if let Some(known) = directory.name(name) {
            return self.nodes.find(&known.handle);
        }
        let found = self.nfs.lookup(caller, &directory.handle, name).await.ok()?;
        self.nodes.find(&found.object)
    }

    /// Removes a name of an open file in the way of NFS: the file gets a name that nobody looks for until it is
    /// closed, because a server forgets files without a name.
    async fn hide(
        &self,
        caller: &Caller,
        node: &Arc<Node>,
        directory: &Arc<Node>,
        name: &[u8],
    ) -> Outcome<Hidden> {
        let hidden_name = loop {
            let candidate = format!(".nfs{:016x}{:08x}", node.file_number(), self.number());
            match self.nfs.lookup(caller, &directory.handle, candidate.as_bytes()).await {
                Err(failure) if failure.is(nfsstat3::NFS3ERR_NOENT) => break Bytes::from(candidate),
                Err(failure) => return Err(failure.into()),
                Ok(_) => {}
            }
        };
        let asked = Instant::now();
        let places = ((&directory.handle, name), (&directory.handle, hidden_name.as_ref()));
        let renamed = self.nfs.rename(caller, places.0, places.1).await?;
        if let Some(known) = directory.remove_name(name) {
            directory.add_name(hidden_name.clone(), known);
        }
        directory.learn_change(renamed.todir_wcc, asked);
        let hidden = Hidden { directory: Arc::clone(directory), name: hidden_name };
        if let Some(earlier) = node.hide(Some(hidden.clone())) {
            // A second name of it was removed as well; one hidden name is enough.
            self.remove_hidden(caller, &earlier).await;
        }
        Ok(hidden)
    }

    /// The kernel tells of a close when it is over: the last one may have come while a file was being hidden, and found
    /// nothing to remove.
    async fn remove_if_closed(&self, caller: &Caller, node: &Node) {
        if !is_open(node)
            && let Some(hidden) = node.hide(None)
        {
            self.remove_hidden(caller, &hidden).await;
        }
    }

    async fn bring_back(&self, caller: &Caller, node: &Node, hidden: &Hidden, to: (&Arc<Node>, &[u8])) {
        let from = (&hidden.directory.handle, hidden.name.as_ref());
        match self.nfs.rename(caller, from, (&to.0.handle, to.1)).await {
            Ok(_) => drop(node.hide(None)),
            Err(error) => tracing::warn!(%error, "a file that was to be replaced stays hidden"),
        }
        to.0.distrust();
    }

    /// Removes the hidden name of a file that nobody has open any more.
    pub(super) async fn remove_hidden(&self, caller: &Caller, hidden: &Hidden) {
        let asked = Instant::now();
        match self.nfs.remove(caller, &hidden.directory.handle, &hidden.name).await {
            Ok(removed) => {
                hidden.directory.remove_name(&hidden.name);
                hidden.directory.learn_change(removed.dir_wcc, asked);
            }
            Err(error) => tracing::warn!(%error, "a removed file's hidden name stays"),
        }
    }
}

fn is_open(node: &Node) -> bool {
    node.open.load(Ordering::Acquire) > 0
}
