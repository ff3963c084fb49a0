//! The metric families that the components serve to Prometheus (`kubernetes.md` §9.3): names, labels and meanings, of
//! which the components take their help texts and from which `docs/metrics.md` is written.

mod document;
mod families;

pub use document::document;
pub use families::{controller, manager};

/// One family: its name as Prometheus stores it, and what its series mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    /// Name of its samples; a histogram's have `_bucket`, `_count` or `_sum` behind it.
    pub name: &'static str,
    /// What its values are.
    pub kind: Kind,
    /// Labels of each series. `label_*` stands for those that the operator named.
    pub labels: &'static [&'static str],
    /// What a value means, in one line.
    pub meaning: &'static str,
}

/// What the values of a family are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A value of now; its series goes with the object that it is of.
    Gauge,
    /// A count that only grows while the component runs.
    Counter,
    /// Seconds, sorted into 12 buckets from 20 ms on, each twice the one before.
    Short,
    /// Seconds, sorted into 13 buckets from 100 ms on, each twice the one before.
    Long,
}

impl Kind {
    /// The word of the exposition format.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
            Self::Short | Self::Long => "histogram",
        }
    }
}

impl Family {
    /// The name without the suffix that the exposition format gives a counter.
    pub fn stem(&self) -> &'static str {
        match self.kind {
            Kind::Counter => self.name.strip_suffix("_total").unwrap_or(self.name),
            Kind::Gauge | Kind::Short | Kind::Long => self.name,
        }
    }
}

/// Labels of `sandbox_labels` begin so.
pub const LABEL_PREFIX: &str = "label_";

/// The name that a label of Kubernetes has as a label of Prometheus: whatever isn't a letter or digit is an underscore.
pub fn label_name(key: &str) -> String {
    let plain = |found: char| if found.is_ascii_alphanumeric() { found } else { '_' };
    LABEL_PREFIX.chars().chain(key.chars().map(plain)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rstest::rstest;

    use super::*;

    /// Every name of `kubernetes.md` §9.3.
    const PROMISED: &str = "
        sandbox_info sandbox_created sandbox_deletion_timestamp sandbox_status_phase
        sandbox_status_ready sandbox_status_ready_time
        sandbox_status_inplace_updating sandbox_status_inplace_updating_time
        sandbox_status_unpaused sandbox_status_unpaused_time
        sandbox_status_unresumed sandbox_status_unresumed_time
        sandbox_runtime_container_abnormal sandbox_runtime_container_abnormal_time
        sandbox_status_abnormal sandbox_status_abnormal_time sandbox_labels
        sandbox_creation_duration_seconds sandbox_pause_duration_seconds sandbox_resume_duration_seconds
        sandbox_deletion_duration_seconds sandbox_inplace_update_duration_seconds sandbox_recycle_duration_seconds
        sandbox_creation_total sandbox_pause_total sandbox_resume_total sandbox_recycle_total
        sandbox_metrics_gc_dropped_total
        sandboxset_replicas sandboxset_available_replicas sandboxset_desired_replicas sandboxset_updated_replicas
        sandboxset_updated_available_replicas sandboxset_created sandboxset_sandboxes_created_total
        sandboxset_sandboxes_claimed_total
        sandbox_claim_info sandbox_claim_created sandbox_claim_status_phase sandbox_claim_start_time
        sandbox_claim_completion_time sandbox_claim_claimed_replicas sandbox_claim_desired_replicas
        sandbox_claim_duration_seconds sandboxset_claims_total sandboxclaim_expired_total";

    /// Counts removals of series that were put off and then forgotten; nothing here puts one off
    /// (`docs/design/0014-sets-rules-and-metrics.md`).
    const LEFT_OUT: &str = "sandbox_metrics_gc_dropped_total";

    #[test]
    fn the_controller_has_every_family_that_the_contract_names() {
        let mut promised: BTreeSet<_> = PROMISED.split_whitespace().collect();
        assert!(promised.remove(LEFT_OUT));
        let served: BTreeSet<_> = controller::ALL.iter().map(|family| family.name).collect();
        assert_eq!(served, promised);
    }

    #[rstest]
    #[case(controller::ALL)]
    #[case(manager::ALL)]
    fn families_are_well_formed(#[case] all: &[Family]) {
        let names: BTreeSet<_> = all.iter().map(|family| family.name).collect();
        assert_eq!(names.len(), all.len(), "no name twice");
        for family in all {
            assert_eq!(family.name.ends_with("_total"), family.kind == Kind::Counter, "{}", family.name);
            assert!(!family.meaning.ends_with('.') && !family.meaning.contains('|'), "{}", family.name);
        }
    }

    #[rstest]
    #[case("app", "label_app")]
    #[case("app.kubernetes.io/name", "label_app_kubernetes_io_name")]
    fn labels_have_names_that_prometheus_takes(#[case] key: &str, #[case] expected: &str) {
        assert_eq!(label_name(key), expected);
    }
}
