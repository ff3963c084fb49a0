//! Mount tables of sandboxes' main containers, read by a command in the container, as `kubectl exec` runs one.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::AttachParams;
use kube::{Api, Client};
use lab::{Mount, MountLine, parse_mount_table};
use tokio::io::AsyncReadExt as _;

/// How long a container may take to show its table; a file system that hangs must not hang whoever asks.
const LIMIT: Duration = Duration::from_secs(20);

/// Prints the mount table.
const TABLE: &str = "cat /proc/self/mountinfo";

/// Prints the mount table, an empty line, and the links of the root file system, each with its destination, every one of
/// them with a NUL at its end; not those in the system's own folders. A `find` that can't print them itself has it done.
/// `-xdev` keeps out of file systems that may not answer.
const TABLE_AND_LINKS: &str = r#"cat /proc/self/mountinfo; echo
links() {
  find / -xdev \( -path /bin -o -path /boot -o -path /dev -o -path /lib -o -path /lib64 -o -path /proc -o -path /sbin -o -path /sys -o -path /usr \) -prune \
    -o -type l "$@" 2>/dev/null
}
if find / -maxdepth 0 -printf '' 2>/dev/null; then links -printf '%p\0%l\0'
else links -exec sh -c 'for link; do printf "%s\0" "$link"; readlink -n "$link"; printf "\0"; done' sh {} +
fi"#;

/// Why a table could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TableError {
    /// There is no such pod, or it has no container.
    #[error("there is no running pod {0}")]
    NoPod(String),
    /// The API server refused.
    #[error("running a command in pod {pod} failed")]
    Exec {
        pod: String,
        #[source]
        source: kube::Error,
    },
    /// The connection broke.
    #[error("the output of a command in pod {pod} broke off")]
    Read {
        pod: String,
        #[source]
        source: std::io::Error,
    },
    /// The command failed.
    #[error("the mount table of pod {pod} can't be read: {reason}")]
    Failed { pod: String, reason: String },
    /// It took too long.
    #[error("the mount table of pod {pod} was not there within {LIMIT:?}")]
    Late { pod: String },
}

/// A mount table with the links that lead to its mounts.
pub(crate) struct Table {
    /// The container's name.
    pub(crate) container: String,
    pub(crate) lines: Vec<MountLine>,
    links: Vec<(String, String)>,
}

impl Table {
    /// The lines as mounts.
    pub(crate) fn into_mounts(self) -> Vec<Mount> {
        let links = self.links;
        self.lines.into_iter().map(|line| line.into_mount(&links)).collect()
    }
}

/// The table of a pod's main container, which is its first.
pub(crate) async fn read(client: &Client, namespace: &str, pod: &str) -> Result<Table, TableError> {
    print(client, namespace, pod, TABLE_AND_LINKS).await
}

/// The same without the links, whose search is work.
pub(crate) async fn read_without_links(
    client: &Client,
    namespace: &str,
    pod: &str,
) -> Result<Table, TableError> {
    print(client, namespace, pod, TABLE).await
}

async fn print(client: &Client, namespace: &str, pod: &str, script: &str) -> Result<Table, TableError> {
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let name = format!("{namespace}/{pod}");
    let failed = |source| TableError::Exec { pod: name.clone(), source };
    let found = api.get_opt(pod).await.map_err(failed)?;
    let container = found.and_then(|pod| pod.spec).and_then(|spec| spec.containers.into_iter().next());
    let container = container.ok_or_else(|| TableError::NoPod(name.clone()))?.name;
    let reading = output(&api, pod, &name, &container, script);
    let text =
        tokio::time::timeout(LIMIT, reading).await.map_err(|_| TableError::Late { pod: name.clone() })??;
    Ok(parse(&text, container))
}

async fn output(
    api: &Api<Pod>,
    pod: &str,
    name: &str,
    container: &str,
    script: &str,
) -> Result<String, TableError> {
    let parameters = AttachParams::default().container(container).stdin(false).stdout(true).stderr(true);
    let mut attached = api
        .exec(pod, ["sh", "-c", script], &parameters)
        .await
        .map_err(|source| TableError::Exec { pod: name.to_owned(), source })?;
    let status = attached.take_status();
    let mut text = String::new();
    if let Some(mut stdout) = attached.stdout() {
        let read = stdout.read_to_string(&mut text).await;
        read.map_err(|source| TableError::Read { pod: name.to_owned(), source })?;
    }
    let status = match status {
        Some(status) => status.await,
        None => None,
    };
    // The links are looked for with programs that an image may lack; the table comes first.
    if !text.contains(" - ") {
        let reason = status.and_then(|status| status.message).unwrap_or_else(|| "it is empty".to_owned());
        return Err(TableError::Failed { pod: name.to_owned(), reason });
    }
    Ok(text)
}

fn parse(text: &str, container: String) -> Table {
    let (table, links) = text.split_once("\n\n").unwrap_or((text, ""));
    let words: Vec<&str> = links.split_terminator('\0').collect();
    let links = words.chunks_exact(2).map(|pair| (pair[0].to_owned(), normal(pair[0], pair[1]))).collect();
    Table { container, lines: parse_mount_table(table), links }
}

/// A link's destination as an absolute path without `.` and `..`.
fn normal(link: &str, destination: &str) -> String {
    let folder = link.rsplit_once('/').map_or("", |(folder, _)| folder);
    let whole =
        if destination.starts_with('/') { destination.to_owned() } else { format!("{folder}/{destination}") };
    let mut parts: Vec<&str> = Vec::new();
    for part in whole.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_comes_with_the_links_that_lead_to_its_mounts() {
        let text = "1 0 0:1 / /run/csi/mount-root/oss/x ro - fuse.ossfs ossfs rw\n2 0 0:2 / /proc rw - proc proc rw\n\n\
                    /data-oss\0run/csi/mount-root/oss/x\0/line\nend\0/run/csi/mount-root/oss/x\0/other\0/tmp/../else\0";
        let mounts = parse(text, "sandbox".to_owned()).into_mounts();
        assert_eq!(mounts.len(), 2);
        assert_eq!(mounts[0].links, ["/data-oss", "/line\nend"]);
        assert!(mounts[0].read_only && mounts[1].links.is_empty());
        assert_eq!(normal("/a/b", "../c/./d"), "/c/d");
    }
}
