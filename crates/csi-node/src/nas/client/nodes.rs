//! Files and directories that the kernel knows, and what is believed of them.
//!
//! Attributes are believed for a while (`acregmin` … `acdirmax`): the shorter limit after a change, and twice as long
//! each time nothing has changed, up to the longer one. The names in a directory are believed as long as its
//! attributes are.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use nfs3_types::nfs3::{fattr3, ftype3, nfs_fh3, nfstime3, wcc_data};
use tokio::time::Instant;

use super::super::options::Believed;
use super::super::protocol::some;
use super::unsaved::Unsaved;
use crate::fuse::Attributes;

/// Number of the root.
pub(super) const ROOT: u64 = 1;
/// Names that are remembered for one directory.
const MOST_NAMES: usize = 20_000;
/// How long the kernel itself may believe attributes, so that what is learned here soon reaches it.
const KERNEL_KEEPS: Duration = Duration::from_secs(1);
/// Block size that is reported, in bytes.
const BLOCK: u32 = 1 << 20;

/// By what a change of content is recognised.
type Token = (u64, u32, u32, u32, u32);

fn token(of: &fattr3) -> Token {
    (of.size, of.mtime.seconds, of.mtime.nseconds, of.ctime.seconds, of.ctime.nseconds)
}

fn moment(time: nfstime3) -> (u32, u32) {
    (time.seconds, time.nseconds)
}

/// What a listing or a lookup said about a name.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) handle: nfs_fh3,
    pub(super) attributes: fattr3,
    pub(super) asked: Instant,
}

/// A file that was removed while it was open, and lives on under a name of ours.
#[derive(Clone, Debug)]
pub(super) struct Hidden {
    pub(super) directory: Arc<Node>,
    pub(super) name: Bytes,
}

#[derive(Debug)]
struct State {
    attributes: fattr3,
    /// When the attributes came.
    checked: Instant,
    /// How long they are believed from then on.
    span: Duration,
    /// What the kernel was told last.
    told: Option<Token>,
    /// What the pages that the kernel keeps belong to.
    pages: Option<Token>,
    /// Names in a directory.
    names: HashMap<Bytes, Known>,
    hidden: Option<Hidden>,
}

/// A file or directory.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) number: u64,
    pub(super) handle: nfs_fh3,
    /// What is written and not on the server's disk yet.
    pub(super) unsaved: Unsaved,
    /// How many times it is open.
    pub(super) open: AtomicUsize,
    believed: Believed,
    state: Mutex<State>,
}

impl Node {
    fn new(number: u64, handle: nfs_fh3, attributes: fattr3, asked: Instant, believed: Believed) -> Self {
        let state = State {
            attributes,
            checked: asked,
            span: believed.least,
            told: None,
            pages: None,
            names: HashMap::new(),
            hidden: None,
        };
        let unsaved = Unsaved::default();
        Self { number, handle, unsaved, open: AtomicUsize::new(0), believed, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_directory(&self) -> bool {
        self.state().attributes.type_ == ftype3::NF3DIR
    }

    /// The server's number of it.
    pub(super) fn file_number(&self) -> u64 {
        self.state().attributes.fileid
    }

    /// Where it ends, as far as is known here.
    pub(super) fn size(&self) -> u64 {
        let end = self.unsaved.end();
        self.state().attributes.size.max(end)
    }

    /// Whether what is known needs no question.
    pub(super) fn is_fresh(&self) -> bool {
        let state = self.state();
        state.checked.elapsed() < state.span
    }

    /// From now on what is known must be asked for again.
    pub(super) fn distrust(&self) {
        let mut state = self.state();
        state.span = Duration::ZERO;
        state.names.clear();
    }

    /// Takes what an answer says, to a question that was asked at `asked`.
    pub(super) fn learn(&self, new: &fattr3, asked: Instant) {
        self.state().learn(new, asked, self.believed);
    }

    /// The same for a change that was made here: the names that are known stay if nobody else changed anything.
    pub(super) fn learn_change(&self, change: wcc_data, asked: Instant) {
        let mut state = self.state();
        let Some(after) = some(change.after) else {
            state.span = Duration::ZERO;
            state.names.clear();
            return;
        };
        let ours = some(change.before).is_some_and(|before| {
            let known = &state.attributes;
            before.size == known.size && before.mtime == known.mtime && before.ctime == known.ctime
        });
        if ours {
            let names = std::mem::take(&mut state.names);
            state.learn(&after, asked, self.believed);
            state.names = names;
        } else {
            state.learn(&after, asked, self.believed);
        }
    }

    /// What the kernel is shown, and from then on believes.
    pub(super) fn show(&self) -> Attributes {
        let end = self.unsaved.end();
        let mut state = self.state();
        state.told = Some(token(&state.attributes));
        let live = state.span.saturating_sub(state.checked.elapsed()).min(KERNEL_KEEPS);
        let it = &state.attributes;
        let time = |time: nfstime3| (u64::from(time.seconds), time.nseconds);
        Attributes {
            number: it.fileid,
            size: it.size.max(end),
            blocks: it.used.div_ceil(512),
            accessed: time(it.atime),
            modified: time(it.mtime),
            changed: time(it.ctime),
            mode: kind(it.type_) | (it.mode & 0o7777),
            links: it.nlink,
            user: it.uid,
            group: it.gid,
            device: device(it),
            block_size: BLOCK,
            live,
        }
    }

    /// Whether the kernel believes something that is no longer so.
    pub(super) fn has_outdated_kernel(&self) -> bool {
        let state = self.state();
        state.told.is_some_and(|told| told != token(&state.attributes))
    }

    /// Whether the pages that the kernel keeps are those of the file as it is now. From now on they are.
    pub(super) fn keeps_pages(&self) -> bool {
        let mut state = self.state();
        let now = token(&state.attributes);
        state.pages.replace(now) == Some(now)
    }

    /// What is known of `name`, if the directory's names are still believed.
    pub(super) fn name(&self, name: &[u8]) -> Option<Known> {
        let state = self.state();
        (state.checked.elapsed() < state.span).then(|| state.names.get(name).cloned()).flatten()
    }

    pub(super) fn add_name(&self, name: Bytes, known: Known) {
        let mut state = self.state();
        if state.names.len() < MOST_NAMES || state.names.contains_key(&name) {
            state.names.insert(name, known);
        }
    }

    pub(super) fn remove_name(&self, name: &[u8]) -> Option<Known> {
        self.state().names.remove(name)
    }

    pub(super) fn hide(&self, hidden: Option<Hidden>) -> Option<Hidden> {
        std::mem::replace(&mut self.state().hidden, hidden)
    }
}

impl State {
    fn learn(&mut self, new: &fattr3, asked: Instant, believed: Believed) {
        let known = &self.attributes;
        let concurrent = asked < self.checked;
        if concurrent && moment(new.ctime) < moment(known.ctime) {
            // An answer that was overtaken.
            return;
        }
        let changed = token(known) != token(new);
        let size = if concurrent && new.ctime == known.ctime { new.size.max(known.size) } else { new.size };
        if changed && new.type_ == ftype3::NF3DIR {
            self.names.clear();
        }
        self.span = if changed {
            believed.least
        } else {
            (self.span * 2).clamp(believed.least, believed.most.max(believed.least))
        };
        self.attributes = fattr3 { size, ..new.clone() };
        self.checked = Instant::now();
    }
}

/// The type in a mode.
pub(super) fn kind(of: ftype3) -> u32 {
    match of {
        ftype3::NF3REG => 0o100_000,
        ftype3::NF3DIR => 0o040_000,
        ftype3::NF3BLK => 0o060_000,
        ftype3::NF3CHR => 0o020_000,
        ftype3::NF3LNK => 0o120_000,
        ftype3::NF3SOCK => 0o140_000,
        ftype3::NF3FIFO => 0o010_000,
    }
}

/// Major and minor number as the kernel packs them.
fn device(of: &fattr3) -> u32 {
    let (major, minor) = (of.rdev.specdata1, of.rdev.specdata2);
    (minor & 0xff) | ((major & 0xfff) << 8) | ((minor & 0xfff00) << 12)
}

#[derive(Debug)]
struct Table {
    by_number: HashMap<u64, (Arc<Node>, u64)>,
    by_handle: HashMap<Vec<u8>, u64>,
    next: u64,
}

/// Every node that the kernel knows.
#[derive(Debug)]
pub(super) struct Nodes {
    table: Mutex<Table>,
    files: Believed,
    directories: Believed,
}

impl Nodes {
    pub(super) fn new(files: Believed, directories: Believed) -> Self {
        let table = Table { by_number: HashMap::new(), by_handle: HashMap::new(), next: ROOT };
        Self { table: Mutex::new(table), files, directories }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, number: u64) -> Option<Arc<Node>> {
        self.table().by_number.get(&number).map(|(node, _)| Arc::clone(node))
    }

    /// The node of `handle`, if the kernel knows it.
    pub(super) fn find(&self, handle: &nfs_fh3) -> Option<Arc<Node>> {
        let table = self.table();
        let number = table.by_handle.get(handle.data.as_ref())?;
        table.by_number.get(number).map(|(node, _)| Arc::clone(node))
    }

    /// The node of what is `known`, which the kernel is now told about once more.
    pub(super) fn hand_out(&self, known: &Known) -> Arc<Node> {
        let mut table = self.table();
        let handle = known.handle.data.as_ref();
        if let Some(number) = table.by_handle.get(handle).copied()
            && let Some((node, count)) = table.by_number.get_mut(&number)
        {
            *count += 1;
            let node = Arc::clone(node);
            drop(table);
            if known.asked >= node.state().checked {
                node.learn(&known.attributes, known.asked);
            }
            return node;
        }
        let number = table.next;
        table.next += 1;
        let directory = known.attributes.type_ == ftype3::NF3DIR;
        let believed = if directory { self.directories } else { self.files };
        let node = Node::new(number, known.handle.clone(), known.attributes.clone(), known.asked, believed);
        let node = Arc::new(node);
        table.by_handle.insert(handle.to_vec(), number);
        table.by_number.insert(number, (Arc::clone(&node), 1));
        node
    }

    /// Whether what was `known` then may be believed without a question.
    pub(super) fn is_fresh(&self, known: &Known) -> bool {
        match self.find(&known.handle) {
            Some(node) => node.is_fresh(),
            None => known.asked.elapsed() < self.files.least,
        }
    }

    /// Takes back `count` of the times that a node was handed out.
    pub(super) fn forget(&self, number: u64, count: u64) {
        let mut table = self.table();
        let Some((node, known)) = table.by_number.get_mut(&number) else { return };
        *known = known.saturating_sub(count);
        if *known > 0 || number == ROOT || node.open.load(Ordering::Relaxed) > 0 || !node.unsaved.is_empty() {
            return;
        }
        let handle = node.handle.data.as_ref().to_vec();
        table.by_number.remove(&number);
        table.by_handle.remove(&handle);
    }

    /// All nodes with something unsaved.
    pub(super) fn unsaved(&self) -> Vec<Arc<Node>> {
        let table = self.table();
        let nodes = table.by_number.values().map(|(node, _)| node);
        nodes.filter(|node| !node.unsaved.is_empty()).map(Arc::clone).collect()
    }
}
