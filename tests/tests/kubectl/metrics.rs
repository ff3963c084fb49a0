//! What controller and manager tell Prometheus in the course of a sandbox's life (`kubernetes.md` §9.3), read over HTTP through the
//! API server's proxy of their Services.

use std::collections::BTreeMap;

use contract::metrics::{Family, controller, manager};
use e2b_client::{Client, CreateRequest, Settings, VolumeMount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use system_tests::{Kubectl, Up, fixture, wait_until};

use super::{LIFE_LIMIT, OF_CONTROLLER, OF_MANAGER};

const POOL: &str = "single-pool";

/// The samples of one scrape.
struct Scrape {
    text: String,
}

impl Scrape {
    /// The value of the series of a family whose labels begin so, such as `name="x"`.
    fn value(&self, family: &Family, suffix: &str, labels: &str) -> Option<f64> {
        let start = format!("{}{suffix}{{{labels}", family.name);
        let line = self.text.lines().find(|line| line.starts_with(&start))?;
        line.rsplit(' ').next()?.parse().ok()
    }
}

/// A component's page of metrics.
struct Page<'a> {
    kubectl: &'a Kubectl,
    path: &'static str,
}

impl Page<'_> {
    fn read(&self) -> Scrape {
        Scrape { text: self.kubectl.call(&["get", "--raw", self.path]) }
    }

    /// Waits until series (family, suffix, first labels) have these values; nothing stands for a series that isn't there.
    fn expect(&self, deadline: &str, expected: &[(Family, &str, String, Option<f64>)]) {
        wait_until(deadline, LIFE_LIMIT, || {
            let scrape = self.read();
            let wrong = expected.iter().find_map(|(family, suffix, labels, value)| {
                let found = scrape.value(family, suffix, labels);
                (found != *value)
                    .then(|| format!("{}{suffix}{{{labels} is {found:?}, not {value:?}", family.name))
            });
            wrong.map_or(Ok(()), |wrong| Err(format!("{wrong}\n{}", scrape.text)))
        });
    }

    /// Waits until no series has this text among its labels.
    fn expect_no(&self, text: &str) {
        wait_until("deadline of gone series", LIFE_LIMIT, || {
            let scrape = self.read();
            let left: Vec<&str> = scrape.text.lines().filter(|line| line.contains(text)).collect();
            if left.is_empty() { Ok(()) } else { Err(format!("{left:#?}")) }
        });
    }
}

#[allow(clippy::too_many_lines, reason = "one life, step by step")]
#[tokio::test]
async fn metrics_follow_a_sandbox_from_create_to_delete() {
    let lab = Up::start();
    let kubectl = lab.kubectl();
    kubectl
        .feed(&["create"], &format!("{}---\n{}", lab.document_storage(), fixture("single-pool.yaml", &[])));
    kubectl.call(&["wait", "--for=condition=Available", "--timeout=80s", &format!("sandboxset/{POOL}")]);
    let (of_controller, of_manager) =
        (Page { kubectl: &kubectl, path: OF_CONTROLLER }, Page { kubectl: &kubectl, path: OF_MANAGER });
    let e2b = Client::new(Settings::new(lab.variable("E2B_API_URL"), lab.variable("E2B_API_KEY")))
        .expect("a client");
    let namespace = || "namespace=\"default\"".to_owned();
    let success = || "namespace=\"default\",result=\"success\"".to_owned();
    let pool = || format!("namespace=\"default\",name=\"{POOL}\"");

    let request = CreateRequest {
        template: POOL.to_owned(),
        timeout: Some(80_000),
        metadata: BTreeMap::new(),
        volume_mounts: vec![VolumeMount { name: "oss-pv-sandbox-system".into(), path: "/data-oss".into() }],
        ..CreateRequest::default()
    };
    let id = e2b.create(&request).await.expect("created").value.sandbox_id;
    let name = id.strip_prefix("default--").expect("an id of namespace and name").to_owned();
    let one = || format!("namespace=\"default\",name=\"{name}\"");
    let of_one = |more: &str| format!("namespace=\"default\",name=\"{name}\",{more}");
    of_controller.expect(
        "deadline of metrics after a create",
        &[
            (controller::SANDBOX_INFO, "", of_one(&format!("sandbox_pool=\"{POOL}\"")), Some(1.0)),
            (controller::SANDBOX_STATUS_PHASE, "", of_one("phase=\"Running\""), Some(1.0)),
            (controller::SANDBOX_STATUS_READY, "", one(), Some(1.0)),
            (controller::SANDBOX_STATUS_INPLACE_UPDATING, "", one(), Some(0.0)),
            (controller::SANDBOX_STATUS_UNPAUSED, "", one(), Some(0.0)),
            (controller::SANDBOX_STATUS_UNRESUMED, "", one(), Some(0.0)),
            (
                controller::SANDBOX_RUNTIME_CONTAINER_ABNORMAL,
                "",
                of_one("container=\"agent-runtime\""),
                Some(0.0),
            ),
            (
                controller::SANDBOX_RUNTIME_CONTAINER_ABNORMAL,
                "",
                of_one("container=\"csi-sidecar\""),
                Some(0.0),
            ),
            (controller::SANDBOX_RUNTIME_CONTAINER_ABNORMAL_TIME, "", one(), None),
            (controller::SANDBOX_LABELS, "", String::new(), None),
            (controller::SANDBOXSET_SANDBOXES_CREATED, "", pool(), Some(2.0)),
            (controller::SANDBOXSET_SANDBOXES_CLAIMED, "", pool(), Some(1.0)),
            (controller::SANDBOXSET_AVAILABLE_REPLICAS, "", pool(), Some(1.0)),
            (controller::SANDBOX_CREATION_TOTAL, "", success(), Some(2.0)),
            (controller::SANDBOX_CREATION_DURATION, "_count", namespace(), Some(2.0)),
        ],
    );
    of_manager.expect(
        "deadline of the manager's metrics after a create",
        &[
            (manager::SANDBOX_MANAGER_REQUESTS, "", "status=\"201\"".to_owned(), Some(1.0)),
            (manager::SANDBOX_MANAGER_SANDBOXES, "", "state=\"running\"".to_owned(), Some(1.0)),
            (manager::SANDBOXSET_CLAIMS, "", format!("{},result=\"success\"", pool()), Some(1.0)),
            (manager::SANDBOX_CLAIM_DURATION, "_count", namespace(), Some(1.0)),
        ],
    );
    times_are_those_of_the_object(
        &kubectl,
        &of_controller,
        &name,
        "Ready",
        &controller::SANDBOX_STATUS_READY_TIME,
    );

    e2b.pause(&id).await.expect("paused");
    of_controller.expect(
        "deadline of metrics after a pause",
        &[
            (controller::SANDBOX_STATUS_PHASE, "", of_one("phase=\"Paused\""), Some(1.0)),
            (controller::SANDBOX_STATUS_PHASE, "", of_one("phase=\"Running\""), None),
            (controller::SANDBOX_STATUS_READY, "", one(), Some(0.0)),
            (controller::SANDBOX_STATUS_READY_TIME, "", one(), None),
            (controller::SANDBOX_STATUS_UNPAUSED, "", one(), Some(0.0)),
            (controller::SANDBOX_STATUS_ABNORMAL, "", one(), None),
            (controller::SANDBOX_RUNTIME_CONTAINER_ABNORMAL, "", one(), Some(0.0)),
            (controller::SANDBOX_PAUSE_TOTAL, "", success(), Some(1.0)),
            (controller::SANDBOX_PAUSE_DURATION, "_count", namespace(), Some(1.0)),
            (controller::SANDBOX_RESUME_TOTAL, "", success(), None),
        ],
    );
    let paused = (manager::SANDBOX_MANAGER_SANDBOXES, "", "state=\"paused\"".to_owned(), Some(1.0));
    of_manager.expect("deadline of the manager's metrics after a pause", &[paused]);

    e2b.connect(&id, None).await.expect("resumed");
    of_controller.expect(
        "deadline of metrics after a resume",
        &[
            (controller::SANDBOX_STATUS_PHASE, "", of_one("phase=\"Running\""), Some(1.0)),
            (controller::SANDBOX_STATUS_READY, "", one(), Some(1.0)),
            (controller::SANDBOX_STATUS_UNRESUMED, "", one(), Some(0.0)),
            (controller::SANDBOX_STATUS_ABNORMAL, "", one(), None),
            (controller::SANDBOX_RESUME_TOTAL, "", success(), Some(1.0)),
            (controller::SANDBOX_RESUME_DURATION, "_count", namespace(), Some(1.0)),
            (controller::SANDBOX_INPLACE_UPDATE_DURATION, "_count", namespace(), None),
        ],
    );

    change_template(&kubectl, &name, "image", "example.com/another:v2");
    of_controller.expect(
        "deadline of metrics after an in-place update",
        &[
            (controller::SANDBOX_INPLACE_UPDATE_DURATION, "_count", namespace(), Some(1.0)),
            (controller::SANDBOX_STATUS_INPLACE_UPDATING, "", one(), Some(0.0)),
            (controller::SANDBOX_STATUS_INPLACE_UPDATING_TIME, "", one(), None),
            (controller::SANDBOX_STATUS_READY, "", one(), Some(1.0)),
        ],
    );
    change_template(&kubectl, &name, "workingDir", "/tmp");
    of_controller.expect(
        "deadline of metrics after an update that can't be made",
        &[
            (controller::SANDBOX_STATUS_INPLACE_UPDATING, "", one(), Some(1.0)),
            (controller::SANDBOX_INPLACE_UPDATE_DURATION, "_count", namespace(), Some(1.0)),
        ],
    );
    let since = &controller::SANDBOX_STATUS_INPLACE_UPDATING_TIME;
    times_are_those_of_the_object(&kubectl, &of_controller, &name, "InplaceUpdate", since);

    e2b.kill(&id).await.expect("killed");
    let deleted = (controller::SANDBOX_DELETION_DURATION, "_count", namespace(), Some(1.0));
    of_controller.expect("deadline of metrics after a delete", &[deleted]);
    of_controller.expect_no(&format!("name=\"{name}\""));
    let running = (manager::SANDBOX_MANAGER_SANDBOXES, "", "state=\"running\"".to_owned(), Some(0.0));
    of_manager.expect("deadline of the manager's metrics after a delete", &[running]);

    kubectl.call(&["delete", "sandboxset", POOL, "--timeout=60s"]);
    of_controller.expect_no(&format!("\"{POOL}"));
    of_manager.expect_no(&format!("\"{POOL}"));
    let kept = (controller::SANDBOX_CREATION_TOTAL, "", success(), Some(2.0));
    of_controller.expect("deadline of what is counted by namespace", &[kept]);
}

/// What a life without trouble doesn't show: a claim and one that comes to nothing, a pause that NAS storage refuses, and a sandbox that goes
/// back to its pool.
#[allow(clippy::too_many_lines, reason = "one life, step by step")]
#[tokio::test]
async fn metrics_tell_of_claims_refused_pauses_and_recyclings() {
    let lab = Up::start();
    lab.set_up_nas();
    let kubectl = lab.kubectl();
    let pool = fixture("recycled-pool.yaml", &[]);
    let empty =
        fixture("recycled-pool.yaml", &[("recycled-pool", "empty-pool"), ("replicas: 1", "replicas: 0")]);
    kubectl.feed(&["create"], &format!("{pool}---\n{empty}"));
    kubectl.call(&["wait", "--for=condition=Available", "--timeout=80s", "sandboxset/recycled-pool"]);
    // It makes no others: it would be full when its sandbox comes back, and delete one before the recycling is over.
    let no_others = r#"{"spec": {"scaleStrategy": {"maxUnavailable": 0}}}"#;
    kubectl.call(&["patch", "sbs", "recycled-pool", "--type=merge", "-p", no_others]);
    let seen = "--for=jsonpath={.status.observedGeneration}=2";
    kubectl.call(&["wait", seen, "--timeout=80s", "sandboxset/recycled-pool"]);
    let (of_controller, of_manager) =
        (Page { kubectl: &kubectl, path: OF_CONTROLLER }, Page { kubectl: &kubectl, path: OF_MANAGER });
    let named = |name: &str| format!("namespace=\"default\",name=\"{name}\"");
    let with = |name: &str, more: &str| format!("namespace=\"default\",name=\"{name}\",{more}");
    let namespace = || "namespace=\"default\"".to_owned();
    let result = |word: &str| format!("namespace=\"default\",result=\"{word}\"");

    let claim = |name: &str, spec: &str| {
        format!(
            "apiVersion: agents.kruise.io/v1alpha1\nkind: SandboxClaim\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n"
        )
    };
    let mounts = "dynamicVolumesMount: [{pvName: nas-pv-sandbox-system, mountPath: /data-nas}]";
    let held = claim("held", &format!("templateName: recycled-pool, {mounts}"));
    kubectl.feed(&["create"], &held);
    kubectl.call(&["wait", "--for=condition=Completed", "--timeout=80s", "sandboxclaim/held"]);
    let vain =
        claim("vain", "templateName: empty-pool, createOnNoStock: false, claimTimeout: 1s, replicas: 2");
    kubectl.feed(&["create"], &vain);
    kubectl.call(&["wait", "--for=condition=Completed", "--timeout=80s", "sandboxclaim/vain"]);
    of_controller.expect(
        "deadline of metrics of claims",
        &[
            (controller::SANDBOX_CLAIM_INFO, "", with("held", "template=\"recycled-pool\""), Some(1.0)),
            (controller::SANDBOX_CLAIM_INFO, "", with("vain", "template=\"empty-pool\""), Some(1.0)),
            (controller::SANDBOX_CLAIM_STATUS_PHASE, "", with("held", "phase=\"Completed\""), Some(1.0)),
            (controller::SANDBOX_CLAIM_STATUS_PHASE, "", with("held", "phase=\"Claiming\""), None),
            (controller::SANDBOX_CLAIM_DESIRED_REPLICAS, "", named("vain"), Some(2.0)),
            (controller::SANDBOX_CLAIM_CLAIMED_REPLICAS, "", named("held"), Some(1.0)),
            (controller::SANDBOX_CLAIM_CLAIMED_REPLICAS, "", named("vain"), Some(0.0)),
            (controller::SANDBOX_CLAIM_DURATION, "_count", namespace(), Some(2.0)),
            (controller::SANDBOXSET_CLAIMS, "", with("recycled-pool", "result=\"success\""), Some(1.0)),
            (controller::SANDBOXSET_CLAIMS, "", with("empty-pool", "result=\"failure\""), Some(1.0)),
            (controller::SANDBOXCLAIM_EXPIRED, "", named("recycled-pool"), None),
            (controller::SANDBOXCLAIM_EXPIRED, "", named("empty-pool"), Some(1.0)),
        ],
    );
    for (member, family) in [
        ("/metadata/creationTimestamp", &controller::SANDBOX_CLAIM_CREATED),
        ("/status/claimStartTime", &controller::SANDBOX_CLAIM_START_TIME),
        ("/status/completionTime", &controller::SANDBOX_CLAIM_COMPLETION_TIME),
    ] {
        let claim = kubectl.get(&["sandboxclaim", "vain"]);
        let told = claim.pointer(member).cloned().unwrap_or_else(|| panic!("no {member} in {claim}"));
        let found = of_controller.read().value(family, "", &named("vain"));
        assert_eq!(found.map(f64::floor), Some(seconds(told)), "{}", family.name);
    }

    let taken = kubectl.call(&["get", "sandbox", "-l", "agents.kruise.io/claim-name=held", "-o", "name"]);
    let taken = taken.trim().rsplit('/').next().expect("a name").to_owned();
    pause_by_hand(&kubectl, &taken, true);
    of_controller.expect(
        "deadline of metrics of a refused pause",
        &[
            (controller::SANDBOX_STATUS_UNPAUSED, "", named(&taken), Some(1.0)),
            (controller::SANDBOX_STATUS_READY, "", named(&taken), Some(1.0)),
            (controller::SANDBOX_STATUS_PHASE, "", with(&taken, "phase=\"Running\""), Some(1.0)),
            (controller::SANDBOX_STATUS_ABNORMAL, "", named(&taken), None),
            (controller::SANDBOX_PAUSE_TOTAL, "", namespace(), None),
            (controller::SANDBOX_PAUSE_DURATION, "_count", namespace(), None),
        ],
    );
    let since = &controller::SANDBOX_STATUS_UNPAUSED_TIME;
    times_are_those_of_the_object(&kubectl, &of_controller, &taken, "SandboxPaused", since);
    pause_by_hand(&kubectl, &taken, false);
    of_controller.expect(
        "deadline of metrics of a pause that nobody asks for any more",
        &[
            (controller::SANDBOX_STATUS_UNPAUSED, "", named(&taken), Some(0.0)),
            (controller::SANDBOX_STATUS_UNPAUSED_TIME, "", named(&taken), None),
        ],
    );
    kubectl.call(&["annotate", "sandbox", &taken, "agents.kruise.io/cleanup=true"]);
    of_controller.expect(
        "deadline of metrics of a recycling",
        &[
            (controller::SANDBOX_RECYCLE_TOTAL, "", result("success"), Some(1.0)),
            (controller::SANDBOX_RECYCLE_TOTAL, "", result("failure"), None),
            (controller::SANDBOX_RECYCLE_DURATION, "_count", namespace(), Some(1.0)),
        ],
    );

    let e2b = Client::new(Settings::new(lab.variable("E2B_API_URL"), lab.variable("E2B_API_KEY")))
        .expect("a client");
    let request = CreateRequest {
        template: "recycled-pool".to_owned(),
        timeout: Some(80_000),
        volume_mounts: vec![VolumeMount { name: "nas-pv-sandbox-system".into(), path: "/data-nas".into() }],
        ..CreateRequest::default()
    };
    let id = e2b.create(&request).await.expect("created").value.sandbox_id;
    let refused = e2b.pause(&id).await.expect_err("refused");
    assert_eq!(refused.refusal().map(|refusal| refusal.status), Some(400), "{refused}");
    of_manager.expect(
        "deadline of the manager's metrics after a refused pause",
        &[
            (manager::SANDBOX_MANAGER_REQUESTS, "", "status=\"400\"".to_owned(), Some(1.0)),
            (manager::SANDBOX_MANAGER_SANDBOXES, "", "state=\"running\"".to_owned(), Some(1.0)),
            (manager::SANDBOX_MANAGER_SANDBOXES, "", "state=\"paused\"".to_owned(), Some(0.0)),
        ],
    );

    kubectl.call(&["delete", "sandboxclaim", "held", "vain", "--timeout=60s"]);
    of_controller.expect_no("name=\"held\"");
    of_controller.expect_no("name=\"vain\"");
}

/// Sets `spec.paused`.
fn pause_by_hand(kubectl: &Kubectl, sandbox: &str, paused: bool) {
    let patch = format!("{{\"spec\": {{\"paused\": {paused}}}}}");
    kubectl.call(&["patch", "sandbox", sandbox, "--type=merge", "-p", &patch]);
}

/// A time of an object in whole Unix seconds.
fn seconds(told: serde_json::Value) -> f64 {
    let time: Time = serde_json::from_value(told).expect("a time");
    #[allow(clippy::cast_precision_loss, reason = "seconds of this century are exact")]
    let seconds = time.0.as_second() as f64;
    seconds
}

/// Changes a field of the main container.
fn change_template(kubectl: &Kubectl, sandbox: &str, field: &str, value: &str) {
    let patch = serde_json::json!([
        {"op": "add", "path": format!("/spec/template/spec/containers/0/{field}"), "value": value},
    ]);
    kubectl.call(&["patch", "sandbox", sandbox, "--type=json", "-p", &patch.to_string()]);
}

/// A `_time` is when the condition turned.
fn times_are_those_of_the_object(
    kubectl: &Kubectl,
    page: &Page<'_>,
    name: &str,
    kind: &str,
    family: &Family,
) {
    wait_until("deadline of a time", LIFE_LIMIT, || {
        let sandbox = kubectl.get(&["sandbox", name]);
        let conditions = sandbox["status"]["conditions"].as_array().expect("conditions");
        let told = conditions.iter().find(|told| told["type"] == kind).expect("the condition");
        let found = page.read().value(family, "", &format!("namespace=\"default\",name=\"{name}\""));
        let expected = seconds(told["lastTransitionTime"].clone());
        if found.map(f64::floor) == Some(expected) {
            Ok(())
        } else {
            Err(format!("{found:?}, not {expected}"))
        }
    });
}
