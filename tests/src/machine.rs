//! What the kernel knows: processes, mounts, links, sockets.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A process, told from a later one with the same id by its start.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct ProcessId {
    /// Process id.
    pub id: i32,
    /// Clock ticks from the machine's start to its own.
    pub started: u64,
}

/// A process as it was seen.
#[derive(Clone, Debug)]
pub struct Process {
    /// Its parent's process id.
    pub parent: i32,
    /// Its arguments, one after the other.
    pub command: String,
    /// Its PID namespace, such as `pid:[4026531836]`; empty when it can't be read.
    pub namespace: String,
    /// Its executable; empty when it can't be read.
    pub executable: PathBuf,
}

/// All processes of the machine that this one can see.
pub fn processes() -> BTreeMap<ProcessId, Process> {
    let entries = fs::read_dir("/proc").expect("list /proc");
    let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    // a process that ends while it is being read is no longer there, and left out
    numbers.filter_map(process).collect()
}

fn process(id: i32) -> Option<(ProcessId, Process)> {
    let folder = PathBuf::from(format!("/proc/{id}"));
    let stat = fs::read_to_string(folder.join("stat")).ok()?;
    // the name is in brackets and can hold anything
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let state = *fields.first()?;
    if state == "Z" || state == "X" {
        return None;
    }
    let parent = fields.get(1)?.parse().ok()?;
    let started = fields.get(19)?.parse().ok()?;
    let command = fs::read(folder.join("cmdline")).ok()?;
    let link = |name: &str| fs::read_link(folder.join(name)).unwrap_or_default();
    let process = Process {
        parent,
        command: String::from_utf8_lossy(&command).replace('\0', " "),
        namespace: link("ns/pid").display().to_string(),
        executable: link("exe"),
    };
    Some((ProcessId { id, started }, process))
}

/// Those of `processes` that descend from the process `ancestor`, and itself.
pub fn family(processes: &BTreeMap<ProcessId, Process>, ancestor: i32) -> BTreeMap<ProcessId, Process> {
    let mut members = BTreeSet::from([ancestor]);
    loop {
        let before = members.len();
        members.extend(
            processes
                .iter()
                .filter(|(_, child)| members.contains(&child.parent))
                .map(|(id, _)| id.id)
                .collect::<Vec<_>>(),
        );
        if members.len() == before {
            break;
        }
    }
    processes
        .iter()
        .filter(|(id, _)| members.contains(&id.id))
        .map(|(id, process)| (*id, process.clone()))
        .collect()
}

/// What could be left behind, apart from processes.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Inventory {
    /// Mount points with their type and source.
    pub mounts: BTreeSet<String>,
    /// Network links.
    pub links: BTreeSet<String>,
    /// Unix sockets that have a name.
    pub sockets: BTreeSet<String>,
}

impl Inventory {
    /// What is there now.
    pub fn take() -> Self {
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("read the mount table");
        let sockets = fs::read_to_string("/proc/net/unix").expect("read the socket table");
        let links = fs::read_dir("/sys/class/net").expect("list the links");
        Self {
            mounts: mounts.lines().filter_map(mount).collect(),
            links: links.flatten().map(|link| link.file_name().to_string_lossy().into_owned()).collect(),
            sockets: sockets
                .lines()
                .filter_map(|line| line.split_whitespace().nth(7))
                .map(str::to_owned)
                .collect(),
        }
    }

    /// What is there now and wasn't `before`, one line each.
    pub fn added_since(&self, before: &Self) -> Vec<String> {
        let sets = [
            ("mount", &self.mounts, &before.mounts),
            ("link", &self.links, &before.links),
            ("socket", &self.sockets, &before.sockets),
        ];
        let added = sets
            .into_iter()
            .flat_map(|(kind, now, before)| now.difference(before).map(move |name| format!("{kind} {name}")));
        added.collect()
    }
}

/// `POINT TYPE SOURCE` of a line of mountinfo.
fn mount(line: &str) -> Option<String> {
    let (place, kind) = line.split_once(" - ")?;
    let point = place.split_whitespace().nth(4)?;
    let mut kind = kind.split_whitespace();
    Some(format!("{point} {} {}", kind.next()?, kind.next()?))
}

/// Every regular file below `folder`.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("list {}: {error}", folder.display()));
    for entry in entries {
        let entry = entry.expect("read a folder");
        let kind = entry.file_type().expect("read a folder");
        if kind.is_dir() {
            found.extend(files(&entry.path()));
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_its_point_its_type_and_its_source() {
        let line = "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue";
        assert_eq!(mount(line).as_deref(), Some("/mnt2 ext3 /dev/root"));
        assert_eq!(mount("no mount"), None);
    }

    #[test]
    fn this_test_is_among_the_processes_and_in_its_parents_family() {
        let all = processes();
        let own = i32::try_from(std::process::id()).expect("a process id");
        let (id, process) = all.iter().find(|(id, _)| id.id == own).expect("this process");
        assert_eq!(process.executable, std::env::current_exe().expect("a path"));
        assert!(family(&all, process.parent).contains_key(id));
        assert_eq!(family(&all, own).keys().collect::<Vec<_>>(), [id]);
    }

    #[test]
    fn what_is_added_is_named() {
        let before = Inventory::default();
        let now = Inventory { links: ["veth0".to_owned()].into(), ..Inventory::default() };
        assert_eq!(now.added_since(&before), ["link veth0"]);
        assert!(now.added_since(&now).is_empty());
    }
}
