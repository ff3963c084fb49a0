//! The tree of names that the kernel knows, by inode number.
//!
//! An inode is made when a name is looked up and lives until the kernel forgets it and nobody has it open. Keys
//! are derived from the tree and not kept, so that renaming a directory moves everything below it at once.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::time::Instant;

use super::attributes::{Kind, Stat};
use super::file::File;

/// Inode number of the root.
pub(super) const ROOT: u64 = 1;

/// One name.
#[derive(Debug)]
pub(super) struct Node {
    /// Inode number of the directory that holds it.
    pub(super) parent: u64,
    /// Its name there; "" for the root.
    pub(super) name: String,
    /// Attributes as last known.
    pub(super) stat: Stat,
    /// When the attributes were last confirmed by the store; nothing if they are to be asked for again.
    pub(super) checked: Option<Instant>,
    /// The content, while somebody has it open.
    pub(super) file: Option<Arc<File>>,
    /// Whether the name has been removed while the inode lives on.
    pub(super) removed: bool,
    /// Counts the changes made here, so that an answer of the store that is older than one is recognised.
    pub(super) changes: u64,
    /// Version of the object that the kernel's page cache holds, "" if none is known.
    pub(super) cached_pages: String,
    /// Whether the name that was last looked up in this directory wasn't there: the next one may not be either.
    pub(super) last_name_missing: bool,
    lookups: u64,
    children: HashMap<String, u64>,
}

/// All known nodes.
#[derive(Debug)]
pub(super) struct Nodes {
    nodes: HashMap<u64, Node>,
    next: u64,
}

impl Nodes {
    /// A tree with a root of these attributes.
    pub(super) fn new(root: Stat) -> Self {
        let root = Node {
            parent: ROOT,
            name: String::new(),
            stat: root,
            checked: None,
            file: None,
            removed: false,
            changes: 0,
            cached_pages: String::new(),
            last_name_missing: false,
            lookups: 1,
            children: HashMap::new(),
        };
        Self { nodes: HashMap::from([(ROOT, root)]), next: ROOT + 1 }
    }

    /// The node with this number.
    pub(super) fn get(&self, ino: u64) -> Option<&Node> {
        self.nodes.get(&ino)
    }

    /// The node with this number, to change.
    pub(super) fn get_mut(&mut self, ino: u64) -> Option<&mut Node> {
        self.nodes.get_mut(&ino)
    }

    /// The number of the node called `name` in `parent`.
    pub(super) fn child(&self, parent: u64, name: &str) -> Option<u64> {
        self.nodes.get(&parent)?.children.get(name).copied()
    }

    /// The known names in `parent`.
    pub(super) fn children(&self, parent: u64) -> Vec<(String, u64)> {
        let children = self.nodes.get(&parent).map(|node| &node.children);
        children.into_iter().flatten().map(|(name, ino)| (name.clone(), *ino)).collect()
    }

    /// The path of `ino` below the root without slashes at its ends, or nothing if it has been removed.
    pub(super) fn path(&self, ino: u64) -> Option<String> {
        let mut names = Vec::new();
        let mut at = ino;
        while at != ROOT {
            let node = self.nodes.get(&at)?;
            if node.removed {
                return None;
            }
            names.push(node.name.as_str());
            at = node.parent;
        }
        names.reverse();
        Some(names.join("/"))
    }

    /// Records that `name` in `parent` has these attributes and answers its number. A node of another kind that
    /// was known by that name is removed.
    pub(super) fn record(&mut self, parent: u64, name: &str, stat: Stat, checked: Option<Instant>) -> u64 {
        if let Some(ino) = self.child(parent, name) {
            if let Some(node) = self.nodes.get_mut(&ino).filter(|node| node.stat.kind == stat.kind) {
                node.stat = stat;
                node.checked = checked;
                return ino;
            }
            self.remove(ino);
        }
        let ino = self.next;
        self.next += 1;
        let node = Node {
            parent,
            name: name.to_owned(),
            stat,
            checked,
            file: None,
            removed: false,
            changes: 0,
            cached_pages: String::new(),
            last_name_missing: false,
            lookups: 0,
            children: HashMap::new(),
        };
        self.nodes.insert(ino, node);
        if let Some(parent) = self.nodes.get_mut(&parent) {
            parent.children.insert(name.to_owned(), ino);
        }
        ino
    }

    /// Takes the name of `ino` away; the inode lives on while it is used.
    pub(super) fn remove(&mut self, ino: u64) {
        let Some(node) = self.nodes.get_mut(&ino) else { return };
        if node.removed || ino == ROOT {
            return;
        }
        node.removed = true;
        let (parent, name) = (node.parent, node.name.clone());
        if let Some(parent) = self.nodes.get_mut(&parent) {
            parent.children.remove(&name);
        }
        self.drop_unused(ino);
    }

    /// Gives `ino` another name. Whatever had that name before is removed.
    pub(super) fn rename(&mut self, ino: u64, parent: u64, name: &str) {
        if let Some(old) = self.child(parent, name).filter(|old| *old != ino) {
            self.remove(old);
        }
        let Some(node) = self.nodes.get_mut(&ino) else { return };
        let before = (node.parent, std::mem::replace(&mut node.name, name.to_owned()));
        node.parent = parent;
        if let Some(old_parent) = self.nodes.get_mut(&before.0) {
            old_parent.children.remove(&before.1);
        }
        if let Some(new_parent) = self.nodes.get_mut(&parent) {
            new_parent.children.insert(name.to_owned(), ino);
        }
        self.drop_unused(before.0);
    }

    /// Counts one more reference of the kernel to `ino`.
    pub(super) fn looked_up(&mut self, ino: u64) {
        if let Some(node) = self.nodes.get_mut(&ino) {
            node.lookups += 1;
        }
    }

    /// Takes `count` references of the kernel back.
    pub(super) fn forget(&mut self, ino: u64, count: u64) {
        if let Some(node) = self.nodes.get_mut(&ino) {
            node.lookups = node.lookups.saturating_sub(count);
        }
        self.drop_unused(ino);
    }

    /// Drops `ino`, and then the directories above it, as far as nothing uses them any more.
    pub(super) fn drop_unused(&mut self, mut ino: u64) {
        while ino != ROOT {
            let Some(node) = self.nodes.get(&ino) else { return };
            if node.lookups > 0 || node.file.is_some() || !node.children.is_empty() {
                return;
            }
            let (parent, name, removed) = (node.parent, node.name.clone(), node.removed);
            self.nodes.remove(&ino);
            if !removed && let Some(above) = self.nodes.get_mut(&parent) {
                above.children.remove(&name);
            }
            ino = parent;
        }
    }

    /// Every open file below `ino`, or `ino` itself if it is one.
    pub(super) fn open_files(&self, ino: u64) -> Vec<Arc<File>> {
        let mut found = Vec::new();
        let mut todo = vec![ino];
        while let Some(at) = todo.pop() {
            if let Some(node) = self.nodes.get(&at) {
                found.extend(node.file.clone());
                todo.extend(node.children.values().copied());
            }
        }
        found
    }

    /// Marks the attributes of everything below `ino` as to be asked for again.
    pub(super) fn expire(&mut self, ino: u64) {
        let mut todo = vec![ino];
        while let Some(at) = todo.pop() {
            if let Some(node) = self.nodes.get_mut(&at) {
                node.checked = None;
                todo.extend(node.children.values().copied());
            }
        }
    }

    /// Whether the directory `ino` holds a name that only this mount knows yet.
    pub(super) fn has_unsaved_children(&self, ino: u64) -> bool {
        let children = self.nodes.get(&ino).map(|node| &node.children);
        children.into_iter().flatten().filter_map(|(_, child)| self.nodes.get(child)).any(Node::is_unsaved)
    }
}

impl Node {
    /// Whether this file was made here and isn't on the store yet.
    pub(super) fn is_unsaved(&self) -> bool {
        self.stat.kind == Kind::File && self.stat.etag.is_empty() && self.file.is_some()
    }
}
