//! Mount tables of containers: read on request, and watched for the journal.

mod links;
pub(crate) mod table;
mod watch;

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub(crate) use watch::watch;

use table::Line;

/// One mount that a container's processes see.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Mount {
    /// Where it is mounted, as a path inside the container.
    pub path: String,
    /// The symbolic links of the container's root that lead to it.
    pub links: Vec<String>,
    /// File system type, such as `fuse.ossfs` or `nfs`.
    pub file_system: String,
    /// What is mounted: a device, `server:/path` or the mounter's name.
    pub source: String,
    /// Whether the mount refuses writes (either the mount or its super block is read-only).
    pub read_only: bool,
    /// Mount and super block options, without repeats.
    pub options: Vec<String>,
}

/// How long looking for links may take, in real time; a file system that hangs must not hang whoever asks.
const LINKS_LIMIT: Duration = Duration::from_secs(2);

/// The mounts that process `process` sees.
pub(crate) async fn list(process: i32) -> io::Result<Vec<Mount>> {
    let lines = table::of_process(&process.to_string())?;
    let points: BTreeSet<String> = lines.iter().map(|line| line.mount_point.clone()).collect();
    let search = tokio::task::spawn_blocking(move || links::find(process, &points));
    let links = match tokio::time::timeout(LINKS_LIMIT, search).await {
        Ok(found) => found.map_err(io::Error::other)?,
        Err(_) => {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "looking for links hangs in a file system"));
        }
    };
    Ok(lines.into_iter().map(|line| mount(line, &links)).collect())
}

/// A line of the table as a mount, with those of `links` (link, destination) that lead to it.
fn mount(line: Line, links: &[(String, String)]) -> Mount {
    let mut options: Vec<String> = Vec::new();
    for option in line.options.split(',').chain(line.super_options.split(',')) {
        if !option.is_empty() && !options.iter().any(|known| known == option) {
            options.push(option.to_owned());
        }
    }
    let says = |options: &str| options.split(',').any(|option| option == "ro");
    let read_only = says(&line.options) || says(&line.super_options);
    if read_only {
        options.retain(|option| option != "rw");
    }
    let leads_here = links.iter().filter(|(_, destination)| *destination == line.mount_point);
    Mount {
        links: leads_here.map(|(link, _)| link.clone()).collect(),
        path: line.mount_point,
        file_system: line.file_system,
        source: line.source,
        read_only,
        options,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_side_makes_a_mount_read_only() {
        let text = "1 0 0:1 / /a ro,nosuid - fuse.ossfs b rw,user_id=0\n2 0 0:2 / /b rw - nfs s:/ ro\n3 0 0:3 / /c rw - tmpfs t rw\n";
        let links = [("/link".to_owned(), "/a".to_owned())];
        let mounts: Vec<_> = table::parse(text).into_iter().map(|line| mount(line, &links)).collect();
        assert_eq!(mounts.iter().map(|mount| mount.read_only).collect::<Vec<_>>(), [true, true, false]);
        assert_eq!(mounts[0].options, ["ro", "nosuid", "user_id=0"]);
        assert_eq!(mounts[0].links, ["/link"]);
        assert_eq!(mounts[2].options, ["rw"]);
    }
}
