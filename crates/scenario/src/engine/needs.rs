//! What a scenario needs of a backend, told from its file.

use std::collections::BTreeSet;

use contract::names::INJECTION_CONFIG;
use contract::names::containers::CSI_SIDECAR;
use journal::source;
use lab::{
    Capability, Component, ExportAccess, ExportOptions, Fault, KillFault, SharedPart, Sharing, Squash,
};
use serde_json::Value;

use crate::model::{Pattern, Scenario, Step};
use crate::read::Planned;

/// Entries of source `e2b` that the manager writes about its own work, not about requests.
const MILESTONES: [&str; 2] = ["initialised", "cleaned"];

/// What kubectl does in pods, over a stream.
const IN_PODS: [&str; 4] = ["attach", "cp", "exec", "port-forward"];

/// The method of the SDKs that takes a snapshot, in Python and in JavaScript.
const TAKES_SNAPSHOTS: [&str; 2] = ["create_snapshot", "createSnapshot"];

/// What `planned` needs, each once.
pub(super) fn needed(planned: &Planned) -> Vec<Capability> {
    let scenario = &planned.scenario;
    let mut needed = of_storage(scenario);
    needed.extend(&scenario.requires);
    needed.extend(scenario.steps.iter().flat_map(of_step));
    needed.extend(patterns(scenario).into_iter().filter_map(of_pattern));
    if planned.objects.iter().filter_map(|object| object.kind()).any(is_policy) {
        needed.push(Capability::NetworkPolicies);
    }
    if planned.objects.iter().any(|object| object.kind() == Some("Checkpoint")) {
        needed.push(Capability::Checkpoints);
    }
    if configures(planned) || scenario.steps.iter().any(changes_configuration) {
        needed.push(Capability::SystemConfiguration);
    }
    needed.sort();
    needed.dedup();
    needed
}

/// Whether `planned` changes the system's configuration with its own objects, before its steps.
pub(super) fn configures(planned: &Planned) -> bool {
    planned.objects.iter().any(|object| object.name() == Some(INJECTION_CONFIG))
}

/// What `planned` does with parts that labs may share.
pub(super) fn sharing(planned: &Planned) -> Sharing {
    let needed = needed(planned);
    let faults = planned.scenario.steps.iter().filter_map(|step| Some(&step.fault.as_ref()?.inject));
    let mut disturbs: BTreeSet<_> = faults.filter_map(disturbed).collect();
    if needed.contains(&Capability::SystemConfiguration) {
        disturbs.insert(SharedPart::System);
    }
    Sharing { uses: used(planned, &needed), disturbs }
}

/// What a fault takes from everybody who shares it.
fn disturbed(fault: &Fault) -> Option<SharedPart> {
    match fault {
        Fault::Kill(KillFault::Component(Component::Controller)) => Some(SharedPart::Controller),
        Fault::Kill(KillFault::Component(Component::Manager)) => Some(SharedPart::System),
        fault => fault.outage().map(|(server, _)| SharedPart::from(server)),
    }
}

/// The parts that `planned`, which needs `needed`, uses. Where the file doesn't tell for certain that it doesn't, it does.
fn used(planned: &Planned, needed: &[Capability]) -> BTreeSet<SharedPart> {
    let mut document = planned.node.to_value();
    if let Some(document) = document.as_object_mut() {
        document.remove("metadata");
    }
    let mentioned = |word: &str| {
        let mut texts = planned.objects.iter().map(|object| &object.object).chain([&document]);
        texts.any(|text| mentions(&text.to_string(), word))
    };
    let mut uses = BTreeSet::from([SharedPart::System]);
    if needed.contains(&Capability::ObjectStore) || mentioned("oss") {
        uses.insert(SharedPart::ObjectStore);
    }
    if needed.contains(&Capability::NetworkFileSystem) || mentioned("nas") {
        uses.insert(SharedPart::NetworkFileSystem);
    }
    uses
}

/// Whether a word of `text` begins with `start`.
fn mentions(text: &str, start: &str) -> bool {
    let text = text.to_lowercase();
    let within_word = |place: usize| text[..place].ends_with(|before: char| before.is_alphabetic());
    text.match_indices(start).any(|(place, _)| !within_word(place))
}

fn of_storage(scenario: &Scenario) -> Vec<Capability> {
    let mut needed = Vec::new();
    if !scenario.storage.oss.is_empty() {
        needed.push(Capability::ObjectStore);
    }
    if !scenario.storage.nas.is_empty() {
        needed.push(Capability::NetworkFileSystem);
    }
    needed.extend(scenario.storage.exports.values().flat_map(of_export));
    needed
}

/// What an export takes beyond being there.
fn of_export(options: &ExportOptions) -> Vec<Capability> {
    let ExportOptions { access, squash, capacity_bytes } = *options;
    let mut needed = Vec::new();
    if access != ExportAccess::default() || squash != Squash::default() {
        needed.push(Capability::ExportRules);
    }
    if capacity_bytes.is_some() {
        needed.push(Capability::ExportCapacity);
    }
    needed
}

fn of_step(step: &Step) -> Vec<Capability> {
    let mut needed = Vec::new();
    let mut need = |uses: bool, capability: Capability| {
        if uses {
            needed.push(capability);
        }
    };
    need(step.oss.is_some(), Capability::ObjectStore);
    need(step.nas.is_some(), Capability::NetworkFileSystem);
    need(step.mounts.is_some(), Capability::MountTable);
    need(step.advance.is_some(), Capability::Clock);
    let commands = step.kubectl.as_ref().and_then(|kubectl| kubectl.arguments.first());
    let in_pods = commands.is_some_and(|verb| IN_PODS.contains(&verb.as_str()));
    need(in_pods, Capability::PodCommands);
    let code = step.user_program().and_then(|program| program.code);
    let snapshots = code.is_some_and(|code| TAKES_SNAPSHOTS.iter().any(|method| code.contains(method)));
    need(step.snapshot.is_some() || snapshots, Capability::Checkpoints);
    let limits = step.create.as_ref();
    let limits =
        limits.is_some_and(|create| create.network.is_some() || create.allow_internet_access == Some(false));
    let applied = step.apply.as_ref().and_then(|apply| apply.object.as_ref()).and_then(kind);
    need(limits || applied.is_some_and(is_policy), Capability::NetworkPolicies);
    need(applied == Some("Checkpoint"), Capability::Checkpoints);
    needed.extend(step.nas.as_ref().and_then(|nas| nas.options.as_ref()).into_iter().flat_map(of_export));
    if let Some(fault) = &step.fault {
        needed.push(of_fault(&fault.inject));
    }
    needed
}

fn of_fault(fault: &Fault) -> Capability {
    match fault {
        Fault::Oss(_) | Fault::Nas(_) if fault.outage().is_some() => Capability::StorageOutages,
        Fault::Oss(_) | Fault::OssCapacity(_) | Fault::Nas(_) => Capability::StorageFaults,
        Fault::Csi(_) => Capability::RpcFaults,
        Fault::Kill(KillFault::Component(_)) => Capability::ComponentFaults,
        Fault::Kill(KillFault::Container { .. }) => Capability::ProcessFaults,
    }
}

fn kind(object: &Value) -> Option<&str> {
    object.get("kind").and_then(Value::as_str)
}

fn is_policy(kind: &str) -> bool {
    matches!(kind, "NetworkPolicy" | "TrafficPolicy")
}

/// Every pattern by which the scenario asks the journal.
fn patterns(scenario: &Scenario) -> Vec<&Pattern> {
    let steps = scenario.steps.iter();
    let in_steps = steps.flat_map(|step| {
        let eventually = step.eventually.as_ref().map(|eventually| &eventually.entry);
        eventually.into_iter().chain(step.holds.as_ref().map(|holds| &holds.entry))
    });
    let eventually = scenario.eventually.iter().map(|eventually| &eventually.entry);
    let counted = scenario.count.iter().map(|count| &count.entry);
    let ordered = scenario.order.iter().flat_map(|order| &order.entries);
    in_steps.chain(eventually).chain(&scenario.never).chain(counted).chain(ordered).collect()
}

fn of_pattern(pattern: &Pattern) -> Option<Capability> {
    let sidecar = format!("/{CSI_SIDECAR}:");
    let in_sidecar = pattern.subject.as_deref().is_some_and(|subject| subject.contains(&sidecar));
    let milestone = pattern.kind.as_deref().is_some_and(|kind| MILESTONES.contains(&kind));
    match pattern.source.as_deref()? {
        source::OSS | source::NAS | source::NETWORK => Some(Capability::ServerJournal),
        source::E2B if milestone => Some(Capability::ServerJournal),
        source::MOUNTS if in_sidecar => Some(Capability::ServerJournal),
        source::MOUNTS => Some(Capability::MountTable),
        _ => None,
    }
}

/// Whether a step changes the ConfigMap that says what is injected. A script that names it and only looks counts too.
fn changes_configuration(step: &Step) -> bool {
    let names_it = |text: &str| text.contains(INJECTION_CONFIG);
    let object = |name: &str| name == INJECTION_CONFIG;
    let applied = step.apply.as_ref().and_then(|apply| apply.object.as_ref());
    let applied = applied.and_then(|object| object.pointer("/metadata/name")).and_then(Value::as_str);
    let looks =
        |arguments: &[String]| matches!(arguments.first().map(String::as_str), Some("get" | "describe"));
    applied.is_some_and(object)
        || step.patch.as_ref().is_some_and(|patch| object(&patch.object.name))
        || step.delete.as_ref().is_some_and(|delete| object(&delete.object.name))
        || step.shell.as_ref().is_some_and(|shell| names_it(&shell.command))
        || step.kubectl.as_ref().is_some_and(|kubectl| {
            !looks(&kubectl.arguments) && kubectl.arguments.iter().any(|argument| names_it(argument))
        })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("oss-single-mount", "the object store, the system", "")]
    #[case("nas-single-mount", "the NFS server, the system", "")]
    #[case("several-mounts", "the object store, the NFS server, the system", "")]
    #[case("failures/oss-outages", "the object store, the system", "the object store")]
    #[case("nas-server-dies-later", "the NFS server, the system", "the NFS server")]
    #[case("failures/templates", "the object store, the system", "the system")]
    #[case("failures/components-killed", "the object store, the system", "the controller")]
    fn who_uses_and_who_disturbs_what(#[case] name: &str, #[case] uses: &str, #[case] disturbs: &str) {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../../scenarios/{name}.yaml"));
        let plan = crate::load(&[path]).expect("a scenario");
        let told = |parts: &BTreeSet<SharedPart>| {
            parts.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        };
        let sharing = sharing(&plan.scenarios[0]);
        assert_eq!((told(&sharing.uses).as_str(), told(&sharing.disturbs).as_str()), (uses, disturbs));
    }

    #[rstest]
    #[case("an oss-pv-x", true)]
    #[case("/data-OSS", true)]
    #[case("OSSPLUGIN.csi", true)]
    #[case("across, possible", false)]
    fn words_are_found_at_their_beginning(#[case] text: &str, #[case] expected: bool) {
        assert_eq!(mentions(text, "oss"), expected);
    }

    #[rstest]
    #[case(r#"{"oss": {"gone": true}}"#, Capability::StorageOutages)]
    #[case(r#"{"nas": {"hang": true}}"#, Capability::StorageOutages)]
    #[case(r#"{"nas": {"hang": true, "procedure": "MNT"}}"#, Capability::StorageFaults)]
    #[case(r#"{"oss": {"error": "503 SlowDown"}}"#, Capability::StorageFaults)]
    #[case(r#"{"ossCapacity": {"bytes": 1}}"#, Capability::StorageFaults)]
    #[case(r#"{"csi": {"call": "NodePublishVolume", "hang": true}}"#, Capability::RpcFaults)]
    #[case(r#"{"kill": {"component": "controller"}}"#, Capability::ComponentFaults)]
    #[case(r#"{"kill": {"namespace": "n", "pod": "p", "container": "c"}}"#, Capability::ProcessFaults)]
    fn what_a_fault_needs_follows_from_its_fields(#[case] text: &str, #[case] expected: Capability) {
        let fault: Fault = serde_json::from_str(text).expect("a fault");
        assert_eq!(of_fault(&fault), expected);
    }
}
