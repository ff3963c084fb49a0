//! Pods that really run: the example's shape, order, ends.
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use serde_json::{Value, json};
use support::{Lab, container, enclosed};

/// A privileged sidecar and a main container that share a volume for mounts.
fn sandbox() -> Value {
    json!({
        "terminationGracePeriodSeconds": 5,
        "initContainers": [{
            "name": "side", "image": "csi-agent:v1", "restartPolicy": "Always",
            "securityContext": {"privileged": true},
            "volumeMounts": [{"name": "mount-root", "mountPath": "/run/csi/mount-root", "mountPropagation": "Bidirectional"}]
        }],
        "containers": [{
            "name": "main", "image": "code-interpreter:v1",
            "env": [{"name": "POD_UID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}}],
            "lifecycle": {"postStart": {"exec": {"command": ["/bin/sh", "-c", "echo $POD_UID > /started"]}}},
            "volumeMounts": [{"name": "mount-root", "mountPath": "/run/csi/mount-root", "mountPropagation": "HostToContainer"}]
        }],
        "volumes": [{"name": "mount-root", "emptyDir": {}}]
    })
}

#[test]
fn a_mount_made_in_the_sidecar_shows_up_in_the_main_container() {
    enclosed("a_mount_made_in_the_sidecar_shows_up_in_the_main_container", || async {
        let lab = Lab::start().await;
        let created = lab.create("box", sandbox()).await;
        let pod = lab.wait_ready("box").await;
        assert_eq!(pod["status"]["phase"], "Running");
        assert_eq!(container(&pod, "main")["restartCount"], 0);
        let started = lab.run("box", "main", "cat /started").await;
        assert_eq!(Some(started), created.metadata.uid, "postStart ran with the environment");

        let make = "mkdir -p /run/csi/mount-root/oss/a && mount -t tmpfs bucket /run/csi/mount-root/oss/a && echo hello > /run/csi/mount-root/oss/a/file";
        lab.run("box", "side", make).await;
        assert_eq!(lab.run("box", "main", "cat /run/csi/mount-root/oss/a/file").await, "hello");
        lab.wait_journal("a mount appeared", |entry| {
            entry.source == "mounts"
                && entry.kind == "mounted"
                && entry.subject == "Pod/default/box/main:/run/csi/mount-root/oss/a"
        })
        .await;
        lab.run("box", "main", "ln -s /run/csi/mount-root/oss/a /data-oss").await;
        let mounts = lab.node.mounts("default", "box", None).await.expect("a table");
        let mount = mounts.iter().find(|mount| mount.path == "/run/csi/mount-root/oss/a").expect("the mount");
        assert_eq!(
            (mount.source.as_str(), mount.links.as_slice()),
            ("bucket", &["/data-oss".to_owned()][..])
        );

        let (refused, _) = lab.try_run("box", "main", "mount -t tmpfs x /mnt").await;
        assert_ne!(refused, 0, "the main container may not mount");

        lab.delete("box").await;
        assert_eq!(lab.node.leftovers().await.expect("an inventory"), []);
        let exited = |name: &str| {
            let subject = format!("Pod/default/box/{name}");
            lab.journal.entries().iter().position(|entry| entry.kind == "exited" && entry.subject == subject)
        };
        assert!(exited("main") < exited("side"), "the sidecar ends last");
    });
}
