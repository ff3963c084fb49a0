//! A Sandbox as the API shows it (`e2b-api.md` §3.1, §3.5).

use std::collections::BTreeMap;

use contract::crd::template::pod_template;
use contract::crd::{Sandbox, SandboxSet, TemplateRef};
use contract::names::{E2B_PREFIX, INTERNAL_PREFIX};
use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt as _;
use serde_json::{Map, Value, json};

use super::context::Context;
use super::network;
use crate::deadlines::{Deadlines, end_text};
use crate::error::ApiError;
use crate::manager::Manager;
use crate::quantity;
use crate::sandboxes::{self, Situation};

/// Annotation of sandboxes whose creator wants to see the pod's address in the metadata.
pub(crate) const RETURN_IP: &str = "agents.kruise.io/return-sandbox-ip";
/// Metadata written by the manager: namespace and name of the object.
const SANDBOX_RESOURCE: &str = "e2b.agents.kruise.io/sandbox-resource";
/// Metadata written by the manager: the pod's address.
const SANDBOX_IP: &str = "e2b.agents.kruise.io/sandbox-ip";

/// What one request is shown of one sandbox.
pub(crate) struct View<'a> {
    sandbox: &'a Sandbox,
    shown: Map<String, Value>,
}

impl<'a> View<'a> {
    /// Everything but tokens and network rules, with the domain of the request.
    pub(crate) fn new(
        manager: &Manager,
        context: &Context,
        sandbox: &'a Sandbox,
        situation: Situation,
    ) -> Result<Self, ApiError> {
        let domain = context.domain(manager.shared.options.domain.as_deref())?;
        Ok(Self::within(manager, domain, sandbox, situation))
    }

    /// The same with a domain that is known already.
    pub(crate) fn within(
        manager: &Manager,
        domain: String,
        sandbox: &'a Sandbox,
        situation: Situation,
    ) -> Self {
        let resources = manager.resources_of_sandbox(sandbox);
        let shown = Map::from_iter([
            ("sandboxID".to_owned(), sandboxes::id(sandbox).into()),
            ("templateID".to_owned(), sandboxes::template(sandbox).into()),
            ("clientID".to_owned(), "".into()),
            ("alias".to_owned(), "".into()),
            ("envdVersion".to_owned(), manager.shared.options.envd_version.clone().into()),
            ("domain".to_owned(), domain.into()),
            ("startedAt".to_owned(), sandboxes::started_at(sandbox).to_string().into()),
            ("endAt".to_owned(), end_text(Deadlines::of(&sandbox.spec).end()).into()),
            ("state".to_owned(), situation.word().unwrap_or("running").into()),
            ("cpuCount".to_owned(), (resources.milli_cpu / 1000).into()),
            ("memoryMB".to_owned(), resources.memory_mb.into()),
            ("diskSizeMB".to_owned(), resources.disk_mb.into()),
            ("metadata".to_owned(), json!(metadata(sandbox))),
        ]);
        Self { sandbox, shown }
    }

    /// With the access token, for those who may use the sandbox.
    pub(crate) fn with_token(mut self) -> Self {
        if let Some(token) = sandboxes::access_token(self.sandbox) {
            self.shown.insert("envdAccessToken".to_owned(), token.into());
        }
        self
    }

    /// With the network rules, if there are any.
    pub(crate) fn with_network(mut self) -> Self {
        if let Some(rules) = network::stored(self.sandbox) {
            self.shown.insert("network".to_owned(), json!(rules));
        }
        self
    }

    /// The object.
    pub(crate) fn value(self) -> Value {
        Value::Object(self.shown)
    }
}

/// What users may see: their own labels and annotations, and two entries that nobody can spoof.
pub(crate) fn metadata(sandbox: &Sandbox) -> BTreeMap<String, String> {
    let own = |key: &str| !key.starts_with(E2B_PREFIX) && !key.starts_with(INTERNAL_PREFIX);
    let entries = sandbox.labels().iter().chain(sandbox.annotations());
    let mut metadata: BTreeMap<_, _> =
        entries.filter(|(key, _)| own(key)).map(|(key, value)| (key.clone(), value.clone())).collect();
    metadata.insert(SANDBOX_RESOURCE.to_owned(), sandboxes::key(sandbox).to_string());
    if let (Some(_), Some(ip)) = (sandboxes::annotation(sandbox, RETURN_IP), sandboxes::pod_ip(sandbox)) {
        metadata.insert(SANDBOX_IP.to_owned(), ip.to_owned());
    }
    metadata
}

/// What the first container of a pod template may use: the limit, else the request.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Resources {
    pub(crate) milli_cpu: u64,
    pub(crate) memory_mb: u64,
    pub(crate) disk_mb: u64,
}

impl Manager {
    /// What a sandbox may use; zero where its template doesn't say.
    pub(crate) fn resources_of_sandbox(&self, sandbox: &Sandbox) -> Resources {
        let spec = &sandbox.spec;
        self.resources(sandbox.namespace(), spec.template.as_ref(), spec.template_ref.as_ref())
    }

    /// What each sandbox of a pool may use; zero where its template doesn't say.
    pub(crate) fn resources_of_set(&self, set: &SandboxSet) -> Resources {
        self.resources(set.namespace(), set.spec.template.as_ref(), set.spec.template_ref.as_ref())
    }

    /// Those of an inline template, or of the `SandboxTemplate` that is referred to.
    fn resources(
        &self,
        namespace: Option<String>,
        template: Option<&Value>,
        reference: Option<&TemplateRef>,
    ) -> Resources {
        match template {
            Some(template) => Resources::of_template(template),
            None => {
                self.referred(namespace, reference).as_ref().map(Resources::of_template).unwrap_or_default()
            }
        }
    }

    /// The pod template that a pool refers to, if it does.
    pub(crate) fn referred_template(&self, set: &SandboxSet) -> Option<Value> {
        self.referred(set.namespace(), set.spec.template_ref.as_ref())
    }

    fn referred(&self, namespace: Option<String>, reference: Option<&TemplateRef>) -> Option<Value> {
        let named = self.shared.templates.get(&namespace.unwrap_or_default(), &reference?.name)?;
        named.spec.template.clone()
    }
}

impl Resources {
    /// Those of a pod template.
    pub(crate) fn of_template(template: &Value) -> Self {
        let first =
            pod_template(template).ok().and_then(|template| template.spec?.containers.into_iter().next());
        let Some(resources) = first.and_then(|container| container.resources) else { return Self::default() };
        let of = |name: &str| amount(&resources, name);
        let megabytes = |bytes: u64| bytes / (1024 * 1024);
        Self {
            milli_cpu: of("cpu").map_or(0, quantity::milli),
            memory_mb: megabytes(of("memory").map_or(0, quantity::whole)),
            disk_mb: megabytes(of("ephemeral-storage").map_or(0, quantity::whole)),
        }
    }
}

fn amount<'a>(resources: &'a ResourceRequirements, name: &str) -> Option<&'a Quantity> {
    let limit = resources.limits.as_ref().and_then(|limits| limits.get(name));
    limit.or_else(|| resources.requests.as_ref().and_then(|requests| requests.get(name)))
}
