//! Objects, lists and watch events in the form that the client asked for.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};

use super::negotiate::Form;
use crate::api::Call;
use crate::api::read::Page;
use crate::kinds::ResourceType;
use crate::table;

/// How one call shows objects.
#[derive(Clone, Debug)]
pub(crate) struct Presenter {
    pub(crate) resource: Arc<ResourceType>,
    pub(crate) form: Form,
    now: jiff::Timestamp,
    /// What table rows carry: `None`, `Metadata` or `Object`.
    include: String,
}

impl Presenter {
    pub(crate) fn new(call: &Call, form: Form) -> Self {
        Self {
            resource: Arc::clone(&call.resource),
            form,
            now: call.now,
            include: call.query.get("includeObject").unwrap_or("Metadata").to_owned(),
        }
    }

    fn versioned<'v>(&self, stored: &'v Value) -> Cow<'v, Value> {
        if self.resource.converts() {
            Cow::Owned(self.resource.present(stored))
        } else {
            Cow::Borrowed(stored)
        }
    }

    /// One object; `with_columns` is left out after the first rows of a watch.
    pub(crate) fn object<'v>(&self, stored: &'v Value, with_columns: bool) -> Cow<'v, Value> {
        match self.form {
            Form::Object => self.versioned(stored),
            Form::Metadata => Cow::Owned(json!({
                "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": stored["metadata"],
            })),
            Form::Table => {
                let metadata = json!({"resourceVersion": stored["metadata"]["resourceVersion"]});
                let objects = [self.versioned(stored)];
                Cow::Owned(table::table(
                    &self.resource,
                    &objects,
                    &metadata,
                    &self.include,
                    self.now,
                    with_columns,
                ))
            }
        }
    }

    /// A page of objects.
    pub(crate) fn list<'v>(&self, page: &'v Page) -> List<'v> {
        let mut metadata = json!({"resourceVersion": page.revision.to_string()});
        if let Some(next) = &page.next {
            metadata["continue"] = next.clone().into();
        }
        if let Some(remaining) = page.remaining {
            metadata["remainingItemCount"] = remaining.into();
        }
        let items = || page.objects.iter().map(|object| self.object(object, false)).collect();
        match self.form {
            Form::Object => List::Objects {
                kind: self.resource.list_kind.clone(),
                api_version: self.resource.api_version(),
                metadata,
                items: items(),
            },
            Form::Metadata => List::Objects {
                kind: "PartialObjectMetadataList".into(),
                api_version: "meta.k8s.io/v1".into(),
                metadata,
                items: items(),
            },
            Form::Table => {
                let objects: Vec<Cow<'_, Value>> =
                    page.objects.iter().map(|object| self.versioned(object)).collect();
                List::Table(table::table(&self.resource, &objects, &metadata, &self.include, self.now, true))
            }
        }
    }
}

/// A list in the form that the client asked for.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum List<'v> {
    Objects {
        kind: String,
        #[serde(rename = "apiVersion")]
        api_version: String,
        metadata: Value,
        items: Vec<Cow<'v, Value>>,
    },
    Table(Value),
}
