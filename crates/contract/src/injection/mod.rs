//! Runtime injection: what a ConfigMap entry adds to a pod (`kubernetes.md` §4, `storage.md` §5).
//!
//! ```text
//! Sandbox.spec.runtimes ──► order: agent-runtime, csi, the rest ──► for each: entry of the ConfigMap ──► merge
//! ```
//! Pure: the caller reads the ConfigMap `sandbox-injection-config` at every pod creation. Nothing is merged twice:
//! volumes and env are the same by name, mounts by path, and the user's own entry wins (decision D-7).

mod default_config;
mod generic;
mod merge;
mod mounter;
mod post_start;
mod template;

use k8s_openapi::api::core::v1::{ConfigMap, Pod};

use crate::crd::RuntimeConfig;
use crate::errors::{Code, Problem};
use crate::names::{INJECTION_CONFIG, RUNTIME_AGENT, RUNTIME_CSI};

pub use default_config::{
    AGENT_RUNTIME_IMAGE, CSI_AGENT_IMAGE, default_config_map, default_config_map_for, manifest,
};
pub use mounter::with_oss_mounter;
pub use template::RuntimeTemplate;

/// The parsed ConfigMap, one template per runtime name, read when asked for.
#[derive(Clone, Copy, Debug)]
pub struct InjectionConfig<'a> {
    config_map: Option<&'a ConfigMap>,
}

impl<'a> InjectionConfig<'a> {
    /// Over the ConfigMap, or over nothing when it does not exist.
    pub fn new(config_map: Option<&'a ConfigMap>) -> Self {
        Self { config_map }
    }

    /// The template of runtime `name`.
    ///
    /// # Errors
    /// [`Code::InjectionTemplateNotFound`] when ConfigMap, key or text is missing;
    /// [`Code::InjectionTemplateInvalid`] when the text isn't JSON of that shape.
    pub fn template(&self, name: &str) -> Result<RuntimeTemplate, Problem> {
        let data = self.config_map.and_then(|config_map| config_map.data.as_ref());
        let text = data.and_then(|data| data.get(name)).filter(|text| !text.trim().is_empty());
        let Some(text) = text else {
            let reason = match self.config_map {
                None => format!("ConfigMap {INJECTION_CONFIG} does not exist"),
                Some(_) => format!("ConfigMap {INJECTION_CONFIG} has no key {name}"),
            };
            let message = format!("injection template {name} not found: {reason}");
            return Err(Problem::new(Code::InjectionTemplateNotFound, message).about(object()));
        };
        serde_json::from_str(text).map_err(|error| {
            let message =
                format!("injection template {name} of ConfigMap {INJECTION_CONFIG} is invalid: {error}");
            Problem::new(Code::InjectionTemplateInvalid, message).about(object())
        })
    }
}

/// Injects `runtimes` into `pod`. Returns the clashes: injected items that were dropped because the pod has an item
/// of that name or path with other content; each is a sentence for a warning.
///
/// # Errors
/// A missing or invalid template, or [`Code::InjectionConflict`] for a runtime that isn't one of the two known
/// ones. The pod is then half-changed and must not be created.
pub fn inject(
    pod: &mut Pod,
    runtimes: &[RuntimeConfig],
    config: InjectionConfig<'_>,
) -> Result<Vec<String>, Problem> {
    let mut clashes = Vec::new();
    for name in in_order(runtimes) {
        let template = config.template(name)?;
        match name {
            RUNTIME_AGENT => merge::agent_runtime(pod, template, &mut clashes),
            RUNTIME_CSI => merge::csi(pod, template, &mut clashes),
            other => generic::inject(pod, other, template)?,
        }
    }
    Ok(clashes)
}

/// `agent-runtime`, then `csi`, then the rest as declared, repetitions once.
pub fn in_order(runtimes: &[RuntimeConfig]) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    let declared = runtimes.iter().map(|runtime| runtime.name.as_str());
    let first =
        [RUNTIME_AGENT, RUNTIME_CSI].into_iter().filter(|known| declared.clone().any(|name| name == *known));
    for name in first.chain(declared.clone()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn object() -> String {
    format!("ConfigMap/{INJECTION_CONFIG}")
}
