//! Custom kinds, as a user of a definition meets them.

use super::lab::{Lab, words};

const DEFINITION: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.demo.dev}
spec:
  group: demo.dev
  scope: Namespaced
  names: {plural: widgets, kind: Widget, shortNames: [wd]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources:
      status: {}
      scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas}
    additionalPrinterColumns:
    - {name: Size, type: integer, jsonPath: .spec.replicas}
    - {name: Claimed, type: string, jsonPath: '.metadata.labels.demo\\.dev/claimed'}
    - {name: Age, type: date, jsonPath: .metadata.creationTimestamp}
    - {name: Color, type: string, jsonPath: .spec.color, priority: 1}
    schema:
      openAPIV3Schema:
        type: object
        required: [spec]
        properties:
          spec:
            type: object
            properties:
              replicas: {type: integer, minimum: 0, default: 1, description: How many there are.}
              color: {type: string, enum: [red, blue]}
              limit: {x-kubernetes-int-or-string: true}
              fixed: {type: string, x-kubernetes-validations: [{rule: self == oldSelf, message: field is immutable}]}
              template: {type: object, x-kubernetes-preserve-unknown-fields: true}
              mounts:
                type: array
                x-kubernetes-list-type: map
                x-kubernetes-list-map-keys: [path]
                items: {type: object, required: [path], properties: {path: {type: string}}}
          status: {type: object, x-kubernetes-preserve-unknown-fields: true}
";

const WIDGET: &str = "
apiVersion: demo.dev/v1
kind: Widget
metadata: {name: one, labels: {demo.dev/claimed: 'true'}}
spec: {color: red, fixed: here, template: {any: [thing]}, mounts: [{path: /a}]}
";

async fn lab() -> Lab {
    let lab = Lab::start().await;
    lab.ok_with(&["apply", "-f", "-"], DEFINITION).await;
    lab.ok(&["wait", "--for=condition=Established", "crd/widgets.demo.dev", "--timeout=10s"]).await;
    lab
}

#[tokio::test]
async fn a_new_kind_is_served_at_once_with_its_columns() {
    let lab = lab().await;
    assert_eq!(lab.ok_with(&["apply", "-f", "-"], WIDGET).await, "widget.demo.dev/one created\n");
    assert_eq!(lab.ok_with(&["apply", "-f", "-"], WIDGET).await, "widget.demo.dev/one unchanged\n");
    let table = lab.ok(&["get", "wd"]).await;
    assert_eq!(words(&table)[0], ["NAME", "SIZE", "CLAIMED", "AGE"]);
    assert_eq!(words(&table)[1][..3], ["one", "1", "true"]);
    let wide = lab.ok(&["get", "widgets", "-o", "wide"]).await;
    assert_eq!(words(&wide)[0].last(), Some(&"COLOR"));
    let kept = lab.ok(&["get", "wd", "one", "-o", "jsonpath={.spec.template}"]).await;
    assert_eq!(kept, r#"{"any":["thing"]}"#);
    let explained = lab.ok(&["explain", "widget.spec.replicas"]).await;
    assert!(
        explained.contains("FIELD: replicas <integer>") && explained.contains("How many there are."),
        "{explained}"
    );
    assert!(lab.ok(&["describe", "widget", "one"]).await.contains("Color:  red"));
}

#[tokio::test]
async fn what_the_schema_forbids_is_refused() {
    let lab = lab().await;
    lab.ok_with(&["create", "-f", "-"], WIDGET).await;
    for (from, to, said) in [
        ("red", "green", "spec.color: Unsupported value: \"green\": supported values: \"red\", \"blue\""),
        ("color: red", "replicas: -1", "spec.replicas in body should be greater than or equal to 0"),
        ("color: red", "replicas: many", "spec.replicas in body must be of type integer: \"string\""),
        ("color: red", "limit: true", "spec.limit in body must be of type integer,string: \"boolean\""),
        ("color: red", "colour: red", "strict decoding error: unknown field \"spec.colour\""),
        ("{path: /a}", "{path: /a}, {path: /a}", "spec.mounts[1]: Duplicate value: {\"path\":\"/a\"}"),
        ("{path: /a}", "{}", "spec.mounts[0].path: Required value"),
        ("fixed: here", "fixed: there", "spec.fixed: Invalid value: \"string\": field is immutable"),
    ] {
        let output = lab
            .fails_with(&["replace", "-f", "-"], &with_version(&lab, &WIDGET.replace(from, to)).await)
            .await;
        assert!(output.contains(said), "{output}");
    }
    let lenient = WIDGET.replace("color: red", "colour: red").replace("name: one", "name: two");
    let output = lab.run_with(&["create", "--validate=warn", "-f", "-"], &lenient, &[]).await;
    assert!(output.succeeded && output.stderr.contains("unknown field \"spec.colour\""), "{output:?}");
    let pruned = lab.ok(&["get", "wd", "two", "-o", "jsonpath={.spec.colour}"]).await;
    assert_eq!(pruned, "");
}

/// A replacement of a custom object has to name the version that it replaces.
async fn with_version(lab: &Lab, widget: &str) -> String {
    let version = lab.ok(&["get", "wd", "one", "-o", "jsonpath={.metadata.resourceVersion}"]).await;
    widget.replace("{name: one,", &format!("{{name: one, resourceVersion: '{version}',"))
}

#[tokio::test]
async fn custom_objects_are_scaled() {
    let lab = lab().await;
    lab.ok_with(&["create", "-f", "-"], WIDGET).await;
    assert_eq!(lab.ok(&["scale", "widget", "one", "--replicas=3"]).await, "widget.demo.dev/one scaled\n");
    assert_eq!(
        lab.ok(&["get", "wd", "one", "-o", "jsonpath={.spec.replicas} {.metadata.generation}"]).await,
        "3 2"
    );
    let wrong = lab.fails_with(&["scale", "widget", "one", "--replicas=5", "--current-replicas=1"], "").await;
    assert!(wrong.contains("Expected replicas to be 1, was 3"), "{wrong}");
}

#[tokio::test]
async fn a_strategic_patch_is_not_for_custom_kinds() {
    let lab = lab().await;
    lab.ok_with(&["create", "-f", "-"], WIDGET).await;
    let patch = r#"{"spec":{"color":"blue"}}"#;
    let output = lab.fails_with(&["patch", "wd", "one", "-p", patch], "").await;
    assert!(output.contains("is not supported by demo.dev/v1, Kind=Widget"), "{output}");
    lab.ok(&["patch", "wd", "one", "--type=merge", "-p", patch]).await;
}

#[tokio::test]
async fn deleting_a_definition_deletes_its_objects() {
    let lab = lab().await;
    lab.ok_with(&["create", "-f", "-"], WIDGET).await;
    lab.ok(&["delete", "crd", "widgets.demo.dev"]).await;
    let output = lab.fails_with(&["get", "widgets"], "").await;
    assert!(
        output.contains("could not find the requested resource")
            || output.contains("doesn't have a resource type"),
        "{output}"
    );
    lab.ok_with(&["apply", "-f", "-"], DEFINITION).await;
    assert_eq!(lab.ok(&["get", "widgets", "-o", "name"]).await, "");
}
