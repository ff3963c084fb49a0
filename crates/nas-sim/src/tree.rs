//! Where inodes were last seen: from a number back to paths.
//!
//! The server itself makes every change that clients ask for, so the tree is mostly right. Where it is not (the folder
//! was changed from the server's side, or the server has just started), a walk through the whole export puts it right.

use std::collections::{HashMap, HashSet};

/// A name in a directory.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Link {
    /// Inode of the directory.
    pub(crate) parent: u64,
    /// The name in it.
    pub(crate) name: Vec<u8>,
}

/// The names by which inodes are reached.
#[derive(Debug)]
pub(crate) struct Tree {
    root: u64,
    links: HashMap<u64, Vec<Link>>,
    /// Inodes, with their births, that a walk did not find.
    gone: HashSet<(u64, u64)>,
}

impl Tree {
    pub(crate) fn new(root: u64) -> Self {
        Self { root, links: HashMap::new(), gone: HashSet::new() }
    }

    /// Notes that `name` in `parent` is `inode`. A directory has one name only.
    pub(crate) fn note(&mut self, inode: u64, parent: u64, name: &[u8], is_directory: bool) {
        if inode == self.root {
            return;
        }
        let links = self.links.entry(inode).or_default();
        if links.iter().any(|link| link.parent == parent && link.name == name) {
            return;
        }
        if is_directory {
            links.clear();
        }
        links.push(Link { parent, name: name.to_owned() });
    }

    /// Notes that `name` in `parent` is `inode` no more.
    pub(crate) fn forget(&mut self, inode: u64, parent: u64, name: &[u8]) {
        if let Some(links) = self.links.get_mut(&inode) {
            links.retain(|link| link.parent != parent || link.name != name);
            if links.is_empty() {
                self.links.remove(&inode);
            }
        }
    }

    /// The paths below the root by which an inode may be reached, each as its components.
    pub(crate) fn paths(&self, inode: u64) -> Vec<(Link, Vec<Vec<u8>>)> {
        let links = self.links.get(&inode).cloned().unwrap_or_default();
        links.into_iter().filter_map(|link| Some((link.clone(), self.path_of(&link)?))).collect()
    }

    fn path_of(&self, link: &Link) -> Option<Vec<Vec<u8>>> {
        let mut components = vec![link.name.clone()];
        let mut directory = link.parent;
        while directory != self.root {
            let above = self.links.get(&directory)?.first()?;
            components.push(above.name.clone());
            directory = above.parent;
            if components.len() > MOST_LEVELS {
                return None;
            }
        }
        components.reverse();
        Some(components)
    }

    pub(crate) fn is_gone(&self, inode: u64, birth: u64) -> bool {
        self.gone.contains(&(inode, birth))
    }

    pub(crate) fn note_gone(&mut self, inode: u64, birth: u64) {
        self.gone.insert((inode, birth));
    }
}

/// A path with more levels than this can't come about, unless a note is wrong and goes in a circle.
const MOST_LEVELS: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(tree: &Tree, inode: u64) -> Vec<String> {
        let joined = |components: Vec<Vec<u8>>| {
            components.iter().map(|name| String::from_utf8_lossy(name)).collect::<Vec<_>>().join("/")
        };
        tree.paths(inode).into_iter().map(|(_, components)| joined(components)).collect()
    }

    #[test]
    fn a_moved_directory_takes_what_is_below_it_along() {
        let mut tree = Tree::new(1);
        tree.note(2, 1, b"old", true);
        tree.note(3, 2, b"file", false);
        assert_eq!(paths(&tree, 3), ["old/file"]);
        tree.note(4, 1, b"other", true);
        tree.note(2, 4, b"new", true);
        assert_eq!(paths(&tree, 3), ["other/new/file"]);
    }

    #[test]
    fn a_file_with_two_names_lives_as_long_as_one_of_them() {
        let mut tree = Tree::new(1);
        tree.note(2, 1, b"one", false);
        tree.note(2, 1, b"two", false);
        tree.forget(2, 1, b"one");
        assert_eq!(paths(&tree, 2), ["two"]);
        tree.forget(2, 1, b"two");
        assert!(paths(&tree, 2).is_empty());
    }

    #[test]
    fn notes_in_a_circle_end() {
        let mut tree = Tree::new(1);
        tree.note(2, 3, b"a", true);
        tree.note(3, 2, b"b", true);
        assert!(paths(&tree, 2).is_empty());
    }
}
