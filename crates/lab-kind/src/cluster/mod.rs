//! The cluster: made by kind, recognised as ours, reused, taken down.

mod config;
mod identity;
mod lock;
pub(crate) mod network;
mod outward;
mod program;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

pub(crate) use config::OWNER_FOLDER;
pub(crate) use identity::{Owner, owner_of};
pub(crate) use lock::Lock;
pub(crate) use outward::close as close_network;
pub(crate) use program::KindProgram;

use crate::docker::Docker;
use crate::images::BUILT;
use crate::observer::{Event, Observer, Step};
use crate::{Folders, KindError};

/// How long kind may take.
const CREATE_DEADLINE: Duration = Duration::from_secs(600);
/// How long the node may take to be ready after that.
const READY_DEADLINE: Duration = Duration::from_secs(300);
const INTERVAL: Duration = Duration::from_millis(500);

/// The port of the node that [`Cluster::door`] leads to: a Service of type `NodePort` listens on it.
pub const DOOR: u16 = 30080;

/// The label on everything that Docker keeps for us; its value is [`Folders::id`].
pub(crate) const LABEL: &str = "mountlab.dev/owner";

/// A cluster that is up.
#[derive(Debug)]
pub struct Cluster {
    name: String,
    folder: PathBuf,
    docker: Docker,
    /// The node's address on the cluster's network.
    address: String,
    lock: Lock,
}

/// The names that belong to a cluster.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    pub(crate) cluster: String,
    pub(crate) node: String,
    pub(crate) network: String,
}

impl Names {
    pub(crate) fn of(cluster: &str) -> Self {
        Self {
            cluster: cluster.to_owned(),
            node: format!("{cluster}-control-plane"),
            network: format!("{cluster}-network"),
        }
    }
}

impl Cluster {
    /// Makes the cluster `name` of the node image `image`, or takes the one that is there.
    ///
    /// # Errors
    /// When a cluster of that name isn't ours, or can't be made. Of one that couldn't be made nothing is left.
    pub(crate) async fn up(
        lock: Lock,
        image: &str,
        program: &KindProgram,
        docker: &Docker,
        folders: &Folders,
        observer: &dyn Observer,
    ) -> Result<Self, KindError> {
        let name = lock.name();
        let names = Names::of(name);
        let folder = folders.make(&format!("clusters/{name}"))?;
        let owner = owner_of(docker, &names, &folder).await?;
        match owner {
            Owner::Nobody => {}
            Owner::Other(words) => return Err(not_ours(name, &words)),
            Owner::Us { image: present } if present == image && is_complete(&folder) => {
                if let Some(address) = reuse(docker, &names).await? {
                    observer.notify(Event::Chosen(&format!("the cluster {name} is there already")));
                    return Ok(Self { name: name.to_owned(), folder, docker: docker.clone(), address, lock });
                }
                remove(&names, program, docker, &folder, observer).await?;
            }
            Owner::Us { .. } => remove(&names, program, docker, &folder, observer).await?,
        }
        let step = Step::begin(observer, format!("making the cluster {name}"));
        let made = make(&names, image, program, docker, &folder, folders, &step).await;
        match made {
            Ok(address) => {
                step.done();
                Ok(Self { name: name.to_owned(), folder, docker: docker.clone(), address, lock })
            }
            Err(error) => {
                // What went wrong first is what counts.
                if let Err(second) = remove(&names, program, docker, &folder, observer).await {
                    observer.notify(Event::Chosen(&format!(
                        "also, the cluster {name} could not be removed: {second}"
                    )));
                }
                Err(error)
            }
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file with which `kubectl` and others reach it; nobody else's is touched.
    pub fn kubeconfig(&self) -> PathBuf {
        kubeconfig(&self.folder)
    }

    /// The container that is its node.
    pub fn node(&self) -> String {
        Names::of(&self.name).node
    }

    /// The Docker network that it is on.
    pub fn network(&self) -> String {
        Names::of(&self.name).network
    }

    /// The node's address on [`Self::network`]; this machine reaches it too.
    pub fn node_address(&self) -> &str {
        &self.address
    }

    /// Where this machine reaches the node's port [`DOOR`]: a free port of 127.0.0.1.
    ///
    /// # Errors
    /// When Docker doesn't tell.
    pub async fn door(&self) -> Result<String, KindError> {
        published(&self.docker, &self.node(), DOOR).await
    }

    /// Gives the node's container runtime images that Docker has. Pods find them with `imagePullPolicy: IfNotPresent`
    /// or `Never`; nothing is pulled.
    ///
    /// # Errors
    /// When there is no such image.
    pub async fn load(&self, images: &[&str]) -> Result<(), KindError> {
        let node = self.node();
        let present =
            self.docker.exec(&node, &["ctr", "--namespace", "k8s.io", "images", "list", "--quiet"]).await?;
        // Together, for what they share is then moved once.
        let missing: Vec<String> = images
            .iter()
            .filter(|image| !present.lines().any(|line| line == canonical(image)))
            .map(|image| (*image).to_owned())
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        self.docker.load_into(&node, &missing).await
    }

    /// Gives an image of the node's container runtime further names, whatever stood for those before.
    ///
    /// # Errors
    /// When there is no such image.
    pub async fn name_image(&self, image: &str, names: &[&str]) -> Result<(), KindError> {
        let names: Vec<String> = [&[image], names].concat().into_iter().map(canonical).collect();
        let mut words = vec!["ctr", "--namespace", "k8s.io", "images", "tag", "--force"];
        words.extend(names.iter().map(String::as_str));
        self.docker.exec(&self.node(), &words).await.map(drop)
    }

    /// Lets go of the cluster without taking it down; the right to do so goes on.
    pub(crate) fn into_lock(self) -> Lock {
        self.lock
    }

    /// The folder of its files.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }
}

/// An image's name in full, as containerd has it.
fn canonical(image: &str) -> String {
    let (first, rest) = image.split_once('/').unwrap_or(("", image));
    let is_host = first.contains(['.', ':']) || first == "localhost";
    let repository = match (first, is_host) {
        ("", _) => format!("docker.io/library/{rest}"),
        (_, true) => image.to_owned(),
        (_, false) => format!("docker.io/{image}"),
    };
    if repository.rsplit('/').next().is_some_and(|last| last.contains(':')) {
        repository
    } else {
        format!("{repository}:latest")
    }
}

fn kubeconfig(folder: &Path) -> PathBuf {
    folder.join("kubeconfig")
}

/// The mark of a cluster that was made to its end.
fn complete_mark(folder: &Path) -> PathBuf {
    folder.join("complete")
}

/// Whether the cluster of this folder was made to its end.
pub(crate) fn is_complete(folder: &Path) -> bool {
    complete_mark(folder).is_file() && kubeconfig(folder).is_file()
}

/// The refusal of somebody else's cluster.
pub(crate) fn not_ours(name: &str, words: &str) -> KindError {
    KindError::machine(
        format!("there is a cluster {name} that is not ours: {words}"),
        format!("remove it (kind delete cluster --name {name}) or choose another name"),
    )
}

async fn reuse(docker: &Docker, names: &Names) -> Result<Option<String>, KindError> {
    let Some(node) = docker.inspect("container", &names.node).await? else { return Ok(None) };
    if node["State"]["Running"] != true
        || !ready(docker, &names.node).await.is_ok_and(|state| state.is_none())
    {
        return Ok(None);
    }
    outward::open(docker, &names.network).await?;
    Ok(address_of(&node, &names.network))
}

async fn make(
    names: &Names,
    image: &str,
    program: &KindProgram,
    docker: &Docker,
    folder: &Path,
    folders: &Folders,
    step: &Step<'_>,
) -> Result<String, KindError> {
    for file in [complete_mark(folder), kubeconfig(folder)] {
        match fs::remove_file(&file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(KindError::io("removing", &file)(error));
            }
            _ => {}
        }
    }
    network::ensure(docker, &names.network, &folders.id()).await?;
    outward::open(docker, &names.network).await?;
    let owner = folder.join("owner");
    fs::create_dir_all(&owner).map_err(KindError::io("making", &owner))?;
    let configuration = folder.join("cluster.yaml");
    fs::write(&configuration, config::render(&owner, image.starts_with(BUILT)))
        .map_err(KindError::io("writing", &configuration))?;
    program
        .command(docker, "making a kind cluster")
        .env("KIND_EXPERIMENTAL_DOCKER_NETWORK", &names.network)
        .args([
            "create",
            "cluster",
            "--name",
            names.cluster.as_str(),
            "--image",
            image,
            "--wait",
            "0s",
            "--kubeconfig",
        ])
        .args([kubeconfig(folder).as_os_str(), "--config".as_ref(), configuration.as_os_str()])
        .within("deadline of making a cluster", CREATE_DEADLINE)
        .follow(step, &folders.log(step.name())?)
        .await
        .map_err(explain)?;
    let path = kubeconfig(folder);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(KindError::io("closing", &path))?;
    until_ready(docker, &names.node, step).await?;
    let node = docker.inspect("container", &names.node).await?.unwrap_or_default();
    let address = address_of(&node, &names.network)
        .ok_or_else(|| KindError::program("making a kind cluster", "the node has no address"))?;
    let mark = complete_mark(folder);
    fs::write(&mark, "").map_err(KindError::io("writing", &mark))?;
    Ok(address)
}

/// Says what to do about failures of kind that have a known remedy.
fn explain(error: KindError) -> KindError {
    let text = error.to_string();
    if text.contains("port is already allocated") || text.contains("address already in use") {
        return KindError::machine(
            format!("a port that the cluster needs is taken ({text})"),
            "end the program that listens on it and try again",
        );
    }
    error
}

/// Removes a cluster of ours, whatever state it is in.
pub(crate) async fn remove(
    names: &Names,
    program: &KindProgram,
    docker: &Docker,
    folder: &Path,
    observer: &dyn Observer,
) -> Result<(), KindError> {
    let step = Step::begin(observer, format!("removing the cluster {}", names.cluster));
    let mark = complete_mark(folder);
    if mark.is_file() {
        fs::remove_file(&mark).map_err(KindError::io("removing", &mark))?;
    }
    program
        .command(docker, "removing a kind cluster")
        .args(["delete", "cluster", "--name", names.cluster.as_str(), "--kubeconfig"])
        .args([kubeconfig(folder)])
        .within("deadline of removing a cluster", CREATE_DEADLINE)
        .output()
        .await?;
    step.done();
    Ok(())
}

async fn until_ready(docker: &Docker, node: &str, step: &Step<'_>) -> Result<(), KindError> {
    let started = Instant::now();
    loop {
        let last = match ready(docker, node).await {
            Ok(None) => return Ok(()),
            Ok(Some(state)) => state,
            Err(error) => error.to_string(),
        };
        step.progress(&last);
        if started.elapsed() > READY_DEADLINE {
            return Err(KindError::Deadline {
                deadline: "deadline of the node's readiness",
                limit: READY_DEADLINE,
                last,
            });
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// What keeps the node from being ready; nothing when it is.
async fn ready(docker: &Docker, node: &str) -> Result<Option<String>, KindError> {
    let kubectl =
        ["kubectl", "--kubeconfig", "/etc/kubernetes/admin.conf", "--request-timeout", "10s", "get"];
    let words = [&kubectl[..], &["nodes", "--output", "json"]].concat();
    let said = docker.exec(node, &words).await?;
    let document: Value = serde_json::from_str(&said)
        .map_err(|error| KindError::program("asking the cluster for its node", error.to_string()))?;
    if let Some(obstacle) = obstacle(&document) {
        return Ok(Some(obstacle));
    }
    // Made behind everything else, and no pod is admitted before.
    let words =
        [&kubectl[..], &["serviceaccounts", "default", "--output", "name", "--ignore-not-found"]].concat();
    let account = docker.exec(node, &words).await?;
    Ok(account.trim().is_empty().then(|| "there is no default service account yet".to_owned()))
}

fn obstacle(document: &Value) -> Option<String> {
    let Some(node) = document["items"].as_array().into_iter().flatten().find(|item| item["kind"] == "Node")
    else {
        return Some("there is no node yet".to_owned());
    };
    let conditions = node["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let Some(condition) = conditions.iter().find(|condition| condition["type"] == "Ready") else {
        return Some("the node has not reported yet".to_owned());
    };
    (condition["status"] != "True")
        .then(|| condition["message"].as_str().unwrap_or("the node is not ready").to_owned())
}

pub(crate) fn address_of(container: &Value, network: &str) -> Option<String> {
    let address = container["NetworkSettings"]["Networks"][network]["IPAddress"].as_str()?;
    (!address.is_empty()).then(|| address.to_owned())
}

/// The address of this machine at which a port of a container is published.
pub(crate) async fn published(docker: &Docker, container: &str, port: u16) -> Result<String, KindError> {
    let said = docker
        .command(format!("asking for port {port} of {container}"))
        .args(["port", container, &format!("{port}/tcp")])
        .output()
        .await?;
    said.lines().next().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).ok_or_else(|| {
        KindError::program(format!("asking for port {port} of {container}"), "it is not published")
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case("code-interpreter:v1.6", "docker.io/library/code-interpreter:v1.6")]
    #[case("acs/csi-agent", "docker.io/acs/csi-agent:latest")]
    #[case("mountlab.dev/sandbox:0f", "mountlab.dev/sandbox:0f")]
    #[case("localhost:5000/x/y", "localhost:5000/x/y:latest")]
    fn names_are_completed_as_the_runtime_does(#[case] image: &str, #[case] expected: &str) {
        assert_eq!(canonical(image), expected);
    }

    #[rstest]
    #[case::none(json!({"items": []}), Some("there is no node yet"))]
    #[case::silent(json!({"items": [{"kind": "Node", "status": {}}]}), Some("the node has not reported yet"))]
    #[case::unready(
        json!({"items": [{"kind": "Node", "status": {"conditions": [{"type": "Ready", "status": "False", "message": "no network"}]}}]}),
        Some("no network")
    )]
    #[case::ready(
        json!({"items": [{"kind": "Node", "status": {"conditions": [{"type": "Ready", "status": "True"}]}}]}),
        None
    )]
    fn what_keeps_a_node_from_being_ready(#[case] document: Value, #[case] expected: Option<&str>) {
        assert_eq!(obstacle(&document).as_deref(), expected);
    }
}
