//! Server-side apply: who owns a field.

use super::lab::Lab;

fn map(data: &str) -> String {
    format!("{{apiVersion: v1, kind: ConfigMap, metadata: {{name: m}}, data: {data}}}")
}

#[tokio::test]
async fn a_conflict_names_the_manager_and_can_be_forced() {
    let lab = Lab::start().await;
    let alice = ["apply", "--server-side", "--field-manager=alice", "-f", "-"];
    let bob = ["apply", "--server-side", "--field-manager=bob", "-f", "-"];
    assert_eq!(lab.ok_with(&alice, &map("{a: '1', b: '1'}")).await, "configmap/m serverside-applied\n");
    let output = lab.fails_with(&bob, &map("{a: '2'}")).await;
    assert!(
        output.contains("Apply failed with 1 conflict: conflict with \"alice\" using v1: .data.a"),
        "{output}"
    );
    // The same value is no conflict: both own it.
    lab.ok_with(&bob, &map("{a: '1'}")).await;
    lab.ok_with(&alice, &map("{b: '1'}")).await;
    assert_eq!(lab.ok(&["get", "cm", "m", "-o", "jsonpath={.data}"]).await, r#"{"a":"1","b":"1"}"#);
    // What the last owner wants no more is gone.
    lab.ok_with(&bob, &map("{}")).await;
    assert_eq!(lab.ok(&["get", "cm", "m", "-o", "jsonpath={.data}"]).await, r#"{"b":"1"}"#);
    let forced = ["apply", "--server-side", "--field-manager=bob", "--force-conflicts", "-f", "-"];
    lab.ok_with(&forced, &map("{b: '3'}")).await;
    assert!(lab.fails_with(&alice, &map("{b: '1'}")).await.contains("conflict with \"bob\""));
}

#[tokio::test]
async fn an_edit_takes_a_field_away_from_its_applier() {
    let lab = Lab::start().await;
    let alice = ["apply", "--server-side", "--field-manager=alice", "-f", "-"];
    lab.ok_with(&alice, &map("{a: '1'}")).await;
    lab.ok(&["patch", "cm", "m", "-p", r#"{"data":{"a":"2"}}"#]).await;
    let output = lab.fails_with(&alice, &map("{a: '1'}")).await;
    assert!(output.contains("conflict with \"kubectl-patch\" using v1: .data.a"), "{output}");
    let managers = lab
        .ok(&[
            "get",
            "cm",
            "m",
            "--show-managed-fields",
            "-o",
            "jsonpath={.metadata.managedFields[*].manager}",
        ])
        .await;
    assert_eq!(managers, "kubectl-patch");
}

#[tokio::test]
async fn client_side_apply_hands_over_to_server_side_apply() {
    let lab = Lab::start().await;
    lab.ok_with(&["apply", "-f", "-"], &map("{a: '1', b: '1'}")).await;
    lab.ok_with(&["apply", "--server-side", "-f", "-"], &map("{a: '2'}")).await;
    assert_eq!(lab.ok(&["get", "cm", "m", "-o", "jsonpath={.data}"]).await, r#"{"a":"2"}"#);
}

#[tokio::test]
async fn items_of_a_keyed_list_have_owners_of_their_own() {
    let lab = Lab::start().await;
    let pod = |containers: &str| {
        format!("{{apiVersion: v1, kind: Pod, metadata: {{name: p}}, spec: {{containers: [{containers}]}}}}")
    };
    let apply = ["apply", "--server-side", "--field-manager=alice", "-f", "-"];
    lab.ok_with(&apply, &pod("{name: main, image: 'x:1'}, {name: side, image: 'y:1'}")).await;
    let output = lab
        .fails_with(
            &["apply", "--server-side", "--field-manager=bob", "-f", "-"],
            &pod("{name: side, image: 'y:2'}"),
        )
        .await;
    assert!(output.contains(".spec.containers[name=\"side\"].image"), "{output}");
    assert!(!output.contains("main"), "{output}");
}
