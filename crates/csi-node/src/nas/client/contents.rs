//! Contents: opened, read, written, saved and cut.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use nfs3_types::nfs3::{Nfs3Option, sattr3, set_atime, set_mtime};
use nix::errno::Errno;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep};

use super::super::protocol::option;
use super::super::rpc::Caller;
use super::nodes::Node;
use super::share::{Open, Outcome, Share};
use super::unsaved::{Piece, Stamp, Step, Written};
use crate::fuse::{Change, Opened, When};

/// How long small writes wait for their neighbours.
const GATHERING_LIMIT: Duration = Duration::from_secs(1);
/// Bytes that wait for a COMMIT until one is sent unasked.
const COMMIT_AT: u64 = 16 << 20;

impl Share {
    /// Opens a file: what is known of it is asked for again, so that whoever opens it sees what was closed before.
    /// Answers the handle, and how the kernel is to use it.
    pub(super) async fn open(
        self: &Arc<Self>,
        caller: &Caller,
        node: &Arc<Node>,
        (empty, append): (bool, bool),
    ) -> Outcome<(u64, Opened)> {
        if empty {
            let change = Change { size: Some(0), ..Change::default() };
            self.change(caller, node, change).await?;
        } else if !(self.options.trusts_on_open && node.is_fresh()) {
            self.settle(caller, node).await?;
            self.refresh(caller, node).await?;
        }
        let outdated = node.has_outdated_kernel();
        if outdated && let Some(notices) = self.notices.get() {
            notices.attributes_changed(node.number);
        }
        // The kernel would append where it believes the end to be, and doesn't ask before.
        let how = match (outdated && append && !empty, node.keeps_pages()) {
            (true, _) => Opened::Direct,
            (false, true) => Opened::Keeping,
            (false, false) => Opened::Afresh,
        };
        Ok((self.opened(caller, node, how == Opened::Direct), how))
    }

    /// A handle for `node`.
    pub(super) fn opened(&self, caller: &Caller, node: &Arc<Node>, appends: bool) -> u64 {
        let handle = self.number();
        node.open.fetch_add(1, Ordering::AcqRel);
        let open = Open { node: Arc::clone(node), who: caller.in_background(), appends };
        self.opens().insert(handle, Arc::new(open));
        handle
    }

    pub(super) async fn release(self: &Arc<Self>, handle: u64) {
        let Some(open) = self.opens().remove(&handle) else { return };
        let node = &open.node;
        if !node.unsaved.is_empty() {
            // Written through memory that was mapped, or by a process that was killed in its close. Nobody waits for
            // the answer any more, so the log is all that is left to tell.
            if let Err(error) = self.save(&open.who, node).await {
                tracing::error!(%error, file = node.file_number(), "what was written after the last close is lost");
            }
        }
        if node.open.fetch_sub(1, Ordering::AcqRel) == 1
            && let Some(hidden) = node.hide(None)
        {
            self.remove_hidden(&open.who, &hidden).await;
        }
    }

    /// Reads `size` bytes at `offset`, fewer at the end of the file.
    pub(super) async fn read(
        self: &Arc<Self>,
        caller: &Caller,
        open: &Open,
        offset: u64,
        size: u32,
    ) -> Outcome<Vec<Bytes>> {
        let end = offset.checked_add(size.into()).ok_or(Errno::EINVAL)?;
        let (node, range) = (&open.node, offset..end);
        loop {
            if node.unsaved.covers(&range) {
                self.settle(caller, node).await?;
            }
            let data = self.read_range(caller, open, range.clone()).await?;
            // Looked at afterwards: it may be this very call that has found the server restarted.
            if !node.unsaved.doubts(&range, self.nfs.rpc.connections()) {
                return Ok(data);
            }
            self.assure(caller, node, &range).await?;
        }
    }

    async fn read_range(
        &self,
        caller: &Caller,
        open: &Open,
        Range { start: offset, end }: Range<u64>,
    ) -> Outcome<Vec<Bytes>> {
        let caller = Caller { interrupt: caller.interrupt.clone(), ..open.who };
        let step = self.options.read_size;
        let starts = (offset..end).step_by(usize::try_from(step).unwrap_or(usize::MAX));
        let pieces =
            starts.map(|start| self.read_piece(&caller, &open.node, start..end.min(start + u64::from(step))));
        let mut parts = Vec::new();
        for (data, at_end) in futures::future::try_join_all(pieces).await? {
            parts.extend(data);
            if at_end {
                break;
            }
        }
        Ok(parts)
    }

    async fn read_piece(
        &self,
        caller: &Caller,
        node: &Node,
        range: Range<u64>,
    ) -> Outcome<(Vec<Bytes>, bool)> {
        let mut parts = Vec::new();
        let mut at = range.start;
        while at < range.end {
            let asked = Instant::now();
            let count = u32::try_from(range.end - at).unwrap_or(u32::MAX);
            let read = self.nfs.read(caller, &node.handle, at, count).await.inspect_err(|failure| {
                if failure.is_stale() {
                    node.distrust();
                }
            })?;
            if let Some(attributes) = read.attributes {
                node.learn(&attributes, asked);
            }
            at += read.data.len() as u64;
            let nothing = read.data.is_empty();
            parts.push(read.data);
            if read.at_end || nothing {
                return Ok((parts, true));
            }
        }
        Ok((parts, false))
    }

    /// Takes `data`, to be sent when there is enough of it.
    pub(super) async fn write(
        self: &Arc<Self>,
        caller: &Caller,
        open: &Open,
        offset: u64,
        data: Bytes,
    ) -> Outcome<u32> {
        let node = &open.node;
        if let Some(failure) = node.unsaved.failure() {
            return Err(failure);
        }
        let size = u32::try_from(data.len()).map_err(|_| Errno::EINVAL)?;
        if offset.checked_add(size.into()).is_none_or(|end| end > i64::MAX.unsigned_abs()) {
            return Err(Errno::EFBIG);
        }
        let room = self.room(caller, size).await?;
        let offset = if open.appends { node.size() } else { offset };
        let write_size = usize::try_from(self.options.write_size).unwrap_or(usize::MAX);
        let begun = node.unsaved.add(offset, data, open.who.clone(), room, write_size);
        if self.options.synchronous {
            self.save(caller, node).await?;
        } else if begun {
            let (share, node) = (Arc::clone(self), Arc::clone(node));
            tokio::spawn(async move {
                sleep(GATHERING_LIMIT).await;
                node.unsaved.release(false);
                share.pump(&node);
            });
        }
        self.pump(node);
        Ok(size)
    }

    /// Room for `size` bytes; when there is none, everything that waits is sent and saved.
    async fn room(self: &Arc<Self>, caller: &Caller, size: u32) -> Outcome<OwnedSemaphorePermit> {
        if let Ok(room) = Arc::clone(&self.room).try_acquire_many_owned(size) {
            return Ok(room);
        }
        for node in self.nodes.unsaved() {
            node.unsaved.release(false);
            self.pump(&node);
            self.commit(&node);
        }
        let room = caller.wait(Arc::clone(&self.room).acquire_many_owned(size)).await?;
        room.map_err(|_| Errno::EIO)
    }

    /// Sends what may be sent now.
    pub(super) fn pump(self: &Arc<Self>, node: &Arc<Node>) {
        while let Some(piece) = node.unsaved.next() {
            let (share, node) = (Arc::clone(self), Arc::clone(node));
            tokio::spawn(async move { share.send(&node, piece).await });
        }
    }

    async fn send(self: Arc<Self>, node: &Arc<Node>, piece: Piece) {
        let asked = Instant::now();
        let connections = self.nfs.rpc.connections();
        let written =
            self.nfs.write(&piece.who, &node.handle, piece.at, piece.data.clone(), piece.stable).await;
        let outcome = match written {
            Ok(written) => {
                node.learn_change(written.file_wcc, asked);
                let count = usize::try_from(written.count).unwrap_or(usize::MAX);
                let stamp = Stamp { verifier: written.verf, connections };
                Ok(Written { count, committed: written.committed, stamp })
            }
            Err(failure) => {
                node.distrust();
                Err(failure.into())
            }
        };
        let uncommitted = node.unsaved.sent(&piece, outcome);
        drop(piece);
        self.pump(node);
        // A file that grows without end, or one of many for which there is no more room.
        if uncommitted >= COMMIT_AT || self.room.available_permits() < super::share::MOST_UNSAVED / 4 {
            self.commit(node);
        }
    }

    /// Has the server put on its disk what it has taken, if somebody doesn't do so already.
    fn commit(self: &Arc<Self>, node: &Arc<Node>) {
        let Some(what) = node.unsaved.begin_commit() else { return };
        let (share, node) = (Arc::clone(self), Arc::clone(node));
        tokio::spawn(async move {
            let asked = Instant::now();
            let outcome = share.nfs.commit(&what.who, &node.handle).await;
            let outcome = outcome.map_err(Errno::from).map(|committed| {
                node.learn_change(committed.file_wcc, asked);
                committed.verf
            });
            node.unsaved.committed(what, outcome);
            share.pump(&node);
        });
    }

    /// Returns when the server has seen everything that was written to `node`.
    pub(super) async fn settle(self: &Arc<Self>, caller: &Caller, node: &Arc<Node>) -> Outcome<()> {
        loop {
            let moved = node.unsaved.moved();
            if node.unsaved.is_settled() {
                return Ok(());
            }
            node.unsaved.release(false);
            self.pump(node);
            caller.wait(moved).await?;
        }
    }

    /// Returns when nothing of `range` can be lost by a restart of the server that has happened already: what it has
    /// taken before is on its disk, or written again.
    async fn assure(self: &Arc<Self>, caller: &Caller, node: &Arc<Node>, range: &Range<u64>) -> Outcome<()> {
        loop {
            let moved = node.unsaved.moved();
            if !node.unsaved.doubts(range, self.nfs.rpc.connections()) && !node.unsaved.covers(range) {
                return Ok(());
            }
            node.unsaved.release(false);
            self.pump(node);
            self.commit(node);
            caller.wait(moved).await?;
        }
    }

    /// Returns when everything that was written to `node` is on the server's disk.
    ///
    /// # Errors
    /// The failure that lost some of it.
    pub(super) async fn save(self: &Arc<Self>, caller: &Caller, node: &Arc<Node>) -> Outcome<()> {
        loop {
            let moved = node.unsaved.moved();
            node.unsaved.release(true);
            self.pump(node);
            match node.unsaved.step() {
                Step::Done => break,
                Step::Commit => self.commit(node),
                Step::Wait => {}
            }
            caller.wait(moved).await?;
        }
        node.unsaved.take_failure().map_or(Ok(()), Err)
    }

    /// Changes attributes, the size among them.
    pub(super) async fn change(
        self: &Arc<Self>,
        caller: &Caller,
        node: &Arc<Node>,
        change: Change,
    ) -> Outcome<()> {
        // What was written before must not undo it.
        self.settle(caller, node).await?;
        let who = match change.handle.map(|handle| self.open_file(handle)) {
            // Whoever has it open may cut it, whatever its permissions are by now.
            Some(Ok(open)) if change.size.is_some() => {
                Caller { interrupt: caller.interrupt.clone(), ..open.who }
            }
            _ => caller.clone(),
        };
        let attributes = sattr3 {
            mode: option(change.mode.map(|mode| mode & 0o7777)),
            uid: option(change.user),
            gid: option(change.group),
            size: option(change.size),
            atime: match change.accessed {
                None => set_atime::DONT_CHANGE,
                Some(When::Now) => set_atime::SET_TO_SERVER_TIME,
                Some(When::At(time)) => set_atime::SET_TO_CLIENT_TIME(time.try_into().unwrap_or_default()),
            },
            mtime: match change.modified {
                None => set_mtime::DONT_CHANGE,
                Some(When::Now) => set_mtime::SET_TO_SERVER_TIME,
                Some(When::At(time)) => set_mtime::SET_TO_CLIENT_TIME(time.try_into().unwrap_or_default()),
            },
        };
        let asked = Instant::now();
        let changed = self.nfs.set_attributes(&who, &node.handle, attributes).await?;
        if let Some(size) = change.size {
            node.unsaved.cut(size);
        }
        match changed.obj_wcc.after {
            Nfs3Option::Some(attributes) => node.learn(&attributes, asked),
            Nfs3Option::None => self.refresh(caller, node).await?,
        }
        Ok(())
    }
}
