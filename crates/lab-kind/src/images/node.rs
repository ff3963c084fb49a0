//! The node image: a machine with Kubernetes on it, and the images of its control plane already in it.

use std::path::Path;
use std::time::{Duration, Instant};

use super::context::Context;
use super::go::GoBuilds;
use super::recipes;
use crate::KindError;
use crate::command::Run;
use crate::docker::Docker;
use crate::observer::Step;
use crate::versions::KUBERNETES;

/// How long the container runtime of a node may take to answer.
const RUNTIME_DEADLINE: Duration = Duration::from_secs(60);
const INTERVAL: Duration = Duration::from_millis(200);

/// The name of the control plane's image that a kubeadm name stands for, by its last path component.
fn stands_for<'a>(name: &str, programs: &'a str, coredns: &'a str, pause: &'a str) -> &'a str {
    let component = name.rsplit('/').next().unwrap_or(name).split(':').next().unwrap_or(name);
    match component {
        "coredns" => coredns,
        "pause" => pause,
        _ => programs,
    }
}

/// The names under which kubeadm asks for images, from the program itself.
pub(crate) async fn image_names(kubeadm: &Path) -> Result<Vec<String>, KindError> {
    let said = Run::new("asking kubeadm for its images", kubeadm)
        .args(["config", "images", "list", "--kubernetes-version", KUBERNETES])
        .output()
        .await?;
    let names: Vec<String> =
        said.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
    for needed in ["kube-apiserver", "etcd", "coredns", "pause"] {
        if !names.iter().any(|name| name.contains(needed)) {
            return Err(KindError::program(
                "asking kubeadm for its images",
                format!("no {needed} among {names:?}"),
            ));
        }
    }
    Ok(names)
}

/// The recipe of the node without images in it. `names` are kubeadm's.
pub(crate) fn recipe(base: &str, builds: &GoBuilds<'_>, programs: &[&str], names: &[String]) -> Context {
    let key = GoBuilds::kubernetes_key();
    let pause = names.iter().find(|name| name.contains("pause")).cloned().unwrap_or_default();
    let recipe = Context::new("node-without-images", recipes::NODE)
        .argument("BASE", base)
        .argument("PAUSE", &pause)
        .text("files/kind/version", format!("{KUBERNETES}\n"));
    programs.iter().fold(recipe, |recipe, name| recipe.program(name, builds.place(name, &key), &key))
}

/// The images of the control plane.
#[derive(Clone, Debug)]
pub(crate) struct ControlPlane {
    pub(crate) programs: String,
    pub(crate) coredns: String,
    pub(crate) pause: String,
}

/// Puts the images of the control plane into the node's container runtime and keeps the result as `image`.
pub(crate) async fn fill(
    docker: &Docker,
    step: &Step<'_>,
    node: &str,
    control_plane: &ControlPlane,
    names: &[String],
    image: &str,
) -> Result<(), KindError> {
    // One at a time on this machine ([`crate::lock::building`]); what a killed run left is removed.
    let container = "mountlab-filling".to_owned();
    docker.remove_container(&container).await?;
    docker
        .command("starting a node to put images into")
        .args(["run", "--detach", "--privileged", "--network", "none", "--tmpfs", "/run", "--tmpfs", "/tmp"])
        .args(["--name", container.as_str(), "--entrypoint", "/usr/bin/containerd", node])
        .output()
        .await?;
    let filled = fill_container(docker, step, &container, control_plane, names, image).await;
    docker.remove_container(&container).await?;
    filled
}

async fn fill_container(
    docker: &Docker,
    step: &Step<'_>,
    container: &str,
    control_plane: &ControlPlane,
    names: &[String],
    image: &str,
) -> Result<(), KindError> {
    runtime_answers(docker, container).await?;
    let ControlPlane { programs, coredns, pause } = control_plane;
    step.progress("importing the images of the control plane");
    let images = [programs, coredns, pause].map(String::clone);
    docker.load_into(container, &images).await?;
    // Names are given inside: outside they may stand for images of somebody else.
    let runtime = ["ctr", "--namespace", "k8s.io", "images"];
    for name in names {
        let image = stands_for(name, programs, coredns, pause);
        docker.exec(container, &[&runtime[..], &["tag", image, name]].concat()).await?;
    }
    for image in &images {
        docker.exec(container, &[&runtime[..], &["rm", image.as_str()]].concat()).await?;
    }
    step.progress("keeping the node");
    // The runtime has to let go of its files before they are copied.
    docker.command("stopping the node").args(["stop", "--time", "30", container]).output().await?;
    docker
        .command("keeping the node")
        .args([
            "commit",
            "--change",
            "ENTRYPOINT [\"/usr/local/bin/entrypoint\", \"/sbin/init\"]",
            container,
            image,
        ])
        .within("deadline of keeping the node", Duration::from_secs(600))
        .output()
        .await
        .map(drop)
}

async fn runtime_answers(docker: &Docker, container: &str) -> Result<(), KindError> {
    let started = Instant::now();
    loop {
        let Err(error) =
            docker.exec(container, &["ctr", "--namespace", "k8s.io", "images", "list", "--quiet"]).await
        else {
            return Ok(());
        };
        if started.elapsed() > RUNTIME_DEADLINE {
            return Err(KindError::Deadline {
                deadline: "deadline of a node's container runtime",
                limit: RUNTIME_DEADLINE,
                last: error.to_string(),
            });
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("registry/kube-proxy:v1.33.4", "programs")]
    #[case("registry/etcd:3.5.21-0", "programs")]
    #[case("registry/coredns/coredns:v1.12.0", "coredns")]
    #[case("registry:5000/pause:3.10", "pause")]
    fn every_name_has_its_image(#[case] name: &str, #[case] expected: &str) {
        assert_eq!(stands_for(name, "programs", "coredns", "pause"), expected);
    }
}
