//! From the pool to the caller: what is written, in which order, and what happens when it fails.

use std::time::Duration;

use contract::names::{annotations, labels};
use kube::ResourceExt as _;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::envd::{Envd, Mount};
use crate::lab::{AK_ID, AK_SECRET, KEY, LIMIT, Lab, POOL, eventually};

fn name(created: &Value) -> String {
    let id = created["sandboxID"].as_str().expect("an id");
    id.split_once("--").expect("the legacy form").1.to_owned()
}

#[tokio::test]
async fn a_claim_takes_a_member_of_the_pool_and_hands_it_over() {
    let (lab, envd) = (Lab::new().await, Envd::start().await);
    lab.pool(POOL, &[&envd]).await;
    let created = lab
        .create(json!({
            "timeout": 600, "metadata": {"user": "ada", "label:app": "x"}, "envVars": {"COLOUR": "green"},
        }))
        .await;
    assert_eq!(created["templateID"], POOL);
    assert_eq!(created["clientID"], "");
    assert_eq!(created["envdVersion"], contract::names::ENVD_VERSION);
    assert_eq!(created["domain"], lab.address.to_string());
    let token = created["envdAccessToken"].as_str().expect("a token");
    let init = &envd.seen("/init")[0];
    assert_eq!(init.body, json!({"envVars": {"COLOUR": "green"}, "accessToken": token}));
    assert_eq!(init.token.as_deref(), Some(token));

    let sandbox = lab.sandboxes().get(&name(&created)).await.expect("there");
    assert_eq!(name(&created), format!("{POOL}-0"));
    assert!(sandbox.owner_references().is_empty());
    assert_eq!(sandbox.labels()[labels::SANDBOX_CLAIMED], "true");
    assert_eq!(sandbox.labels()["app"], "x");
    assert!(!sandbox.annotations()[annotations::LOCK].is_empty());
    assert_eq!(sandbox.annotations()["user"], "ada");
    assert_eq!(sandbox.annotations()[annotations::RUNTIME_ACCESS_TOKEN], token);
    assert!(!sandbox.annotations().contains_key(manager::UNACKNOWLEDGED));
    let template = sandbox.spec.template.expect("inline");
    assert_eq!(template["metadata"]["labels"]["app"], "x");
    assert!(template["metadata"]["labels"][labels::OWNER].is_string());
    assert_eq!(lab.milestones(), ["claimed", "initialised"]);
    let metrics =
        lab.http.get(lab.url("/metrics")).send().await.expect("an answer").text().await.expect("text");
    let claims =
        format!("sandboxset_claims_total{{namespace=\"default\",name=\"{POOL}\",result=\"success\"}} 1\n");
    assert!(metrics.contains(&claims), "{metrics}");
    assert!(metrics.contains("sandbox_claim_duration_seconds_count{namespace=\"default\"} 1\n"), "{metrics}");
    assert!(metrics.contains("sandbox_manager_sandboxes{state=\"running\"} 1.0\n"), "{metrics}");
}

#[tokio::test]
async fn two_claims_never_get_the_same_sandbox() {
    let lab = Lab::new().await;
    let (one, two) = (Envd::start().await, Envd::start().await);
    lab.pool(POOL, &[&one, &two]).await;
    let (first, second) = tokio::join!(lab.create(json!({})), lab.create(json!({})));
    assert_ne!(first["sandboxID"], second["sandboxID"]);
}

#[tokio::test]
async fn a_member_that_somebody_else_changed_is_tried_again_with_its_newest_version() {
    let (lab, envd) = (Lab::new().await, Envd::start().await);
    let set = lab.pool(POOL, &[&envd]).await;
    // the manager's copy is older than this write when the claim begins
    let patch = Patch::Merge(json!({"metadata": {"annotations": {"touched": "yes"}}}));
    lab.sandboxes().patch(&format!("{POOL}-0"), &PatchParams::default(), &patch).await.expect("patched");
    let created = lab.create(json!({})).await;
    assert_eq!(name(&created), format!("{}-0", set.name_any()));
}

#[tokio::test]
async fn another_image_is_waited_for_before_the_runtime_is_asked_for_anything() {
    let (lab, envd) = (Lab::new().await, Envd::start().await);
    lab.pool(POOL, &[&envd]).await;
    let member = format!("{POOL}-0");
    let controller = async {
        eventually("the member has the image", || async {
            let template = lab.sandboxes().get(&member).await.expect("there").spec.template;
            template.is_some_and(|template| template["spec"]["containers"][0]["image"] == "other:1")
        })
        .await;
        assert!(envd.seen("/init").is_empty(), "the old container is not the caller's");
        lab.make_ready(&member, &envd).await
    };
    let metadata = json!({"e2b.agents.kruise.io/image": "other:1", "e2b.agents.kruise.io/cpu-limit": "3"});
    let (created, sandbox) = tokio::join!(lab.create(json!({"metadata": metadata})), controller);
    assert_eq!(name(&created), member);
    let template = sandbox.spec.template.clone().expect("inline");
    let resources = json!({"limits": {"cpu": "3", "memory": "512Mi"}});
    assert_eq!(
        template["spec"]["containers"][0],
        json!({"name": "sandbox", "image": "other:1", "resources": resources})
    );
    assert_eq!(sandbox.annotations().get("e2b.agents.kruise.io/image"), None, "consumed");
    assert_eq!(lab.milestones(), ["claimed", "initialised"]);
}

#[tokio::test]
async fn an_empty_pool_makes_a_sandbox_and_waits_for_it() {
    let (lab, envd) = (Lab::new().await, Envd::start().await);
    lab.pool(POOL, &[]).await;
    let controller = async {
        let made = std::sync::Mutex::new(String::new());
        eventually("a fresh sandbox is made", || async {
            let all = lab.sandboxes().list(&ListParams::default()).await.expect("a list");
            let name = all.items.first().map(kube::ResourceExt::name_any);
            *made.lock().expect("no panic") = name.clone().unwrap_or_default();
            name.is_some()
        })
        .await;
        let made = made.into_inner().expect("no panic");
        lab.make_ready(&made, &envd).await
    };
    let (created, sandbox) = tokio::join!(lab.create(json!({})), controller);
    assert_eq!(name(&created), sandbox.name_any());
    assert!(sandbox.owner_references().is_empty());
    assert_eq!(sandbox.annotations()[annotations::SANDBOX_PRIORITY], "100");
    assert_eq!(sandbox.labels()[labels::SANDBOX_POOL], POOL);
}

#[tokio::test]
async fn without_stock_and_without_leave_to_create_it_is_a_500_that_names_the_template() {
    let lab = Lab::with(|options| options.stock_limit = Duration::from_millis(50)).await;
    lab.pool(POOL, &[]).await;
    let metadata = json!({"e2b.agents.kruise.io/create-on-no-stock": "false"});
    let (status, error) = lab.post("/sandboxes", json!({"templateID": POOL, "metadata": metadata})).await;
    assert_eq!((status, error["error_code"].as_str()), (500, Some("no-stock")), "{error}");
    assert!(error["message"].as_str().expect("text").contains("no available sandboxes for template"));
}

#[tokio::test]
async fn a_claim_waits_for_the_pool_to_refill() {
    let (lab, envd) = (Lab::new().await, Envd::start().await);
    let set = lab.pool(POOL, &[]).await;
    let metadata = json!({"e2b.agents.kruise.io/create-on-no-stock": "false"});
    let (created, _) =
        tokio::join!(lab.create(json!({"metadata": metadata})), lab.member(&set, "late", &envd));
    assert_eq!(name(&created), "late");
}

#[tokio::test]
async fn the_handshake_is_tried_again_after_a_5xx() {
    let (lab, envd) = (Lab::new().await, Envd::start().await.answers_init(&[503, 500]));
    lab.pool(POOL, &[&envd]).await;
    lab.create(json!({})).await;
    assert_eq!(envd.seen("/init").len(), 3);
}

#[tokio::test]
async fn a_runtime_that_refuses_the_handshake_costs_its_sandbox_and_another_is_taken() {
    let lab = Lab::new().await;
    let (bad, good) = (Envd::start().await.answers_init(&[401; 9]), Envd::start().await);
    // the newest revision is preferred, so the bad one is taken first
    let set = lab.pool(POOL, &[&bad]).await;
    lab.member(&set, "spare", &good).await;
    eventually("both are known", || async { lab.available(POOL).await == 2 }).await;
    let created = lab.create(json!({})).await;
    assert_eq!(name(&created), "spare");
    let tried_the_bad_one = !bad.seen("/init").is_empty();
    assert_eq!(bad.seen("/init").len(), usize::from(tried_the_bad_one), "a 4xx is final");
    if tried_the_bad_one {
        eventually("the bad one is gone", || async {
            lab.sandboxes().get_opt(&format!("{POOL}-0")).await.expect("an answer").is_none()
        })
        .await;
    }
}

#[tokio::test]
async fn a_caller_who_hangs_up_leaves_nothing_behind() {
    let (lab, envd) = (Lab::new().await, Envd::start().await.answers_mounts(&[Mount::Hangs]));
    lab.pool(POOL, &[&envd]).await;
    lab.oss_volume("oss-pv").await;
    lab.oss_secret(json!({"akId": AK_ID, "akSecret": AK_SECRET})).await;
    let metadata = json!({
        "e2b.agents.kruise.io/csi-volume-name": "oss-pv", "e2b.agents.kruise.io/csi-mount-point": "/data",
    });
    let request = lab.http.post(lab.url("/sandboxes")).header("x-api-key", KEY);
    let request = request.json(&json!({"templateID": POOL, "metadata": metadata})).send();
    let hung_up = tokio::spawn(request);
    eventually("the mount has begun", || async { !envd.seen("/v1/storage/mounts").is_empty() }).await;
    hung_up.abort();
    eventually("the sandbox is gone", || async {
        lab.sandboxes().list(&ListParams::default()).await.expect("a list").items.is_empty()
    })
    .await;
    assert_eq!(envd.seen("/v1/storage/unmounts").len(), 1, "what may have been mounted is taken back");
    let abandoned = lab
        .journal
        .entries()
        .iter()
        .any(|entry| entry.kind == "POST /sandboxes" && entry.body["abandoned"] == true);
    assert!(abandoned, "the journal tells of the request");
    assert_eq!(lab.milestones(), ["claimed", "initialised", "cleaned"]);
}

#[tokio::test]
async fn what_a_dead_manager_left_behind_is_collected_and_never_handed_out() {
    let (lab, envd) = (Lab::new().await, Envd::start().await);
    lab.pool(POOL, &[&envd]).await;
    let created = lab.create(json!({})).await;
    let until = clock::later(clock::Clock::now(&lab.clock), Duration::from_secs(120)).to_string();
    let patch = Patch::Merge(json!({"metadata": {"annotations": {manager::UNACKNOWLEDGED: until}}}));
    lab.sandboxes().patch(&name(&created), &PatchParams::default(), &patch).await.expect("patched");
    let path = format!("/sandboxes/{}", created["sandboxID"].as_str().expect("an id"));
    eventually("it is nobody's", || async { lab.get(&path).await.0 == 404 }).await;
    assert!(
        lab.sandboxes().get_opt(&name(&created)).await.expect("an answer").is_some(),
        "not before its time"
    );
    lab.clock.advance(Duration::from_secs(121));
    eventually("the janitor has collected it", || async {
        lab.sandboxes().get_opt(&name(&created)).await.expect("an answer").is_none()
    })
    .await;
}

#[tokio::test]
async fn a_manager_that_starts_later_collects_too() {
    let (lab, envd) = (Lab::new().await, Envd::start().await);
    lab.pool(POOL, &[&envd]).await;
    let created = lab.create(json!({})).await;
    let Lab { sim, clock, journal, client, .. } = lab;
    let sandboxes: kube::Api<contract::crd::Sandbox> = kube::Api::namespaced(client, "default");
    let patch =
        Patch::Merge(json!({"metadata": {"annotations": {manager::UNACKNOWLEDGED: "2026-01-01T00:00:00Z"}}}));
    sandboxes.patch(&name(&created), &PatchParams::default(), &patch).await.expect("patched");
    let next = Lab::on(sim, clock, journal, |_| {}).await;
    let gone = async {
        while next.sandboxes().get_opt(&name(&created)).await.expect("an answer").is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, gone).await.expect("collected");
}
