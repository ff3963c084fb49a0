//! How far the node is with an update (`kubernetes.md` §5.8), as a pure function of the pod.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodCondition};

use super::compare::has_resources;
use super::state::{LastStatus, UpdateState, status_of, waiting};

/// Condition of a pod whose new resources the node doesn't have, or not now.
const RESIZE_PENDING: &str = "PodResizePending";

/// How far an update is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Every container is what it is to be.
    Complete,
    /// Not yet; what is missing.
    UnderWay(String),
    /// It doesn't go on by itself, or not soon; why.
    Stuck(String),
}

/// How far the update that `state` tells of is in `pod`.
pub(super) fn progress(pod: &Pod, state: &UpdateState) -> Progress {
    for (name, last) in &state.last_container_statuses {
        let Some(status) = status_of(pod, name) else {
            return Progress::UnderWay(format!("the node has not reported container {name} yet"));
        };
        if let Some((reason, message)) = waiting(status).filter(|(_, message)| last.is_news(message)) {
            return Progress::Stuck(format!("container {name} does not start: {reason}: {message}"));
        }
        if !is_replaced(pod, status, last, state) {
            let image = wanted_image(pod, name).unwrap_or_default();
            return Progress::UnderWay(format!("container {name} does not run with image {image} yet"));
        }
    }
    if state.update_resources { resize(pod) } else { Progress::Complete }
}

impl LastStatus {
    fn is_news(&self, message: &str) -> bool {
        self.waiting.as_deref() != Some(message)
    }
}

/// Whether the container runs, is another one than before the update, and has its image. The image's id differs from
/// the one of before, unless both names lead to the same content; then the reported name says it, or that the
/// container was not started before the update.
fn is_replaced(pod: &Pod, status: &ContainerStatus, last: &LastStatus, state: &UpdateState) -> bool {
    let Some(running) = status.state.as_ref().and_then(|state| state.running.as_ref()) else { return false };
    let is_another = status.container_id.is_some() && status.container_id != last.container_id;
    let has_another_image = !status.image_id.is_empty() && status.image_id != last.image_id;
    let has_its_image =
        wanted_image(pod, &status.name).is_some_and(|wanted| full_name(wanted) == full_name(&status.image));
    let started = running.started_at.as_ref().map(|time| time.0.as_second());
    let is_newer = started.is_some_and(|started| started >= state.update_timestamp.as_second());
    is_another && (has_another_image || has_its_image || is_newer)
}

fn wanted_image<'a>(pod: &'a Pod, container: &str) -> Option<&'a str> {
    let containers = &pod.spec.as_ref()?.containers;
    containers.iter().find(|it| it.name == container)?.image.as_deref()
}

/// An image's name with everything that may be left out of it.
fn full_name(image: &str) -> String {
    let name = image.strip_prefix("docker.io/").unwrap_or(image);
    let name = name.strip_prefix("library/").unwrap_or(name);
    let last = name.rsplit('/').next().unwrap_or_default();
    if last.contains([':', '@']) { name.to_owned() } else { format!("{name}:latest") }
}

/// How far the node is with the resources: it tells what it gives each container.
fn resize(pod: &Pod) -> Progress {
    if let Some(pending) = condition(pod, RESIZE_PENDING) {
        let part = |text: &Option<String>| text.clone().unwrap_or_default();
        return Progress::Stuck(format!(
            "the node does not change the resources: {}: {}",
            part(&pending.reason),
            part(&pending.message)
        ));
    }
    let containers = pod.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default();
    let lagging = containers.iter().find(|container| {
        // a node that doesn't tell can't be waited for
        let told = status_of(pod, &container.name).and_then(|status| status.resources.as_ref());
        told.is_some_and(|told| !has_resources(container.resources.as_ref(), Some(told)))
    });
    match lagging {
        Some(container) => {
            Progress::UnderWay(format!("container {} does not have its resources yet", container.name))
        }
        None => Progress::Complete,
    }
}

/// A condition of the pod that is True and not of an earlier generation.
fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let found = conditions.iter().find(|condition| condition.type_ == kind && condition.status == "True")?;
    let is_outdated = match (found.observed_generation, pod.metadata.generation) {
        (Some(observed), Some(current)) => observed < current,
        _ => false,
    };
    (!is_outdated).then_some(found)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    fn state(last: &Value, resources: bool) -> UpdateState {
        serde_json::from_value(json!({
            "revision": "new", "updateTimestamp": Timestamp::from_second(1000).expect("a time"),
            "lastContainerStatuses": last, "updateImages": true, "updateResources": resources,
        }))
        .expect("a state")
    }

    fn pod(status: &Value, conditions: &Value) -> Pod {
        let mut main = json!({"name": "main", "image": "", "imageID": "", "ready": true, "restartCount": 0});
        for (name, value) in status.as_object().expect("members") {
            main[name] = value.clone();
        }
        serde_json::from_value(json!({
            "metadata": {"name": "one", "generation": 2},
            "spec": {"containers": [{"name": "main", "image": "python:2", "resources": {"limits": {"cpu": "2"}}}]},
            "status": {"containerStatuses": [main], "conditions": conditions},
        }))
        .expect("a pod")
    }

    fn running(second: i64) -> Value {
        json!({"running": {"startedAt": Timestamp::from_second(second).expect("a time")}})
    }

    fn text(progress: Progress) -> String {
        match progress {
            Progress::Complete => "complete".to_owned(),
            Progress::UnderWay(what) => format!("under way: {what}"),
            Progress::Stuck(why) => format!("stuck: {why}"),
        }
    }

    const NOT_YET: &str = "under way: container main does not run with image python:2 yet";

    #[rstest]
    #[case::still_the_old_one(json!({"containerID": "a", "imageID": "i1", "image": "python:1", "state": running(900)}), NOT_YET)]
    #[case::ended(json!({"containerID": "a", "imageID": "i1", "state": {"terminated": {"exitCode": 0}}}), NOT_YET)]
    #[case::being_created(json!({"containerID": "a", "imageID": "i1", "state": {"waiting": {"reason": "ContainerCreating"}}}), NOT_YET)]
    #[case::crashed_before(json!({"containerID": "b", "imageID": "i1", "image": "python:1", "state": running(900)}), NOT_YET)]
    #[case::replaced(json!({"containerID": "b", "imageID": "i2", "image": "sha256:x", "state": running(900)}), "complete")]
    #[case::of_the_same_content(json!({"containerID": "b", "imageID": "i1", "image": "docker.io/library/python:2", "state": running(900)}), "complete")]
    #[case::under_a_third_name(json!({"containerID": "b", "imageID": "i1", "image": "python:3", "state": running(1000)}), "complete")]
    #[case::not_pulled(
        json!({"containerID": "a", "imageID": "i1", "state": {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}}),
        "stuck: container main does not start: ErrImagePull: no such image")]
    #[case::the_failure_of_before(
        json!({"containerID": "a", "imageID": "i1", "state": {"waiting": {"reason": "ErrImagePull", "message": "known"}}}), NOT_YET)]
    fn images(#[case] status: Value, #[case] expected: &str) {
        let last = json!({"main": {"imageID": "i1", "containerID": "a", "waiting": "known"}});
        assert_eq!(text(progress(&pod(&status, &json!([])), &state(&last, false))), expected);
    }

    #[rstest]
    #[case::not_told(json!({}), json!([]), "complete")]
    #[case::has_them(json!({"resources": {"limits": {"cpu": "2000m", "memory": "1Gi"}}}), json!([]), "complete")]
    #[case::not_yet(json!({"resources": {"limits": {"cpu": "1"}}}), json!([]), "under way: container main does not have its resources yet")]
    #[case::infeasible(
        json!({"resources": {"limits": {"cpu": "1"}}}),
        json!([{"type": "PodResizePending", "status": "True", "reason": "Infeasible", "message": "too much", "observedGeneration": 2}]),
        "stuck: the node does not change the resources: Infeasible: too much")]
    #[case::infeasible_before(
        json!({"resources": {"limits": {"cpu": "1"}}}),
        json!([{"type": "PodResizePending", "status": "True", "reason": "Infeasible", "message": "too much", "observedGeneration": 1}]),
        "under way: container main does not have its resources yet")]
    fn resources(#[case] status: Value, #[case] conditions: Value, #[case] expected: &str) {
        assert_eq!(text(progress(&pod(&status, &conditions), &state(&json!({}), true))), expected);
    }

    #[rstest]
    #[case("python", "docker.io/library/python:latest", true)]
    #[case("registry:5000/x/y", "registry:5000/x/y:latest", true)]
    #[case("a/b:1", "a/b:2", false)]
    fn image_names(#[case] one: &str, #[case] other: &str, #[case] same: bool) {
        assert_eq!(full_name(one) == full_name(other), same);
    }
}
