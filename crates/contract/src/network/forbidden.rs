//! Whether a packet may pass, and who says no.

use std::net::IpAddr;

use super::{Rule, Rules};
use crate::crd::{RuleAction, TrafficProtocol};

/// Why a packet may not pass.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Forbidden {
    /// A rule of this policy rejects it.
    Rejected {
        /// Kind, namespace and name.
        policy: String,
    },
    /// These policies allow other things, and not this.
    NotAllowed {
        /// Kind, namespace and name of each.
        policies: Vec<String>,
    },
}

impl Forbidden {
    /// The policies in question.
    pub fn policies(&self) -> &[String] {
        match self {
            Self::Rejected { policy } => std::slice::from_ref(policy),
            Self::NotAllowed { policies } => policies,
        }
    }
}

impl Rules {
    /// Why a packet to or from that address and port may not pass; `None` if it may.
    pub fn forbid(&self, address: &IpAddr, protocol: TrafficProtocol, port: u16) -> Option<Forbidden> {
        let matching = |rules: &[Rule]| -> Option<Rule> {
            rules.iter().find(|rule| rule.matches(address, protocol, port)).cloned()
        };
        match matching(&self.ordered) {
            Some(Rule { action: RuleAction::Reject, policy, .. }) => {
                let policy = self.policies.get(policy).cloned().unwrap_or_default();
                return Some(Forbidden::Rejected { policy });
            }
            None if self.closed => return Some(self.not_allowed("TrafficPolicy ")),
            _ => {}
        }
        match &self.required {
            Some(rules) if matching(rules).is_none() => Some(self.not_allowed("NetworkPolicy ")),
            _ => None,
        }
    }

    fn not_allowed(&self, kind: &str) -> Forbidden {
        let policies = self.policies.iter().filter(|policy| policy.starts_with(kind)).cloned();
        Forbidden::NotAllowed { policies: policies.collect() }
    }
}
