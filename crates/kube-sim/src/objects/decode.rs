//! From what a client sent to what may be stored: unknown fields out, defaults in, schema and rules checked.

use serde_json::Value;

use crate::api::Call;
use crate::error::{ApiError, ApiResult, Cause};
use crate::http::query::FieldValidation;
use crate::kinds::{CustomVersion, Origin, event_kind};
use crate::schema::{
    Schema, check_rules, check_types, complete, drop_nulls, metadata_schema, of_builtin, prune, validate,
};

/// Decodes an object in place; the answer is everything that its schema finds wrong.
pub(super) fn decode(call: &mut Call, object: &mut Value, current: Option<&Value>) -> ApiResult<Vec<Cause>> {
    let resource = std::sync::Arc::clone(&call.resource);
    match &resource.origin {
        Origin::Builtin(builtin) => {
            // Both faces of an event are stored as the older one.
            let schema =
                of_builtin(if resource.is("events.k8s.io", "events") { event_kind() } else { builtin });
            drop_nulls(object, schema);
            refuse_wrong_types(call, &check_types(object, schema))?;
            let mut unknown = Vec::new();
            prune(object, schema, false, &mut unknown);
            report(call, &unknown)?;
            Ok(Vec::new())
        }
        Origin::Custom(version) => decode_custom(call, version, object, current),
    }
}

fn decode_custom(
    call: &mut Call,
    version: &CustomVersion,
    object: &mut Value,
    current: Option<&Value>,
) -> ApiResult<Vec<Cause>> {
    let schema = Schema::custom(&version.schema);
    drop_nulls(object, schema);
    drop_nulls(&mut object["metadata"], metadata_schema());
    refuse_wrong_types(call, &check_types(&object["metadata"], metadata_schema()))?;
    let mut unknown = Vec::new();
    prune(object, schema, true, &mut unknown);
    report(call, &unknown)?;
    complete(object, schema);
    let mut causes = validate(object, schema);
    // Rules take the types for granted, so they are asked only of what is valid so far.
    if causes.is_empty() {
        causes = check_rules(object, current, schema, &version.rules);
    }
    Ok(causes)
}

fn cannot_be_handled(call: &Call, why: &str) -> ApiError {
    let (kind, version) = (&call.resource.kind, &call.resource.version);
    ApiError::bad_request(format!("{kind} in version {version:?} cannot be handled as a {kind}: {why}"))
}

fn refuse_wrong_types(call: &Call, causes: &[Cause]) -> ApiResult<()> {
    let Some(first) = causes.first() else { return Ok(()) };
    Err(cannot_be_handled(call, &format!("json: cannot unmarshal field {}: {}", first.field, first.message)))
}

fn report(call: &mut Call, unknown: &[String]) -> ApiResult<()> {
    let texts = || unknown.iter().map(|path| format!("unknown field {path:?}"));
    match call.field_validation {
        FieldValidation::Strict if !unknown.is_empty() => {
            let list = texts().collect::<Vec<_>>().join(", ");
            Err(cannot_be_handled(call, &format!("strict decoding error: {list}")))
        }
        FieldValidation::Warn => {
            call.warnings.extend(texts());
            Ok(())
        }
        FieldValidation::Strict | FieldValidation::Ignore => Ok(()),
    }
}
