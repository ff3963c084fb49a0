use std::collections::BTreeMap;
use std::net::IpAddr;

use rstest::rstest;

use super::*;
use crate::names::drivers;

/// The pod that the policies are about.
fn pod() -> Pod {
    Pod {
        namespace: "default".to_owned(),
        labels: labels(&[("app", "box"), ("tier", "one")]),
        addresses: vec![address("10.88.0.7")],
        ports: vec![NamedPort { name: "envd".to_owned(), protocol: TrafficProtocol::Tcp, port: 49983 }],
    }
}

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// Rules from policies in YAML, several to a text.
fn rules(yaml: &str) -> PodRules {
    let documents: Vec<serde_json::Value> = serde_saphyr::from_multiple(yaml).expect("YAML");
    let (mut network, mut traffic) = (Vec::new(), Vec::new());
    for mut document in documents {
        document["metadata"]["namespace"] = "default".into();
        if document["kind"] == "NetworkPolicy" {
            network.push(Arc::new(serde_json::from_value(document).expect("a NetworkPolicy")));
        } else {
            document["apiVersion"] = "agents.kruise.io/v1alpha1".into();
            traffic.push(Arc::new(serde_json::from_value(document).expect("a TrafficPolicy")));
        }
    }
    let other = |namespace: &str, own: &[(&str, &str)], at: &str, ports: &[(&str, u16)]| Pod {
        namespace: namespace.to_owned(),
        labels: labels(own),
        addresses: vec![address(at)],
        ports: ports
            .iter()
            .map(|(name, port)| NamedPort {
                name: (*name).to_owned(),
                protocol: TrafficProtocol::Tcp,
                port: *port,
            })
            .collect(),
    };
    let pods = [
        other("default", &[("app", "store")], "10.88.0.20", &[("s3", 9000)]),
        other("system", &[("app", "store")], "10.88.0.30", &[("s3", 9001)]),
        pod(),
    ];
    let namespaces = ["default", "system"]
        .map(|name| (name.to_owned(), labels(&[("kubernetes.io/metadata.name", name)])))
        .into();
    let services = [(("default".to_owned(), "store".to_owned()), labels(&[("app", "store")]))].into();
    let resolve = |name: &str| match name {
        "oss.example" => vec![address("10.88.0.1")],
        _ => Vec::new(),
    };
    let callers = [other("system", &[("component", "manager")], "10.88.0.1", &[])];
    let world = World {
        pods: &pods,
        callers: &callers,
        namespaces: &namespaces,
        services: &services,
        resolve: &resolve,
    };
    compile(Policies { network: &network, traffic: &traffic }, &pod(), world)
}

const DENY_ALL: &str =
    "{kind: NetworkPolicy, metadata: {name: deny}, spec: {podSelector: {}, policyTypes: [Egress]}}";

#[rstest]
#[case::none("[]", "10.88.0.1:9000", None)]
#[case::deny_all(DENY_ALL, "10.88.0.1:9000", Some("NetworkPolicy default/deny"))]
#[case::other_pods(
    "{kind: NetworkPolicy, metadata: {name: p}, spec: {podSelector: {matchLabels: {app: else}}, policyTypes: [Egress]}}",
    "10.88.0.1:9000",
    None
)]
#[case::ingress_only(
    "{kind: NetworkPolicy, metadata: {name: p}, spec: {podSelector: {}}}",
    "10.88.0.1:9000",
    None
)]
#[case::egress_by_its_rules(
    "{kind: NetworkPolicy, metadata: {name: p}, spec: {podSelector: {}, egress: [{ports: [{port: 53, protocol: UDP}]}]}}",
    "10.88.0.1:9000",
    Some("NetworkPolicy default/p")
)]
#[case::range_of_ports(
    "{kind: NetworkPolicy, metadata: {name: p}, spec: {podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: 8000, endPort: 9000}]}]}}",
    "10.88.0.1:9000",
    None
)]
#[case::past_the_range(
    "{kind: NetworkPolicy, metadata: {name: p}, spec: {podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: 8000, endPort: 9000}]}]}}",
    "10.88.0.1:9001",
    Some("NetworkPolicy default/p")
)]
#[case::a_block(
    "{kind: NetworkPolicy, metadata: {name: p}, spec: {podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 10.88.0.0/16, except: [10.88.1.0/24]}}]}]}}",
    "10.88.0.1:9000",
    None
)]
#[case::a_hole_in_it(
    "{kind: NetworkPolicy, metadata: {name: p}, spec: {podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 10.88.0.0/16, except: [10.88.1.0/24]}}]}]}}",
    "10.88.1.1:9000",
    Some("NetworkPolicy default/p")
)]
#[case::pods_here(
    "{kind: NetworkPolicy, metadata: {name: p}, spec: {podSelector: {}, policyTypes: [Egress], egress: [{to: [{podSelector: {matchLabels: {app: store}}}]}]}}",
    "10.88.0.20:1",
    None
)]
#[case::not_pods_elsewhere(
    "{kind: NetworkPolicy, metadata: {name: p}, spec: {podSelector: {}, policyTypes: [Egress], egress: [{to: [{podSelector: {matchLabels: {app: store}}}]}]}}",
    "10.88.0.30:1",
    Some("NetworkPolicy default/p")
)]
#[case::a_whole_namespace(
    "{kind: NetworkPolicy, metadata: {name: p}, spec: {podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: system}}}]}]}}",
    "10.88.0.30:1",
    None
)]
#[case::a_named_port(
    "{kind: NetworkPolicy, metadata: {name: p}, spec: {podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {}}], ports: [{port: s3}]}]}}",
    "10.88.0.30:9001",
    None
)]
#[case::the_named_port_of_another(
    "{kind: NetworkPolicy, metadata: {name: p}, spec: {podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {}}], ports: [{port: s3}]}]}}",
    "10.88.0.30:9000",
    Some("NetworkPolicy default/p")
)]
#[case::policies_add_up(
    "{kind: NetworkPolicy, metadata: {name: deny}, spec: {podSelector: {}, policyTypes: [Egress]}}\n---\n{kind: NetworkPolicy, metadata: {name: oss}, spec: {podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: 9000}]}]}}",
    "10.88.0.1:9000",
    None
)]
#[case::rejected(
    "{kind: TrafficPolicy, metadata: {name: t}, spec: {selector: {}, egress: {rules: [{action: reject, to: [{cidr: 10.88.0.1/32}]}]}}}",
    "10.88.0.1:9000",
    Some("TrafficPolicy default/t")
)]
#[case::a_list_of_rejects_leaves_the_rest(
    "{kind: TrafficPolicy, metadata: {name: t}, spec: {selector: {}, egress: {rules: [{action: reject, to: [{cidr: 10.88.0.1/32}]}]}}}",
    "10.88.0.2:9000",
    None
)]
#[case::a_list_of_allows_forbids_the_rest(
    "{kind: TrafficPolicy, metadata: {name: t}, spec: {selector: {}, egress: {rules: [{action: allow, to: [{cidr: 10.88.0.1/32}]}]}}}",
    "10.88.0.2:9000",
    Some("TrafficPolicy default/t")
)]
#[case::a_name(
    "{kind: TrafficPolicy, metadata: {name: t}, spec: {selector: {}, egress: {rules: [{action: allow, to: [{fqdn: OSS.example}]}]}}}",
    "10.88.0.1:9000",
    None
)]
#[case::a_service(
    "{kind: TrafficPolicy, metadata: {name: t}, spec: {selector: {}, egress: {rules: [{action: allow, to: [{service: {name: store}}]}]}}}",
    "10.88.0.20:9000",
    None
)]
#[case::a_workload(
    "{kind: TrafficPolicy, metadata: {name: t}, spec: {selector: {}, egress: {rules: [{action: reject, to: [{workload: {namespace: system, selector: {app: store}}}]}]}}}",
    "10.88.0.30:9000",
    Some("TrafficPolicy default/t")
)]
#[case::a_port_means_tcp(
    "{kind: TrafficPolicy, metadata: {name: t}, spec: {selector: {}, egress: {rules: [{action: reject, ports: [{port: 9000, endPort: 9010}]}]}}}",
    "10.88.0.1:9010",
    Some("TrafficPolicy default/t")
)]
#[case::lower_number_first(
    "{kind: TrafficPolicy, metadata: {name: a}, spec: {selector: {}, egress: {rules: [{action: reject}]}}}\n---\n{kind: TrafficPolicy, metadata: {name: z}, spec: {priority: 10, selector: {}, egress: {rules: [{action: allow, ports: [{port: 9000}]}]}}}",
    "10.88.0.1:9000",
    None
)]
#[case::allowed_by_one_kind_forbidden_by_the_other(
    "{kind: TrafficPolicy, metadata: {name: t}, spec: {selector: {}, egress: {rules: [{action: allow}]}}}\n---\n{kind: NetworkPolicy, metadata: {name: deny}, spec: {podSelector: {}, policyTypes: [Egress]}}",
    "10.88.0.1:9000",
    Some("NetworkPolicy default/deny")
)]
fn outgoing(#[case] yaml: &str, #[case] target: &str, #[case] forbidden_by: Option<&str>) {
    let target: std::net::SocketAddr = target.parse().expect("address and port");
    let found = if yaml == "[]" { PodRules::default() } else { rules(yaml) };
    let verdict = found.egress.forbid(&target.ip(), TrafficProtocol::Tcp, target.port());
    let names = verdict.as_ref().map(|forbidden| forbidden.policies().join(", "));
    assert_eq!(names.as_deref(), forbidden_by, "{found:#?}");
    assert!(verdict.is_none() || !found.is_open());
}

#[test]
fn incoming_traffic_is_ruled_apart_from_outgoing() {
    let found = rules(
        "{kind: NetworkPolicy, metadata: {name: p}, spec: {podSelector: {matchExpressions: [{key: tier, operator: In, values: [one]}]}, \
         ingress: [{from: [{podSelector: {}}], ports: [{port: envd}]}]}}",
    );
    assert!(found.egress.is_open());
    let passes =
        |from: &str, port| found.ingress.forbid(&address(from), TrafficProtocol::Tcp, port).is_none();
    assert_eq!(
        [passes("10.88.0.20", 49983), passes("10.88.0.20", 80), passes("10.88.0.30", 49983)],
        [true, false, false]
    );
}

#[test]
fn a_caller_is_meant_for_incoming_traffic_only() {
    let found = rules(
        "{kind: NetworkPolicy, metadata: {name: p}, spec: {podSelector: {}, policyTypes: [Ingress, Egress], \
         ingress: [{from: [{namespaceSelector: {}, podSelector: {matchLabels: {component: manager}}}]}], \
         egress: [{to: [{namespaceSelector: {}, podSelector: {matchLabels: {component: manager}}}]}]}}",
    );
    let forbids = |rules: &Rules| rules.forbid(&address("10.88.0.1"), TrafficProtocol::Tcp, 49983).is_some();
    assert_eq!((forbids(&found.ingress), forbids(&found.egress)), (false, true));
}

#[test]
fn what_is_forbidden_is_dropped_where_a_policy_says_so() {
    let yaml = "{kind: NetworkPolicy, metadata: {name: p, annotations: {mountlab.dev/denied-traffic: drop}}, \
                spec: {podSelector: {}, policyTypes: [Egress]}}";
    assert!(rules(yaml).egress.silent);
    assert!(!rules(DENY_ALL).egress.silent);
}

#[rstest]
#[case(drivers::OSS, &[("url", "http://10.88.0.1:9000")], Some("10.88.0.1:9000"))]
#[case(drivers::OSS, &[("url", "oss-cn-hangzhou.aliyuncs.com")], Some("oss-cn-hangzhou.aliyuncs.com:443"))]
#[case(drivers::OSS, &[("url", "oss-cn-hangzhou-internal.aliyuncs.com")], Some("oss-cn-hangzhou-internal.aliyuncs.com:80"))]
#[case(drivers::OSS, &[("url", "https://[::1]:9000/x")], Some("[::1]:9000"))]
#[case(drivers::OSS, &[], None)]
#[case(drivers::NAS, &[("server", "nas.example"), ("path", "/")], Some("nas.example:2049"))]
#[case("other", &[("url", "http://a")], None)]
fn endpoints(#[case] driver: &str, #[case] attributes: &[(&str, &str)], #[case] expected: Option<&str>) {
    let volume_context =
        attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let request = csi_api::NodePublishVolumeRequest { volume_context, ..Default::default() };
    let found = storage_endpoint(driver, &request).map(|endpoint| endpoint.to_string());
    assert_eq!(found.as_deref(), expected);
}
