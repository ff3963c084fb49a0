//! The kernel's requests: what is known is answered at once, the rest as a task, so that a server that is slow never
//! holds up what doesn't need it.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use nix::errno::Errno;
use tokio::runtime::Handle;

use super::super::rpc::Caller;
use super::listing::Listing;
use super::nodes::{Node, ROOT};
use super::share::{Outcome, Share};
use crate::fs::Mountable;
use crate::fuse::{Entry, FileSystem, Interrupt, Opened, Operation, Reply, Request, Session, Space};

/// Block size in which space is told, in bytes.
const BLOCK: u32 = 4096;

impl Mountable for Share {
    const FILE_SYSTEM: &'static str = "fuse.nfs";
    /// Several reads of the largest size, so that they are under way at once.
    const READ_AHEAD: u32 = 8192;

    type Service = Session;

    fn source(&self) -> String {
        self.source_name().to_owned()
    }

    fn serve(self: Arc<Self>, device: OwnedFd, runtime: Handle) -> io::Result<Session> {
        let mut session = Session::begin(device)?;
        // Both are set once: a share is mounted once.
        let _ = self.notices.set(session.notices());
        let _ = self.runtime.set(runtime);
        session.serve(&self)?;
        Ok(session)
    }

    async fn save_all(self: &Arc<Self>) -> usize {
        let nodes = self.nodes.unsaved();
        let saved = nodes.iter().map(|node| self.save(&Caller::ROOT, node));
        futures::future::join_all(saved).await.into_iter().filter(Result::is_err).count()
    }
}

impl FileSystem for Share {
    fn handle(self: Arc<Self>, request: Request, interrupt: Arc<Interrupt>, reply: Reply) {
        let node = match self.node(request.node) {
            Ok(node) => node,
            Err(error) => return reply.error(error),
        };
        match &request.operation {
            Operation::Lookup { name } => {
                if let Some(entry) = self.try_lookup(&node, name) {
                    return reply.entry(&entry);
                }
            }
            Operation::GetAttributes if node.is_fresh() && node.unsaved.is_settled() => {
                return reply.attributes(&node.show());
            }
            Operation::OpenDirectory => {
                let handle = self.number();
                self.listings().insert(handle, Arc::new(Listing::new(node)));
                return reply.opened(handle, Opened::Afresh);
            }
            Operation::ReleaseDirectory { handle } => {
                self.listings().remove(handle);
                return reply.done();
            }
            Operation::SynchroniseDirectory => return reply.done(),
            Operation::Flush if node.unsaved.is_empty() && node.unsaved.failure().is_none() => {
                return reply.done();
            }
            _ => {}
        }
        let Some(runtime) = self.runtime.get().cloned() else { return };
        let caller = Caller { user: request.user, group: request.group, interrupt: Some(interrupt) };
        runtime.spawn(async move { self.work(&caller, &node, request.operation, reply).await });
    }

    fn forget(&self, nodes: &[(u64, u64)]) {
        for (number, count) in nodes {
            self.nodes.forget(*number, *count);
        }
    }
}

impl Share {
    async fn work(self: Arc<Self>, caller: &Caller, node: &Arc<Node>, operation: Operation, reply: Reply) {
        match operation {
            Operation::GetAttributes => {
                answer(reply, self.current(caller, node).await, |reply, ()| {
                    reply.attributes(&node.show());
                });
            }
            Operation::SetAttributes(change) => {
                answer(reply, self.change(caller, node, change).await, |reply, ()| {
                    reply.attributes(&node.show());
                });
            }
            Operation::ReadLink => {
                let target = self.nfs.read_link(caller, &node.handle).await.map_err(Errno::from);
                answer(reply, target, |reply, target| reply.data(&[target]));
            }
            Operation::Open { flags } => {
                let how = (is_set(flags, libc::O_TRUNC), is_set(flags, libc::O_APPEND));
                let opened = self.open(caller, node, how).await;
                answer(reply, opened, |reply, (handle, how)| reply.opened(handle, how));
            }
            Operation::Create { name, flags, mode } => {
                let how = (is_set(flags, libc::O_EXCL), is_set(flags, libc::O_TRUNC));
                let made = self.create(caller, node, &name, mode, how).await;
                answer(reply, made, |reply, (made, entry)| {
                    reply.created(&entry, self.opened(caller, &made, false));
                });
            }
            Operation::Read { handle, offset, size } => {
                let read = match self.open_file(handle) {
                    Ok(open) => self.read(caller, &open, offset, size).await,
                    Err(error) => Err(error),
                };
                answer(reply, read, |reply, data| reply.data(&data));
            }
            Operation::Write { handle, offset, data } => {
                let written = match self.open_file(handle) {
                    Ok(open) => self.write(caller, &open, offset, data).await,
                    Err(error) => Err(error),
                };
                answer(reply, written, Reply::written);
            }
            Operation::Flush | Operation::Synchronise => {
                answer(reply, self.save(caller, node).await, |reply, ()| reply.done());
            }
            Operation::Release { handle } => {
                self.release(handle).await;
                reply.done();
            }
            Operation::ReadDirectory { handle, offset, size } => {
                let listing = self.listings().get(&handle).cloned();
                let names = match listing {
                    Some(listing) => self.read_directory(caller, &listing, offset, size).await,
                    None => Err(Errno::EBADF),
                };
                answer(reply, names, |reply, names| reply.names(&names));
            }
            Operation::Statistics => {
                answer(reply, self.space(caller).await, |reply, space| reply.space(&space));
            }
            operation => self.work_on_names(caller, node, operation, reply).await,
        }
    }

    async fn work_on_names(&self, caller: &Caller, node: &Arc<Node>, operation: Operation, reply: Reply) {
        let found = |reply: Reply, entry: Entry| reply.entry(&entry);
        let done = |reply: Reply, ()| reply.done();
        match operation {
            Operation::Lookup { name } => {
                answer(reply, self.lookup(caller, node, &name).await, found);
            }
            Operation::MakeDirectory { name, mode } => {
                answer(reply, self.make_directory(caller, node, &name, mode).await, found);
            }
            Operation::MakeNode { name, mode, device } => {
                answer(reply, self.make_node(caller, node, &name, mode, device).await, found);
            }
            Operation::SymbolicLink { name, target } => {
                answer(reply, self.make_link(caller, node, &name, &target).await, found);
            }
            Operation::Link { node: existing, new_name } => {
                let linked = match self.node(existing) {
                    Ok(existing) => self.link(caller, &existing, node, &new_name).await,
                    Err(error) => Err(error),
                };
                answer(reply, linked, found);
            }
            Operation::Unlink { name } => answer(reply, self.unlink(caller, node, &name).await, done),
            Operation::RemoveDirectory { name } => {
                answer(reply, self.remove_directory(caller, node, &name).await, done);
            }
            // As the kernel's client: NFS knows neither "don't replace" nor "exchange".
            Operation::Rename { flags: 1.., .. } => reply.error(Errno::EINVAL),
            Operation::Rename { name, new_parent, new_name, .. } => {
                let renamed = match self.node(new_parent) {
                    Ok(to) => self.rename(caller, (node, &name), (&to, &new_name)).await,
                    Err(error) => Err(error),
                };
                answer(reply, renamed, done);
            }
            // The kernel then does without: extended attributes, locks, allocation.
            _ => reply.error(Errno::ENOSYS),
        }
    }

    /// Sees to it that what is known of `node` may be shown.
    async fn current(self: &Arc<Self>, caller: &Caller, node: &Arc<Node>) -> Outcome<()> {
        // Size and times are right only when the server has everything.
        self.settle(caller, node).await?;
        if node.is_fresh() {
            return Ok(());
        }
        Ok(self.refresh(caller, node).await?)
    }

    async fn space(&self, caller: &Caller) -> Outcome<Space> {
        let root = self.node(ROOT)?;
        let it = self.nfs.space(caller, &root.handle).await?;
        let blocks = |bytes: u64| bytes / u64::from(BLOCK);
        Ok(Space {
            blocks: blocks(it.tbytes),
            free: blocks(it.fbytes),
            available: blocks(it.abytes),
            files: it.tfiles,
            files_free: it.ffiles,
            block_size: BLOCK,
        })
    }
}

fn is_set(flags: u32, flag: i32) -> bool {
    flags & flag.cast_unsigned() != 0
}

fn answer<T>(reply: Reply, outcome: Outcome<T>, good: impl FnOnce(Reply, T)) {
    match outcome {
        Ok(value) => good(reply, value),
        Err(error) => reply.error(error),
    }
}
