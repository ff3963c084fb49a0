//! Network and traffic policies bite where the pod's packets are: real connections through the kernel's packet filter.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use contract::crd::TrafficPolicy;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{LIMIT, Lab, enclosed, enclosed_as_user};

const GATEWAY: &str = "10.88.0.1";
/// The bridge's other address.
const NODE: &str = "10.88.255.254";

fn pod(labels: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "box", "labels": labels},
        "spec": {"containers": [{"name": "main", "image": "i"}], "terminationGracePeriodSeconds": 1}})
}

/// A lab with a pod in it and, on every address of the lab, a service on ports 7000 to 7002 that says what it hears.
async fn lab_with_pod(labels: Value) -> Lab {
    let lab = Lab::start_with_traffic_policies(|mut options| {
        options.network.hosts = vec![(Ipv4Addr::new(10, 88, 0, 1), vec!["oss.example".to_owned()])];
        let labels = BTreeMap::from([("component".to_owned(), "sandbox-manager".to_owned())]);
        options.network.callers = vec![("default".to_owned(), labels)];
        options
    })
    .await;
    for port in 7000..=7002 {
        let service = TcpListener::bind(("0.0.0.0", port)).await.expect("a listener");
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = service.accept().await {
                tokio::spawn(async move {
                    let (mut reader, mut writer) = stream.split();
                    let _ = tokio::io::copy(&mut reader, &mut writer).await;
                });
            }
        });
    }
    lab.create_from(pod(&labels)).await;
    lab.wait_ready("box").await;
    lab
}

async fn apply(lab: &Lab, policy: Value) {
    if policy["kind"] == "NetworkPolicy" {
        let api: Api<NetworkPolicy> = Api::default_namespaced(lab.client.clone());
        api.create(&PostParams::default(), &serde_json::from_value(policy).expect("a policy"))
            .await
            .expect("created");
    } else {
        let api: Api<TrafficPolicy> = Api::default_namespaced(lab.client.clone());
        api.create(&PostParams::default(), &serde_json::from_value(policy).expect("a policy"))
            .await
            .expect("created");
    }
}

fn network_policy(spec: &Value) -> Value {
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "p"}, "spec": spec})
}

fn traffic_policy(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "agents.kruise.io/v1alpha1", "kind": "TrafficPolicy", "metadata": {"name": name}, "spec": spec})
}

/// Waits until the pod's outgoing and incoming traffic is ruled by policies of those names.
async fn ruled(lab: &Lab, egress: &[&str], ingress: &[&str]) {
    let body = (json!(egress), json!(ingress));
    lab.wait_journal(&format!("the pod is ruled by {body:?}"), |entry| {
        entry.source == "network" && (&entry.body["egress"], &entry.body["ingress"]) == (&body.0, &body.1)
    })
    .await;
}

/// What a connection from the pod comes to: `open`, or bash's words.
async fn connect(lab: &Lab, target: &str) -> String {
    let (host, port) = target.split_once(':').expect("host:port");
    let command = format!("(: < /dev/tcp/{host}/{port}) 2>&1 && echo open");
    let words = ["/bin/bash", "-c", &command];
    let output = lab.node.exec("default", "box", None, &words, LIMIT).await.expect("an end").output;
    let first = output.lines().next().unwrap_or_default();
    first.rsplit(": ").next().unwrap_or_default().to_owned()
}

const REFUSED: &str = "No route to host";

async fn an_egress_policy_bites_and_is_lifted() {
    let lab = lab_with_pod(json!({"app": "box"})).await;
    assert_eq!(connect(&lab, "10.88.0.1:7000").await, "open");
    apply(
        &lab,
        network_policy(&json!({"podSelector": {"matchLabels": {"app": "other"}}, "policyTypes": ["Egress"]})),
    )
    .await;
    assert_eq!(connect(&lab, "10.88.0.1:7000").await, "open");

    let deny = json!({"podSelector": {}, "policyTypes": ["Egress"]});
    let policies: Api<NetworkPolicy> = Api::default_namespaced(lab.client.clone());
    let all = Patch::Merge(json!({"spec": {"podSelector": {"matchLabels": null}}}));
    policies.patch("p", &PatchParams::default(), &all).await.expect("patched");
    ruled(&lab, &["NetworkPolicy default/p"], &[]).await;
    assert_eq!(connect(&lab, "10.88.0.1:7000").await, REFUSED);
    assert_eq!(
        connect(&lab, "127.0.0.1:1").await,
        "Connection refused",
        "the pod's own loopback is nobody's business"
    );

    policies.delete("p", &DeleteParams::default()).await.expect("deleted");
    ruled(&lab, &[], &[]).await;
    assert_eq!(connect(&lab, "10.88.0.1:7000").await, "open");

    // and once more, from a label of the pod
    let labelled =
        json!({"podSelector": {"matchLabels": {"mark": "yes"}}, "policyTypes": deny["policyTypes"]});
    apply(&lab, json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "by-label"},
        "spec": labelled})).await;
    let mark = Patch::Merge(json!({"metadata": {"labels": {"mark": "yes"}}}));
    lab.pods().patch("box", &PatchParams::default(), &mark).await.expect("patched");
    ruled(&lab, &["NetworkPolicy default/by-label"], &[]).await;
    assert_eq!(connect(&lab, "10.88.0.1:7000").await, REFUSED);
}

#[test]
fn egress() {
    enclosed("policies::egress", an_egress_policy_bites_and_is_lifted);
}

#[test]
fn egress_for_an_ordinary_user() {
    enclosed_as_user("policies::egress_for_an_ordinary_user", an_egress_policy_bites_and_is_lifted);
}

#[test]
fn connections_that_are_there_end_too() {
    enclosed("policies::connections_that_are_there_end_too", || async {
        let lab = Arc::new(lab_with_pod(json!({})).await);
        let talk = "mkfifo /tmp/go /tmp/open; exec 3<>/dev/tcp/10.88.0.1/7000; echo one >&3; read -r a <&3; echo $a; \
                    echo > /tmp/open; read -r _ < /tmp/go; echo two >&3; read -r b <&3 && echo $b || echo broken";
        let talker = {
            let lab = lab.clone();
            tokio::spawn(async move {
                let words = ["/bin/bash", "-c", talk];
                lab.node.exec("default", "box", None, &words, LIMIT).await.expect("an end").output
            })
        };
        // A fifo can only be opened once it is made.
        lab.run("box", "main", "until [ -p /tmp/open ]; do :; done; read -r _ < /tmp/open").await;
        let mut incoming = incoming_connection(&lab).await;
        apply(&lab, network_policy(&json!({"podSelector": {}, "policyTypes": ["Egress"]}))).await;
        ruled(&lab, &["NetworkPolicy default/p"], &[]).await;
        lab.run("box", "main", "echo > /tmp/go").await;
        let said = talker.await.expect("the talker");
        assert!(said.starts_with("one\n") && said.contains("Connection reset by peer"), "{said}");
        assert!(!said.contains("two"), "{said}");
        // Who called the pod before still gets answers: that is for ingress rules to forbid.
        incoming.write_all(b"still there?\n").await.expect("written");
        let mut answer = [0; 13];
        incoming.read_exact(&mut answer).await.expect("an answer");
        assert_eq!(&answer, b"still there?\n");
    });
}

/// A connection from the lab to a program in the pod that says what it hears.
async fn incoming_connection(lab: &Lab) -> TcpStream {
    let pod = lab.wait_ready("box").await;
    let address: std::net::IpAddr =
        pod["status"]["podIP"].as_str().expect("an address").parse().expect("one");
    lab.run(
        "box",
        "main",
        &format!("{ECHO} >/dev/null 2>&1 & until grep -q ':1F40 ' /proc/net/tcp; do :; done"),
    )
    .await;
    TcpStream::connect((address, 8000)).await.expect("connected")
}

const ECHO: &str = "perl -MIO::Socket::INET -e '$s = IO::Socket::INET->new(LocalPort => 8000, Listen => 5, ReuseAddr => 1); \
    while ($c = $s->accept) { next if fork; $c->autoflush(1); print $c $_ while <$c>; exit }'";

#[test]
fn ingress() {
    enclosed("policies::ingress", || async {
        let lab = lab_with_pod(json!({"app": "box"})).await;
        let mut before = incoming_connection(&lab).await;
        let target = before.peer_addr().expect("an address");
        apply(&lab, network_policy(&json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}))).await;
        ruled(&lab, &["NetworkPolicy default/p"], &["NetworkPolicy default/p"]).await;
        let refused = TcpStream::connect(target).await.expect_err("refused");
        assert_eq!(refused.kind(), std::io::ErrorKind::HostUnreachable, "{refused}");
        // What was open is closed by the next packet.
        let broken = async {
            before.write_all(b"x\n").await?;
            before.read_u8().await
        };
        broken.await.expect_err("reset");
        // Probes come from the node and pass.
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind((NODE.parse::<Ipv4Addr>().expect("an address"), 0).into()).expect("bound");
        socket.connect(target).await.expect("the node may");

        let policies: Api<NetworkPolicy> = Api::default_namespaced(lab.client.clone());
        let manager = json!({"podSelector": {"matchLabels": {"component": "sandbox-manager"}}});
        let rules = json!({"spec": {"ingress": [{"from": [manager], "ports": [{"port": 8000}]}]}});
        policies.patch("p", &PatchParams::default(), &Patch::Merge(rules)).await.expect("patched");
        let open = async {
            let mut stream = loop {
                match TcpStream::connect(target).await {
                    Ok(stream) => break stream,
                    Err(_) => tokio::task::yield_now().await,
                }
            };
            stream.write_all(b"y\n").await.expect("written");
            stream.read_u8().await.expect("an answer, although nothing may leave the pod by itself")
        };
        assert_eq!(tokio::time::timeout(LIMIT, open).await.expect("open again"), b'y');
    });
}

#[test]
fn a_pod_is_under_its_policies_from_its_first_moment() {
    enclosed("policies::a_pod_is_under_its_policies_from_its_first_moment", || async {
        let lab = lab_with_pod(json!({})).await;
        apply(
            &lab,
            network_policy(
                &json!({"podSelector": {"matchLabels": {"late": "yes"}}, "policyTypes": ["Egress"]}),
            ),
        )
        .await;
        let script = "(: < /dev/tcp/10.88.0.1/7000) 2>&1 | head -n1 | grep -o 'No route to host' > /dev/termination-log";
        let mut late = pod(&json!({"late": "yes"}));
        late["metadata"]["name"] = "late".into();
        late["spec"]["restartPolicy"] = "Never".into();
        late["spec"]["containers"][0]["command"] = json!(["/bin/bash", "-c", script]);
        lab.create_from(late).await;
        let ended = lab
            .wait_container("late", "main", "ended", |status| !status["state"]["terminated"].is_null())
            .await;
        assert_eq!(ended["state"]["terminated"]["message"], "No route to host\n", "{ended:#}");
    });
}

#[test]
fn blocks_holes_and_ports() {
    enclosed("policies::blocks_holes_and_ports", || async {
        let lab = lab_with_pod(json!({})).await;
        let block = json!({"ipBlock": {"cidr": "10.88.0.0/16", "except": [format!("{NODE}/32")]}});
        apply(
            &lab,
            network_policy(&json!({"podSelector": {}, "policyTypes": ["Egress"],
            "egress": [{"to": [block], "ports": [{"port": 7000, "endPort": 7001}]}]})),
        )
        .await;
        ruled(&lab, &["NetworkPolicy default/p"], &[]).await;
        let mut found = Vec::new();
        for host in [GATEWAY, NODE] {
            for port in 7000..=7002 {
                found.push(connect(&lab, &format!("{host}:{port}")).await);
            }
        }
        assert_eq!(found, ["open", "open", REFUSED, REFUSED, REFUSED, REFUSED]);
    });
}

#[test]
fn traffic_policies_decide_in_the_order_of_their_priority() {
    enclosed("policies::traffic_policies_decide_in_the_order_of_their_priority", || async {
        let lab = lab_with_pod(json!({})).await;
        let names = json!({"priority": 10, "selector": {}, "egress": {"rules": [
            {"action": "reject", "ports": [{"port": 7002}]},
            {"action": "allow", "to": [{"fqdn": "oss.example"}]},
        ]}});
        apply(&lab, traffic_policy("names", &names)).await;
        apply(
            &lab,
            traffic_policy(
                "rest",
                &json!({"selector": {}, "egress": {"rules": [
                    {"action": "reject", "to": [{"cidr": "0.0.0.0/0"}]},
                ]}}),
            ),
        )
        .await;
        ruled(&lab, &["TrafficPolicy default/names", "TrafficPolicy default/rest"], &[]).await;
        let targets = [format!("{GATEWAY}:7000"), format!("{GATEWAY}:7002"), format!("{NODE}:7000")];
        let mut found = Vec::new();
        for target in &targets {
            found.push(connect(&lab, target).await);
        }
        assert_eq!(found, ["open", REFUSED, REFUSED]);
    });
}

#[test]
fn what_is_dropped_gets_no_answer() {
    enclosed("policies::what_is_dropped_gets_no_answer", || async {
        let lab = lab_with_pod(json!({})).await;
        let mut policy = network_policy(&json!({"podSelector": {}, "policyTypes": ["Egress"]}));
        policy["metadata"]["annotations"] = json!({"mountlab.dev/denied-traffic": "drop"});
        apply(&lab, policy).await;
        ruled(&lab, &["NetworkPolicy default/p"], &[]).await;
        let (code, output) =
            lab.try_run("box", "main", "timeout 1 bash -c ': < /dev/tcp/10.88.0.1/7000'").await;
        assert_eq!(code, 124, "{output}");
    });
}

#[test]
fn a_container_cannot_change_its_rules() {
    enclosed("policies::a_container_cannot_change_its_rules", || async {
        let lab = lab_with_pod(json!({})).await;
        for forbidden in ["ip link set lo down", "unshare --user --map-root-user ip link set lo down"] {
            let (code, output) = lab.try_run("box", "main", forbidden).await;
            assert_ne!(code, 0, "{forbidden:?} is allowed: {output}");
        }
        let capabilities = lab.run("box", "main", "grep CapBnd /proc/self/status").await;
        let bits =
            u64::from_str_radix(capabilities.trim().trim_start_matches("CapBnd:").trim(), 16).expect("bits");
        let network_admin = 1 << 12;
        assert_eq!(bits & network_admin, 0, "{capabilities}");
    });
}
