//! A container's environment, arguments and references to its own pod (downward API).

use std::collections::BTreeMap;

use contract::quantity;
use k8s_openapi::api::core::v1::{
    ConfigMap, Container, EnvVar, EnvVarSource, Pod, ResourceFieldSelector, Secret,
};
use kube::ResourceExt as _;

/// Why the environment can't be made. Waiting reason `CreateContainerConfigError`.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum EnvironmentError {
    /// A ConfigMap or Secret isn't there.
    #[error("{kind} {name:?} not found")]
    NotFound {
        /// `configmap` or `secret`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// A key isn't in a ConfigMap or Secret.
    #[error("couldn't find key {key} in {kind} {name}")]
    NoKey {
        /// The key.
        key: String,
        /// `ConfigMap` or `Secret`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// A reference to a field that can't be referred to.
    #[error("field {0:?} can't be referred to")]
    Field(String),
    /// The value of a Secret is no text.
    #[error("key {key} of Secret {name} is not valid UTF-8")]
    NotText {
        /// The key.
        key: String,
        /// The Secret's name.
        name: String,
    },
}

/// Objects and facts that references are looked up in.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources {
    pub(crate) config_maps: BTreeMap<String, Option<ConfigMap>>,
    pub(crate) secrets: BTreeMap<String, Option<Secret>>,
    pub(crate) facts: Facts,
}

/// What only the node knows about a pod.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    pub(crate) pod_ip: String,
    pub(crate) host_ip: String,
    pub(crate) node_name: String,
}

/// Names of the config maps and secrets that a container's environment refers to.
pub(crate) fn references(container: &Container) -> (Vec<String>, Vec<String>) {
    let (mut config_maps, mut secrets) = (Vec::new(), Vec::new());
    for source in container.env_from.iter().flatten() {
        config_maps.extend(source.config_map_ref.as_ref().map(|reference| reference.name.clone()));
        secrets.extend(source.secret_ref.as_ref().map(|reference| reference.name.clone()));
    }
    for source in container.env.iter().flatten().filter_map(|variable| variable.value_from.as_ref()) {
        config_maps.extend(source.config_map_key_ref.as_ref().map(|reference| reference.name.clone()));
        secrets.extend(source.secret_key_ref.as_ref().map(|reference| reference.name.clone()));
    }
    (config_maps, secrets)
}

/// The container's environment, in order, later ones replacing earlier ones of the same name.
pub(crate) fn environment(
    pod: &Pod,
    container: &Container,
    sources: &Sources,
) -> Result<Vec<(String, String)>, EnvironmentError> {
    let mut variables = Variables::default();
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        if let Some(reference) = &source.config_map_ref {
            match config_map(sources, &reference.name) {
                Some(map) => {
                    for (key, value) in map.data.iter().flatten() {
                        variables.set(format!("{prefix}{key}"), value.clone());
                    }
                }
                None if reference.optional == Some(true) => {}
                None => return Err(not_found("configmap", &reference.name)),
            }
        }
        if let Some(reference) = &source.secret_ref {
            match secret(sources, &reference.name) {
                Some(secret) => {
                    for (key, value) in secret.data.iter().flatten() {
                        let text = String::from_utf8(value.0.clone()).map_err(|_| {
                            EnvironmentError::NotText { key: key.clone(), name: reference.name.clone() }
                        })?;
                        variables.set(format!("{prefix}{key}"), text);
                    }
                }
                None if reference.optional == Some(true) => {}
                None => return Err(not_found("secret", &reference.name)),
            }
        }
    }
    for variable in container.env.iter().flatten() {
        if let Some(value) = value_of(pod, container, variable, &variables, sources)? {
            variables.set(variable.name.clone(), value);
        }
    }
    Ok(variables.list)
}

fn not_found(kind: &'static str, name: &str) -> EnvironmentError {
    EnvironmentError::NotFound { kind, name: name.to_owned() }
}

fn config_map<'a>(sources: &'a Sources, name: &str) -> Option<&'a ConfigMap> {
    sources.config_maps.get(name).and_then(Option::as_ref)
}

fn secret<'a>(sources: &'a Sources, name: &str) -> Option<&'a Secret> {
    sources.secrets.get(name).and_then(Option::as_ref)
}

/// Variables in the order in which they were first set.
#[derive(Clone, Debug, Default)]
struct Variables {
    list: Vec<(String, String)>,
}

impl Variables {
    fn set(&mut self, name: String, value: String) {
        match self.list.iter_mut().find(|(existing, _)| *existing == name) {
            Some((_, existing)) => *existing = value,
            None => self.list.push((name, value)),
        }
    }

    fn get(&self, name: &str) -> Option<&str> {
        lookup(&self.list, name)
    }
}

fn lookup<'a>(variables: &'a [(String, String)], name: &str) -> Option<&'a str> {
    variables.iter().find(|(existing, _)| existing == name).map(|(_, value)| value.as_str())
}

fn value_of(
    pod: &Pod,
    container: &Container,
    variable: &EnvVar,
    variables: &Variables,
    sources: &Sources,
) -> Result<Option<String>, EnvironmentError> {
    let Some(source) = &variable.value_from else {
        let text = variable.value.as_deref().unwrap_or_default();
        return Ok(Some(expand(text, |name| variables.get(name).map(str::to_owned))));
    };
    referenced(pod, container, source, sources)
}

fn referenced(
    pod: &Pod,
    container: &Container,
    source: &EnvVarSource,
    sources: &Sources,
) -> Result<Option<String>, EnvironmentError> {
    if let Some(reference) = &source.field_ref {
        return field(pod, &reference.field_path, &sources.facts).map(Some);
    }
    if let Some(reference) = &source.resource_field_ref {
        return resource(container, reference).map(Some);
    }
    if let Some(reference) = &source.config_map_key_ref {
        let map = config_map(sources, &reference.name);
        let value = map.and_then(|map| map.data.as_ref()?.get(&reference.key).cloned());
        return match (value, map) {
            (None, _) if reference.optional == Some(true) => Ok(None),
            (None, None) => Err(not_found("configmap", &reference.name)),
            (None, Some(_)) => Err(EnvironmentError::NoKey {
                key: reference.key.clone(),
                kind: "ConfigMap",
                name: reference.name.clone(),
            }),
            (value, _) => Ok(value),
        };
    }
    if let Some(reference) = &source.secret_key_ref {
        let found = secret(sources, &reference.name);
        let value = found.and_then(|secret| secret.data.as_ref()?.get(&reference.key).cloned());
        return match (value, found) {
            (None, _) if reference.optional == Some(true) => Ok(None),
            (None, None) => Err(not_found("secret", &reference.name)),
            (None, Some(_)) => Err(EnvironmentError::NoKey {
                key: reference.key.clone(),
                kind: "Secret",
                name: reference.name.clone(),
            }),
            (Some(value), _) => String::from_utf8(value.0).map(Some).map_err(|_| EnvironmentError::NotText {
                key: reference.key.clone(),
                name: reference.name.clone(),
            }),
        };
    }
    Ok(Some(String::new()))
}

/// A field of the pod by its path, as the downward API names it.
pub(crate) fn field(pod: &Pod, path: &str, facts: &Facts) -> Result<String, EnvironmentError> {
    let unknown = || EnvironmentError::Field(path.to_owned());
    if let Some((map, key)) = path.strip_suffix("']").and_then(|rest| rest.split_once("['")) {
        let values = match map {
            "metadata.labels" => pod.labels(),
            "metadata.annotations" => pod.annotations(),
            _ => return Err(unknown()),
        };
        return Ok(values.get(key).cloned().unwrap_or_default());
    }
    Ok(match path {
        "metadata.name" => pod.name_any(),
        "metadata.namespace" => pod.namespace().unwrap_or_default(),
        "metadata.uid" => pod.uid().unwrap_or_default(),
        "metadata.labels" => listing(pod.labels()),
        "metadata.annotations" => listing(pod.annotations()),
        "spec.nodeName" => facts.node_name.clone(),
        "spec.serviceAccountName" => {
            pod.spec.as_ref().and_then(|spec| spec.service_account_name.clone()).unwrap_or_default()
        }
        "status.podIP" | "status.podIPs" => facts.pod_ip.clone(),
        "status.hostIP" | "status.hostIPs" => facts.host_ip.clone(),
        _ => return Err(unknown()),
    })
}

/// Labels or annotations as a file of the downward API shows them.
fn listing(values: &BTreeMap<String, String>) -> String {
    values.iter().map(|(key, value)| format!("{key}={value:?}")).collect::<Vec<_>>().join("\n")
}

/// A resource of the container, in units of the divisor, rounded up.
pub(crate) fn resource(
    container: &Container,
    reference: &ResourceFieldSelector,
) -> Result<String, EnvironmentError> {
    let unknown = || EnvironmentError::Field(reference.resource.clone());
    let (list, name) = reference.resource.split_once('.').ok_or_else(unknown)?;
    let resources = container.resources.as_ref();
    let map = match list {
        "limits" => resources.and_then(|resources| resources.limits.as_ref()),
        "requests" => resources.and_then(|resources| resources.requests.as_ref()),
        _ => return Err(unknown()),
    };
    let value = map.and_then(|map| map.get(name)).and_then(|value| quantity::milli(&value.0)).unwrap_or(0);
    let divisor = reference.divisor.as_ref().and_then(|divisor| quantity::milli(&divisor.0));
    let divisor = divisor.filter(|divisor| *divisor > 0).unwrap_or(1000);
    Ok(value.div_ceil(divisor).to_string())
}

/// The container's command line: its own, or the image's where it has none, with `$(NAME)` replaced.
pub(crate) fn command_line(
    container: &Container,
    entry_point: &[String],
    environment: &[(String, String)],
) -> Vec<String> {
    let expanded = |list: &Option<Vec<String>>| -> Vec<String> {
        let names = |name: &str| lookup(environment, name).map(str::to_owned);
        list.iter().flatten().map(|text| expand(text, names)).collect()
    };
    let mut line = expanded(&container.command);
    if line.is_empty() {
        entry_point.clone_into(&mut line);
    }
    line.extend(expanded(&container.args));
    line
}

/// Replaces `$(NAME)` by its value; an unknown name stays, and `$$(NAME)` means the text `$(NAME)`.
pub(crate) fn expand(text: &str, value: impl Fn(&str) -> Option<String>) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(position) = rest.find('$') {
        result.push_str(&rest[..position]);
        rest = &rest[position..];
        if let Some(after) = rest.strip_prefix("$$") {
            result.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix("$(").and_then(|rest| rest.split_once(')')) {
            match value(name) {
                Some(value) => result.push_str(&value),
                None => result.push_str(&rest[..name.len() + 3]),
            }
            rest = after;
        } else {
            result.push('$');
            rest = &rest[1..];
        }
    }
    result.push_str(rest);
    result
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case("plain", "plain")]
    #[case("$(A)-$(A)", "1-1")]
    #[case("$$(A)", "$(A)")]
    #[case("$(B)", "$(B)")]
    #[case("$A $", "$A $")]
    #[case("$(A", "$(A")]
    #[case("$$$(A)", "$1")]
    fn expansion(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(expand(text, |name| (name == "A").then(|| "1".to_owned())), expected);
    }

    proptest! {
        #[test]
        fn expansion_never_panics(text in ".*") {
            expand(&text, |name| Some(name.to_uppercase()));
        }
    }

    fn pod() -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "box", "namespace": "lab", "uid": "u-1", "labels": {"app": "x"}},
            "spec": {"containers": []}
        }))
        .expect("a pod")
    }

    fn container(value: serde_json::Value) -> Container {
        serde_json::from_value(value).expect("a container")
    }

    fn sources() -> Sources {
        let map: ConfigMap =
            serde_json::from_value(json!({"data": {"mode": "fast", "A": "map"}})).expect("a map");
        let secret: Secret = serde_json::from_value(json!({"data": {"key": "czNjcmV0"}})).expect("a secret");
        Sources {
            config_maps: BTreeMap::from([("settings".to_owned(), Some(map)), ("gone".to_owned(), None)]),
            secrets: BTreeMap::from([("token".to_owned(), Some(secret))]),
            facts: Facts { pod_ip: "10.0.0.2".into(), host_ip: "10.0.0.1".into(), node_name: "lab".into() },
        }
    }

    #[test]
    fn every_source_is_resolved_and_later_ones_win() {
        let container = container(json!({
            "name": "main",
            "envFrom": [{"configMapRef": {"name": "settings"}, "prefix": "P_"}, {"secretRef": {"name": "no", "optional": true}}],
            "env": [
                {"name": "A", "value": "1"},
                {"name": "B", "value": "$(A)$(P_mode)$(later)"},
                {"name": "later", "value": "x"},
                {"name": "POD_UID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}},
                {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
                {"name": "MODE", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "mode"}}},
                {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "token", "key": "key"}}},
                {"name": "NONE", "valueFrom": {"secretKeyRef": {"name": "token", "key": "no", "optional": true}}},
                {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
                {"name": "A", "value": "2"}
            ],
            "resources": {"limits": {"cpu": "1500m"}}
        }));
        let environment = environment(&pod(), &container, &sources()).expect("an environment");
        let text: Vec<_> = environment.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(
            text,
            [
                "P_A=map",
                "P_mode=fast",
                "A=2",
                "B=1fast$(later)",
                "later=x",
                "POD_UID=u-1",
                "IP=10.0.0.2",
                "APP=x",
                "MODE=fast",
                "KEY=s3cret",
                "CPU=2"
            ]
        );
    }

    #[rstest]
    #[case(json!({"configMapKeyRef": {"name": "gone", "key": "a"}}), "configmap \"gone\" not found")]
    #[case(json!({"configMapKeyRef": {"name": "settings", "key": "no"}}), "couldn't find key no in ConfigMap settings")]
    #[case(json!({"secretKeyRef": {"name": "unknown", "key": "a"}}), "secret \"unknown\" not found")]
    #[case(json!({"fieldRef": {"fieldPath": "spec.containers"}}), "field \"spec.containers\" can't be referred to")]
    fn missing_references_are_named(#[case] source: serde_json::Value, #[case] expected: &str) {
        let container = container(json!({"name": "main", "env": [{"name": "X", "valueFrom": source}]}));
        let error = environment(&pod(), &container, &sources()).expect_err("an error");
        assert_eq!(error.to_string(), expected);
    }

    #[rstest]
    #[case(json!({"name": "m"}), &["entry", "arg"])]
    #[case(json!({"name": "m", "args": ["$(A)"]}), &["entry", "arg", "1"])]
    #[case(json!({"name": "m", "command": ["run"]}), &["run"])]
    #[case(json!({"name": "m", "command": ["run"], "args": ["-x"]}), &["run", "-x"])]
    fn command_and_arguments(#[case] value: serde_json::Value, #[case] expected: &[&str]) {
        let entry_point = ["entry".to_owned(), "arg".to_owned()];
        let line = command_line(&container(value), &entry_point, &[("A".into(), "1".into())]);
        assert_eq!(line, expected);
    }
}
