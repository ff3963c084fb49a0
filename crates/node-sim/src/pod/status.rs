//! A pod's status as a kubelet writes it: a pure function of the specification and the records.

use contract::conditions::types;
use contract::qos;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStatus, HostIP, Pod, PodCondition, PodIP, PodSpec, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::board::{Record, Role};
use super::hibernation::State;
use super::resize;

/// What the records don't say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Circumstances {
    pub(crate) now: Timestamp,
    pub(crate) start_time: Timestamp,
    pub(crate) pod_ip: Option<String>,
    pub(crate) host_ip: String,
    /// The network is up and volumes are there.
    pub(crate) sandbox_ready: bool,
    /// Whether it runs, or is kept asleep.
    pub(crate) hibernation: State,
}

/// Why a pod that sleeps is not ready; `kubectl get pods` shows it as its state.
const HIBERNATED: &str = "Hibernated";

/// The status of `pod`.
pub(crate) fn status(pod: &Pod, records: &[Record], circumstances: &Circumstances) -> PodStatus {
    let empty = PodSpec::default();
    let spec = pod.spec.as_ref().unwrap_or(&empty);
    let policy = spec.restart_policy.as_deref().unwrap_or("Always");
    let phase = phase(records, policy);
    let (mains, inits): (Vec<_>, Vec<_>) = records.iter().partition(|record| record.role == Role::Main);
    let before = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let mut conditions = conditions(spec, &inits, &mains, phase, circumstances);
    conditions.extend(resize::pending(pod, records));
    conditions.extend(sleep(&circumstances.hibernation));
    let asleep = matches!(circumstances.hibernation, State::Asleep(_));
    let container_status = |record: &Record| {
        let status = container_status(record);
        ContainerStatus { ready: status.ready && (!asleep || record.role == Role::Init), ..status }
    };
    PodStatus {
        phase: Some(phase.to_owned()),
        conditions: Some(merge_conditions(before, conditions, circumstances.now)),
        host_ip: Some(circumstances.host_ip.clone()),
        host_ips: Some(vec![HostIP { ip: circumstances.host_ip.clone() }]),
        pod_ip: circumstances.pod_ip.clone(),
        pod_ips: circumstances.pod_ip.clone().map(|ip| vec![PodIP { ip }]),
        start_time: Some(Time(circumstances.start_time)),
        qos_class: Some(qos::class(spec).to_owned()),
        reason: asleep.then(|| HIBERNATED.to_owned()),
        container_statuses: Some(mains.into_iter().map(container_status).collect()),
        init_container_statuses: (!inits.is_empty())
            .then(|| inits.into_iter().map(container_status).collect()),
        ..PodStatus::default()
    }
}

fn container_status(record: &Record) -> ContainerStatus {
    ContainerStatus {
        name: record.name.clone(),
        image: record.image.clone(),
        image_id: record.image_id.clone(),
        container_id: record.container_id.clone(),
        state: Some(record.state.clone()),
        last_state: Some(record.last_state.clone().unwrap_or_default()),
        restart_count: record.restart_count,
        allocated_resources: record.resources.as_ref().and_then(|resources| resources.requests.clone()),
        resources: record.resources.clone(),
        ready: is_ready(record),
        started: Some(record.started && record.state.running.is_some()),
        ..ContainerStatus::default()
    }
}

/// An init container that isn't restarted is ready once it has succeeded.
fn is_ready(record: &Record) -> bool {
    match record.role {
        Role::Init => record.finished == Some(0),
        Role::Sidecar | Role::Main => record.ready && record.started && record.state.running.is_some(),
    }
}

fn is_initialized(record: &Record) -> bool {
    match record.role {
        Role::Init => record.finished == Some(0),
        Role::Sidecar => record.started || record.finished.is_some(),
        Role::Main => true,
    }
}

/// The pod's phase, following kubelet's rules.
pub(crate) fn phase(records: &[Record], policy: &str) -> &'static str {
    let of = |role| records.iter().filter(move |record| record.role == role);
    if of(Role::Init).any(|record| record.finished.is_some_and(|code| code != 0)) {
        return "Failed";
    }
    let mains: Vec<_> = of(Role::Main).collect();
    if !mains.is_empty() && mains.iter().all(|record| record.finished.is_some()) {
        let succeeded = mains.iter().all(|record| record.finished == Some(0));
        return if succeeded { "Succeeded" } else { "Failed" };
    }
    let initialized = records.iter().all(is_initialized);
    let ever_ran = |state: &ContainerState| state.running.is_some() || state.terminated.is_some();
    let begun = mains
        .iter()
        .all(|record| ever_ran(&record.state) || record.last_state.as_ref().is_some_and(ever_ran));
    if initialized && begun && (policy == "Always" || !mains.is_empty()) { "Running" } else { "Pending" }
}

fn conditions(
    spec: &PodSpec,
    inits: &[&Record],
    mains: &[&Record],
    phase: &str,
    circumstances: &Circumstances,
) -> Vec<PodCondition> {
    let not_initialized: Vec<_> = inits.iter().filter(|record| !is_initialized(record)).collect();
    let not_ready: Vec<_> = inits
        .iter()
        .filter(|record| record.role == Role::Sidecar)
        .chain(mains.iter())
        .filter(|record| !is_ready(record))
        .collect();
    let names = |records: &[&&Record]| {
        records.iter().map(|record| record.name.as_str()).collect::<Vec<_>>().join(" ")
    };
    let initialized = if not_initialized.is_empty() {
        condition("Initialized", true, None)
    } else {
        let message = format!("containers with incomplete status: [{}]", names(&not_initialized));
        condition("Initialized", false, Some(("ContainersNotInitialized", message)))
    };
    let ready = |kind: &str| match phase {
        "Succeeded" => condition(kind, false, Some(("PodCompleted", String::new()))),
        "Failed" => condition(kind, false, Some(("PodFailed", String::new()))),
        _ if matches!(circumstances.hibernation, State::Asleep(_)) => {
            condition(kind, false, Some((HIBERNATED, "the pod's processes are stopped".to_owned())))
        }
        _ if not_ready.is_empty() => condition(kind, true, None),
        _ => {
            let message = format!("containers with unready status: [{}]", names(&not_ready));
            condition(kind, false, Some(("ContainersNotReady", message)))
        }
    };
    let containers_ready = ready("ContainersReady");
    let mut pod_ready = ready("Ready");
    let gates = spec.readiness_gates.as_deref().unwrap_or_default();
    if !gates.is_empty() && pod_ready.status == "True" {
        let message = "readiness gates are not judged by this node".to_owned();
        pod_ready = condition("Ready", false, Some(("ReadinessGatesNotReady", message)));
    }
    vec![
        condition("PodReadyToStartContainers", circumstances.sandbox_ready, None),
        initialized,
        pod_ready,
        containers_ready,
        condition("PodScheduled", true, None),
    ]
}

/// The answer to the wish that the pod sleeps.
fn sleep(state: &State) -> Option<PodCondition> {
    match state {
        State::Awake | State::FallingAsleep => None,
        State::Asleep(frozen) => {
            let message = format!("{} processes are stopped, with their memory and files", frozen.count);
            Some(condition(types::HIBERNATED, true, Some(("Frozen", message))))
        }
        State::Lost(reason, _) => {
            Some(condition(types::HIBERNATED, false, Some(("NotKept", reason.clone()))))
        }
    }
}

pub(super) fn condition(kind: &str, holds: bool, why: Option<(&str, String)>) -> PodCondition {
    let (reason, message) = why.unzip();
    PodCondition {
        type_: kind.to_owned(),
        status: if holds { "True" } else { "False" }.to_owned(),
        reason: reason.map(str::to_owned),
        message: message.filter(|message| !message.is_empty()),
        ..PodCondition::default()
    }
}

/// Keeps the time of the last transition where the status is the same, and conditions that others wrote.
fn merge_conditions(
    before: &[PodCondition],
    mut after: Vec<PodCondition>,
    now: Timestamp,
) -> Vec<PodCondition> {
    for condition in &mut after {
        let same = before.iter().find(|old| old.type_ == condition.type_ && old.status == condition.status);
        condition.last_transition_time =
            same.and_then(|old| old.last_transition_time.clone()).or(Some(Time(now)));
    }
    let foreign = before
        .iter()
        .filter(|old| ![resize::PENDING, types::HIBERNATED].contains(&old.type_.as_str()))
        .filter(|old| after.iter().all(|new| new.type_ != old.type_))
        .cloned()
        .collect::<Vec<_>>();
    after.extend(foreign);
    after
}

/// The status as the body of a merge patch: fields that became empty are taken away, and the pod must be the same.
pub(crate) fn patch(uid: Option<&str>, status: &PodStatus) -> Value {
    let mut value = serde_json::to_value(status).unwrap_or_default();
    if let Value::Object(members) = &mut value {
        for field in ["podIP", "podIPs", "initContainerStatuses", "reason", "message"] {
            members.entry(field).or_insert(Value::Null);
        }
    }
    json!({"metadata": {"uid": uid}, "status": value})
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{ContainerStateRunning, ContainerStateTerminated};
    use rstest::rstest;

    use super::super::board::Board;
    use super::*;

    fn pod() -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "box", "namespace": "lab", "uid": "u-1"},
            "spec": {
                "initContainers": [{"name": "prepare", "image": "i"}, {"name": "side", "image": "i", "restartPolicy": "Always"}],
                "containers": [{"name": "main", "image": "i"}]
            }
        }))
        .expect("a pod")
    }

    fn running() -> ContainerState {
        ContainerState { running: Some(ContainerStateRunning::default()), ..ContainerState::default() }
    }

    fn ended(code: i32) -> ContainerState {
        let terminated = ContainerStateTerminated { exit_code: code, ..ContainerStateTerminated::default() };
        ContainerState { terminated: Some(terminated), ..ContainerState::default() }
    }

    /// prepare, side, main: `.` waiting, `r` running and ready, `s` running but not started, `0`/`1` finished,
    /// `c` ended and to be restarted.
    fn records(states: &str) -> Vec<Record> {
        let mut records = Board::new(pod().spec.as_ref().expect("a spec")).records();
        for (record, state) in records.iter_mut().zip(states.chars()) {
            match state {
                'r' => (record.state, record.ready, record.started) = (running(), true, true),
                's' => record.state = running(),
                'c' => record.state = ended(1),
                '0' => (record.state, record.finished) = (ended(0), Some(0)),
                '1' => (record.state, record.finished) = (ended(1), Some(1)),
                _ => {}
            }
        }
        records
    }

    #[rstest]
    #[case("...", "Always", "Pending")]
    #[case("0s.", "Always", "Pending")]
    #[case("0r.", "Always", "Pending")]
    #[case("0rr", "Always", "Running")]
    #[case("0rc", "Always", "Running")]
    #[case("0r0", "Never", "Succeeded")]
    #[case("0r1", "Never", "Failed")]
    #[case("1..", "Never", "Failed")]
    fn phases(#[case] states: &str, #[case] policy: &str, #[case] expected: &str) {
        assert_eq!(phase(&records(states), policy), expected);
    }

    #[rstest]
    #[case("...", "False", "False")]
    #[case("0s.", "False", "False")]
    #[case("0r.", "True", "False")]
    #[case("0rs", "True", "False")]
    #[case("0rr", "True", "True")]
    fn initialized_and_ready(#[case] states: &str, #[case] initialized: &str, #[case] ready: &str) {
        let status = status(&pod(), &records(states), &Circumstances::default());
        let of = |kind: &str| {
            let conditions = status.conditions.iter().flatten();
            conditions
                .filter(|condition| condition.type_ == kind)
                .map(|condition| condition.status.clone())
                .next()
        };
        assert_eq!(of("Initialized").as_deref(), Some(initialized));
        assert_eq!(of("Ready").as_deref(), Some(ready));
        assert_eq!(of("ContainersReady").as_deref(), Some(ready));
    }

    #[test]
    fn a_transition_time_changes_only_with_the_status() {
        let mut pod = pod();
        let early = Timestamp::UNIX_EPOCH;
        let circumstances = |now| Circumstances { now, ..Circumstances::default() };
        pod.status = Some(status(&pod, &records("0r."), &circumstances(early)));
        let later = Timestamp::from_second(60).expect("a time");
        let after = status(&pod, &records("0rr"), &circumstances(later));
        let time = |kind: &str| {
            let conditions = after.conditions.iter().flatten();
            conditions
                .filter(|condition| condition.type_ == kind)
                .find_map(|c| c.last_transition_time.clone())
        };
        assert_eq!(time("Initialized"), Some(Time(early)));
        assert_eq!(time("Ready"), Some(Time(later)));
    }

    #[test]
    fn a_running_pod_in_full() {
        let circumstances = Circumstances {
            pod_ip: Some("10.88.0.2".into()),
            host_ip: "10.88.0.1".into(),
            sandbox_ready: true,
            ..Circumstances::default()
        };
        insta::assert_yaml_snapshot!(status(&pod(), &records("0rr"), &circumstances));
    }
}
