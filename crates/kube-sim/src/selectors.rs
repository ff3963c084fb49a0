//! Label and field selectors.

use serde_json::Value;

use crate::error::{ApiError, ApiResult};
use crate::kinds::ResourceType;

#[derive(Clone, Debug, Eq, PartialEq)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
    Above(String, i64),
    Below(String, i64),
}

/// A label selector such as `a=b,tier in (x,y),!old`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct LabelSelector(Vec<Requirement>);

impl LabelSelector {
    pub(crate) fn parse(text: &str) -> ApiResult<Self> {
        let requirements: Option<Vec<_>> = split_outside_parentheses(text)
            .into_iter()
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(requirement)
            .collect();
        requirements.map(Self).ok_or_else(|| {
            ApiError::bad_request(format!(
                "unable to parse requirement: found {text:?}, expected a label selector"
            ))
        })
    }

    /// A selector in the form that objects have (`matchLabels`, `matchExpressions`); an absent one selects everything.
    ///
    /// # Errors
    /// An operator that there is not.
    pub(crate) fn structured(selector: &Value) -> Result<Self, String> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let labels = selector["matchLabels"].as_object().into_iter().flatten();
        let mut requirements: Vec<_> =
            labels.map(|(key, value)| Requirement::In(key.clone(), vec![text(value)])).collect();
        for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
            let key = text(&expression["key"]);
            let values = expression["values"].as_array().into_iter().flatten().map(text).collect();
            requirements.push(match expression["operator"].as_str() {
                Some("In") => Requirement::In(key, values),
                Some("NotIn") => Requirement::NotIn(key, values),
                Some("Exists") => Requirement::Exists(key),
                Some("DoesNotExist") => Requirement::Absent(key),
                other => {
                    return Err(format!(
                        "{:?} is not a valid label selector operator",
                        other.unwrap_or_default()
                    ));
                }
            });
        }
        Ok(Self(requirements))
    }

    pub(crate) fn matches(&self, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        self.0.iter().all(|requirement| holds(requirement, |key| labels[key].as_str()))
    }
}

fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let mut depth = 0_u32;
    text.split(|letter| {
        match letter {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        letter == ',' && depth == 0
    })
    .collect()
}

fn requirement(text: &str) -> Option<Requirement> {
    if let Some(key) = text.strip_prefix('!') {
        return Some(Requirement::Absent(key_of(key)?));
    }
    if let Some((head, set)) = text.split_once('(') {
        let values = set.strip_suffix(')')?.split(',').map(|value| value.trim().to_owned()).collect();
        let (key, operator) = head.trim().rsplit_once(char::is_whitespace)?;
        return match operator {
            "in" => Some(Requirement::In(key_of(key)?, values)),
            "notin" => Some(Requirement::NotIn(key_of(key)?, values)),
            _ => None,
        };
    }
    if let Some((key, value)) = text.split_once("!=") {
        return Some(Requirement::NotIn(key_of(key)?, vec![value.trim().to_owned()]));
    }
    if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return Some(Requirement::In(key_of(key)?, vec![value.trim().to_owned()]));
    }
    if let Some((key, value)) = text.split_once('>') {
        return Some(Requirement::Above(key_of(key)?, value.trim().parse().ok()?));
    }
    if let Some((key, value)) = text.split_once('<') {
        return Some(Requirement::Below(key_of(key)?, value.trim().parse().ok()?));
    }
    Some(Requirement::Exists(key_of(text)?))
}

fn key_of(text: &str) -> Option<String> {
    let key = text.trim();
    let valid = !key.is_empty()
        && key.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_./".contains(letter));
    valid.then(|| key.to_owned())
}

fn holds<'a>(requirement: &Requirement, label: impl Fn(&str) -> Option<&'a str>) -> bool {
    let number = |key: &String| label(key).and_then(|value| value.parse::<i64>().ok());
    match requirement {
        Requirement::In(key, values) => {
            label(key).is_some_and(|found| values.iter().any(|value| value == found))
        }
        Requirement::NotIn(key, values) => {
            label(key).is_none_or(|found| values.iter().all(|value| value != found))
        }
        Requirement::Exists(key) => label(key).is_some(),
        Requirement::Absent(key) => label(key).is_none(),
        Requirement::Above(key, limit) => number(key).is_some_and(|found| found > *limit),
        Requirement::Below(key, limit) => number(key).is_some_and(|found| found < *limit),
    }
}

/// A field selector such as `metadata.name=a,status.phase!=Running`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct FieldSelector(Vec<(String, bool, String)>);

impl FieldSelector {
    /// Parses a selector on objects of `resource`; only the fields that its kind supports may be asked for.
    pub(crate) fn parse(text: &str, resource: &ResourceType) -> ApiResult<Self> {
        let mut terms = Vec::new();
        for term in text.split(',').filter(|term| !term.trim().is_empty()) {
            let (field, equal, value) = if let Some((field, value)) = term.split_once("!=") {
                (field, false, value)
            } else if let Some((field, value)) = term.split_once("==").or_else(|| term.split_once('=')) {
                (field, true, value)
            } else {
                return Err(ApiError::bad_request(format!(
                    "invalid selector: {term:?}; can't understand {term:?}"
                )));
            };
            let field = field.trim();
            if !supported(field, resource) {
                return Err(ApiError::bad_request(format!("field label not supported: {field}")));
            }
            terms.push((field.to_owned(), equal, value.trim().to_owned()));
        }
        Ok(Self(terms))
    }

    /// Whether an object, in the form that the request's version shows, is selected.
    pub(crate) fn matches(&self, object: &Value) -> bool {
        self.0.iter().all(|(field, equal, wanted)| (text_at(object, field) == *wanted) == *equal)
    }
}

/// The value at a dotted path as text; an absent one is the empty text.
fn text_at(object: &Value, path: &str) -> String {
    let found = path.split('.').fold(object, |value, member| &value[member]);
    match found {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn supported(field: &str, resource: &ResourceType) -> bool {
    if field == "metadata.name" || (field == "metadata.namespace" && resource.namespaced) {
        return true;
    }
    if let Some(custom) = resource.custom() {
        return custom.selectable.iter().any(|path| path.trim_start_matches('.') == field);
    }
    let fields: &[&str] = match (resource.group.as_str(), resource.plural.as_str()) {
        ("", "pods") => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
        ("", "events") => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        ("events.k8s.io", "events") => &[
            "regarding.kind",
            "regarding.namespace",
            "regarding.name",
            "regarding.uid",
            "regarding.apiVersion",
            "regarding.resourceVersion",
            "regarding.fieldPath",
            "reason",
            "reportingController",
            "type",
        ],
        ("", "secrets") => &["type"],
        ("", "namespaces") => &["status.phase"],
        ("", "nodes") => &["spec.unschedulable"],
        ("", "services") => &["spec.clusterIP", "spec.type"],
        ("batch", "jobs") => &["status.successful"],
        _ => &[],
    };
    fields.contains(&field)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::kinds::Registry;

    #[rstest]
    #[case("app=web", true)]
    #[case("app==web", true)]
    #[case("app!=web", false)]
    #[case("missing!=web", true)]
    #[case("app in (web, api),tier", true)]
    #[case("app notin (web)", false)]
    #[case("missing notin (web)", true)]
    #[case("tier", true)]
    #[case("!tier", false)]
    #[case("!missing", true)]
    #[case("size>2", true)]
    #[case("size<2", false)]
    #[case("", true)]
    #[case("empty=", true)]
    fn label_selectors_select(#[case] selector: &str, #[case] selected: bool) {
        let object =
            json!({"metadata": {"labels": {"app": "web", "tier": "front", "size": "3", "empty": ""}}});
        assert_eq!(LabelSelector::parse(selector).expect("parses").matches(&object), selected, "{selector}");
    }

    #[rstest]
    #[case("app in web")]
    #[case("app within (web)")]
    #[case("a b")]
    fn a_malformed_label_selector_is_a_bad_request(#[case] selector: &str) {
        assert_eq!(LabelSelector::parse(selector).expect_err("malformed").code, 400);
    }

    #[rstest]
    #[case("status.phase=Running", Ok(true))]
    #[case("status.phase!=Running,metadata.name=p", Ok(false))]
    #[case("spec.nodeName=", Ok(true))]
    #[case("spec.hostname=x", Err(400))]
    fn field_selectors_select_supported_fields(#[case] selector: &str, #[case] expected: Result<bool, u16>) {
        let pods = Registry::builtin().find("", "v1", "pods").expect("served");
        let pod = json!({"metadata": {"name": "p"}, "status": {"phase": "Running"}});
        let result = FieldSelector::parse(selector, &pods).map(|selector| selector.matches(&pod));
        assert_eq!(result.map_err(|error| error.code), expected);
    }
}
