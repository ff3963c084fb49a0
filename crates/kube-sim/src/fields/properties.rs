//! What holds of merging and ownership whatever the objects are.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::compare::{difference, merge, remove};
use super::set::Fields;
use super::shape::Shape;

fn shape() -> Shape<'static> {
    Shape::Builtin(Vec::new())
}

/// Objects with what pods have: maps, lists with keys, sets, atomic lists.
fn object() -> impl Strategy<Value = Value> {
    let text = "[a-c]{1,2}";
    let labels = proptest::collection::btree_map(text, text, 0..3);
    let finalizers = proptest::collection::btree_set(text, 0..3);
    let env = proptest::collection::btree_map(text, text, 0..3);
    let containers = proptest::collection::btree_map(text, (text, env), 0..3);
    let args = proptest::collection::vec(text, 0..3);
    (labels, finalizers, containers, args).prop_map(|(labels, finalizers, containers, args)| {
        let containers: Vec<Value> = containers
            .into_iter()
            .map(|(name, (image, env))| {
                let env: Vec<Value> =
                    env.into_iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
                json!({"name": name, "image": image, "env": env})
            })
            .collect();
        json!({"metadata": {"labels": labels, "finalizers": finalizers},
            "spec": {"containers": containers, "args": args}})
    })
}

proptest! {
    #[test]
    fn a_set_survives_its_json(value in object()) {
        let mut fields = Fields::of(&value, &shape());
        fields.drop_unowned();
        prop_assert_eq!(Fields::from_json(&fields.to_json()), fields);
    }

    #[test]
    fn nothing_differs_from_itself(value in object()) {
        prop_assert_eq!(difference(&value, &value, &shape()), super::compare::Difference::default());
    }

    #[test]
    fn merging_is_done_after_the_first_time(live in object(), applied in object()) {
        let once = merge(&live, &applied, &shape());
        prop_assert_eq!(&merge(&once, &applied, &shape()), &once);
    }

    #[test]
    fn a_merge_has_every_path_of_both(live in object(), applied in object()) {
        let merged = Fields::of(&merge(&live, &applied, &shape()), &shape());
        // An empty list or map that was filled is no longer a path of its own.
        for path in Fields::of(&applied, &shape()).paths() {
            prop_assert!(merged.paths().iter().any(|found| found.starts_with(&path)), "{} is lost", path);
        }
    }

    #[test]
    fn removing_all_paths_leaves_no_leaf(value in object()) {
        let fields = Fields::of(&value, &shape());
        let mut left = value;
        remove(&mut left, &fields, &Fields::default(), &shape());
        prop_assert_eq!(left, json!({}));
    }
}

#[test]
fn applied_items_keep_their_order_and_live_ones_their_place() {
    let list = |names: &[&str]| -> Value {
        let items: Vec<Value> = names.iter().map(|name| json!({"name": name})).collect();
        json!({"spec": {"containers": items}})
    };
    let merged = merge(&list(&["a", "own", "b"]), &list(&["new", "b", "a"]), &shape());
    assert_eq!(merged, list(&["new", "b", "a", "own"]));
}
