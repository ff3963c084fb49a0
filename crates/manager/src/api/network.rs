//! What a sandbox may talk to (`e2b-api.md` §4.9): kept on the Sandbox as the caller wrote it, and as a `TrafficPolicy`
//! that selects the sandbox's pod and goes with the Sandbox.

use std::net::IpAddr;

use axum::extract::{Path, State};
use contract::crd::{
    RuleAction, Sandbox, TrafficDirection, TrafficPeer, TrafficPolicy, TrafficPolicySpec, TrafficRule,
};
use contract::names::labels;
use http::StatusCode;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Resource as _, ResourceExt as _};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::body::RawBody;
use super::context::Context;
use crate::error::{ApiError, is_conflict, is_not_found};
use crate::keys::Caller;
use crate::manager::Manager;
use crate::sandboxes;

/// Annotation with the rules as JSON.
pub(crate) const RULES: &str = "agents.kruise.io/network-rules";
/// Most entries of one list.
const LONGEST: usize = 100;
/// Most peers of one rule of a `TrafficPolicy`.
const PEERS: usize = 20;

/// Priority of a sandbox's own policy; one for a whole namespace that shall come after it has a greater number.
const PRIORITY: i32 = 100;

/// Where a sandbox may connect to and where it may not; allowed wins.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NetworkRules {
    #[serde(default, deserialize_with = "list")]
    allow_out: Vec<String>,
    #[serde(default, deserialize_with = "list")]
    deny_out: Vec<String>,
}

/// SDKs send `null` for a list that isn't set.
fn list<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl NetworkRules {
    /// The rules, if every entry can be one.
    pub(crate) fn checked(self) -> Result<Self, ApiError> {
        for (name, list) in [("allowOut", &self.allow_out), ("denyOut", &self.deny_out)] {
            if list.len() > LONGEST {
                return Err(ApiError::bad_request(format!("network.{name} has more than {LONGEST} entries")));
            }
        }
        let address = |entry: &String| range(entry).is_some();
        if let Some(bad) = self.allow_out.iter().find(|entry| !address(entry) && !is_domain(entry)) {
            let message = format!(
                "network.allowOut: {bad:?} is no IP address, CIDR range or fully qualified domain name"
            );
            return Err(ApiError::bad_request(message));
        }
        if let Some(bad) = self.deny_out.iter().find(|entry| !address(entry)) {
            return Err(ApiError::bad_request(format!(
                "network.denyOut: {bad:?} is no IP address or CIDR range"
            )));
        }
        Ok(self)
    }

    /// Whether nothing is ruled.
    pub(crate) fn is_empty(&self) -> bool {
        self.allow_out.is_empty() && self.deny_out.is_empty()
    }

    /// The rules as they are kept on the Sandbox.
    pub(crate) fn stored(&self) -> String {
        json!(self).to_string()
    }

    fn policy(&self, sandbox: &Sandbox) -> TrafficPolicy {
        let rules = |entries: &[String], action| {
            let rules = entries.chunks(PEERS).map(move |entries| TrafficRule {
                action,
                from: None,
                to: Some(entries.iter().map(|entry| peer(entry)).collect()),
                ports: None,
            });
            rules.collect::<Vec<_>>()
        };
        let mut egress = rules(&self.allow_out, RuleAction::Allow);
        egress.extend(rules(&self.deny_out, RuleAction::Reject));
        let name = sandbox.name_any();
        let selected = [(labels::SANDBOX_NAME.to_owned(), name.clone())].into();
        let selector = LabelSelector { match_labels: Some(selected), ..LabelSelector::default() };
        let spec = TrafficPolicySpec {
            priority: Some(PRIORITY),
            selector,
            egress: Some(TrafficDirection { rules: Some(egress) }),
            ingress: None,
        };
        let mut policy = TrafficPolicy::new(&name, spec);
        policy.metadata.owner_references = sandbox.owner_ref(&()).map(|owner| vec![owner]);
        policy
    }
}

fn peer(entry: &str) -> TrafficPeer {
    match range(entry) {
        Some(cidr) => TrafficPeer { cidr: Some(cidr), ..TrafficPeer::default() },
        None => TrafficPeer { fqdn: Some(entry.to_owned()), ..TrafficPeer::default() },
    }
}

/// The CIDR range of an address or a range.
fn range(entry: &str) -> Option<String> {
    let (address, bits) = match entry.split_once('/') {
        Some((address, bits)) => (address, Some(bits.parse::<u8>().ok()?)),
        None => (entry, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.unwrap_or(most);
    (bits <= most).then(|| format!("{address}/{bits}"))
}

/// At least one dot, a last label of at least two letters, no wildcard.
fn is_domain(entry: &str) -> bool {
    let lower = entry.to_ascii_lowercase();
    let last_is_letters = lower
        .rsplit_once('.')
        .is_some_and(|(_, last)| last.len() >= 2 && last.bytes().all(|byte| byte.is_ascii_alphabetic()));
    last_is_letters && contract::extensions::is_dns_subdomain(&lower)
}

/// The rules kept on a sandbox.
pub(crate) fn stored(sandbox: &Sandbox) -> Option<NetworkRules> {
    let rules: NetworkRules = serde_json::from_str(sandboxes::annotation(sandbox, RULES)?).ok()?;
    (!rules.is_empty()).then_some(rules)
}

/// Writes the policy of a sandbox, in place of one that is there.
pub(crate) async fn install(
    manager: &Manager,
    sandbox: &Sandbox,
    rules: &NetworkRules,
) -> Result<(), ApiError> {
    let policies = policies(manager, sandbox);
    let policy = rules.policy(sandbox);
    let written = match policies.create(&PostParams::default(), &policy).await {
        Err(error) if is_conflict(&error) => {
            let patch = json!({"spec": policy.spec});
            policies.patch(&sandbox.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await
        }
        written => written,
    };
    written.map(drop).map_err(|error| ApiError::kubernetes("install the network rules", &error))
}

async fn remove(manager: &Manager, sandbox: &Sandbox) -> Result<(), ApiError> {
    match policies(manager, sandbox).delete(&sandbox.name_any(), &DeleteParams::default()).await {
        Ok(_) => Ok(()),
        Err(error) if is_not_found(&error) => Ok(()),
        Err(error) => Err(ApiError::kubernetes("remove the network rules", &error)),
    }
}

fn policies(manager: &Manager, sandbox: &Sandbox) -> Api<TrafficPolicy> {
    Api::namespaced(manager.shared.options.client.clone(), &sandbox.namespace().unwrap_or_default())
}

/// `PUT /sandboxes/{id}/network`: the new rules replace all old ones; none clears them.
pub(crate) async fn replace(
    State(manager): State<Manager>,
    caller: Caller,
    context: Context,
    Path(id): Path<String>,
    body: RawBody,
) -> Result<StatusCode, ApiError> {
    context.concerns(&id);
    let (sandbox, _) = manager.owned(&caller, &id)?;
    let rules: NetworkRules = body.read_or_empty::<NetworkRules>()?.checked()?;
    let kept = if rules.is_empty() {
        remove(&manager, &sandbox).await?;
        None
    } else {
        install(&manager, &sandbox, &rules).await?;
        Some(rules.stored())
    };
    let patch = json!({"metadata": {"annotations": {RULES: kept}}});
    manager.patch_sandbox(&sandbox, "store the network rules", &patch).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use contract::crd::SandboxSpec;
    use rstest::rstest;

    use super::*;

    fn rules(allow: &[&str], deny: &[&str]) -> NetworkRules {
        let owned = |entries: &[&str]| entries.iter().map(|entry| (*entry).to_owned()).collect();
        NetworkRules { allow_out: owned(allow), deny_out: owned(deny) }
    }

    #[rstest]
    #[case(&["10.0.0.1", "10.0.0.0/8", "2001:db8::/32", "example.com", "a.b-c.example"], &["0.0.0.0/0", "::1"], true)]
    #[case(&["*.example.com"], &[], false)]
    #[case(&["localhost"], &[], false)]
    #[case(&["example.c"], &[], false)]
    #[case(&["10.0.0.0/33"], &[], false)]
    #[case(&["10.0.0"], &[], false)]
    #[case(&[], &["example.com"], false)]
    fn entries(#[case] allow: &[&str], #[case] deny: &[&str], #[case] fine: bool) {
        assert_eq!(rules(allow, deny).checked().is_ok(), fine);
    }

    #[test]
    fn a_list_has_at_most_a_hundred_entries() {
        let entry = ["10.0.0.1"; 101];
        assert!(rules(&entry[..100], &[]).checked().is_ok());
        assert!(rules(&entry, &[]).checked().is_err());
        assert!(rules(&[], &entry).checked().is_err());
    }

    #[test]
    fn a_policy_allows_first_and_selects_one_sandbox() {
        let sandbox = Sandbox::new("demo-x", SandboxSpec::default());
        insta::assert_yaml_snapshot!(rules(&["example.com", "10.0.0.1"], &["0.0.0.0/0"]).policy(&sandbox));
    }
}
