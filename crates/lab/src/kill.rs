//! The fault that ends a process: of a container in a sandbox's pod, or of the system itself.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

/// What is killed with SIGKILL.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(try_from = "KillWords", into = "KillWords")]
pub enum KillFault {
    /// The first process of a container.
    Container {
        /// Namespace of the pod.
        namespace: String,
        /// Name of the pod.
        pod: String,
        /// The container's name.
        container: String,
    },
    /// Every process of a component of the system, in all its replicas.
    Component(Component),
}

/// A component of the system.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Component {
    /// It keeps pools filled and turns Sandboxes into pods.
    Controller,
    /// The E2B API and the gateway to sandboxes' ports.
    Manager,
}

impl fmt::Display for Component {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Controller => "controller",
            Self::Manager => "manager",
        })
    }
}

/// Which process is killed, with SIGKILL and for good: a container's first one, by `namespace`, `pod` and `container`; or all
/// of a `component`, which dies without any farewell and is started again at once. Connections to it break, and new ones are
/// refused until it is back. Give one of the two forms.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct KillWords {
    /// The component of the system that is killed, in all its replicas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    component: Option<Component>,
    /// Namespace of the sandbox's pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
    /// Name of the sandbox's pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pod: Option<String>,
    /// The container whose first process is killed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    container: Option<String>,
}

impl JsonSchema for KillFault {
    fn schema_name() -> Cow<'static, str> {
        "KillFault".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        KillWords::json_schema(generator)
    }
}

impl TryFrom<KillWords> for KillFault {
    type Error = &'static str;

    fn try_from(words: KillWords) -> Result<Self, Self::Error> {
        match words {
            KillWords { component: Some(component), namespace: None, pod: None, container: None } => {
                Ok(Self::Component(component))
            }
            KillWords {
                component: None,
                namespace: Some(namespace),
                pod: Some(pod),
                container: Some(container),
            } => Ok(Self::Container { namespace, pod, container }),
            KillWords { component: Some(_), .. } => Err(
                "a component is killed whole: `component` stands without `namespace`, `pod` and `container`",
            ),
            KillWords { component: None, .. } => {
                Err("say what is killed: `component` alone, or `namespace`, `pod` and `container` together")
            }
        }
    }
}

impl From<KillFault> for KillWords {
    fn from(fault: KillFault) -> Self {
        match fault {
            KillFault::Component(component) => Self { component: Some(component), ..Self::default() },
            KillFault::Container { namespace, pod, container } => Self {
                component: None,
                namespace: Some(namespace),
                pod: Some(pod),
                container: Some(container),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn there_are_two_forms_and_no_mixture() {
        let container = json!({"namespace": "default", "pod": "p", "container": "csi-sidecar"});
        let component = json!({"component": "controller"});
        for form in [&container, &component] {
            let fault: KillFault = serde_json::from_value(form.clone()).expect("a form");
            assert_eq!(serde_json::to_value(&fault).expect("JSON"), *form);
        }
        for (mixture, words) in [
            (json!({}), "say what is killed"),
            (json!({"pod": "p", "container": "c"}), "together"),
            (json!({"component": "manager", "pod": "p"}), "killed whole"),
            (json!({"component": "scheduler"}), "scheduler"),
        ] {
            let error = serde_json::from_value::<KillFault>(mixture.clone()).expect_err("a mixture");
            assert!(error.to_string().contains(words), "{mixture}: {error}");
        }
    }
}
