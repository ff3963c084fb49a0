//! What differs between two states of an object, what a merge makes of them, and taking fields out.

use serde_json::{Map, Value};

use super::set::Fields;
use super::shape::{Shape, item_element, keyed};
use strategic_merge::ListKind;

/// The paths that a change touched.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Difference {
    /// Added, or with another value than before.
    pub(crate) changed: Fields,
    pub(crate) removed: Fields,
}

/// What differs between `old` and `new`.
pub(crate) fn difference(old: &Value, new: &Value, shape: &Shape<'_>) -> Difference {
    let mut found = Difference::default();
    if old == new {
        return found;
    }
    match (old, new) {
        (Value::Object(before), Value::Object(after)) if !shape.is_atomic_map() && !after.is_empty() => {
            let before: Vec<_> = before.iter().map(|(name, value)| (format!("f:{name}"), value)).collect();
            let after: Vec<_> = after.iter().map(|(name, value)| (format!("f:{name}"), value)).collect();
            let place = |element: &str| shape.member(element.strip_prefix("f:").unwrap_or(element));
            by_element(&mut found, &before, &after, place, false);
        }
        (Value::Array(before), Value::Array(after)) if !after.is_empty() => {
            match (keyed(shape, before), keyed(shape, after)) {
                (Some(before), Some(after)) => {
                    by_element(&mut found, &before, &after, |_| shape.item(), true);
                }
                _ => found.changed = Fields::leaf(),
            }
        }
        _ => {
            found.changed = Fields::of(new, shape);
            found.removed = Fields::of(old, shape);
            found.removed.subtract(&found.changed);
        }
    }
    found
}

fn by_element<'s>(
    found: &mut Difference,
    before: &[(String, &Value)],
    after: &[(String, &Value)],
    place: impl Fn(&str) -> Shape<'s>,
    items: bool,
) {
    let old: std::collections::BTreeMap<&str, &Value> =
        before.iter().map(|(element, value)| (element.as_str(), *value)).collect();
    for (element, value) in after {
        let shape = place(element);
        let below = if let Some(old) = old.get(element.as_str()) {
            difference(old, value, &shape)
        } else {
            let mut changed = Fields::of(value, &shape);
            changed.owned |= items;
            Difference { changed, removed: Fields::default() }
        };
        insert(&mut found.changed, element, below.changed);
        insert(&mut found.removed, element, below.removed);
    }
    for (element, value) in before {
        if !after.iter().any(|(other, _)| other == element) {
            let mut removed = Fields::of(value, &place(element));
            // The whole member is gone, with whatever anybody owned below it.
            removed.owned = true;
            insert(&mut found.removed, element, removed);
        }
    }
}

fn insert(fields: &mut Fields, element: &str, below: Fields) {
    if !below.is_empty() {
        fields.below.insert(element.to_owned(), below);
    }
}

/// `live` with everything that `applied` says.
pub(crate) fn merge(live: &Value, applied: &Value, shape: &Shape<'_>) -> Value {
    match (live, applied) {
        (Value::Object(before), Value::Object(wanted)) if !shape.is_atomic_map() => {
            let mut merged = before.clone();
            for (name, value) in wanted {
                let next = match before.get(name) {
                    Some(before) => merge(before, value, &shape.member(name)),
                    None => value.clone(),
                };
                merged.insert(name.clone(), next);
            }
            merged.into()
        }
        (Value::Array(before), Value::Array(wanted)) => match (keyed(shape, before), keyed(shape, wanted)) {
            (Some(before), Some(wanted)) => merge_items(&before, &wanted, &shape.item()),
            _ => applied.clone(),
        },
        _ => applied.clone(),
    }
}

/// The wanted items in their order; items that only the live list has keep their place after their old neighbour.
fn merge_items(before: &[(String, &Value)], wanted: &[(String, &Value)], shape: &Shape<'_>) -> Value {
    let find = |items: &[(String, &Value)], element: &str| {
        items.iter().find(|(other, _)| other == element).map(|(_, item)| (*item).clone())
    };
    let mut merged: Vec<(&str, Value)> = wanted
        .iter()
        .map(|(element, applied)| match find(before, element) {
            Some(live) => (element.as_str(), merge(&live, applied, shape)),
            None => (element.as_str(), (*applied).clone()),
        })
        .collect();
    let mut neighbour: Option<&str> = None;
    for (element, live) in before {
        if !wanted.iter().any(|(other, _)| other == element) {
            let after = merged.iter().position(|(other, _)| neighbour == Some(other));
            merged.insert(after.map_or(0, |at| at + 1), (element, (*live).clone()));
        }
        neighbour = Some(element);
    }
    merged.into_iter().map(|(_, item)| item).collect()
}

/// Takes the paths of `gone` out of a value. What somebody else owns in `kept` stays; what became empty goes too.
pub(crate) fn remove(value: &mut Value, gone: &Fields, kept: &Fields, shape: &Shape<'_>) {
    match value {
        Value::Object(members) => remove_members(members, gone, kept, shape),
        Value::Array(items) => remove_items(items, gone, kept, shape),
        _ => {}
    }
}

fn remove_members(members: &mut Map<String, Value>, gone: &Fields, kept: &Fields, shape: &Shape<'_>) {
    let nothing = Fields::default();
    for (element, fields) in &gone.below {
        let Some(name) = element.strip_prefix("f:") else { continue };
        let others = kept.below.get(element).unwrap_or(&nothing);
        if others.is_empty() && fields.owned {
            members.remove(name);
        } else if let Some(member) = members.get_mut(name) {
            remove(member, fields, others, &shape.member(name));
            if others.is_empty() && is_empty(member) {
                members.remove(name);
            }
        }
    }
}

fn remove_items(items: &mut Vec<Value>, gone: &Fields, kept: &Fields, shape: &Shape<'_>) {
    let kind = shape.list_kind();
    if kind == ListKind::Atomic {
        return;
    }
    let nothing = Fields::default();
    items.retain_mut(|item| {
        let Some(element) = item_element(&kind, item) else { return true };
        let Some(fields) = gone.below.get(&element) else { return true };
        let others = kept.below.get(&element).unwrap_or(&nothing);
        if others.is_empty() && fields.owned {
            return false;
        }
        remove(item, fields, others, &shape.item());
        true
    });
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Object(members) => members.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}
