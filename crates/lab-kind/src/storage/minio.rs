//! The object store: MinIO.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rand::Rng as _;
use rand::distr::Alphanumeric;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::container::Start;
use super::{Container, Seat, Site};
use crate::KindError;
use crate::observer::{Observer, Step};

/// Where it listens, inside the cluster's network.
const PORT: u16 = 9000;

/// A running object store.
#[derive(Clone, Debug)]
pub struct Minio {
    container: Container,
    credentials: Credentials,
    inside: String,
    outside: String,
}

/// Drawn when the store is made; in a file that only its owner reads as long as it runs.
#[derive(Clone, Deserialize, Serialize)]
struct Credentials {
    access_key_id: String,
    access_key_secret: String,
}

impl Credentials {
    fn drawn() -> Self {
        Self { access_key_id: draw(20), access_key_secret: draw(40) }
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Credentials").finish_non_exhaustive()
    }
}

impl Minio {
    /// Takes the one of labs in common, or starts it.
    pub(crate) async fn up(site: &Site, image: &str, observer: &dyn Observer) -> Result<Self, KindError> {
        let seat = site.object_store(None);
        let file = site.folder.join("minio.json");
        let running = Container::running(site, &seat, image).await?;
        let running = match running {
            // Of an earlier version of this program: its port would be another one after an outage.
            Some(container) if !container.keeps_port(PORT).await? => None,
            other => other,
        };
        if let (Some(container), Ok(text)) = (running, fs::read(&file))
            && let Ok(credentials) = serde_json::from_slice(&text)
        {
            let store = Self::reached(container, credentials).await?;
            store.until_healthy().await?;
            return Ok(store);
        }
        let step = Step::begin(observer, "starting MinIO");
        let credentials = Credentials::drawn();
        write_closed(&file, serde_json::to_string(&credentials).unwrap_or_default().as_bytes())?;
        let store = Self::start(site, &seat, image, credentials).await?;
        step.done();
        Ok(store)
    }

    /// Starts one for a lab alone.
    pub(crate) async fn apart(site: &Site, number: u32, image: &str) -> Result<Self, KindError> {
        Self::start(site, &site.object_store(Some(number)), image, Credentials::drawn()).await
    }

    async fn start(
        site: &Site,
        seat: &Seat,
        image: &str,
        credentials: Credentials,
    ) -> Result<Self, KindError> {
        // Through a file: a command line can be read by everybody.
        let environment = site.folder.join(format!("{}.env", seat.name));
        let Credentials { access_key_id, access_key_secret } = &credentials;
        let text = format!("MINIO_ROOT_USER={access_key_id}\nMINIO_ROOT_PASSWORD={access_key_secret}\n");
        write_closed(&environment, text.as_bytes())?;
        let (file, port) = (environment.display().to_string(), free_port()?);
        let publish = format!("127.0.0.1:{port}:{PORT}");
        let started = Container::start(Start {
            site,
            seat,
            image,
            options: &["--env-file", &file, "--volume", "/data", "--publish", &publish],
            words: &["server", "/data"],
        })
        .await;
        fs::remove_file(&environment).map_err(KindError::io("removing", &environment))?;
        let store = Self::reached(started?, credentials).await?;
        store.until_healthy().await?;
        Ok(store)
    }

    async fn reached(container: Container, credentials: Credentials) -> Result<Self, KindError> {
        let inside = format!("http://{}:{PORT}", container.address().await?);
        let outside = format!("http://{}", container.published(PORT).await?);
        Ok(Self { container, credentials, inside, outside })
    }

    /// The container, for faults.
    pub fn container(&self) -> &Container {
        &self.container
    }

    /// Its address for pods, such as `http://172.18.0.3:9000`.
    pub fn inside_endpoint(&self) -> &str {
        &self.inside
    }

    /// Its address on the cluster's network.
    pub fn address(&self) -> &str {
        let host = self.inside.trim_start_matches("http://");
        host.split(':').next().unwrap_or(host)
    }

    /// Its address for this machine.
    pub fn outside_endpoint(&self) -> &str {
        &self.outside
    }

    /// The administrator's key.
    pub fn access_key_id(&self) -> &str {
        &self.credentials.access_key_id
    }

    /// The secret of [`Self::access_key_id`].
    pub fn access_key_secret(&self) -> &str {
        &self.credentials.access_key_secret
    }

    /// Returns once it takes requests.
    ///
    /// # Errors
    /// [`KindError::Deadline`] with what it said last.
    pub async fn until_healthy(&self) -> Result<(), KindError> {
        let address = self.outside.trim_start_matches("http://");
        let ask = || is_ready(address);
        self.container.until_healthy("deadline of MinIO's health", "it is not ready", ask).await
    }
}

/// A port of this machine that nobody uses now. Asked for by number it stays the same when the container is started again.
fn free_port() -> Result<u16, KindError> {
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    free.map(|address| address.port())
        .map_err(|error| KindError::program("looking for a free port of this machine", error.to_string()))
}

/// Asks for the store's own word on its health. One request on a connection of its own: no client is needed for that.
async fn is_ready(address: &str) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /minio/health/ready HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(4096).read_to_end(&mut answer).await?;
    Ok(answer.starts_with(b"HTTP/1.1 200"))
}

fn draw(length: usize) -> String {
    rand::rng().sample_iter(Alphanumeric).take(length).map(char::from).collect()
}

/// Writes a file that only its owner reads.
fn write_closed(path: &Path, text: &[u8]) -> Result<(), KindError> {
    let write = || {
        let mut file =
            fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path)?;
        file.write_all(text)
    };
    write().map_err(KindError::io("writing", path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn credentials_are_shown_to_nobody() {
        let credentials = Credentials::drawn();
        let text = format!("{credentials:?}");
        assert!(!text.contains(&credentials.access_key_secret) && !text.contains(&credentials.access_key_id));
        assert_ne!(draw(40), draw(40));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("minio.json");
        write_closed(&path, b"{}").unwrap();
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
