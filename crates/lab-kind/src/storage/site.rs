//! Where the servers of a cluster are, and what they are called.

use std::path::PathBuf;

use crate::KindError;
use crate::cluster::{Cluster, LABEL};
use crate::docker::Docker;

/// The parts of names that say what a container is.
const OBJECT_STORE: &str = "minio";
const NETWORK_FILE_SYSTEM: &str = "nfs";

/// The place beside a cluster where servers are started.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    pub(crate) docker: Docker,
    pub(crate) cluster: String,
    pub(crate) network: String,
    /// The folder of the cluster's files.
    pub(crate) folder: PathBuf,
    /// The value of the label that says whose containers are.
    pub(crate) owner: String,
}

/// A container's name and its address, counted from the network's end.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Seat {
    pub(crate) name: String,
    pub(crate) place: u32,
}

impl Site {
    pub(crate) fn of(cluster: &Cluster, docker: &Docker, owner: &str) -> Self {
        Self {
            docker: docker.clone(),
            cluster: cluster.name().to_owned(),
            network: cluster.network(),
            folder: cluster.folder().to_owned(),
            owner: owner.to_owned(),
        }
    }

    /// The object store's: of labs in common, or of the lab that drew a number.
    pub(crate) fn object_store(&self, number: Option<u32>) -> Seat {
        self.seat(OBJECT_STORE, number, 1)
    }

    /// The NFS server's, likewise.
    pub(crate) fn network_file_system(&self, number: Option<u32>) -> Seat {
        self.seat(NETWORK_FILE_SYSTEM, number, 2)
    }

    fn seat(&self, part: &str, number: Option<u32>, first: u32) -> Seat {
        let name = format!("{}-{part}", self.cluster);
        let number = number.map(|number| number.saturating_add(1));
        match number {
            None => Seat { name, place: first },
            Some(number) => Seat {
                name: format!("{name}-{number}"),
                place: number.saturating_mul(2).saturating_add(first),
            },
        }
    }
}

/// The containers of servers of `cluster` that bear `owner`'s label, running or not.
///
/// # Errors
/// When the daemon doesn't answer.
pub(crate) async fn servers(docker: &Docker, cluster: &str, owner: &str) -> Result<Vec<String>, KindError> {
    let label = format!("label={LABEL}={owner}");
    let said = docker
        .command(format!("asking Docker for the storage servers of {cluster}"))
        .args(["ps", "--all", "--filter", &label, "--format", "{{.Names}}"])
        .output()
        .await?;
    let names = said.lines().map(str::trim).filter(|name| is_server(cluster, name));
    Ok(names.map(str::to_owned).collect())
}

/// Whether a container's name is that of a server of `cluster`.
fn is_server(cluster: &str, name: &str) -> bool {
    number(cluster, name).is_some()
}

/// Whether a container's name is that of a server that one lab of `cluster` has alone.
pub(crate) fn is_apart(cluster: &str, name: &str) -> bool {
    number(cluster, name).is_some_and(|number| !number.is_empty())
}

/// The number in a server's name, with nothing for one of labs in common.
fn number<'a>(cluster: &str, name: &'a str) -> Option<&'a str> {
    let part = name.strip_prefix(cluster)?.strip_prefix('-')?;
    let rest = [OBJECT_STORE, NETWORK_FILE_SYSTEM].iter().find_map(|known| part.strip_prefix(known))?;
    let number = if rest.is_empty() { rest } else { rest.strip_prefix('-').filter(|it| !it.is_empty())? };
    number.chars().all(|char| char.is_ascii_digit()).then_some(number)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("lab-minio", true, false)]
    #[case("lab-nfs", true, false)]
    #[case("lab-minio-1", true, true)]
    #[case("lab-nfs-12", true, true)]
    #[case("lab-control-plane", false, false)]
    #[case("lab-minio-", false, false)]
    #[case("lab-minio-x", false, false)]
    #[case("lab-2-minio", false, false)]
    #[case("minio-1", false, false)]
    fn servers_are_known_by_their_names(#[case] name: &str, #[case] server: bool, #[case] apart: bool) {
        assert_eq!((is_server("lab", name), is_apart("lab", name)), (server, apart));
    }

    #[test]
    fn no_two_servers_share_an_address() {
        let site = Site {
            docker: Docker::new("docker".into(), None, false),
            cluster: "lab".into(),
            network: "lab-network".into(),
            folder: PathBuf::new(),
            owner: String::new(),
        };
        let numbers = [None, Some(0), Some(1), Some(2)];
        let seats = numbers.map(|number| [site.object_store(number), site.network_file_system(number)]);
        let places: Vec<u32> = seats.iter().flatten().map(|seat| seat.place).collect();
        assert_eq!(places, [1, 2, 3, 4, 5, 6, 7, 8]);
        assert!(seats.iter().flatten().all(|seat| is_server("lab", &seat.name)));
    }
}
