//! The revision of a set and the `SandboxTemplate` that goes with it (`kubernetes.md` §2.6, §3.2 step 1).

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use contract::crd::{SandboxSet, SandboxTemplate, SandboxTemplateSpec};
use contract::errors::{Code, Problem};
use contract::hash;
use contract::names::annotations;
use kube::api::{ListParams, ObjectMeta, Patch};
use kube::{Resource as _, ResourceExt as _};
use serde_json::{Value, json};

use super::victims;
use crate::api::{Context, has_code, parameters, patch_parameters};
use crate::dispatch::Failure;

/// Materialised templates that are kept without a mark.
const KEPT_TEMPLATES: usize = 10;

/// Which revision's `SandboxTemplate` is known to be there, by UID of the set: saves asking at every turn.
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

/// Finds the target; an inline template is stored as an owned `SandboxTemplate` on the way.
pub(super) async fn target(context: &Context, set: &SandboxSet) -> Result<Target, Failure> {
    if let Some(template) = &set.spec.template {
        let revision = hash::set_revision(&set.spec, Some(template));
        let template_name = format!("{}-{revision}", set.name_any());
        materialise(context, set, &revision, &template_name).await?;
        return Ok(Target { revision, template_name, template: template.clone() });
    }
    let Some(reference) = &set.spec.template_ref else {
        let message = "neither template nor templateRef is given";
        return Err(Problem::new(Code::InvalidTemplate, message).about(object(set)).into());
    };
    let templates = context.namespaced::<SandboxTemplate>(&set.namespace().unwrap_or_default());
    let found = templates.get_opt(&reference.name).await.map_err(|source| Failure::Api {
        action: "get",
        object: format!("SandboxTemplate {}", reference.name),
        source,
    })?;
    let Some(template) = found.and_then(|found| found.spec.template) else {
        let message = format!(
            "templateRef names SandboxTemplate {}, which does not exist or has no template",
            reference.name
        );
        return Err(Problem::new(Code::InvalidTemplate, message).about(object(set)).into());
    };
    let revision = hash::set_revision(&set.spec, Some(&template));
    Ok(Target { revision, template_name: reference.name.clone(), template })
}

async fn materialise(context: &Context, set: &SandboxSet, revision: &str, name: &str) -> Result<(), Failure> {
    let uid = set.uid().unwrap_or_default();
    if context.sets.knows(&uid, revision) {
        return Ok(());
    }
    let templates = context.namespaced::<SandboxTemplate>(&set.namespace().unwrap_or_default());
    let failed = |action| {
        let object = format!("SandboxTemplate {name}");
        move |source| Failure::Api { action, object, source }
    };
    match templates.create(&parameters(), &owned_template(set, name)).await {
        Ok(_) => mark_surplus(context, set).await,
        Err(error) if has_code(&error, 409) => {
            let existing = templates.get(name).await.map_err(failed("get"))?;
            if !is_owned(&existing, &uid) {
                return Err(Failure::TemplateTaken { name: name.to_owned() });
            }
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

fn is_owned(template: &SandboxTemplate, set_uid: &str) -> bool {
    template.owner_references().iter().any(|owner| owner.controller == Some(true) && owner.uid == set_uid)
}

/// Step 6: marks all but the newest owned templates. Nothing depends on it, so a failure is only logged.
async fn mark_surplus(context: &Context, set: &SandboxSet) {
    if let Err(error) = try_mark_surplus(context, set).await {
        tracing::warn!(set = object(set), %error, "cannot mark surplus SandboxTemplates");
    }
}

async fn try_mark_surplus(context: &Context, set: &SandboxSet) -> kube::Result<()> {
    let uid = set.uid().unwrap_or_default();
    let templates = context.namespaced::<SandboxTemplate>(&set.namespace().unwrap_or_default());
    let mut owned = templates.list(&ListParams::default()).await?.items;
    owned.retain(|template| is_owned(template, &uid));
    owned.sort_by_key(|template| std::cmp::Reverse(victims::age(template)));
    let patch = json!({"metadata": {"annotations": {annotations::CLEANUP_CANDIDATE: "true"}}});
    for template in owned.iter().skip(KEPT_TEMPLATES) {
        if !template.annotations().contains_key(annotations::CLEANUP_CANDIDATE) {
            templates.patch(&template.name_any(), &patch_parameters(), &Patch::Merge(&patch)).await?;
        }
    }
    Ok(())
}

fn object(set: &SandboxSet) -> String {
    format!("SandboxSet/{}/{}", set.namespace().unwrap_or_default(), set.name_any())
}
