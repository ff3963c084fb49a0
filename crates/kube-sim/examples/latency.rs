//! How long the API server takes: `cargo run --release -p kube-sim --example latency`.

use std::pin::pin;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clock::SystemClock;
use futures::TryStreamExt as _;
use journal::Journal;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ListParams, Patch, PatchParams, PostParams, WatchParams};
use kube::{Api, Client};
use kube_sim::{KubeSim, Options};
use serde_json::json;

const ROUNDS: usize = 1000;

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |share: usize| times.get(times.len() * share / 100).copied().unwrap_or_default();
    println!("{what:<32} p50 {:>9.1?}  p99 {:>9.1?}", at(50), at(99));
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let begun = Instant::now();
    let journal = Journal::new(SystemClock::shared());
    let server = KubeSim::new(Options { clock: SystemClock::shared(), journal: Some(journal) });
    let client = server.client("default");
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    pods.list(&ListParams::default()).await?;
    println!("{:<32} {:?}", "start and first answer", begun.elapsed());

    let pod = |name: &str| {
        serde_json::from_value::<Pod>(json!({
            "metadata": {"name": name, "labels": {"app": "x"}},
            "spec": {"containers": [{"name": "main", "image": "x", "env": [{"name": "A", "value": "1"}],
                "volumeMounts": [{"name": "v", "mountPath": "/v"}]}], "volumes": [{"name": "v", "emptyDir": {}}]},
        }))
    };
    let begun = Instant::now();
    pods.create(&PostParams::default(), &pod("first")?).await?;
    println!("{:<32} {:?}", "first pod (schema is made)", begun.elapsed());

    let mut watch = pin!(pods.watch(&WatchParams::default(), "0").await?);
    watch.try_next().await?.context("the first pod")?;
    let (mut created, mut seen, mut patched) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let name = format!("pod-{round}");
        let body = pod(&name)?;
        let begun = Instant::now();
        pods.create(&PostParams::default(), &body).await?;
        created.push(begun.elapsed());
        watch.try_next().await?.context("the creation")?;
        seen.push(begun.elapsed());
        let status =
            Patch::Merge(json!({"status": {"phase": "Running", "podIP": format!("10.0.0.{round}")}}));
        let begun = Instant::now();
        pods.patch_status(&name, &PatchParams::default(), &status).await?;
        patched.push(begun.elapsed());
        watch.try_next().await?.context("the change")?;
    }
    report("create a pod", created);
    report("create a pod and see it watched", seen);
    report("patch a pod's status", patched);
    definitions(&client).await?;
    let begun = Instant::now();
    pods.list(&ListParams::default()).await?;
    println!("{:<32} {:?}", format!("list {} pods", ROUNDS + 1), begun.elapsed());
    Ok(())
}

/// The definitions of the contract, and the first object with rules in CEL.
async fn definitions(client: &Client) -> anyhow::Result<()> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let definitions = contract::crd::all();
    let begun = Instant::now();
    for definition in &definitions {
        api.create(&PostParams::default(), definition).await?;
    }
    println!("{:<32} {:?}", format!("create {} definitions", definitions.len()), begun.elapsed());
    let claims: Api<contract::crd::SandboxClaim> = Api::default_namespaced(client.clone());
    for name in ["first", "second"] {
        let claim =
            serde_json::from_value(json!({"metadata": {"name": name}, "spec": {"templateName": "t"}}))?;
        let begun = Instant::now();
        claims.create(&PostParams::default(), &claim).await?;
        println!("{:<32} {:?}", format!("create the {name} claim"), begun.elapsed());
    }
    Ok(())
}
