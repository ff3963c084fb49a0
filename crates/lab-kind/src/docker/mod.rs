//! A Docker daemon: the one that is there, or one of our own.

mod capabilities;
mod find;
mod own;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

pub(crate) use capabilities::can_raise_limits;
pub use find::DaemonPolicy;
pub(crate) use find::{Choice, choose, search};
pub(crate) use own::OwnDaemon;

use crate::KindError;
use crate::command::Run;
use crate::observer::Step;

/// How long moving an image may take.
const IMAGE_DEADLINE: Duration = Duration::from_secs(600);
/// How long building an image may take: packages are fetched meanwhile.
const BUILD_DEADLINE: Duration = Duration::from_secs(1200);

/// A daemon that answers, and the program that talks to it.
#[derive(Clone, Debug)]
pub struct Docker {
    program: PathBuf,
    /// As in `DOCKER_HOST`; absent means what the program finds by itself.
    host: Option<String>,
    /// Whether it is the backend's own.
    own: bool,
}

impl Docker {
    pub(crate) fn new(program: PathBuf, host: Option<String>, own: bool) -> Self {
        Self { program, host, own }
    }

    /// The value of `DOCKER_HOST` for programs that shall use this daemon; absent means they find it by themselves.
    pub fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    /// Whether the backend started this daemon itself.
    pub fn is_own(&self) -> bool {
        self.own
    }

    /// The command, ready to be given arguments. `action` is what it is for, as in "`action` failed".
    pub(crate) fn command(&self, action: impl Into<String>) -> Run {
        self.point(Run::new(action, &self.program))
    }

    /// Makes another program use this daemon.
    pub(crate) fn point(&self, run: Run) -> Run {
        match &self.host {
            Some(host) => run.env("DOCKER_HOST", host),
            None => run,
        }
    }

    /// What the daemon knows about an object, if there is one of that name.
    ///
    /// # Errors
    /// When the daemon doesn't answer.
    pub async fn inspect(&self, kind: &str, name: &str) -> Result<Option<Value>, KindError> {
        let output = self
            .command(format!("asking Docker for {kind} {name}"))
            .args([kind, "inspect", name])
            .finish()
            .await?;
        if !output.success {
            // The words differ between kinds and versions of Docker, this much is common.
            if output.error.to_lowercase().contains("no such") || output.error.contains("not found") {
                return Ok(None);
            }
            return Err(KindError::program(format!("asking Docker for {kind} {name}"), output.error.trim()));
        }
        let mut found: Vec<Value> = serde_json::from_str(&output.out).map_err(|error| {
            KindError::program(format!("asking Docker for {kind} {name}"), error.to_string())
        })?;
        Ok(found.pop())
    }

    /// Whether there is such an image.
    ///
    /// # Errors
    /// When the daemon doesn't answer.
    pub async fn has_image(&self, image: &str) -> Result<bool, KindError> {
        Ok(self.inspect("image", image).await?.is_some())
    }

    /// Gives an image another name.
    ///
    /// # Errors
    /// When there is no such image.
    pub async fn tag(&self, image: &str, name: &str) -> Result<(), KindError> {
        self.command(format!("naming image {image} {name}"))
            .args(["tag", image, name])
            .output()
            .await
            .map(drop)
    }

    /// Builds the recipe in the folder `context` to the image `name`.
    pub(crate) async fn build(
        &self,
        step: &Step<'_>,
        context: &Path,
        name: &str,
        target: Option<&str>,
        arguments: &[(String, String)],
        log: &Path,
    ) -> Result<(), KindError> {
        // The machine's own network: a daemon of ours has no other that leads outside.
        let mut words: Vec<String> =
            ["build", "--network", "host", "--force-rm", "--tag", name].map(str::to_owned).to_vec();
        if let Some(target) = target {
            words.extend(["--target".to_owned(), target.to_owned()]);
        }
        for (key, value) in arguments {
            words.extend(["--build-arg".to_owned(), format!("{key}={value}")]);
        }
        self.command(format!("building image {name}"))
            .args(words)
            .args([context])
            .within("deadline of building an image", BUILD_DEADLINE)
            .follow(step, log)
            .await
    }

    /// Makes an image of one layer from an archive of a root file system.
    pub(crate) async fn import(&self, archive: &Path, name: &str) -> Result<(), KindError> {
        self.command(format!("importing {} as {name}", archive.display()))
            .args(["import".as_ref(), archive.as_os_str(), name.as_ref()])
            .within("deadline of moving an image", IMAGE_DEADLINE)
            .output()
            .await
            .map(drop)
    }

    /// Fetches an image from its registry.
    pub(crate) async fn pull(&self, step: &Step<'_>, image: &str, log: &Path) -> Result<(), KindError> {
        self.command(format!("pulling {image}"))
            .args(["pull", image])
            .within("deadline of moving an image", IMAGE_DEADLINE)
            .follow(step, log)
            .await
    }

    /// Hands images on to the container runtime inside a container (a node), under all names given.
    ///
    /// # Errors
    /// When there is no such image or container, or the runtime refuses the image.
    pub async fn load_into(&self, container: &str, images: &[String]) -> Result<(), KindError> {
        let docker = self.program.display();
        // A pipe between two programs; names are arguments, so that nothing in them is taken for shell.
        let script = format!(
            "set -o pipefail; node=$1; shift; '{docker}' save -- \"$@\" | '{docker}' exec -i -- \"$node\" \
             ctr --namespace k8s.io images import --all-platforms -"
        );
        self.point(Run::new(format!("loading {} into {container}", images.join(", ")), "bash"))
            .args(["-c", &script, "bash", container])
            .args(images)
            .within("deadline of moving an image", IMAGE_DEADLINE)
            .output()
            .await
            .map(drop)
    }

    /// Runs a program in a container and returns its output.
    ///
    /// # Errors
    /// When it fails, with its last words.
    pub async fn exec(&self, container: &str, words: &[&str]) -> Result<String, KindError> {
        self.command(format!("running {} in {container}", words.first().unwrap_or(&"nothing")))
            .args(["exec", container])
            .args(words)
            .output()
            .await
    }

    /// Removes a container and its anonymous volumes, if it is there.
    ///
    /// # Errors
    /// When it can't be removed.
    pub async fn remove_container(&self, name: &str) -> Result<(), KindError> {
        let output = self
            .command(format!("removing container {name}"))
            .args(["rm", "--force", "--volumes", name])
            .finish()
            .await?;
        if output.success || output.error.contains("No such container") {
            return Ok(());
        }
        Err(KindError::program(format!("removing container {name}"), output.error.trim()))
    }
}
