//! Volumes, environment and users.
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "volumes/checkpoints.rs"]
mod checkpoints;
mod support;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, PostParams};
use serde_json::json;
use support::{LIMIT, Lab, enclosed};

async fn objects(lab: &Lab) {
    let map: ConfigMap = serde_json::from_value(json!({
        "metadata": {"name": "settings"}, "data": {"mode": "fast", "tool.conf": "level=1\n"}
    }))
    .expect("a map");
    let secret: Secret =
        serde_json::from_value(json!({"metadata": {"name": "token"}, "data": {"key": "czNjcmV0"}}))
            .expect("a secret");
    let maps: Api<ConfigMap> = Api::default_namespaced(lab.client.clone());
    let secrets: Api<Secret> = Api::default_namespaced(lab.client.clone());
    maps.create(&PostParams::default(), &map).await.expect("created");
    secrets.create(&PostParams::default(), &secret).await.expect("created");
}

#[test]
fn every_kind_of_volume_holds_what_it_should() {
    enclosed("every_kind_of_volume_holds_what_it_should", || async {
        let lab = Lab::start().await;
        objects(&lab).await;
        let spec = json!({
            "containers": [{
                "name": "main", "image": "i", "workingDir": "/work/here",
                "env": [
                    {"name": "MODE", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "mode"}}},
                    {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "token", "key": "key"}}},
                    {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
                ],
                "volumeMounts": [
                    {"name": "map", "mountPath": "/map"},
                    {"name": "secret", "mountPath": "/secret", "readOnly": true},
                    {"name": "both", "mountPath": "/both"},
                    {"name": "self", "mountPath": "/self"},
                    {"name": "scratch", "mountPath": "/scratch"},
                    {"name": "scratch", "mountPath": "/part", "subPath": "inner/part"},
                    {"name": "map", "mountPath": "/etc/tool.conf", "subPath": "tool.conf"},
                    {"name": "fuse", "mountPath": "/dev/fuse"},
                    {"name": "scratch", "mountPath": "/var/run/sockets", "subPath": "sockets"}
                ]
            }],
            "volumes": [
                {"name": "map", "configMap": {"name": "settings"}},
                {"name": "secret", "secret": {"secretName": "token", "defaultMode": 0o400, "items": [{"key": "key", "path": "deep/name"}]}},
                {"name": "both", "projected": {"sources": [{"configMap": {"name": "settings"}}, {"secret": {"name": "token"}},
                    {"serviceAccountToken": {"path": "identity/token", "audience": "vault", "expirationSeconds": 1200}}]}},
                {"name": "self", "downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}},
                {"name": "scratch", "emptyDir": {}},
                {"name": "fuse", "hostPath": {"path": "/dev/fuse", "type": "CharDevice"}}
            ]
        });
        lab.create("box", spec).await;
        let pod = lab.wait_ready("box").await;
        let see = |command: &'static str| lab.run("box", "main", command);
        assert_eq!(
            see("cat /map/mode /secret/deep/name /both/key /both/mode /self/name").await,
            "fasts3crets3cretfastbox"
        );
        let token = see("cat /both/identity/token").await;
        assert_eq!(token.split('.').count(), 3, "a JSON Web Token");
        assert!(!format!("{:?}", lab.journal.entries()).contains(&token), "a token is in the journal");
        assert_eq!(see("stat -L -c %a /secret/deep/name").await, "400");
        assert_eq!(lab.try_run("box", "main", "echo x > /secret/new").await.0, 2, "read-only");
        assert_eq!(see("echo one > /part/file && cat /scratch/inner/part/file").await, "one");
        assert_eq!(see("cat /etc/tool.conf").await, "level=1");
        assert_eq!(see("test -c /dev/fuse && echo device").await, "device");
        assert_eq!(
            see("touch /run/sockets/x && ls /scratch/sockets").await,
            "x",
            "links of the image are followed inside"
        );
        assert_eq!(see("pwd").await, "/work/here");
        let expected = format!("fast s3cret {}", pod["status"]["podIP"].as_str().expect("an address"));
        assert_eq!(see("echo $MODE $KEY $IP").await, expected);
        assert_eq!(
            see("grep box /etc/hosts | cut -f1").await,
            pod["status"]["podIP"].as_str().expect("an address")
        );
        // A secret is never in a command line, not even the shim's.
        let mut lines = String::new();
        for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
            lines +=
                &String::from_utf8_lossy(&std::fs::read(entry.path().join("cmdline")).unwrap_or_default());
        }
        assert!(!lines.contains("s3cret"));
    });
}

#[test]
fn what_is_missing_is_said_and_waited_for() {
    enclosed("what_is_missing_is_said_and_waited_for", || async {
        let lab = Lab::start().await;
        let spec = json!({
            "containers": [{"name": "main", "image": "i", "volumeMounts": [{"name": "map", "mountPath": "/map"}],
                "env": [{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "token", "key": "key"}}}]}],
            "volumes": [{"name": "map", "configMap": {"name": "settings"}}]
        });
        lab.create("box", spec).await;
        let missing = |events: &[String]| {
            events.iter().any(|event| {
                event.starts_with("FailedMount") && event.contains("configmap \"settings\" not found")
            })
        };
        lab.wait_events("box", "FailedMount", missing).await;
        objects(&lab).await;
        lab.clock.advance(std::time::Duration::from_secs(2));
        lab.wait_ready("box").await;
        let spec = json!({
            "containers": [{"name": "main", "image": "i", "volumeMounts": [{"name": "host", "mountPath": "/host"}]}],
            "volumes": [{"name": "host", "hostPath": {"path": "/root"}}]
        });
        lab.create("nosy", spec).await;
        let refused = |events: &[String]| {
            events.iter().any(|event| event.contains("hostPath /root is not one that this node shares"))
        };
        lab.wait_events("nosy", "FailedMount", refused).await;
        lab.delete("nosy").await;
        let spec = json!({"containers": [{"name": "main", "image": "i",
            "env": [{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "none", "key": "key"}}}]}]});
        lab.create("keyless", spec).await;
        let status = lab
            .wait_container("keyless", "main", "waits for its secret", |status| {
                status["state"]["waiting"]["reason"] == "CreateContainerConfigError"
            })
            .await;
        assert_eq!(status["state"]["waiting"]["message"], "secret \"none\" not found");
    });
}

#[test]
fn users_and_capabilities_are_those_of_the_definition() {
    enclosed("users_and_capabilities_are_those_of_the_definition", || async {
        let lab = Lab::start().await;
        let spec = json!({
            "containers": [
                {"name": "user", "image": "i", "securityContext": {"runAsUser": 1000, "runAsGroup": 1000, "allowPrivilegeEscalation": false}},
                {"name": "root", "image": "i"},
                {"name": "less", "image": "i", "securityContext": {"capabilities": {"drop": ["ALL"], "add": ["CHOWN"]}}}
            ]
        });
        lab.create("box", spec).await;
        lab.wait_ready("box").await;
        let capabilities = "grep -E 'CapEff|NoNewPrivs' /proc/self/status | cut -f2 | tr '\\n' ' '";
        assert_eq!(
            lab.run("box", "user", "id -un; id -gn; echo $HOME; touch ~/mine && echo yes").await,
            "user\nuser\n/home/user\nyes"
        );
        assert_eq!(lab.run("box", "user", capabilities).await, "0000000000000000 1");
        for container in ["user", "root"] {
            lab.run("box", container, "echo said > /proc/1/fd/1").await;
            let mut log = lab.node.log("default", "box", container, false).expect("a log");
            let lines = tokio::time::timeout(LIMIT, log.next()).await.expect("in time").expect("lines");
            assert_eq!(lines[0].text, "said", "what {container} writes there is in its log");
        }
        assert_eq!(lab.run("box", "root", capabilities).await, "00000000a00425fb 0");
        assert_eq!(lab.run("box", "less", capabilities).await, "0000000000000001 0");
        lab.create("refused", json!({"containers": [{"name": "main", "image": "i", "securityContext": {"runAsNonRoot": true}}]})).await;
        lab.wait_container("refused", "main", "is refused", |status| {
            status["state"]["waiting"]["reason"] == "CreateContainerConfigError"
        })
        .await;
    });
}

#[test]
fn a_pod_that_says_nothing_about_it_has_a_token_and_no_address_to_use_it_at() {
    enclosed("a_pod_that_says_nothing_about_it_has_a_token_and_no_address_to_use_it_at", || async {
        let lab = Lab::start().await;
        lab.create("box", json!({"containers": [{"name": "main", "image": "i"}]})).await;
        lab.wait_ready("box").await;
        let see = |command: &'static str| lab.run("box", "main", command);
        let place = "cd /var/run/secrets/kubernetes.io/serviceaccount";
        assert_eq!(
            lab.run("box", "main", &format!("{place}; ls; cat namespace")).await,
            "ca.crt\nnamespace\ntoken\ndefault"
        );
        let token = lab.run("box", "main", &format!("{place}; cat token")).await;
        assert_eq!(token.split('.').count(), 3, "a JSON Web Token");
        assert!(!format!("{:?}", lab.journal.entries()).contains(&token), "a token is in the journal");
        let certificate = lab.run("box", "main", &format!("{place}; head -n 1 ca.crt")).await;
        assert_eq!(certificate, "-----BEGIN CERTIFICATE-----");
        assert_eq!(lab.try_run("box", "main", &format!("{place}; echo x > token")).await.0, 2, "read-only");
        assert_eq!(
            see("env | grep -c ^KUBERNETES_ ; true").await,
            "0",
            "no client is told of a server out of reach"
        );
        lab.create(
            "quiet",
            json!({"automountServiceAccountToken": false, "containers": [{"name": "main", "image": "i"}]}),
        )
        .await;
        lab.wait_ready("quiet").await;
        assert_eq!(lab.run("quiet", "main", "test -e /var/run/secrets && echo there; true").await, "");
    });
}
