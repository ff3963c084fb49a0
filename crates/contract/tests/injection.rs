//! The merge of runtimes into a pod (`kubernetes.md` §4, `storage.md` §5).
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails hard, with a message")]

use contract::crd::RuntimeConfig;
use contract::errors::Code;
use contract::injection::{InjectionConfig, default_config_map, in_order, inject};
use k8s_openapi::api::core::v1::{ConfigMap, Container, Pod, PodSpec};
use rstest::rstest;
use serde_json::{Value, json};

fn runtimes(names: &[&str]) -> Vec<RuntimeConfig> {
    names.iter().map(|name| RuntimeConfig::named(name)).collect()
}

fn pod(json: Value) -> Pod {
    serde_json::from_value(json).expect("a pod")
}

fn plain() -> Pod {
    pod(json!({"spec": {"containers": [{"name": "sandbox"}]}}))
}

fn config(entries: &[(&str, Value)]) -> ConfigMap {
    let data = entries.iter().map(|(key, value)| ((*key).to_owned(), value.to_string()));
    ConfigMap { data: Some(data.collect()), ..ConfigMap::default() }
}

fn injected(pod: Pod, names: &[&str], config: &ConfigMap) -> (PodSpec, Vec<String>) {
    let mut pod = pod;
    let clashes = inject(&mut pod, &runtimes(names), InjectionConfig::new(Some(config))).expect("injects");
    (pod.spec.expect("a spec"), clashes)
}

fn names(containers: Option<&Vec<Container>>) -> Vec<&str> {
    containers.into_iter().flatten().map(|container| container.name.as_str()).collect()
}

#[test]
fn the_default_configuration_makes_this_pod() {
    let template = json!({"spec": {"containers": [{"name": "sandbox", "image": "user"}]}});
    let (spec, clashes) = injected(pod(template), &["csi", "agent-runtime"], &default_config_map());
    assert!(clashes.is_empty(), "{clashes:?}");
    let text = json!(spec).to_string().replace(env!("CARGO_PKG_VERSION"), "VERSION");
    insta::assert_yaml_snapshot!(serde_json::from_str::<Value>(&text).expect("still JSON"));
}

// §4.2
#[rstest]
#[case(&["csi", "agent-runtime"], &["agent-runtime", "csi"])]
#[case(&["agent-runtime", "csi"], &["agent-runtime", "csi"])]
#[case(&["z", "csi", "a", "z", "agent-runtime", "csi"], &["agent-runtime", "csi", "z", "a"])]
#[case(&[], &[])]
fn order(#[case] declared: &[&str], #[case] expected: &[&str]) {
    assert_eq!(in_order(&runtimes(declared)), expected);
}

#[test]
fn both_orders_of_the_document_make_the_same_pod() {
    let config = default_config_map();
    let one = injected(plain(), &["csi", "agent-runtime"], &config);
    assert_eq!(one, injected(plain(), &["agent-runtime", "csi"], &config));
}

// §4.3
#[rstest]
#[case("agent-runtime")]
#[case("csi")]
fn a_sidecar_of_that_name_in_the_pod_skips_the_whole_runtime(#[case] runtime: &str) {
    let entry = json!({
        "csiSidecar": [{"name": "one"}, {"name": "two"}], "volume": [{"name": "v", "emptyDir": {}}],
        "mainContainer": {"name": "main", "env": [{"name": "X", "value": "1"}]},
    });
    for list in ["containers", "initContainers"] {
        let mut template = json!({"spec": {"containers": [{"name": "sandbox"}]}});
        let containers = template["spec"][list].as_array().cloned().unwrap_or_default();
        template["spec"][list] = json!([containers, vec![json!({"name": "two"})]].concat());
        let before = pod(template.clone()).spec.expect("a spec");
        assert_eq!(
            injected(pod(template), &[runtime], &config(&[(runtime, entry.clone())])).0,
            before,
            "{list}"
        );
    }
}

#[test]
fn injecting_twice_changes_nothing() {
    let config = default_config_map();
    let (once, _) = injected(plain(), &["csi", "agent-runtime"], &config);
    let again = Pod { spec: Some(once.clone()), ..Pod::default() };
    assert_eq!(injected(again, &["csi", "agent-runtime"], &config).0, once);
}

#[rstest]
#[case::agent("agent-runtime", &["one"])]
#[case::csi("csi", &[])]
fn a_pod_without_containers(#[case] runtime: &str, #[case] expected: &[&str]) {
    let entry = json!({"csiSidecar": [{"name": "one"}], "volume": [{"name": "v", "emptyDir": {}}]});
    let (spec, _) =
        injected(pod(json!({"spec": {"containers": []}})), &[runtime], &config(&[(runtime, entry)]));
    assert_eq!(names(spec.init_containers.as_ref()), expected);
    assert!(spec.volumes.is_none(), "main container and volumes are skipped");
}

#[test]
fn sidecars_go_to_the_end_of_the_init_containers_unchanged() {
    let template =
        json!({"spec": {"containers": [{"name": "sandbox"}], "initContainers": [{"name": "prepare"}]}});
    let entry = json!({"csiSidecar": [{"name": "late", "image": "i"}]});
    let (spec, _) = injected(pod(template), &["csi"], &config(&[("csi", entry)]));
    assert_eq!(names(spec.init_containers.as_ref()), ["prepare", "late"]);
    let sidecar = &spec.init_containers.expect("some")[1];
    assert_eq!(sidecar.restart_policy, None, "only the entry itself makes it a native sidecar");
}

// D-7
#[rstest]
#[case("agent-runtime")]
#[case("csi")]
fn what_the_user_declares_wins_and_a_clash_is_reported(#[case] runtime: &str) {
    let template = json!({"spec": {
        "containers": [{
            "name": "sandbox",
            "env": [{"name": "X", "value": "user"}, {"name": "SAME", "value": "s"}],
            "volumeMounts": [{"name": "mine", "mountPath": "/mnt/envd/"}],
        }],
        "volumes": [{"name": "v", "hostPath": {"path": "/user"}}],
    }});
    let entry = json!({
        "mainContainer": {
            "name": "main",
            "env": [{"name": "X", "value": "injected"}, {"name": "SAME", "value": "s"}, {"name": "NEW", "value": "n"}],
            "volumeMounts": [
                {"name": "v", "mountPath": "/mnt/envd"},
                {"name": "mine", "mountPath": "/elsewhere"},
            ],
        },
        "volume": [{"name": "v", "emptyDir": {}}, {"name": "w", "emptyDir": {}}],
    });
    let (spec, clashes) = injected(pod(template), &[runtime], &config(&[(runtime, entry)]));
    let main = &spec.containers[0];
    let env: Vec<_> =
        main.env.iter().flatten().map(|env| (env.name.as_str(), env.value.as_deref())).collect();
    assert_eq!(env, [("X", Some("user")), ("SAME", Some("s")), ("NEW", Some("n"))]);
    let mounts: Vec<_> = main.volume_mounts.iter().flatten().map(|mount| mount.mount_path.as_str()).collect();
    assert_eq!(mounts, ["/mnt/envd/", "/elsewhere"], "by path, not by volume name");
    let volumes = spec.volumes.expect("volumes");
    assert_eq!(volumes.len(), 2);
    assert!(volumes[0].host_path.is_some());
    assert_eq!(clashes.len(), 3, "{clashes:?}");
    for phrase in ["env X", "mount path /mnt/envd", "volume v"] {
        assert!(clashes.iter().any(|clash| clash.contains(phrase)), "{phrase} in {clashes:?}");
    }
}

fn post_start(template: Option<Value>, injected_hook: Option<Value>) -> (Value, Vec<String>) {
    let mut container = json!({"name": "sandbox"});
    if let Some(hook) = template {
        container["lifecycle"] = json!({"postStart": hook, "preStop": {"exec": {"command": ["bye"]}}});
    }
    let mut main = json!({"name": "main"});
    if let Some(hook) = injected_hook {
        main["lifecycle"] = json!({"postStart": hook});
    }
    let config = config(&[("agent-runtime", json!({"mainContainer": main}))]);
    let (spec, clashes) =
        injected(pod(json!({"spec": {"containers": [container]}})), &["agent-runtime"], &config);
    let hook = spec.containers[0].lifecycle.as_ref().and_then(|lifecycle| lifecycle.post_start.clone());
    (json!(hook), clashes)
}

fn exec(command: &[&str]) -> Value {
    json!({"exec": {"command": command}})
}

#[rstest]
#[case::none(None, Some(exec(&["bash", "run.sh"])), exec(&["bash", "run.sh"]))]
#[case::chained(Some(exec(&["touch", "/x"])), Some(exec(&["bash", "run.sh"])), exec(&["bash", "run.sh", "--", "touch", "/x"]))]
#[case::empty_command(Some(json!({"exec": {"command": []}})), Some(exec(&["bash"])), exec(&["bash"]))]
#[case::nothing_injected(Some(exec(&["touch"])), None, exec(&["touch"]))]
#[case::chained_before(Some(exec(&["bash", "run.sh", "--", "touch"])), Some(exec(&["bash", "run.sh"])), exec(&["bash", "run.sh", "--", "touch"]))]
fn post_start_hooks(
    #[case] template: Option<Value>,
    #[case] injected: Option<Value>,
    #[case] expected: Value,
) {
    assert_eq!(post_start(template, injected), (expected, vec![]));
}

#[rstest]
#[case::user_http(json!({"httpGet": {"port": 80}}), exec(&["bash"]))]
#[case::user_tcp(json!({"tcpSocket": {"port": 80}}), exec(&["bash"]))]
#[case::injected_http(exec(&["touch"]), json!({"httpGet": {"port": 80}}))]
fn a_hook_that_cannot_be_chained_stays_and_is_reported(#[case] user: Value, #[case] injected: Value) {
    let (hook, clashes) = post_start(Some(user.clone()), Some(injected));
    assert_eq!(hook, user);
    assert!(clashes[0].contains("envd will not start"), "{clashes:?}");
}

#[test]
fn csi_ignores_post_start() {
    let entry = json!({"mainContainer": {"name": "main", "lifecycle": {"postStart": exec(&["x"])}}});
    let (spec, _) = injected(plain(), &["csi"], &config(&[("csi", entry)]));
    assert_eq!(spec.containers[0].lifecycle, None);
}

#[test]
fn a_generic_runtime_adds_containers_volumes_labels_and_annotations() {
    let entry = json!({
        "labels": {"a": "new", "b": "new"}, "annotations": {"c": "new"}, "initContainers": [{"name": "i"}],
        "containers": [{"name": "c"}], "volume": [{"name": "v", "emptyDir": {}}],
        "mainContainer": {"name": "main", "env": [{"name": "X"}]}, "csiSidecar": [{"name": "ignored"}], "unknown": 1,
    });
    let mut pod =
        pod(json!({"metadata": {"labels": {"a": "user"}}, "spec": {"containers": [{"name": "sandbox"}]}}));
    let config = config(&[("special", entry)]);
    inject(&mut pod, &runtimes(&["special", "special"]), InjectionConfig::new(Some(&config)))
        .expect("injects");
    let spec = pod.spec.expect("a spec");
    assert_eq!(names(spec.init_containers.as_ref()), ["i"]);
    assert_eq!(names(Some(&spec.containers)), ["sandbox", "c"]);
    assert_eq!(spec.containers[0].env, None);
    assert_eq!(json!(pod.metadata.labels), json!({"a": "user", "b": "new"}));
    assert_eq!(json!(pod.metadata.annotations), json!({"c": "new"}));
}

#[rstest]
#[case(json!({"containers": [{"name": "sandbox"}]}), "container sandbox")]
#[case(json!({"initContainers": [{"name": "sandbox"}]}), "container sandbox")]
#[case(json!({"volume": [{"name": "v"}, {"name": "v"}]}), "volume v")]
fn a_clash_of_a_generic_runtime_is_an_error(#[case] entry: Value, #[case] phrase: &str) {
    let config = config(&[("special", entry)]);
    let problem = inject(&mut plain(), &runtimes(&["special"]), InjectionConfig::new(Some(&config)))
        .expect_err("clash");
    assert_eq!(problem.code(), Code::InjectionConflict);
    assert!(
        problem.message().starts_with("failed to inject runtime special: inject conflicting with"),
        "{problem}"
    );
    assert!(problem.message().contains(phrase), "{problem}");
}

// §4.4
#[test]
fn without_runtimes_the_configuration_is_not_looked_at() {
    let mut pod = plain();
    inject(&mut pod, &[], InjectionConfig::new(None)).expect("nothing to do");
    assert_eq!(pod, plain());
}

#[rstest]
#[case::no_config_map(None, Code::InjectionTemplateNotFound)]
#[case::no_key(Some(config(&[])), Code::InjectionTemplateNotFound)]
#[case::empty_value(Some(ConfigMap { data: Some([("csi".to_owned(), " ".to_owned())].into()), ..ConfigMap::default() }), Code::InjectionTemplateNotFound)]
#[case::no_json(Some(ConfigMap { data: Some([("csi".to_owned(), "{".to_owned())].into()), ..ConfigMap::default() }), Code::InjectionTemplateInvalid)]
#[case::wrong_shape(Some(config(&[("csi", json!({"csiSidecar": "x"}))])), Code::InjectionTemplateInvalid)]
fn missing_or_invalid_templates(#[case] config: Option<ConfigMap>, #[case] code: Code) {
    let problem =
        inject(&mut plain(), &runtimes(&["csi"]), InjectionConfig::new(config.as_ref())).expect_err("fails");
    assert_eq!(problem.code(), code);
    if code == Code::InjectionTemplateNotFound {
        assert!(problem.message().starts_with("injection template csi not found"), "{problem}");
    }
}
