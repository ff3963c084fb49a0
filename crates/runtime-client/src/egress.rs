//! After a failed mount: does a network policy forbid the sandbox to reach the storage? The policies are looked at only
//! then, and whoever may not read them says nothing of them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use contract::crd::{RuleAction, Sandbox, TrafficPolicy, TrafficProtocol};
use contract::errors::Problem;
use contract::network::{self, Pod, Policies, StorageEndpoint, World};
use contract::resolve::ResolvedMount;
use k8s_openapi::api::core::v1;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};
use tokio::time::timeout;

use crate::mounting::Failures;

/// Limit of the whole look-up: the caller is waiting for an error.
const LIMIT: Duration = Duration::from_secs(2);

/// One problem for the mounts that failed, with a sentence for each endpoint that policies of the sandbox's namespace
/// forbid.
pub async fn explain(
    client: &Client,
    sandbox: &Sandbox,
    mounts: &[ResolvedMount],
    failures: &Failures,
) -> Problem {
    let mut endpoints: Vec<StorageEndpoint> = Vec::new();
    let failed = failures.indices().filter_map(|index| mounts.get(index));
    for endpoint in failed.filter_map(|mount| network::storage_endpoint(&mount.driver, &mount.request)) {
        if !endpoints.contains(&endpoint) {
            endpoints.push(endpoint);
        }
    }
    let forbidden = match timeout(LIMIT, look_up(client, sandbox, &endpoints)).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => {
            tracing::debug!(%error, "the network policies of a sandbox can't be read");
            Vec::new()
        }
        Err(_) => {
            tracing::debug!("reading the network policies of a sandbox took longer than {LIMIT:?}");
            Vec::new()
        }
    };
    failures.tell(&forbidden)
}

async fn look_up(
    client: &Client,
    sandbox: &Sandbox,
    endpoints: &[StorageEndpoint],
) -> Result<Vec<String>, kube::Error> {
    let namespace = sandbox.namespace().unwrap_or_default();
    let pods: Api<v1::Pod> = Api::namespaced(client.clone(), &namespace);
    let network: Api<NetworkPolicy> = Api::namespaced(client.clone(), &namespace);
    let traffic: Api<TrafficPolicy> = Api::namespaced(client.clone(), &namespace);
    let everything = ListParams::default();
    let name = sandbox.name_any();
    let (pod, network, traffic) =
        tokio::try_join!(pods.get(&name), network.list(&everything), traffic.list(&everything))?;
    let network: Vec<_> = network.items.into_iter().map(Arc::new).collect();
    let traffic: Vec<_> = traffic.items.into_iter().map(Arc::new).collect();
    let policies = Policies { network: &network, traffic: &traffic };
    let pod = Pod { namespace, labels: pod.labels().clone(), ..Pod::default() };
    let mut found = Vec::new();
    for endpoint in endpoints {
        for address in addresses(endpoint).await {
            if let Some(sentence) = verdict(policies, &pod, endpoint, address) {
                found.push(sentence);
                break;
            }
        }
    }
    Ok(found)
}

/// The endpoint's addresses as far as they are known here; a name may have others where the sandbox is.
async fn addresses(endpoint: &StorageEndpoint) -> Vec<IpAddr> {
    if let Ok(address) = endpoint.host.parse() {
        return vec![address];
    }
    match tokio::net::lookup_host((endpoint.host.as_str(), endpoint.port)).await {
        Ok(found) => found.map(|address| address.ip()).collect(),
        Err(error) => {
            tracing::debug!(%error, host = endpoint.host, "the host of a volume has no address here");
            Vec::new()
        }
    }
}

fn verdict(policies: Policies<'_>, pod: &Pod, endpoint: &StorageEndpoint, address: IpAddr) -> Option<String> {
    let resolve = |name: &str| if name == endpoint.host { vec![address] } else { Vec::new() };
    let (nowhere, nothing) = (BTreeMap::new(), BTreeMap::new());
    let world =
        World { pods: &[], callers: &[], namespaces: &nowhere, services: &nothing, resolve: &resolve };
    let rules = network::compile(policies, pod, world).egress;
    let forbidden = rules.forbid(&address, TrafficProtocol::Tcp, endpoint.port)?;
    // An allowed peer that is given by selectors or by a name came to no address here; it may be the storage all the
    // same.
    let all = rules.ordered.iter().chain(rules.required.iter().flatten());
    let is_open = |rule: &network::Rule| {
        rule.action == RuleAction::Allow && rule.peers.as_ref().is_some_and(Vec::is_empty)
    };
    let may = if all.into_iter().any(is_open) { "may not be" } else { "is not" };
    let who = forbidden.policies().join(", ");
    Some(format!("egress from the sandbox to {endpoint} {may} allowed by {who}"))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    fn sentence(policy: Value) -> Option<String> {
        let policy: NetworkPolicy = serde_json::from_value(policy).expect("a policy");
        let network = [Arc::new(policy)];
        let pod = Pod { namespace: "default".to_owned(), ..Pod::default() };
        let endpoint = StorageEndpoint { host: "10.0.0.1".to_owned(), port: 9000 };
        let policies = Policies { network: &network, traffic: &[] };
        verdict(policies, &pod, &endpoint, "10.0.0.1".parse().expect("an address"))
    }

    #[rstest]
    #[case::nothing_allowed(json!([]), Some("egress from the sandbox to 10.0.0.1:9000 is not allowed by NetworkPolicy default/p"))]
    #[case::allowed(json!([{"to": [{"ipBlock": {"cidr": "10.0.0.0/24"}}]}]), None)]
    #[case::pods_allowed(
        json!([{"to": [{"podSelector": {}}]}]),
        Some("egress from the sandbox to 10.0.0.1:9000 may not be allowed by NetworkPolicy default/p")
    )]
    fn sentences(#[case] egress: Value, #[case] expected: Option<&str>) {
        let policy = json!({"metadata": {"name": "p", "namespace": "default"},
            "spec": {"podSelector": {}, "policyTypes": ["Egress"], "egress": egress}});
        assert_eq!(sentence(policy).as_deref(), expected);
    }
}
