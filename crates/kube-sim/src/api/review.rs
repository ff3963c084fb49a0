//! Questions about rights. Whoever holds one of the lab's tokens may do everything.

use serde_json::{Value, json};

use crate::caller::Caller;
use crate::error::{ApiError, ApiResult};
use crate::http::path::ResourcePath;

/// The reviews that are answered, by resource.
const REVIEWS: [(&str, &str, &str); 5] = [
    ("authorization.k8s.io", "selfsubjectaccessreviews", "SelfSubjectAccessReview"),
    ("authorization.k8s.io", "subjectaccessreviews", "SubjectAccessReview"),
    ("authorization.k8s.io", "localsubjectaccessreviews", "LocalSubjectAccessReview"),
    ("authorization.k8s.io", "selfsubjectrulesreviews", "SelfSubjectRulesReview"),
    ("authentication.k8s.io", "selfsubjectreviews", "SelfSubjectReview"),
];

/// The kind of review that a path creates.
pub(crate) fn kind(path: &ResourcePath) -> Option<&'static str> {
    REVIEWS
        .iter()
        .find(|(group, plural, _)| path.group == *group && path.plural == *plural && path.version == "v1")
        .map(|(_, _, kind)| *kind)
}

/// The answer to a review that `caller` asks for.
pub(crate) fn answer(
    kind: &str,
    path: &ResourcePath,
    caller: &Caller,
    mut review: Value,
) -> ApiResult<Value> {
    if !review.is_object() {
        return Err(ApiError::bad_request("the body of the request is not an object"));
    }
    let anything = json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]);
    review["kind"] = kind.into();
    review["apiVersion"] = format!("{}/{}", path.group, path.version).into();
    review["status"] = match kind {
        "SelfSubjectRulesReview" => json!({
            "incomplete": false, "resourceRules": anything,
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
        }),
        "SelfSubjectReview" => json!({"userInfo": caller.user_info()}),
        _ => json!({"allowed": true, "reason": "the lab's token may do everything"}),
    };
    Ok(review)
}
