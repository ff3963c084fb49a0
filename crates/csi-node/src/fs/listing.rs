//! An open directory: its names, fetched page by page as they are read.

use std::collections::HashSet;

use fuser::Errno;
use tokio::sync::Mutex;

use super::attributes::Kind;
use super::failure::{Outcome, errno};
use super::nodes::Node;
use super::volume::Volume;

/// Keys in a page; S3 gives no more.
const PAGE: u32 = 1000;

/// One name of a directory.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Entry {
    /// The name.
    pub(super) name: String,
    /// What it is. A link that was never looked up shows as a file.
    pub(super) kind: Kind,
    /// Inode number if known, else a number that is no inode's.
    pub(super) ino: u64,
}

/// An open directory.
#[derive(Debug)]
pub(super) struct Listing {
    /// Inode number of the directory.
    pub(super) ino: u64,
    pages: Mutex<Pages>,
}

#[derive(Debug, Default)]
struct Pages {
    entries: Vec<Entry>,
    names: HashSet<String>,
    next: Option<String>,
    begun: bool,
    done: bool,
}

/// Inode number of an entry that has none yet: programs skip entries with number 0.
const UNKNOWN: u64 = u64::MAX;

impl Listing {
    /// The directory `ino`, nothing of it read yet.
    pub(super) fn new(ino: u64) -> Self {
        Self { ino, pages: Mutex::default() }
    }

    /// Up to `count` entries from number `from` on.
    ///
    /// # Errors
    /// When the store can't be reached or refuses.
    pub(super) async fn entries(&self, volume: &Volume, from: usize, count: usize) -> Outcome<Vec<Entry>> {
        let mut pages = self.pages.lock().await;
        if from == 0 && pages.begun {
            // A rewound directory is read anew.
            *pages = Pages::default();
        }
        while pages.entries.len() < from.saturating_add(count) && !pages.done {
            self.next_page(volume, &mut pages).await?;
        }
        Ok(pages.entries.iter().skip(from).take(count).cloned().collect())
    }

    async fn next_page(&self, volume: &Volume, pages: &mut Pages) -> Outcome<()> {
        let _tree = volume.tree.read().await;
        let prefix = volume.directory_key(&volume.path(self.ino)?);
        let page = volume
            .bucket
            .list(&prefix, true, PAGE, pages.next.as_deref())
            .await
            .map_err(|error| errno(&error))?;
        let first = !pages.begun;
        let files = page
            .objects
            .iter()
            .filter_map(|object| object.key.strip_prefix(&prefix))
            .map(|name| (name, Kind::File));
        let directories = page
            .prefixes
            .iter()
            .filter_map(|key| key.strip_prefix(&prefix)?.strip_suffix('/'))
            .map(|name| (name, Kind::Directory));
        let mut found: Vec<_> = files.chain(directories).filter(|(name, _)| is_name(name)).collect();
        found.sort_by_key(|(name, _)| *name);
        let names = found.iter().filter(|(_, kind)| *kind == Kind::File).map(|(name, _)| (*name).to_owned());
        volume.ahead.listed(self.ino, names.collect(), first);
        pages.begun = true;
        for (name, kind) in found {
            pages.add(volume, self.ino, name, kind);
        }
        pages.next = page.next;
        if pages.next.is_none() {
            pages.done = true;
            // Files that were made here and are not on the store yet.
            let known = volume.nodes().children(self.ino);
            for (name, ino) in known {
                let unsaved = volume.nodes().get(ino).is_some_and(Node::is_unsaved);
                if unsaved {
                    pages.add(volume, self.ino, &name, Kind::File);
                }
            }
        }
        Ok(())
    }
}

impl Pages {
    fn add(&mut self, volume: &Volume, parent: u64, name: &str, kind: Kind) {
        if !self.names.insert(name.to_owned()) {
            return;
        }
        let nodes = volume.nodes();
        let known =
            nodes.child(parent, name).and_then(|ino| nodes.get(ino).map(|node| (ino, node.stat.kind)));
        let (ino, kind) = match known {
            Some((ino, known)) if (known == Kind::Directory) == (kind == Kind::Directory) => (ino, known),
            _ => (UNKNOWN, kind),
        };
        self.entries.push(Entry { name: name.to_owned(), kind, ino });
    }
}

/// Whether a part of a key can be a name: not the directory's own object, and nothing that the kernel would refuse.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains('/') && name.len() <= 255
}

impl Volume {
    /// Whether nothing is in the directory `ino` at `path`.
    ///
    /// # Errors
    /// When the store can't be reached or refuses.
    pub(super) async fn is_empty_directory(&self, ino: u64, path: &str) -> Outcome<bool> {
        if self.nodes().has_unsaved_children(ino) {
            return Ok(false);
        }
        let prefix = self.directory_key(path);
        let page = self.bucket.list(&prefix, false, 2, None).await.map_err(|error| errno(&error))?;
        Ok(page.objects.iter().all(|object| object.key == prefix))
    }

    /// Opens the directory `ino`.
    ///
    /// # Errors
    /// When `ino` is none.
    pub(super) fn open_directory(&self, ino: u64) -> Outcome<u64> {
        if self.stat(ino)?.kind != Kind::Directory {
            return Err(Errno::ENOTDIR);
        }
        Ok(self.add_listing(Listing::new(ino)))
    }
}
