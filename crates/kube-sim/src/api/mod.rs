//! The verbs on resources, without HTTP: each works on the locked state and is complete when it returns.

pub(crate) mod account;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod patch;
pub(crate) mod pod;
pub(crate) mod read;
pub(crate) mod review;
pub(crate) mod scale;
pub(crate) mod token;
pub(crate) mod update;

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use crate::admission::{self, Asked};
use crate::caller::Caller;
use crate::error::{ApiError, ApiResult};
use crate::http::query::{FieldValidation, Query};
use crate::kinds::ResourceType;
use crate::state::State;
use crate::store::Address;

/// One call of a verb on a resource.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) caller: Caller,
    pub(crate) resource: Arc<ResourceType>,
    /// Empty for cluster scope, and for a list of all namespaces.
    pub(crate) namespace: String,
    pub(crate) name: Option<String>,
    pub(crate) query: Query,
    /// Who writes: the `fieldManager` parameter, otherwise the client program's name.
    pub(crate) manager: String,
    pub(crate) now: Timestamp,
    pub(crate) dry_run: bool,
    pub(crate) field_validation: FieldValidation,
    /// What the caller should know although the call succeeds; sent as `Warning` headers.
    pub(crate) warnings: Vec<String>,
}

impl Call {
    pub(crate) fn name(&self) -> ApiResult<&str> {
        self.name.as_deref().ok_or_else(ApiError::method_not_allowed)
    }

    pub(crate) fn address(&self, name: &str) -> Address {
        Address {
            collection: self.resource.collection.clone(),
            namespace: self.namespace.clone(),
            name: name.to_owned(),
        }
    }

    pub(crate) fn not_found(&self, name: &str) -> ApiError {
        ApiError::not_found(&self.resource.group, &self.resource.plural, name)
    }

    pub(crate) fn modified(&self, name: &str) -> ApiError {
        ApiError::modified(&self.resource.group, &self.resource.plural, name)
    }

    pub(crate) fn conflict(&self, name: &str, why: &str) -> ApiError {
        ApiError::conflict(&self.resource.group, &self.resource.plural, name, why)
    }

    /// Asks the admission policies about what the call is about to write, and keeps what they warn of.
    pub(crate) fn admit(
        &mut self,
        state: &State,
        operation: &'static str,
        subresource: &str,
        (old, object): (Option<&Value>, Option<&Value>),
    ) -> ApiResult<()> {
        let generated = self.name.is_none()
            && object.is_some_and(|object| {
                let text = |name: &str| object["metadata"][name].as_str().unwrap_or_default();
                !text("generateName").is_empty() && text("name").starts_with(text("generateName"))
            });
        let shown = object.or(old).and_then(|object| object["metadata"]["name"].as_str()).unwrap_or_default();
        let name = self.name.as_deref().unwrap_or(if generated { "" } else { shown });
        let asked = Asked {
            caller: &self.caller,
            resource: &self.resource,
            subresource,
            operation,
            namespace: &self.namespace,
            name,
            object,
            old,
            dry_run: self.dry_run,
        };
        let warnings = admission::admit(state, &asked)?;
        self.warnings.extend(warnings);
        Ok(())
    }

    /// Checks that a body is an object of the kind that the path names.
    pub(crate) fn check_kind(&self, body: &Value) -> ApiResult<()> {
        if !body.is_object() {
            return Err(ApiError::bad_request("the body of the request is not an object"));
        }
        if !body["metadata"].is_object() && !body["metadata"].is_null() {
            return Err(ApiError::bad_request("metadata of the object is not an object"));
        }
        let (kind, api_version) = (&body["kind"], &body["apiVersion"]);
        if kind.is_null() && api_version.is_null() && self.resource.custom().is_none() {
            return Ok(());
        }
        let expected = self.resource.api_version();
        if *kind == *self.resource.kind && *api_version == *expected {
            return Ok(());
        }
        let show = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Err(ApiError::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): expected {expected}, Kind={}, found {}, Kind={}",
            self.resource.kind,
            self.resource.kind,
            show(api_version),
            show(kind),
        )))
    }
}
