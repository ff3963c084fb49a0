//! What a claim changes of the first container: its image, its CPU (`kubernetes.md` §3.7). In a sandbox of the pool the
//! controller updates the running pod with it; one that is made for the claim has it from the start.

use contract::crd::{InplaceUpdate, SandboxSet};
use contract::errors::{Code, Problem};
use contract::quantity;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt as _;
use serde_json::Value;

/// Refuses a change that no sandbox of the pool could be given, before it costs one (DECISIONS 10).
///
/// # Errors
/// [`Code::InvalidParameter`] with what is in the way.
pub fn check_change(set: &SandboxSet, change: &InplaceUpdate) -> Result<(), Problem> {
    if *change == InplaceUpdate::default() {
        return Ok(());
    }
    let Some(template) = &set.spec.template else {
        let message = format!(
            "template {:?} takes its pods from a SandboxTemplate, and a single sandbox of it can't be changed: give the \
             SandboxSet a template of its own, or leave image and CPU out",
            set.name_any()
        );
        return Err(Problem::new(Code::InvalidParameter, message));
    };
    let mut changed = template.clone();
    apply(&mut changed, change);
    let cpu = |list| {
        Some(first_container(&changed)?.pointer(&format!("/resources/{list}/cpu"))?.as_str()?.to_owned())
    };
    if let (Some(request), Some(limit)) = (cpu("requests"), cpu("limits"))
        && quantity::milli(&request) > quantity::milli(&limit)
    {
        let message = format!(
            "the container would ask for {request} CPUs and be limited to {limit}: a request can't be above its limit"
        );
        return Err(Problem::new(Code::InvalidParameter, message));
    }
    Ok(())
}

/// Changes the template's first container; whether that made a difference. Of the resources only CPU counts, and only
/// where the template sets it.
pub(crate) fn apply(template: &mut Value, change: &InplaceUpdate) -> bool {
    let Some(container) = template.pointer_mut("/spec/containers/0") else { return false };
    let before = container.clone();
    if let (Some(image), Some(members)) = (&change.image, container.as_object_mut()) {
        members.insert("image".to_owned(), Value::String(image.clone()));
    }
    let resources = change.resources.clone().unwrap_or_default();
    for (list, amounts) in [("requests", resources.requests), ("limits", resources.limits)] {
        let wanted = amounts.and_then(|mut amounts| amounts.remove("cpu"));
        if let (Some(Quantity(wanted)), Some(cpu)) =
            (wanted, container.pointer_mut(&format!("/resources/{list}/cpu")))
        {
            *cpu = Value::String(wanted);
        }
    }
    *container != before
}

fn first_container(template: &Value) -> Option<&Value> {
    template.pointer("/spec/containers/0")
}

#[cfg(test)]
mod tests {
    use contract::crd::SandboxSetSpec;
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn template(resources: &Value) -> Value {
        json!({"spec": {"containers": [
            {"name": "main", "image": "one", "resources": resources}, {"name": "second", "image": "two"},
        ]}})
    }

    fn change(value: Value) -> InplaceUpdate {
        serde_json::from_value(value).expect("a change")
    }

    #[rstest]
    #[case::image(json!({}), json!({"image": "new"}), json!({"image": "new"}), true)]
    #[case::the_same_image(json!({}), json!({"image": "one"}), json!({"image": "one"}), false)]
    #[case::cpu(
        json!({"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "1"}}),
        json!({"resources": {"requests": {"cpu": "500m", "memory": "2Gi"}, "limits": {"cpu": "2"}}}),
        json!({"resources": {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"cpu": "2"}}}), true)]
    #[case::no_cpu_to_change(
        json!({"limits": {"memory": "1Gi"}}), json!({"resources": {"limits": {"cpu": "2"}}}),
        json!({"resources": {"limits": {"memory": "1Gi"}}}), false)]
    fn the_first_container_changes(
        #[case] resources: Value,
        #[case] wanted: Value,
        #[case] expected: Value,
        #[case] differs: bool,
    ) {
        let mut changed = template(&resources);
        assert_eq!(apply(&mut changed, &change(wanted)), differs);
        let mut whole = template(&resources);
        for (name, value) in expected.as_object().expect("members") {
            whole["spec"]["containers"][0][name] = value.clone();
        }
        assert_eq!(changed, whole);
    }

    #[rstest]
    #[case::nothing(None, json!({}), None)]
    #[case::image(Some(json!({})), json!({"image": "new"}), None)]
    #[case::of_a_reference(None, json!({"image": "new"}), Some("takes its pods from a SandboxTemplate"))]
    #[case::beyond_the_limit(
        Some(json!({"requests": {"cpu": "1"}, "limits": {"cpu": "1"}})), json!({"resources": {"requests": {"cpu": "1500m"}}}),
        Some("ask for 1500m CPUs and be limited to 1"))]
    fn what_cannot_be_done_is_refused_first(
        #[case] resources: Option<Value>,
        #[case] wanted: Value,
        #[case] refused: Option<&str>,
    ) {
        let template = resources.as_ref().map(template);
        let set = SandboxSet::new("pool", SandboxSetSpec { template, ..SandboxSetSpec::default() });
        let outcome = check_change(&set, &change(wanted));
        match refused {
            None => assert_eq!(outcome, Ok(())),
            Some(said) => {
                let problem = outcome.expect_err("refused");
                assert!(problem.message().contains(said), "{problem}");
            }
        }
    }
}
