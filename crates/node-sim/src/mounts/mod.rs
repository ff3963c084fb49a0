//! Mount tables of containers: read on request, and watched for the journal.

mod links;
mod watch;

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use lab::{Mount, MountLine, parse_mount_table};

pub(crate) use watch::watch;

/// How long looking for links may take, in real time; a file system that hangs must not hang whoever asks.
const LINKS_LIMIT: Duration = Duration::from_secs(2);

/// The mounts that process `process` sees.
pub(crate) async fn list(process: i32) -> io::Result<Vec<Mount>> {
    let lines = table_of(&process.to_string())?;
    let points: BTreeSet<String> = lines.iter().map(|line| line.mount_point.clone()).collect();
    let search = tokio::task::spawn_blocking(move || links::find(process, &points));
    let links = match tokio::time::timeout(LINKS_LIMIT, search).await {
        Ok(found) => found.map_err(io::Error::other)?,
        Err(_) => {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "looking for links hangs in a file system"));
        }
    };
    Ok(lines.into_iter().map(|line| line.into_mount(&links)).collect())
}

/// The mount table of a process, by process id or `self`, in the order of mounting.
pub(crate) fn table_of(process: &str) -> io::Result<Vec<MountLine>> {
    Ok(parse_mount_table(&std::fs::read_to_string(format!("/proc/{process}/mountinfo"))?))
}
