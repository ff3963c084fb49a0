//! The NFS server: NFS-Ganesha.

use std::fmt::Write as _;

use super::Container;
use super::container::Start;
use super::rpc::{self, MOUNT, NFS};
use crate::KindError;
use crate::cluster::{Cluster, network};
use crate::docker::Docker;
use crate::observer::{Observer, Step};

/// Where NFS and MOUNT answer; the port mapper, on 111, says the same.
const NFS_PORT: u16 = 2049;
const MOUNT_PORT: u16 = 20048;

/// The folder of the container below which the files of all exports are: `/share` is `/exports/share` there.
pub const EXPORTS: &str = "/exports";

/// A running NFS server. What it offers is in [`NfsServer::set_exports`]; files are made and looked at through its
/// container, below [`EXPORTS`].
#[derive(Clone, Debug)]
pub struct NfsServer {
    container: Container,
    address: String,
}

/// A folder that clients can mount.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NfsExport {
    /// Its path as clients know it, such as `/share`: absolute, without `.`, `..`, quotes or control characters.
    pub path: String,
    /// Whether clients may only read.
    pub read_only: bool,
    /// Whether clients are refused altogether.
    pub refused: bool,
    /// Whose rights requests have.
    pub squash: NfsSquash,
}

/// Whose rights requests have.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum NfsSquash {
    /// Those of the user that the client names.
    #[default]
    None,
    /// The same, but root acts as nobody.
    Root,
    /// Everybody acts as nobody.
    All,
}

impl NfsServer {
    pub(crate) async fn up(
        cluster: &Cluster,
        docker: &Docker,
        owner: &str,
        image: &str,
        observer: &dyn Observer,
    ) -> Result<Self, KindError> {
        let name = format!("{}-nfs", cluster.name());
        let running = Container::running(docker, &name, &cluster.network(), image).await?;
        let container = if let Some(container) = running {
            container
        } else {
            let step = Step::begin(observer, "starting NFS-Ganesha");
            let address = network::address(docker, &cluster.network(), 2).await?;
            // Handles of files are opened by number, which takes the right to read everything.
            let mut options = vec!["--privileged", "--volume", EXPORTS];
            options.extend(address.iter().map(String::as_str));
            let container = Container::start(Start {
                docker,
                name: &name,
                network: &cluster.network(),
                owner,
                image,
                options: &options,
                words: &[],
            })
            .await?;
            step.done();
            container
        };
        let address = container.address().await?;
        let server = Self { container, address };
        server.until_healthy().await?;
        Ok(server)
    }

    /// The container, for faults and for files.
    pub fn container(&self) -> &Container {
        &self.container
    }

    /// Its address, for pods and for this machine.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The ports on which NFS and MOUNT answer; the port mapper names them too.
    pub fn ports(&self) -> (u16, u16) {
        (NFS_PORT, MOUNT_PORT)
    }

    /// Offers these folders and no others. Folders that are missing are made, open to everybody; what is no longer
    /// offered keeps its files.
    ///
    /// # Errors
    /// When a path isn't one, or the server doesn't take the change.
    pub async fn set_exports(&self, exports: &[NfsExport]) -> Result<(), KindError> {
        let text = render(exports)?;
        for export in exports {
            let folder = format!("{EXPORTS}{}", export.path);
            self.container.exec(&["mkdir", "--parents", "--mode", "0777", "--", &folder]).await?;
        }
        self.container.exec_with_input(&["tee", "/etc/ganesha/exports.conf"], text).await?;
        self.container.exec(&["pkill", "--signal", "HUP", "--exact", "ganesha.nfsd"]).await?;
        Ok(())
    }

    /// Returns once NFS and MOUNT answer.
    ///
    /// # Errors
    /// [`KindError::Deadline`] with what it said last.
    pub async fn until_healthy(&self) -> Result<(), KindError> {
        let address = self.address.as_str();
        let ask = move || async move {
            let nfs = rpc::answers(&format!("{address}:{NFS_PORT}"), NFS).await?;
            let mount = rpc::answers(&format!("{address}:{MOUNT_PORT}"), MOUNT).await?;
            Ok(nfs && mount)
        };
        let not_yet = "it serves no version 3";
        self.container.until_healthy("deadline of the NFS server's health", not_yet, ask).await
    }
}

/// The exports as NFS-Ganesha's configuration. Number 0 is the root of version 4, which is off.
fn render(exports: &[NfsExport]) -> Result<String, KindError> {
    let mut text = String::new();
    for (number, export) in exports.iter().enumerate() {
        check(&export.path)?;
        let access = match (export.refused, export.read_only) {
            (true, _) => "None",
            (false, true) => "RO",
            (false, false) => "RW",
        };
        let squash = match export.squash {
            NfsSquash::None => "No_Root_Squash",
            NfsSquash::Root => "Root_Squash",
            NfsSquash::All => "All_Squash",
        };
        writeln!(
            text,
            "EXPORT {{\n  Export_Id = {};\n  Path = \"{EXPORTS}{path}\";\n  Pseudo = \"{path}\";\n  Access_Type = {access};\n  \
             Squash = {squash};\n  Anonymous_Uid = 65534;\n  Anonymous_Gid = 65534;\n  SecType = sys;\n  Protocols = 3;\n  \
             Transports = TCP, UDP;\n  PrivilegedPort = false;\n  FSAL {{ Name = VFS; }}\n}}",
            number + 1,
            path = export.path,
        )
        .unwrap_or_default();
    }
    Ok(text)
}

fn check(path: &str) -> Result<(), KindError> {
    let clean = path.strip_prefix('/').is_some_and(|rest| {
        rest.split('/').all(|part| !matches!(part, "" | "." | ".."))
            && !path.chars().any(|char| char.is_control() || matches!(char, '"' | '\\' | '%'))
    });
    if clean {
        Ok(())
    } else {
        Err(KindError::program(format!("offering {path:?}"), "no folder has such a path"))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn export(path: &str) -> NfsExport {
        NfsExport { path: path.into(), read_only: false, refused: false, squash: NfsSquash::None }
    }

    #[test]
    fn clients_name_an_export_by_its_own_path() {
        let read_only = NfsExport { read_only: true, squash: NfsSquash::All, ..export("/other/deep") };
        let text = render(&[export("/share"), read_only]).unwrap();
        for part in [
            "Export_Id = 1;\n  Path = \"/exports/share\";\n  Pseudo = \"/share\";\n  Access_Type = RW;\n  Squash = No_Root_Squash;",
            "Export_Id = 2;\n  Path = \"/exports/other/deep\";\n  Pseudo = \"/other/deep\";\n  Access_Type = RO;\n  Squash = All_Squash;",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[rstest]
    #[case("share")]
    #[case("/")]
    #[case("/a/../b")]
    #[case("/a//b")]
    #[case("/a\";}")]
    #[case("/a\nb")]
    fn what_is_no_path_is_refused(#[case] path: &str) {
        assert!(render(&[export(path)]).is_err());
    }
}
