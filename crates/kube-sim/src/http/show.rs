//! Objects, lists and watch events in the form that the client asked for.

use std::sync::Arc;

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

    fn versioned(&self, stored: &Value) -> Value {
        if self.resource.converts() { self.resource.present(stored) } else { stored.clone() }
    }

    /// One object; `with_columns` is left out after the first rows of a watch.
    pub(crate) fn object(&self, stored: &Value, with_columns: bool) -> Value {
        match self.form {
            Form::Object => self.versioned(stored),
            Form::Metadata => json!({
                "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": stored["metadata"],
            }),
            Form::Table => {
                let metadata = json!({"resourceVersion": stored["metadata"]["resourceVersion"]});
                let objects = [self.versioned(stored)];
                table::table(&self.resource, &objects, &metadata, &self.include, self.now, with_columns)
            }
        }
    }

    pub(crate) fn list(&self, page: &Page) -> Value {
        let mut metadata = json!({"resourceVersion": page.revision.to_string()});
        if let Some(next) = &page.next {
            metadata["continue"] = next.clone().into();
        }
        if let Some(remaining) = page.remaining {
            metadata["remainingItemCount"] = remaining.into();
        }
        match self.form {
            Form::Object => json!({
                "kind": self.resource.list_kind, "apiVersion": self.resource.api_version(), "metadata": metadata,
                "items": page.objects.iter().map(|object| self.versioned(object)).collect::<Vec<_>>(),
            }),
            Form::Metadata => json!({
                "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
                "items": page.objects.iter().map(|object| self.object(object, false)).collect::<Vec<_>>(),
            }),
            Form::Table => {
                let objects: Vec<Value> = page.objects.iter().map(|object| self.versioned(object)).collect();
                table::table(&self.resource, &objects, &metadata, &self.include, self.now, true)
            }
        }
    }
}
