//! The NFS server: NFS-Ganesha.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lab::ExportAccess;
use lab_cluster::offered_paths;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::container::Start;
use super::exports::{ADMINISTRATION, EXPORTS, NfsExport, Offered, check};
use super::rpc::{self, MOUNT, NFS};
use super::{Container, Seat, Site};
use crate::KindError;
use crate::cluster::network;
use crate::docker::Docker;
use crate::observer::{Observer, Step};

/// Where NFS and MOUNT answer; the port mapper, on 111, says the same.
const NFS_PORT: u16 = 2049;
const MOUNT_PORT: u16 = 20048;

/// How long the server may take to offer what it was told to.
const OFFER_LIMIT: Duration = Duration::from_secs(30);
/// How often it is asked.
const INTERVAL: Duration = Duration::from_millis(20);

/// A running NFS server. Files are made and looked at by this machine at [`ADMINISTRATION`].
#[derive(Clone, Debug)]
pub struct NfsServer {
    container: Container,
    address: String,
    /// This machine's own address on the server's network.
    administrator: String,
    offered: Arc<Mutex<Offered>>,
}

impl NfsServer {
    /// Takes the one of labs in common, or starts it.
    pub(crate) async fn up(site: &Site, image: &str, observer: &dyn Observer) -> Result<Self, KindError> {
        let seat = site.network_file_system(None);
        let container = if let Some(container) = Container::running(site, &seat, image).await? {
            container
        } else {
            let step = Step::begin(observer, "starting NFS-Ganesha");
            let container = start(site, &seat, image).await?;
            step.done();
            container
        };
        Self::reached(site, container).await
    }

    /// Starts one for a lab alone.
    pub(crate) async fn apart(site: &Site, number: u32, image: &str) -> Result<Self, KindError> {
        let container = start(site, &site.network_file_system(Some(number)), image).await?;
        Self::reached(site, container).await
    }

    async fn reached(site: &Site, container: Container) -> Result<Self, KindError> {
        let address = container.address().await?;
        let administrator = gateway(&site.docker, &site.network).await?;
        let offered = Arc::new(Mutex::new(Offered::nothing()));
        let server = Self { container, address, administrator, offered };
        server.until_healthy().await?;
        server.apply(&mut *server.offered.lock().await).await?;
        Ok(server)
    }

    /// The container, for faults.
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

    /// Offers a folder, or offers it in another way; it is so on return. A folder that is missing is made, open to
    /// everybody.
    ///
    /// # Errors
    /// When its path isn't one, or the server doesn't take the change.
    pub async fn offer(&self, export: NfsExport) -> Result<(), KindError> {
        check(&export.path)?;
        let mut offered = self.offered.lock().await;
        let folder = format!("{EXPORTS}{}", export.path);
        self.container.exec(&["mkdir", "--parents", "--mode", "0777", "--", &folder]).await?;
        let path = export.path.clone();
        let number = match offered.exports.get(&path) {
            Some((number, _)) => *number,
            None => offered.next(),
        };
        let before = offered.exports.insert(path.clone(), (number, export));
        let applied = self.apply(&mut offered).await;
        if applied.is_err() {
            // The next one must not stumble over it again.
            match before {
                Some(before) => offered.exports.insert(path, before),
                None => offered.exports.remove(&path),
            };
        }
        applied
    }

    /// No longer offers the folders whose paths begin with `prefix`; what is in them stays.
    ///
    /// # Errors
    /// When the server doesn't take the change.
    pub async fn withdraw(&self, prefix: &str) -> Result<(), KindError> {
        let mut offered = self.offered.lock().await;
        let before = offered.exports.len();
        offered.exports.retain(|path, _| !path.starts_with(prefix));
        if offered.exports.len() == before { Ok(()) } else { self.apply(&mut offered).await }
    }

    /// Has the server offer exactly this, and returns once it does. It reads its configuration from the front, so what
    /// stands last, for this time alone, says that it has read the rest.
    async fn apply(&self, offered: &mut Offered) -> Result<(), KindError> {
        let mark = (offered.next(), format!("/reading-{}", offered.last));
        let text = offered.render(&mark, &self.administrator);
        self.container.exec_with_input(&["tee", "/etc/ganesha/exports.conf"], text).await?;
        self.container.exec(&["pkill", "--signal", "HUP", "--exact", "ganesha.nfsd"]).await?;
        let open =
            offered.exports.values().filter(|(_, export)| export.options.access != ExportAccess::Refused);
        let mut wanted: Vec<String> = open.map(|(_, export)| export.path.clone()).collect();
        wanted.extend([ADMINISTRATION.to_owned(), mark.1]);
        wanted.sort();
        let place = format!("{}:{MOUNT_PORT}", self.address);
        let place: SocketAddr = place
            .parse()
            .map_err(|_| KindError::program("offering folders by NFS", format!("{place} is no address")))?;
        let begun = Instant::now();
        loop {
            let last = match timeout(OFFER_LIMIT, offered_paths(place)).await {
                Ok(Ok(mut paths)) => {
                    paths.sort();
                    if paths == wanted {
                        return Ok(());
                    }
                    format!("it offers {paths:?}, not {wanted:?}")
                }
                Ok(Err(error)) => lab::chain(&error),
                Err(_) => "it does not answer".to_owned(),
            };
            if begun.elapsed() > OFFER_LIMIT {
                let deadline = "deadline of a change of NFS exports";
                return Err(KindError::Deadline { deadline, limit: OFFER_LIMIT, last });
            }
            tokio::time::sleep(INTERVAL).await;
        }
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

async fn start(site: &Site, seat: &Seat, image: &str) -> Result<Container, KindError> {
    // Handles of files are opened by number, which takes the right to read everything.
    let options = ["--privileged", "--volume", EXPORTS];
    Container::start(Start { site, seat, image, options: &options, words: &[] }).await
}

/// The address that this machine has on a network.
async fn gateway(docker: &Docker, network: &str) -> Result<String, KindError> {
    let found = docker.inspect("network", network).await?.unwrap_or_default();
    network::gateway(&found).ok_or_else(|| {
        KindError::program(format!("asking for this machine's address on {network}"), "it has none")
    })
}
