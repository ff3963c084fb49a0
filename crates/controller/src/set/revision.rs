//! The revision of a set and the `SandboxTemplate` that goes with it (`kubernetes.md` §2.6, §3.2 step 1).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use contract::crd::template::check;
use contract::crd::{Sandbox, SandboxSet, SandboxTemplate, SandboxTemplateSpec};
use contract::errors::{Code, Problem};
use contract::hash;
use contract::names::{annotations, labels};
use kube::api::{ObjectMeta, Patch};
use kube::{Resource as _, ResourceExt as _};
use serde_json::{Value, json};

use super::history;
use crate::api::{Context, has_code, parameters, patch_parameters};
use crate::dispatch::Failure;
use crate::queue::ObjectName;
use crate::world::controller;

/// Which revision's `SandboxTemplate` was made and not seen in the watch yet, by UID of the set.
#[derive(Debug, Default)]
pub(crate) struct Remembered {
    revisions: Mutex<HashMap<String, String>>,
}

impl Remembered {
    fn knows(&self, set: &str, revision: &str) -> bool {
        let revisions = self.revisions.lock().unwrap_or_else(PoisonError::into_inner);
        revisions.get(set).is_some_and(|known| known == revision)
    }

    fn keep(&self, set: &str, revision: &str) {
        self.revisions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(set.to_owned(), revision.to_owned());
    }

    fn forget(&self, set: &str) {
        self.revisions.lock().unwrap_or_else(PoisonError::into_inner).remove(set);
    }
}

/// The target of a set.
pub(super) struct Target {
    /// Hash that members should carry.
    pub(super) revision: String,
    /// `SandboxTemplate` in use.
    pub(super) template_name: String,
    /// Pod template in use.
    pub(super) template: Value,
}

/// What the pool of `sandbox` would make now, or in words why there is none. Nothing is written.
pub(crate) async fn draft_for(
    context: &Context,
    sandbox: &Sandbox,
) -> Result<Result<Sandbox, String>, Failure> {
    let Some(pool) = sandbox.labels().get(labels::SANDBOX_POOL) else {
        return Ok(Err(format!("it has no label {}, so it belongs to no pool", labels::SANDBOX_POOL)));
    };
    let namespace = sandbox.namespace().unwrap_or_default();
    let found = context.namespaced::<SandboxSet>(&namespace).get_opt(pool).await;
    let object = format!("SandboxSet {pool}");
    let found = found.map_err(|source| Failure::Api { action: "get", object, source })?;
    let Some(set) = found.filter(|set| set.metadata.deletion_timestamp.is_none()) else {
        return Ok(Err(format!("SandboxSet {pool} is gone")));
    };
    let template = match (&set.spec.template, &set.spec.template_ref) {
        (Some(template), _) => Some(template.clone()),
        (None, Some(reference)) => referred(context, &set, &reference.name).await?,
        (None, None) => None,
    };
    let Some(template) = template else {
        return Ok(Err(format!("SandboxSet {pool} has no template that can be used")));
    };
    let revision = hash::set_revision(&set.spec, Some(&template));
    Ok(Ok(super::generate::sandbox(&set, &revision, &template)))
}

/// Finds the target; an inline template is stored as an owned `SandboxTemplate` on the way.
pub(super) async fn target(context: &Context, set: &SandboxSet) -> Result<Target, Failure> {
    let claims = set.spec.volume_claim_templates.as_deref().unwrap_or_default();
    if let Some(template) = &set.spec.template {
        check(template, claims).map_err(|problem| problem.about(object(set)))?;
        let revision = hash::set_revision(&set.spec, Some(template));
        let template_name = format!("{}-{revision}", set.name_any());
        materialise(context, set, &revision, &template_name).await?;
        return Ok(Target { revision, template_name, template: template.clone() });
    }
    let Some(reference) = &set.spec.template_ref else {
        let message = "neither template nor templateRef is given";
        return Err(Problem::new(Code::InvalidTemplate, message).about(object(set)).into());
    };
    let Some(template) = referred(context, set, &reference.name).await? else {
        let message = format!(
            "templateRef names SandboxTemplate {}, which does not exist or has no template",
            reference.name
        );
        return Err(Problem::new(Code::InvalidTemplate, message).about(object(set)).into());
    };
    check(&template, claims).map_err(|problem| {
        problem.within(&format!("SandboxTemplate {}", reference.name)).about(object(set))
    })?;
    let revision = hash::set_revision(&set.spec, Some(&template));
    Ok(Target { revision, template_name: reference.name.clone(), template })
}

/// The template of that name; one that the watch has not shown yet is asked for, so that a set applied together with
/// its template isn't told that there is none.
async fn referred(context: &Context, set: &SandboxSet, name: &str) -> Result<Option<Value>, Failure> {
    let namespace = set.namespace().unwrap_or_default();
    let key = ObjectName { namespace: namespace.clone(), name: name.to_owned() };
    if let Some(known) = context.world.template(&key) {
        return Ok(known.spec.template.clone());
    }
    let found = context.namespaced::<SandboxTemplate>(&namespace).get_opt(name).await;
    let failed = |source| Failure::Api { action: "get", object: format!("SandboxTemplate {name}"), source };
    Ok(found.map_err(failed)?.and_then(|found| found.spec.template))
}

async fn materialise(context: &Context, set: &SandboxSet, revision: &str, name: &str) -> Result<(), Failure> {
    let (uid, namespace) = (set.uid().unwrap_or_default(), set.namespace().unwrap_or_default());
    let key = ObjectName { namespace: namespace.clone(), name: name.to_owned() };
    if let Some(known) = context.world.template(&key) {
        context.sets.forget(&uid);
        return owned(&known, &uid);
    }
    if context.sets.knows(&uid, revision) {
        return Ok(());
    }
    let templates = context.namespaced::<SandboxTemplate>(&namespace);
    let failed = |action| {
        let object = format!("SandboxTemplate {name}");
        move |source| Failure::Api { action, object, source }
    };
    match templates.create(&parameters(), &owned_template(set, name)).await {
        Ok(_) => {}
        Err(error) if has_code(&error, 409) => {
            owned(&templates.get(name).await.map_err(failed("get"))?, &uid)?;
        }
        Err(error) => return Err(failed("create")(error)),
    }
    context.sets.keep(&uid, revision);
    Ok(())
}

fn owned_template(set: &SandboxSet, name: &str) -> SandboxTemplate {
    let spec = &set.spec;
    SandboxTemplate {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: set.metadata.namespace.clone(),
            owner_references: set.controller_owner_ref(&()).map(|mut owner| {
                owner.block_owner_deletion = Some(false);
                vec![owner]
            }),
            ..ObjectMeta::default()
        },
        spec: SandboxTemplateSpec {
            template: spec.template.clone(),
            volume_claim_templates: spec.volume_claim_templates.clone(),
            persistent_contents: spec.persistent_contents.clone(),
            runtimes: spec.runtimes.clone(),
            pause_strategy: spec.pause_strategy.clone(),
        },
    }
}

/// A template of that name that is somebody else's is left alone.
fn owned(template: &SandboxTemplate, set_uid: &str) -> Result<(), Failure> {
    if controller(template).is_some_and(|owner| owner.uid == set_uid) {
        return Ok(());
    }
    Err(Failure::TemplateTaken { name: template.name_any() })
}

/// Step 6: puts the marks of old revisions right. Nothing depends on it, so a failure is only logged.
pub(super) async fn mark_old(context: &Context, set: &SandboxSet, current: &str) {
    let owned: Vec<Arc<SandboxTemplate>> = context.world.templates(&set.uid().unwrap_or_default());
    let history::Marks { set: marked, clear } = history::marks(&owned, current);
    let marked = marked.into_iter().map(|name| (name, json!("true")));
    let cleared = clear.into_iter().map(|name| (name, Value::Null));
    let templates = context.namespaced::<SandboxTemplate>(&set.namespace().unwrap_or_default());
    for (name, mark) in marked.chain(cleared) {
        let patch = json!({"metadata": {"annotations": {annotations::CLEANUP_CANDIDATE: mark}}});
        match templates.patch(&name, &patch_parameters(), &Patch::Merge(&patch)).await {
            Ok(written) => context.world.wrote_template(written),
            Err(error) if has_code(&error, 404) => {}
            Err(error) => {
                tracing::warn!(set = object(set), template = name, %error, "cannot mark an old revision");
            }
        }
    }
}

fn object(set: &SandboxSet) -> String {
    format!("SandboxSet/{}/{}", set.namespace().unwrap_or_default(), set.name_any())
}
