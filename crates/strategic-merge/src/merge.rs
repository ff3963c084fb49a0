//! The merge itself.

use serde_json::{Map, Value};

use crate::lists::{ListKind, of_builtin};

const DIRECTIVE: &str = "$patch";
const RETAIN: &str = "$retainKeys";
const ORDER: &str = "$setElementOrder/";
const DELETE_ITEMS: &str = "$deleteFromPrimitiveList/";

/// Merges `patch` into `target`.
///
/// # Errors
/// What is wrong with the patch: an unknown directive, or an item of a keyed list without its key.
pub fn merge(target: &mut Value, patch: &Value) -> Result<(), String> {
    merge_value(target, patch, &mut Vec::new())
}

fn merge_value<'a>(target: &mut Value, patch: &'a Value, path: &mut Vec<&'a str>) -> Result<(), String> {
    let Value::Object(members) = patch else {
        *target = patch.clone();
        return Ok(());
    };
    match members.get(DIRECTIVE).and_then(Value::as_str) {
        Some("replace") => {
            *target = without_directives(members);
            return Ok(());
        }
        Some("delete") => {
            *target = Value::Null;
            return Ok(());
        }
        Some("merge") | None => {}
        Some(other) => return Err(format!("unknown patch directive {other:?}")),
    }
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Some(object) = target.as_object_mut() else { return Ok(()) };
    for (name, value) in members {
        merge_member(object, name, value, path)?;
    }
    if let Some(retained) = members.get(RETAIN).and_then(Value::as_array) {
        object.retain(|name, _| retained.iter().any(|one| one == name));
    }
    for (name, order) in members {
        if let Some(list) = name.strip_prefix(ORDER) {
            set_order(object, list, order, path);
        }
    }
    Ok(())
}

fn merge_member<'a>(
    object: &mut Map<String, Value>,
    name: &'a str,
    value: &'a Value,
    path: &mut Vec<&'a str>,
) -> Result<(), String> {
    if let Some(list) = name.strip_prefix(DELETE_ITEMS) {
        let gone = value.as_array().ok_or("$deleteFromPrimitiveList must be a list")?;
        if let Some(items) = object.get_mut(list).and_then(Value::as_array_mut) {
            items.retain(|item| !gone.contains(item));
        }
        return Ok(());
    }
    if name.starts_with('$') {
        return Ok(());
    }
    if value.is_null() {
        object.remove(name);
        return Ok(());
    }
    if let Value::Array(items) = value {
        let kind = of_builtin(path, name);
        let current = object.entry(name).or_insert_with(|| Value::Array(Vec::new()));
        path.push(name);
        let result = merge_list(current, items, &kind, path);
        path.pop();
        return result;
    }
    let current = object.entry(name).or_insert(Value::Null);
    path.push(name);
    let result = merge_value(current, value, path);
    path.pop();
    if object.get(name).is_some_and(Value::is_null) {
        object.remove(name);
    }
    result
}

fn merge_list<'a>(
    target: &mut Value,
    patch: &'a [Value],
    kind: &ListKind,
    path: &mut Vec<&'a str>,
) -> Result<(), String> {
    let replaces = patch
        .iter()
        .any(|item| item[DIRECTIVE] == "replace" && item.as_object().is_some_and(|m| m.len() == 1));
    if replaces {
        let kept = patch.iter().filter(|item| item.get(DIRECTIVE).is_none()).cloned();
        *target = kept.collect();
        return Ok(());
    }
    match kind {
        ListKind::Atomic => *target = patch.to_vec().into(),
        ListKind::Set => {
            let mut items = target.as_array().cloned().unwrap_or_default();
            for item in patch {
                if !items.contains(item) {
                    items.push(item.clone());
                }
            }
            *target = items.into();
        }
        ListKind::Map(keys) => merge_items(target, patch, keys, path)?,
    }
    Ok(())
}

fn merge_items<'a>(
    target: &mut Value,
    patch: &'a [Value],
    keys: &[String],
    path: &mut Vec<&'a str>,
) -> Result<(), String> {
    let mut items = target.as_array().cloned().unwrap_or_default();
    // A patch tells items apart by the first key only, as `patchMergeKey` does.
    let Some(key) = keys.first() else { return Ok(()) };
    for change in patch {
        let id = &change[key];
        if id.is_null() {
            return Err(format!("map: {change} does not contain declared merge key: {key}"));
        }
        let found = items.iter().position(|item| item[key] == *id);
        if change[DIRECTIVE] == "delete" {
            items.retain(|item| item[key] != *id);
        } else if let Some(item) = found.and_then(|at| items.get_mut(at)) {
            merge_value(item, change, path)?;
        } else {
            let mut item = Value::Null;
            merge_value(&mut item, change, path)?;
            items.push(item);
        }
    }
    *target = items.into();
    Ok(())
}

/// Puts the items that the patch names into its order; the others keep their place after their old neighbour.
fn set_order(object: &mut Map<String, Value>, list: &str, order: &Value, path: &[&str]) {
    let (Some(order), Some(items)) = (order.as_array(), object.get_mut(list).and_then(Value::as_array_mut))
    else {
        return;
    };
    let key = match of_builtin(path, list) {
        ListKind::Map(keys) => keys.into_iter().next(),
        ListKind::Atomic | ListKind::Set => None,
    };
    let rank = |item: &Value| {
        order.iter().position(|wanted| match &key {
            Some(key) => wanted[key] == item[key],
            None => wanted == item,
        })
    };
    let mut last = 0;
    let mut ranked: Vec<(usize, Value)> = Vec::with_capacity(items.len());
    for item in items.drain(..) {
        last = rank(&item).unwrap_or(last);
        ranked.push((last, item));
    }
    ranked.sort_by_key(|(rank, _)| *rank);
    items.extend(ranked.into_iter().map(|(_, item)| item));
}

fn without_directives(members: &Map<String, Value>) -> Value {
    members
        .iter()
        .filter(|(name, _)| !name.starts_with('$'))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn pod() -> Value {
        json!({
            "metadata": {"labels": {"a": "1", "b": "2"}, "finalizers": ["x"]},
            "spec": {"containers": [
                {"name": "main", "image": "one", "env": [{"name": "A", "value": "1"}], "args": ["a"]},
                {"name": "side", "image": "two"},
            ], "tolerations": [{"key": "k"}]},
        })
    }

    #[rstest]
    #[case("a container by name", json!({"spec": {"containers": [{"name": "main", "image": "new"}]}}),
        "/spec/containers/0", json!({"name": "main", "image": "new", "env": [{"name": "A", "value": "1"}], "args": ["a"]}))]
    #[case("a new container at the end", json!({"spec": {"containers": [{"name": "third"}]}}),
        "/spec/containers/2", json!({"name": "third"}))]
    #[case("a removed container", json!({"spec": {"containers": [{"name": "main", "$patch": "delete"}]}}),
        "/spec/containers", json!([{"name": "side", "image": "two"}]))]
    #[case("a removed label", json!({"metadata": {"labels": {"a": null}}}),
        "/metadata/labels", json!({"b": "2"}))]
    #[case("an atomic list", json!({"spec": {"tolerations": [{"key": "other"}]}}),
        "/spec/tolerations", json!([{"key": "other"}]))]
    #[case("a set", json!({"metadata": {"finalizers": ["y", "x"]}}), "/metadata/finalizers", json!(["x", "y"]))]
    #[case("a shrunken set", json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["x"]}}),
        "/metadata/finalizers", json!([]))]
    #[case("a replaced map", json!({"metadata": {"labels": {"$patch": "replace", "c": "3"}}}),
        "/metadata/labels", json!({"c": "3"}))]
    #[case("a new order", json!({"spec": {"$setElementOrder/containers": [{"name": "side"}, {"name": "main"}]}}),
        "/spec/containers/0/name", json!("side"))]
    #[case("a variable in a container", json!({"spec": {"containers": [{"name": "main", "env": [{"name": "B", "value": "2"}]}]}}),
        "/spec/containers/0/env", json!([{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]))]
    fn a_patch_changes(
        #[case] what: &str,
        #[case] patch: Value,
        #[case] pointer: &str,
        #[case] expected: Value,
    ) {
        let mut object = pod();
        merge(&mut object, &patch).expect("valid patch");
        assert_eq!(object.pointer(pointer), Some(&expected), "{what}");
    }

    #[test]
    fn an_item_without_its_key_is_refused() {
        let error =
            merge(&mut pod(), &json!({"spec": {"containers": [{"image": "x"}]}})).expect_err("no key");
        assert!(error.contains("merge key: name"), "{error}");
    }
}
