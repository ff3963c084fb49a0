//! Checkpoints: what the node keeps of a container, and what starts with it. The tests do the controller's part.

use std::time::Duration;

use contract::checkpoint::{self, Order, Outcome};
use contract::crd::Checkpoint;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::Value;

use super::*;
use crate::support::LIMIT;

const OUTCOME: &str = "mountlab.dev/checkpoint-outcome";

fn checkpoints(lab: &Lab) -> Api<Checkpoint> {
    Api::default_namespaced(lab.client.clone())
}

/// A pod whose main container writes nothing by itself; made from a checkpoint where one is given.
async fn pod(lab: &Lab, name: &str, origin: Option<&str>) {
    let annotations = origin.map_or_else(|| json!({}), |id| json!({"agents.kruise.io/restore-from": id}));
    lab.create_from(json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "annotations": annotations},
        "spec": {
            "containers": [{
                "name": "main", "image": "i",
                "env": [{"name": "KEY", "value": "value-of-the-environment"}],
                "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}]
            }, {"name": "other", "image": "i"}],
            "volumes": [{"name": "scratch", "emptyDir": {}}],
            "terminationGracePeriodSeconds": 1
        }
    }))
    .await;
    lab.wait_ready(name).await;
}

/// Orders a checkpoint of a pod's main container; its id and what the node answers.
async fn take(lab: &Lab, pod: &str, name: &str) -> (String, Outcome) {
    let uid = lab.pods().get(pod).await.expect("a pod").uid().expect("a UID");
    let order = Order { node: "mountlab".into(), pod_uid: uid, container: "main".into() };
    let object = json!({
        "apiVersion": "agents.kruise.io/v1alpha1", "kind": "Checkpoint",
        "metadata": {
            "name": name, "finalizers": ["agents.kruise.io/checkpoint"],
            "annotations": {"mountlab.dev/checkpoint-order": order.text()},
        },
        "spec": {"podName": pod},
    });
    let object: Checkpoint = serde_json::from_value(object).expect("a Checkpoint");
    let made = checkpoints(lab).create(&PostParams::default(), &object).await.expect("created");
    let creating = Patch::Merge(json!({"status": {"phase": "Creating"}}));
    checkpoints(lab).patch_status(name, &PatchParams::default(), &creating).await.expect("patched");
    let mut follower = lab.journal.follow(0);
    let answered = async {
        loop {
            let now = checkpoints(lab).get(name).await.expect("there");
            if let Some(outcome) = Outcome::of(&now) {
                return outcome;
            }
            follower.next().await;
        }
    };
    (checkpoint::id(&made), tokio::time::timeout(LIMIT, answered).await.expect("an answer in time"))
}

/// What the controller says once nobody needs the files.
async fn release(lab: &Lab, name: &str) {
    checkpoints(lab).delete(name, &DeleteParams::default()).await.expect("asked for");
    let note =
        Patch::Merge(json!({"metadata": {"annotations": {"mountlab.dev/checkpoint-released": "true"}}}));
    checkpoints(lab).patch(name, &PatchParams::default(), &note).await.expect("patched");
}

async fn gone(lab: &Lab, name: &str) {
    let mut follower = lab.journal.follow(0);
    let gone = async {
        while checkpoints(lab).get_opt(name).await.expect("an answer").is_some() {
            follower.next().await;
        }
    };
    tokio::time::timeout(LIMIT, gone).await.expect("the checkpoint is gone in time");
}

fn folder(id: &str) -> std::path::PathBuf {
    std::path::Path::new("/run/node/checkpoints").join(id)
}

const CHANGES: &str = "set -e
mkdir -p /opt/a/b && echo one > /opt/a/b/file && chmod 604 /opt/a/b/file && chown 1000:1000 /opt/a/b/file
ln /opt/a/b/file /opt/a/same && ln -s ../a/b/file /opt/a/link && ln -s /run/csi/mount-root/oss/abc /data && mkfifo /opt/a/pipe
rm /etc/issue && rm -r /usr/share/doc && mkdir /usr/share/doc && echo mine > /usr/share/doc/mine
truncate -s 100M /opt/a/sparse && echo volume > /scratch/file && touch -d @1000000000 /opt/a/b/file";

#[test]
fn files_are_kept_as_they_were_and_others_start_with_them() {
    enclosed("checkpoints::files_are_kept_as_they_were_and_others_start_with_them", || async {
        let lab = Lab::start_with_kind("Checkpoint", |options| options).await;
        pod(&lab, "source", None).await;
        lab.run("source", "main", CHANGES).await;
        let (id, outcome) = take(&lab, "source", "one").await;
        let Outcome::Kept { files, bytes } = outcome else { panic!("{outcome:?}") };
        assert!(files > 8 && bytes < 1 << 20, "{files} files with {bytes} bytes: the hole is none any more");
        lab.run("source", "main", "echo two > /opt/a/b/file; rm /opt/a/link").await;

        pod(&lab, "clone", Some(&id)).await;
        let seen = lab
            .run(
                "clone",
                "main",
                "cat /opt/a/b/file /opt/a/same /opt/a/link /usr/share/doc/mine; stat -c '%a %u %h %Y' /opt/a/b/file
                 ls /usr/share/doc; stat -c %s /opt/a/sparse; test -p /opt/a/pipe && echo pipe
                 ls /etc/issue /data /scratch/file 2>/dev/null; echo $KEY",
            )
            .await;
        assert_eq!(
            seen,
            "one\none\none\nmine\n604 1000 2 1000000000\nmine\n104857600\npipe\nvalue-of-the-environment"
        );
        assert_eq!(
            lab.try_run("clone", "other", "ls /opt/a").await.0,
            2,
            "the files are the main container's"
        );

        // a checkpoint of the clone has everything, and needs nothing of the first
        lab.run("clone", "main", "rm /opt/a/same; echo three > /opt/a/b/file; echo new > /opt/new").await;
        let (second, outcome) = take(&lab, "clone", "two").await;
        assert!(matches!(outcome, Outcome::Kept { .. }), "{outcome:?}");
        release(&lab, "one").await;
        let held = checkpoints(&lab).get("one").await.expect("a pod still has its files");
        assert!(held.metadata.deletion_timestamp.is_some() && folder(&id).exists());
        lab.delete("clone").await;
        gone(&lab, "one").await;
        assert!(!folder(&id).exists());
        pod(&lab, "grandchild", Some(&second)).await;
        let seen = lab
            .run("grandchild", "main", "cat /opt/a/b/file /opt/a/link /opt/new; ls /opt/a/same 2>&1 | wc -l")
            .await;
        assert_eq!(seen, "three\nthree\nnew\n1");
        assert_eq!(lab.try_run("grandchild", "main", "ls /etc/issue").await.0, 2);
        lab.delete("grandchild").await;
        lab.delete("source").await;
        release(&lab, "two").await;
        gone(&lab, "two").await;
        assert_eq!(lab.node.leftovers().await.expect("an inventory"), []);
    });
}

#[test]
fn what_has_no_room_is_told_and_nothing_of_it_stays() {
    enclosed("checkpoints::what_has_no_room_is_told_and_nothing_of_it_stays", || async {
        let small =
            |options: node_sim::NodeOptions| node_sim::NodeOptions { checkpoint_space: 1 << 20, ..options };
        let lab = Lab::start_with_kind("Checkpoint", small).await;
        pod(&lab, "source", None).await;
        lab.run("source", "main", "head -c 3M /dev/zero > /opt/large").await;
        let (id, outcome) = take(&lab, "source", "large").await;
        let Outcome::Failed { reason } = outcome else { panic!("{outcome:?}") };
        assert!(reason.contains("no space left for checkpoints, 1048576 bytes"), "{reason}");
        assert!(
            std::fs::read_dir("/run/node/checkpoints").expect("the store").next().is_none(),
            "{id} left something"
        );
        lab.run("source", "main", "rm /opt/large").await;
        let (_, outcome) = take(&lab, "source", "small").await;
        assert!(matches!(outcome, Outcome::Kept { .. }), "{outcome:?}");
    });
}

#[test]
fn a_checkpoint_that_is_not_here_or_not_theirs_starts_nothing() {
    enclosed("checkpoints::a_checkpoint_that_is_not_here_or_not_theirs_starts_nothing", || async {
        let lab = Lab::start_with_kind("Checkpoint", |options| options).await;
        let (_, outcome) = {
            pod(&lab, "source", None).await;
            lab.node.kill("default", "source", "main").await.expect("killed");
            lab.wait_container("source", "main", "ended", |status| status["state"]["running"].is_null())
                .await;
            lab.pods().delete("source", &DeleteParams::default()).await.expect("deleted");
            lab.wait_for("source", "went away", Value::is_null).await;
            let object = json!({
                "apiVersion": "agents.kruise.io/v1alpha1", "kind": "Checkpoint",
                "metadata": {"name": "late", "annotations": {"mountlab.dev/checkpoint-order":
                    r#"{"node":"mountlab","podUid":"gone","container":"main"}"#}},
                "spec": {},
            });
            let object: Checkpoint = serde_json::from_value(object).expect("a Checkpoint");
            checkpoints(&lab).create(&PostParams::default(), &object).await.expect("created");
            let creating = Patch::Merge(json!({"status": {"phase": "Creating"}}));
            checkpoints(&lab)
                .patch_status("late", &PatchParams::default(), &creating)
                .await
                .expect("patched");
            let answered = async {
                let mut follower = lab.journal.follow(0);
                loop {
                    let now = checkpoints(&lab).get("late").await.expect("there");
                    if now.annotations().contains_key(OUTCOME) {
                        return (checkpoint::id(&now), Outcome::of(&now).expect("an outcome"));
                    }
                    follower.next().await;
                }
            };
            tokio::time::timeout(LIMIT + Duration::from_secs(1), answered).await.expect("an answer in time")
        };
        assert!(
            matches!(&outcome, Outcome::Failed { reason } if reason.contains("does not run here")),
            "{outcome:?}"
        );

        for id in ["cp-unknown", "../pods", ""] {
            let name = format!("clone-{}", id.len());
            lab.create_from(json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": name, "annotations": {"agents.kruise.io/restore-from": id}},
                "spec": {"containers": [{"name": "main", "image": "i"}], "terminationGracePeriodSeconds": 1}
            }))
            .await;
            let waiting = lab
                .wait_container(&name, "main", "says why", |status| {
                    status["state"]["waiting"]["reason"] == "CreateContainerConfigError"
                })
                .await;
            let message = waiting["state"]["waiting"]["message"].as_str().expect("a message");
            assert_eq!(message, format!("checkpoint {id} is not kept on this node"));
            lab.delete(&name).await;
        }
    });
}
