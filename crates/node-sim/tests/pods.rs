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

#[test]
fn a_mount_made_while_a_container_starts_is_not_missed() {
    enclosed("a_mount_made_while_a_container_starts_is_not_missed", || async {
        let lab = Lab::start().await;
        let script = "i=0; while [ $i -lt 60 ]; do mkdir -p /v/$i; mount -t tmpfs t /v/$i; i=$((i+1)); done; \
            touch /done; trap 'exit 0' TERM; while :; do sleep 0.01; done";
        let volume =
            |propagation: &str| json!([{"name": "v", "mountPath": "/v", "mountPropagation": propagation}]);
        let side = json!({
            "name": "side", "image": "i", "restartPolicy": "Always", "command": ["/bin/sh", "-c", script],
            "securityContext": {"privileged": true}, "volumeMounts": volume("Bidirectional")
        });
        let mains = ["one", "two", "three"]
            .map(|name| json!({"name": name, "image": "i", "volumeMounts": volume("HostToContainer")}));
        let spec = json!({"initContainers": [side], "containers": mains, "volumes": [{"name": "v", "emptyDir": {}}]});
        lab.create("box", spec).await;
        lab.wait_ready("box").await;
        lab.run("box", "side", "while ! test -e /done; do sleep 0.01; done").await;
        for name in ["one", "two", "three"] {
            assert_eq!(lab.run("box", name, "grep -c ' /v/' /proc/mounts").await, "60", "in {name}");
        }
        lab.delete("box").await;
        assert_eq!(lab.node.leftovers().await.expect("an inventory"), []);
    });
}

#[test]
fn what_a_hook_leaves_running_goes_on_and_reaches_the_journal() {
    enclosed("what_a_hook_leaves_running_goes_on_and_reaches_the_journal", || async {
        let lab = Lab::start().await;
        let entry =
            r#"{"mountlab.journal":{"source":"agent","kind":"up","subject":"envd","body":{"port":49983}}}"#;
        let hook = format!(
            "(while ! test -e /go; do sleep 0.01; done; echo '{entry}'; echo plain; touch /went) & exit 0"
        );
        let main = json!({
            "name": "main", "image": "i",
            "lifecycle": {"postStart": {"exec": {"command": ["/bin/sh", "-c", hook]}}}
        });
        lab.create("box", json!({"containers": [main]})).await;
        lab.wait_ready("box").await;
        lab.run("box", "main", "touch /go; while ! test -e /went; do sleep 0.01; done").await;
        lab.wait_journal("the hook's process is up", |entry| {
            entry.source == "agent"
                && entry.subject == "envd"
                && entry.body == json!({"port": 49983, "pod": "default/box", "container": "main"})
        })
        .await;
        let mut log = lab.node.log("default", "box", "main", false).expect("a log");
        assert_eq!(log.read(), [], "a hook's output is no log");
        lab.delete("box").await;
    });
}

#[test]
fn a_mount_is_told_as_gone_with_its_container() {
    enclosed("a_mount_is_told_as_gone_with_its_container", || async {
        let lab = Lab::start().await;
        lab.create("box", sandbox()).await;
        lab.wait_ready("box").await;
        lab.run("box", "side", "mkdir /run/csi/mount-root/a && mount -t tmpfs t /run/csi/mount-root/a").await;
        let told = |kind: &'static str, subject: &'static str| {
            move |entry: &journal::Entry| {
                entry.source == "mounts" && entry.kind == kind && entry.subject == subject
            }
        };
        let subject = "Pod/default/box/main:/run/csi/mount-root/a";
        lab.wait_journal("the mount is seen", told("mounted", subject)).await;
        lab.run("box", "side", "umount /run/csi/mount-root/a").await;
        lab.wait_journal("the mount went", told("unmounted", subject)).await;
        lab.run("box", "side", "mount -t tmpfs t /run/csi/mount-root/a").await;
        let (mounts, is_mount) = (std::cell::Cell::new(0), told("mounted", subject));
        let twice = |entry: &journal::Entry| {
            mounts.set(mounts.get() + usize::from(is_mount(entry)));
            mounts.get() == 2
        };
        lab.wait_journal("there is another mount", twice).await;
        let mounted = |lab: &Lab| {
            lab.journal.entries().iter().filter(|entry| told("mounted", subject)(entry)).count()
                - lab.journal.entries().iter().filter(|entry| told("unmounted", subject)(entry)).count()
        };
        lab.delete("box").await;
        assert_eq!(mounted(&lab), 0, "every mount is told as gone");
    });
}
