//! What everybody does with pods, secrets and namespaces.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Api, Resource as _};
use kube_sim::{LogOptions, LogsUnavailable, PodLogs};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::time::timeout;

use super::common::LIMIT;
use super::lab::{Lab, words};

const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  automountServiceAccountToken: false
  containers:
  - {name: main, image: 'busybox:1', volumeMounts: [{name: data, mountPath: /data}]}
  volumes: [{name: data, emptyDir: {}}]
";

#[tokio::test]
async fn a_pod_is_applied_shown_changed_and_deleted() {
    let lab = Lab::start().await;
    assert_eq!(lab.ok_with(&["apply", "-f", "-"], POD).await, "pod/web created\n");
    assert_eq!(lab.ok_with(&["apply", "-f", "-"], POD).await, "pod/web unchanged\n");
    let next = POD.replace("busybox:1", "busybox:2");
    let difference = lab.run_with(&["diff", "-f", "-"], &next, &[]).await;
    assert!(difference.stdout.contains("+  - image: busybox:2"), "{difference:?}");
    assert_eq!(lab.ok_with(&["apply", "-f", "-"], &next).await, "pod/web configured\n");
    let table = lab.ok(&["get", "pods", "-o", "wide"]).await;
    let table = words(&table);
    assert_eq!(table[0][..5], ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]);
    assert_eq!(table[1][..4], ["web", "0/1", "Pending", "0"]);
    let described = lab.ok(&["describe", "pod", "web"]).await;
    assert!(
        described.contains("Image:        busybox:2") && described.contains("/data from data (rw)"),
        "{described}"
    );
    lab.ok(&["label", "pod", "web", "tier=front"]).await;
    lab.ok(&["annotate", "pod", "web", "note=mine"]).await;
    assert_eq!(lab.ok(&["get", "pod", "-l", "tier in (front)", "-o", "name"]).await, "pod/web\n");
    assert_eq!(lab.ok(&["get", "pod", "--field-selector", "status.phase=Running", "-o", "name"]).await, "");
    assert_eq!(lab.ok(&["delete", "pod", "web", "--wait"]).await, "pod \"web\" deleted\n");
    assert!(lab.fails_with(&["get", "pod", "web"], "").await.contains("(NotFound): pods \"web\" not found"));
}

#[tokio::test]
async fn applying_a_pod_again_leaves_its_token_alone() {
    let lab = Lab::start().await;
    let pod = POD.replace("automountServiceAccountToken: false", "restartPolicy: Never");
    lab.ok_with(&["apply", "-f", "-"], &pod).await;
    let get = ["get", "pod", "web", "-o", "jsonpath={.metadata.resourceVersion} {.spec.volumes[*].name}"];
    let before = lab.ok(&get).await;
    assert!(before.contains("data kube-api-access-"), "{before}");
    // kubectl takes the volume that isn't in the file for a difference in order, and says "configured" on a real
    // cluster too; what counts is that nothing changes.
    lab.ok_with(&["apply", "-f", "-"], &pod).await;
    assert_eq!(lab.ok(&get).await, before);
    let described = lab.ok(&["describe", "pod", "web"]).await;
    assert!(
        described.contains("Service Account:  default")
            && described.contains("/var/run/secrets/kubernetes.io/serviceaccount from kube-api-access-"),
        "{described}"
    );
    let refused = lab.fails_with(
        &["run", "x", "--image=i:1", "--overrides", r#"{"spec":{"serviceAccountName":"no"}}"#],
        "",
    );
    assert!(
        refused
            .await
            .contains("error looking up service account default/no: serviceaccount \"no\" not found")
    );
}

#[tokio::test]
async fn a_pod_is_patched_in_every_way_and_edited() {
    let lab = Lab::start().await;
    lab.ok_with(&["create", "-f", "-"], POD).await;
    let label = |key: &str| format!("jsonpath={{.metadata.labels.{key}}}");
    lab.ok(&["patch", "pod", "web", "-p", r#"{"metadata":{"labels":{"one":"1"}}}"#]).await;
    lab.ok(&["patch", "pod", "web", "--type=merge", "-p", r#"{"metadata":{"labels":{"two":"2"}}}"#]).await;
    let step = r#"[{"op":"add","path":"/metadata/labels/three","value":"3"}]"#;
    lab.ok(&["patch", "pod", "web", "--type=json", "-p", step]).await;
    let wrong = r#"[{"op":"replace","path":"/spec/nope","value":1}]"#;
    let refused = lab.fails_with(&["patch", "pod", "web", "--type=json", "-p", wrong], "").await;
    assert!(refused.contains("error in our request: ") && refused.contains("/spec/nope"), "{refused}");
    for (key, value) in [("one", "1"), ("two", "2"), ("three", "3")] {
        assert_eq!(lab.ok(&["get", "pod", "web", "-o", &label(key)]).await, value);
    }
    let status = r#"{"status":{"phase":"Running"}}"#;
    lab.ok(&["patch", "pod", "web", "--subresource=status", "--type=merge", "-p", status]).await;
    assert_eq!(lab.ok(&["get", "pod", "web", "-o", "jsonpath={.status.phase}"]).await, "Running");
    let editor = lab.file("editor", "#!/bin/sh\nsed -i s/busybox:1/busybox:9/ \"$1\"\n");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(&editor, mode).expect("executable");
    let edited = lab.run_with(&["edit", "pod", "web"], "", &[("EDITOR", &editor)]).await;
    assert!(edited.succeeded && edited.stdout.contains("pod/web edited"), "{edited:?}");
    assert_eq!(
        lab.ok(&["get", "pod", "web", "-o", "jsonpath={.spec.containers[0].image}"]).await,
        "busybox:9"
    );
}

#[tokio::test]
async fn a_wrong_pod_is_refused_in_the_usual_words() {
    let lab = Lab::start().await;
    for (wrong, right, said) in [
        (
            "name: web,",
            "name: Web_,",
            "The Pod \"Web_\" is invalid: metadata.name: Invalid value: \"Web_\": a lowercase RFC 1123",
        ),
        ("image: 'busybox:1', ", "", "spec.containers[0].image: Required value"),
        (
            "{name: data, mountPath",
            "{name: other, mountPath",
            "spec.containers[0].volumeMounts[0].name: Not found: \"other\"",
        ),
        (
            "image: 'busybox:1'",
            "image: x, imag: y",
            "strict decoding error: unknown field \"spec.containers[0].imag\"",
        ),
        ("image: 'busybox:1'", "image: [1]", "cannot be handled as a Pod: json: cannot unmarshal"),
    ] {
        let output = lab.fails_with(&["create", "-f", "-"], &POD.replace(wrong, right)).await;
        assert!(output.contains(said), "{output}");
    }
    lab.ok_with(&["create", "-f", "-"], POD).await;
    let moved = POD.replace("/data", "/elsewhere");
    let output = lab.fails_with(&["apply", "-f", "-"], &moved).await;
    assert!(output.contains("pod updates may not change fields other than"), "{output}");
}

#[tokio::test]
async fn namespaces_secrets_and_maps_are_made_and_go_together() {
    let lab = Lab::start().await;
    lab.ok(&["create", "namespace", "work"]).await;
    lab.ok(&["create", "-n", "work", "secret", "generic", "keys", "--from-literal=a=b"]).await;
    lab.ok(&["create", "-n", "work", "configmap", "settings", "--from-literal=x=y"]).await;
    let secrets = lab.ok(&["get", "secrets", "--all-namespaces"]).await;
    assert_eq!(words(&secrets)[1][..4], ["work", "keys", "Opaque", "1"]);
    let value = lab.ok(&["get", "-n", "work", "secret", "keys", "-o", "jsonpath={.data.a}"]).await;
    assert_eq!(value, "Yg==");
    assert_eq!(lab.ok(&["delete", "namespace", "work"]).await, "namespace \"work\" deleted\n");
    let left = lab.ok(&["get", "secrets,configmaps", "-A", "--field-selector=metadata.namespace=work"]).await;
    assert_eq!(left, "");
    assert!(
        lab.fails_with(&["create", "-n", "work", "configmap", "late"], "")
            .await
            .contains("namespaces \"work\" not found")
    );
}

#[tokio::test]
async fn questions_about_the_cluster_are_answered() {
    let lab = Lab::start().await;
    assert_eq!(lab.ok(&["auth", "can-i", "create", "pods"]).await, "yes\n");
    assert!(lab.ok(&["auth", "whoami"]).await.contains("mountlab-admin"));
    assert!(lab.ok(&["version"]).await.contains("Server Version: v1."));
    let resources = lab.ok(&["api-resources"]).await;
    assert!(
        resources.contains("persistentvolumes") && resources.contains("customresourcedefinitions"),
        "{resources}"
    );
    let explained = lab.ok(&["explain", "pod.spec.containers.volumeMounts.mountPropagation"]).await;
    assert!(explained.contains("FIELD: mountPropagation <string>"), "{explained}");
    let unknown = lab
        .fails_with(&["apply", "-f", "-"], "{apiVersion: no.such/v1, kind: Thing, metadata: {name: x}}")
        .await;
    assert!(unknown.contains("no matches for kind \"Thing\" in version \"no.such/v1\""), "{unknown}");
}

#[tokio::test]
async fn waiting_ends_when_the_condition_holds() {
    let lab = Lab::start().await;
    lab.ok_with(&["create", "-f", "-"], POD).await;
    let waiting = lab.spawn(&["wait", "--for=condition=Ready", "pod/web", "--timeout=30s"]);
    let watched = lab.spawn(&["wait", "--for=jsonpath={.status.phase}=Running", "pod/web", "--timeout=30s"]);
    let status = r#"{"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}"#;
    lab.ok(&["patch", "pod", "web", "--subresource=status", "-p", status]).await;
    for child in [waiting, watched] {
        let output = timeout(LIMIT, child.wait_with_output()).await.expect("in time").expect("ran");
        assert!(output.status.success(), "{output:?}");
    }
    let gone = lab.spawn(&["wait", "--for=delete", "pod/web", "--timeout=30s"]);
    lab.ok(&["delete", "pod", "web"]).await;
    assert!(timeout(LIMIT, gone.wait_with_output()).await.expect("in time").expect("ran").status.success());
}

#[tokio::test]
async fn a_watch_prints_a_line_for_each_change() {
    let lab = Lab::start().await;
    lab.ok_with(&["create", "-f", "-"], POD).await;
    let mut watch = lab.spawn(&["get", "pods", "--watch"]);
    let mut lines = BufReader::new(watch.stdout.take().expect("piped")).lines();
    let mut next =
        async || timeout(LIMIT, lines.next_line()).await.expect("in time").expect("read").expect("a line");
    assert!(next().await.starts_with("NAME"));
    assert!(next().await.contains("Pending"));
    lab.ok(&["patch", "pod", "web", "--subresource=status", "-p", r#"{"status":{"phase":"Running"}}"#]).await;
    assert!(next().await.contains("Running"));
}

#[tokio::test]
async fn a_recorded_event_is_listed_and_described() {
    let lab = Lab::start().await;
    lab.ok_with(&["create", "-f", "-"], POD).await;
    let client = lab.server.client("default");
    let pods: Api<k8s_openapi::api::core::v1::Pod> = Api::default_namespaced(client.clone());
    let pod = pods.get("web").await.expect("there");
    let recorder = Recorder::new(client, Reporter { controller: "tester".into(), instance: None });
    let event = Event {
        type_: EventType::Warning,
        reason: "StorageNotHibernatable".into(),
        note: Some("the volume stays".into()),
        action: "Pause".into(),
        secondary: None,
    };
    for _ in 0..2 {
        recorder.publish(&event, &pod.object_ref(&())).await.expect("published");
    }
    let events = lab.ok(&["get", "events", "--field-selector", "involvedObject.name=web"]).await;
    assert_eq!(
        words(&events)[1][1..],
        ["Warning", "StorageNotHibernatable", "pod/web", "the", "volume", "stays"]
    );
    assert_eq!(words(&events).len(), 2, "the second one counts up the first: {events}");
    let described = lab.ok(&["describe", "pod", "web"]).await;
    assert!(described.contains("StorageNotHibernatable") && described.contains("tester"), "{described}");
    let modern = lab.ok(&["get", "events.v1.events.k8s.io", "-o", "jsonpath={.items[0].note}"]).await;
    assert_eq!(modern, "the volume stays");
}

#[derive(Debug)]
struct Echo;

#[async_trait]
impl PodLogs for Echo {
    async fn logs(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        options: LogOptions,
    ) -> Result<BoxStream<'static, Bytes>, LogsUnavailable> {
        if options.previous {
            return Err(LogsUnavailable(format!("previous terminated container {container:?} not found")));
        }
        let lines = [format!("{namespace}/{pod}/{container}\n"), format!("tail {:?}\n", options.tail_lines)];
        Ok(stream::iter(lines.map(Bytes::from)).boxed())
    }
}

#[tokio::test]
async fn logs_come_from_whoever_runs_the_pods() {
    let lab = Lab::start().await;
    lab.server.set_pod_logs(Arc::new(Echo));
    lab.ok_with(&["create", "-f", "-"], POD).await;
    assert_eq!(lab.ok(&["logs", "web", "--tail=3"]).await, "default/web/main\ntail Some(3)\n");
    assert_eq!(lab.ok(&["logs", "web", "--follow", "--tail=1"]).await, "default/web/main\ntail Some(1)\n");
    assert!(
        lab.fails_with(&["logs", "web", "--previous"], "").await.contains("previous terminated container")
    );
    assert!(
        lab.fails_with(&["logs", "web", "-c", "no"], "")
            .await
            .contains("container no is not valid for pod web")
    );
}

#[tokio::test]
async fn a_service_accounts_token_is_made_and_known() {
    let lab = Lab::start().await;
    lab.ok(&["create", "namespace", "work"]).await;
    let token = lab.ok(&["create", "token", "default", "-n", "work", "--duration=20m"]).await;
    let header = format!("--token={}", token.trim());
    let table = lab.ok(&["auth", "whoami", &header]).await;
    assert!(table.contains("system:serviceaccount:work:default"), "{table}");
    assert!(
        lab.fails_with(&["create", "token", "nobody", "-n", "work"], "")
            .await
            .contains("serviceaccounts \"nobody\" not found")
    );
}
