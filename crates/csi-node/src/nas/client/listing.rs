//! Directories, read from front to back. Each time one is opened it is read afresh.

use std::collections::HashSet;

use bytes::Bytes;
use nfs3_types::nfs3::{cookieverf3, nfsstat3};
use nix::errno::Errno;
use std::sync::Arc;
use tokio::time::Instant;

use super::super::protocol::{Failure, some};
use super::super::rpc::{Caller, RpcError};
use super::nodes::{Known, Node, kind};
use super::share::{Outcome, Share};
use crate::fuse::Names;

/// Bytes of one answer.
const PAGE: u32 = 128 << 10;

/// An open directory.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) node: Arc<Node>,
    read: tokio::sync::Mutex<Read>,
}

#[derive(Debug, Default)]
struct Read {
    items: Vec<Item>,
    cookie: u64,
    verifier: cookieverf3,
    at_end: bool,
    /// Begun anew because the directory has changed: names that were told already.
    told: HashSet<Bytes>,
}

#[derive(Debug)]
struct Item {
    name: Bytes,
    number: u64,
    /// Type as in a mode; 0 if unknown.
    kind: u32,
}

/// One page of a listing.
struct Page {
    items: Vec<(Item, u64)>,
    verifier: cookieverf3,
    at_end: bool,
}

impl Listing {
    pub(super) fn new(node: Arc<Node>) -> Self {
        Self { node, read: tokio::sync::Mutex::default() }
    }
}

impl Share {
    /// Names from number `offset` on, at most `size` bytes.
    pub(super) async fn read_directory(
        &self,
        caller: &Caller,
        listing: &Listing,
        offset: u64,
        size: u32,
    ) -> Outcome<Names> {
        let mut read = listing.read.lock().await;
        if offset == 0 && !read.items.is_empty() {
            *read = Read::default();
        }
        let first = usize::try_from(offset).map_err(|_| Errno::EINVAL)?;
        let mut names = Names::new(size);
        let mut at = first;
        loop {
            while let Some(item) = read.items.get(at) {
                if !names.add(item.number, at as u64 + 1, item.kind, &item.name) {
                    return Ok(names);
                }
                at += 1;
            }
            if read.at_end || (at > first && read.items.len() - first > 64) {
                return Ok(names);
            }
            self.next_page(caller, &listing.node, &mut read).await?;
        }
    }

    async fn next_page(&self, caller: &Caller, node: &Node, read: &mut Read) -> Outcome<()> {
        let page = match self.page(caller, node, (read.cookie, read.verifier)).await {
            Err(failure) if failure.is(nfsstat3::NFS3ERR_BAD_COOKIE) && read.cookie != 0 => {
                read.told = read.items.iter().map(|item| item.name.clone()).collect();
                self.page(caller, node, (0, cookieverf3::default())).await?
            }
            page => page?,
        };
        if page.items.is_empty() && !page.at_end {
            return Err(Errno::EIO);
        }
        let begins = read.items.is_empty();
        if begins && !page.items.iter().any(|(item, _)| item.name == ".") {
            // Few servers leave these out.
            let number = node.file_number();
            for name in [".", ".."] {
                read.items.push(Item { name: Bytes::from_static(name.as_bytes()), number, kind: 0o040_000 });
            }
        }
        for (item, cookie) in page.items {
            read.cookie = cookie;
            if !read.told.contains(&item.name) {
                read.items.push(item);
            }
        }
        read.verifier = page.verifier;
        read.at_end = page.at_end;
        Ok(())
    }

    async fn page(&self, caller: &Caller, node: &Node, from: (u64, cookieverf3)) -> Result<Page, Failure> {
        if self.options.listings_with_attributes {
            match self.page_with_attributes(caller, node, from).await {
                Err(failure)
                    if failure.is(nfsstat3::NFS3ERR_NOTSUPP)
                        || failure == Failure::Rpc(RpcError::Unavailable) => {}
                page => return page,
            }
        }
        let asked = Instant::now();
        let found = self.nfs.list(caller, &node.handle, from, PAGE).await?;
        if let Some(attributes) = some(found.dir_attributes) {
            node.learn(&attributes, asked);
        }
        let entries = found.reply.entries.into_inner().into_iter();
        let items = entries.map(|entry| {
            let name = Bytes::from(entry.name.0.into_owned());
            (Item { name, number: entry.fileid, kind: 0 }, entry.cookie)
        });
        Ok(Page { items: items.collect(), verifier: found.cookieverf, at_end: found.reply.eof })
    }

    /// What comes along answers the lookups that usually follow.
    async fn page_with_attributes(
        &self,
        caller: &Caller,
        node: &Node,
        from: (u64, cookieverf3),
    ) -> Result<Page, Failure> {
        let asked = Instant::now();
        let found = self.nfs.list_with_attributes(caller, &node.handle, from, PAGE).await?;
        if let Some(attributes) = some(found.dir_attributes) {
            node.learn(&attributes, asked);
        }
        let mut items = Vec::new();
        for entry in found.reply.entries.into_inner() {
            let name = Bytes::from(entry.name.0.into_owned());
            let attributes = some(entry.name_attributes);
            let item = Item {
                name: name.clone(),
                number: entry.fileid,
                kind: attributes.as_ref().map_or(0, |attributes| kind(attributes.type_)),
            };
            items.push((item, entry.cookie));
            if let (Some(handle), Some(attributes)) = (some(entry.name_handle), attributes)
                && name != "."
                && name != ".."
            {
                if let Some(child) = self.nodes.find(&handle) {
                    child.learn(&attributes, asked);
                }
                node.add_name(name, Known { handle, attributes, asked });
            }
        }
        Ok(Page { items, verifier: found.cookieverf, at_end: found.reply.eof })
    }
}
