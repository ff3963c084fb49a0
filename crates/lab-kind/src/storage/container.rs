//! A container beside the cluster, and what faults do to it.

use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::{Seat, Site};
use crate::KindError;
use crate::cluster::{LABEL, address_of, network, published};
use crate::docker::Docker;

/// How long starting or stopping one may take.
const DEADLINE: Duration = Duration::from_secs(120);

/// How long freezing one is tried. A control group of version 1 can't be frozen while one of its processes waits for a
/// disk or ends, and the container runtime gives up after a moment.
const FREEZE_DEADLINE: Duration = Duration::from_secs(20);
const CANNOT_FREEZE: &str = "unable to freeze";
const NOT_FROZEN: &str = "is not paused";

const HEALTHY_DEADLINE: Duration = Duration::from_secs(120);
const INTERVAL: Duration = Duration::from_millis(100);
/// How long one question about its health may take.
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

/// A running container of the lab.
#[derive(Clone, Debug)]
pub struct Container {
    docker: Docker,
    name: String,
    network: String,
}

/// How a container is started.
pub(crate) struct Start<'a> {
    pub(crate) site: &'a Site,
    pub(crate) seat: &'a Seat,
    pub(crate) image: &'a str,
    /// Further options of `docker run`.
    pub(crate) options: &'a [&'a str],
    /// What the image's entry point is given.
    pub(crate) words: &'a [&'a str],
}

impl Container {
    /// Starts one, in place of one of that name that was left.
    pub(crate) async fn start(start: Start<'_>) -> Result<Self, KindError> {
        let Start { site: Site { docker, network, owner, .. }, seat, image, options, words } = start;
        let name = seat.name.as_str();
        refuse_strangers(docker, name).await?;
        docker.remove_container(name).await?;
        let address = network::address(docker, network, seat.place).await?;
        docker
            .command(format!("starting the container {name}"))
            .args(["run", "--detach", "--name", name, "--network", network])
            .args(["--label", &format!("{LABEL}={owner}")])
            .args(address)
            .args(options)
            .args([image])
            .args(words)
            .within("deadline of a container's start", DEADLINE)
            .output()
            .await?;
        Ok(Self { docker: docker.clone(), name: name.to_owned(), network: network.clone() })
    }

    /// One that runs already, if it does and is of this image.
    pub(crate) async fn running(site: &Site, seat: &Seat, image: &str) -> Result<Option<Self>, KindError> {
        let (Site { docker, network, .. }, name) = (site, seat.name.as_str());
        let Some(found) = docker.inspect("container", name).await? else { return Ok(None) };
        let fits = found["State"]["Running"] == true
            && found["State"]["Paused"] != true
            && found["Config"]["Image"] == image
            && address_of(&found, network).is_some();
        Ok(fits.then(|| Self { docker: docker.clone(), name: name.to_owned(), network: network.clone() }))
    }

    /// Whether one of its ports is published at a port of this machine that was asked for by number.
    pub(crate) async fn keeps_port(&self, port: u16) -> Result<bool, KindError> {
        let found = self.docker.inspect("container", &self.name).await?.unwrap_or_default();
        let asked = &found["HostConfig"]["PortBindings"][format!("{port}/tcp")][0]["HostPort"];
        Ok(asked.as_str().is_some_and(|port| !matches!(port, "" | "0")))
    }

    /// Its name, for Docker.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address on the cluster's network, which pods reach. After [`Self::start_again`] it is the same one where the
    /// network lets addresses be asked for, and otherwise the lowest that is free: the same unless others came and went.
    ///
    /// # Errors
    /// When it doesn't run.
    pub async fn address(&self) -> Result<String, KindError> {
        let found = self.docker.inspect("container", &self.name).await?.unwrap_or_default();
        address_of(&found, &self.network).ok_or_else(|| {
            KindError::program(format!("asking for the address of {}", self.name), "it does not run")
        })
    }

    /// Where this machine reaches one of its ports, with or without a way to the cluster's network.
    ///
    /// # Errors
    /// When the port is not published.
    pub async fn published(&self, port: u16) -> Result<String, KindError> {
        published(&self.docker, &self.name, port).await
    }

    /// Runs a program in it and returns its output.
    ///
    /// # Errors
    /// When the program fails, with its last words.
    pub async fn exec(&self, words: &[&str]) -> Result<String, KindError> {
        self.docker.exec(&self.name, words).await
    }

    /// Runs a program in it that reads `input`.
    ///
    /// # Errors
    /// When the program fails, with its last words.
    pub async fn exec_with_input(
        &self,
        words: &[&str],
        input: impl Into<Vec<u8>>,
    ) -> Result<String, KindError> {
        self.docker
            .command(format!("running {} in {}", words.first().unwrap_or(&"nothing"), self.name))
            .args(["exec", "--interactive", self.name.as_str()])
            .args(words)
            .input(input)
            .output()
            .await
    }

    /// Freezes its processes: connections stay, nothing answers.
    ///
    /// # Errors
    /// When it doesn't run, or can't be frozen within the deadline of freezing a container (20 s).
    pub async fn pause(&self) -> Result<(), KindError> {
        let started = Instant::now();
        loop {
            match self.told("pause").await {
                Err(KindError::Program { reason, .. }) if reason.contains(CANNOT_FREEZE) => {
                    if started.elapsed() > FREEZE_DEADLINE {
                        let deadline = "deadline of freezing a container";
                        return Err(KindError::Deadline { deadline, limit: FREEZE_DEADLINE, last: reason });
                    }
                }
                outcome => return outcome,
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// Thaws it, if it is frozen.
    ///
    /// # Errors
    /// When it doesn't run.
    pub async fn unpause(&self) -> Result<(), KindError> {
        match self.told("unpause").await {
            Err(KindError::Program { reason, .. }) if reason.contains(NOT_FROZEN) => Ok(()),
            outcome => outcome,
        }
    }

    /// Ends its processes: connections are refused. Its data stay.
    ///
    /// # Errors
    /// When it can't be stopped.
    pub async fn stop(&self) -> Result<(), KindError> {
        self.told("stop").await
    }

    /// Ends its processes with SIGKILL, without a farewell: connections break and new ones fail. Its data stay.
    ///
    /// # Errors
    /// When it doesn't run.
    pub async fn kill(&self) -> Result<(), KindError> {
        self.told("kill").await
    }

    /// Starts its processes again.
    ///
    /// # Errors
    /// When it can't be started.
    pub async fn start_again(&self) -> Result<(), KindError> {
        self.told("start").await
    }

    async fn told(&self, verb: &str) -> Result<(), KindError> {
        self.docker
            .command(format!("{verb} of the container {}", self.name))
            .args([verb, self.name.as_str()])
            .within("deadline of a container's change", DEADLINE)
            .output()
            .await
            .map(drop)
    }

    /// Asks until the answer is yes; `not_yet` says what a no means.
    pub(crate) async fn until_healthy<A: Future<Output = std::io::Result<bool>>>(
        &self,
        deadline: &'static str,
        not_yet: &str,
        ask: impl Fn() -> A,
    ) -> Result<(), KindError> {
        let started = Instant::now();
        loop {
            let last = match timeout(ANSWER_DEADLINE, ask()).await {
                Ok(Ok(true)) => return Ok(()),
                Ok(Ok(false)) => not_yet.to_owned(),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "it does not answer".to_owned(),
            };
            if started.elapsed() > HEALTHY_DEADLINE {
                let last = format!("{last}; it said:\n{}", self.last_words().await);
                return Err(KindError::Deadline { deadline, limit: HEALTHY_DEADLINE, last });
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// The last lines that it said.
    async fn last_words(&self) -> String {
        let run = self.docker.command(format!("reading what {} said", self.name));
        match run.args(["logs", "--tail", "20", self.name.as_str()]).finish().await {
            Ok(output) => format!("{}{}", output.out, output.error),
            Err(error) => error.to_string(),
        }
    }
}

async fn refuse_strangers(docker: &Docker, name: &str) -> Result<(), KindError> {
    let Some(found) = docker.inspect("container", name).await? else { return Ok(()) };
    if found["Config"]["Labels"][LABEL].is_string() {
        return Ok(());
    }
    Err(KindError::machine(
        format!("there is a container {name} that is not ours"),
        format!("remove it (docker rm {name}) or choose another name for the cluster"),
    ))
}
