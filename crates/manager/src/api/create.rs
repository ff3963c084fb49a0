//! `POST /v2/sandboxes`, `POST /sandboxes` (`e2b-api.md` §4.1). Checks come in the order of `storage.md` §1.2; nothing
//! is taken from the pool before the last of them has passed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use claim::{ClaimRequest, EmptyPool, check_change, check_runtimes};
use contract::crd::{CsiMountConfig, InplaceUpdate, InplaceUpdateResources, SandboxSet};
use contract::duration::retention;
use contract::errors::Code;
use contract::extensions::Extensions;
use contract::hibernation;
use contract::intents::VolumeMount;
use contract::names::{annotations, events, labels, metadata_keys};
use contract::request;
use contract::resolve::ResolvedMount;
use http::StatusCode;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt as _;
use serde::Deserialize;
use serde_json::Value;

use super::body::RawBody;
use super::context::Context;
use super::network::NetworkRules;
use super::view::View;
use crate::claim::Order;
use crate::deadlines::Deadlines;
use crate::error::ApiError;
use crate::keys::Caller;
use crate::manager::Manager;
use crate::sandboxes::{self, Situation};

/// The timeout of a request that names none.
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_mins(5);
/// The shortest timeout at create, in seconds.
const SHORTEST_TIMEOUT: i64 = 30;

/// The body; unknown members are ignored.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    #[serde(rename = "templateID")]
    template_id: String,
    timeout: Option<i64>,
    auto_pause: Option<bool>,
    #[serde(rename = "allow_internet_access")]
    allow_internet_access: Option<bool>,
    network: Option<NetworkRules>,
    metadata: Option<BTreeMap<String, String>>,
    env_vars: Option<BTreeMap<String, String>>,
    volume_mounts: Option<Vec<VolumeMount>>,
}

/// Creates a sandbox: 201 once it is ready, initialised and everything is mounted.
pub(crate) async fn create(
    State(manager): State<Manager>,
    caller: Caller,
    context: Context,
    body: RawBody,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let domain = context.domain(manager.shared.options.domain.as_deref())?;
    let body: Body = body.read()?;
    let order = check(&manager, caller, body).await?;
    let sandbox = manager.claim(order).await?;
    context.concerns(&sandboxes::id(&sandbox));
    let view = View::within(&manager, domain, &sandbox, Situation::Running).with_token();
    Ok((StatusCode::CREATED, Json(view.value())))
}

/// Everything that can be wrong with a request before a sandbox is touched.
async fn check(manager: &Manager, caller: Caller, body: Body) -> Result<Order, ApiError> {
    let mut metadata = body.metadata.unwrap_or_default();
    let options = request::parse(&mut metadata, &body.volume_mounts.unwrap_or_default())?;
    let (intents, extensions) = (options.mounts, options.extensions);
    if !intents.is_empty() && !manager.shared.options.mounts_allowed {
        let message =
            "mounting storage is switched off on this manager; ask its operator, or leave the mounts out";
        return Err(ApiError::new(Code::MountsNotAllowed, message));
    }
    let timeout = timeout(manager, body.timeout)?;
    let network = body.network.map(NetworkRules::checked).transpose()?.filter(|rules| !rules.is_empty());
    let (set, origin) = match template(manager, &caller, &body.template_id) {
        Ok(set) => {
            refuse_names(&extensions, &body.template_id)?;
            (set, None)
        }
        Err(missing) => {
            let snapshot = manager.snapshot(&caller, &body.template_id).ok_or(missing)?;
            let (set, origin) = super::clone::of(manager, &snapshot, &extensions).await?;
            (set, Some(origin))
        }
    };
    check_runtimes(&set, &intents)?;
    let change = change(&extensions);
    check_change(&set, &change)?;
    manager.check_quota(&caller, &set)?;
    let mounts = resolve(manager, &intents).await?;
    let auto_pause = body.auto_pause.unwrap_or_default();
    let deadlines = if extensions.never_timeout {
        Deadlines::default()
    } else {
        let retention = retention(extensions.reserve_paused_sandbox_duration.as_deref());
        Deadlines::after(manager.now(), timeout, auto_pause, retention)
    };
    let notice = deadlines.pause.and_then(|_| automatic_pause_notice(&mounts));
    let limit = seconds(extensions.claim_timeout_seconds);
    let allow_internet_access = body.allow_internet_access.unwrap_or(true);
    let options = &manager.shared.options;
    let empty_pool = if extensions.create_on_no_stock() {
        EmptyPool::Create
    } else {
        EmptyPool::Wait(limit.unwrap_or(options.stock_limit))
    };
    let request = ClaimRequest {
        template: manager.referred_template(&set),
        origin,
        intents,
        mounts,
        change,
        environment: body.env_vars.unwrap_or_default(),
        user_labels: extensions.labels.clone(),
        user_annotations: metadata,
        labels: internet(allow_internet_access),
        pod_labels: internet(allow_internet_access),
        annotations: notes(&extensions, network.as_ref()),
        pause_time: deadlines.pause,
        shutdown_time: deadlines.shutdown,
        skip_init_runtime: extensions.skip_init_runtime,
        keep_failed: extensions.reserve_failed_sandbox,
        empty_pool,
        ready_limit: seconds(extensions.wait_ready_timeout_seconds).unwrap_or(options.ready_limit),
        ..ClaimRequest::new(set, caller.id)
    };
    Ok(Order { request, limit, network, notice })
}

/// What is said of an automatic pause that the storage will not allow (DECISIONS 3).
fn automatic_pause_notice(mounts: &[ResolvedMount]) -> Option<(&'static str, String)> {
    let nas = mounts.iter().find(|mount| hibernation::is_nas(&mount.driver))?;
    let message = format!(
        "the automatic pause will not take place: NAS storage is mounted at {} and keeps the sandbox from hibernating; \
         it will go on running until it is ended",
        nas.mount_path
    );
    Some((events::AUTOMATIC_PAUSE_UNAVAILABLE, message))
}

fn seconds(value: Option<i64>) -> Option<Duration> {
    value
        .and_then(|seconds| u64::try_from(seconds).ok())
        .filter(|seconds| *seconds > 0)
        .map(Duration::from_secs)
}

/// The label by which policies cut a sandbox off.
fn internet(is_allowed: bool) -> BTreeMap<String, String> {
    let denied = (!is_allowed).then(|| (labels::ALLOW_INTERNET_ACCESS.to_owned(), "false".to_owned()));
    denied.into_iter().collect()
}

/// What later requests have to know of this one.
fn notes(extensions: &Extensions, network: Option<&NetworkRules>) -> BTreeMap<String, String> {
    let mut notes = BTreeMap::new();
    if let Some(retention) = &extensions.reserve_paused_sandbox_duration {
        notes.insert(annotations::RESERVE_PAUSED_SANDBOX_DURATION.to_owned(), retention.clone());
    }
    if let Some(rules) = network {
        notes.insert(super::network::RULES.to_owned(), rules.stored());
    }
    if extensions.return_sandbox_ip {
        notes.insert(super::view::RETURN_IP.to_owned(), "true".to_owned());
    }
    notes
}

/// The mounts, ready for the driver. The values of their Secrets are kept out of the journal from now on.
async fn resolve(manager: &Manager, intents: &[CsiMountConfig]) -> Result<Vec<ResolvedMount>, ApiError> {
    let options = &manager.shared.options;
    let mounts = runtime_client::resolve_mounts(&options.client, &options.drivers, intents).await?;
    if let Some(journal) = &options.journal {
        for secret in mounts.iter().flat_map(|mount| mount.request.secrets.values()) {
            journal.guard(secret);
        }
    }
    Ok(mounts)
}

fn timeout(manager: &Manager, seconds: Option<i64>) -> Result<Duration, ApiError> {
    match seconds {
        None | Some(0) => Ok(DEFAULT_TIMEOUT),
        Some(seconds) => bounded_timeout(manager, seconds, SHORTEST_TIMEOUT),
    }
}

/// A timeout of at least `shortest` seconds and at most what the operator allows.
pub(crate) fn bounded_timeout(manager: &Manager, seconds: i64, shortest: i64) -> Result<Duration, ApiError> {
    let longest = manager.shared.options.longest_timeout;
    let allowed = u64::try_from(seconds).ok().map(Duration::from_secs);
    allowed.filter(|timeout| seconds >= shortest && *timeout <= longest).ok_or_else(|| {
        let message =
            format!("timeout {seconds} is out of bounds: use {shortest} to {} seconds", longest.as_secs());
        ApiError::new(Code::InvalidTimeout, message)
    })
}

/// The pool of that name: a team's in its own namespace; the admin team's in the default namespace, else anywhere.
fn template(manager: &Manager, caller: &Caller, name: &str) -> Result<Arc<SandboxSet>, ApiError> {
    let sets = &manager.shared.sets;
    let found = if caller.is_admin() {
        sets.get(&manager.shared.options.default_namespace, name).or_else(|| {
            let mut anywhere = sets.select(|set| set.name_any() == name);
            anywhere.sort_by_key(|set| std::cmp::Reverse(set.namespace()));
            anywhere.pop()
        })
    } else {
        sets.get(&caller.team, name)
    };
    found.ok_or_else(|| {
        let message = format!(
            "template or snapshot {name:?} not found: there is no SandboxSet and no snapshot of yours \
             of that name"
        );
        ApiError::new(Code::TemplateNotFound, message)
    })
}

/// Keys that only make sense for a clone of a snapshot.
fn refuse_names(extensions: &Extensions, template: &str) -> Result<(), ApiError> {
    for (key, value) in [
        (metadata_keys::SANDBOX_NAME, &extensions.sandbox_name),
        (metadata_keys::SANDBOX_GENERATE_NAME, &extensions.sandbox_generate_name),
    ] {
        if value.is_some() {
            let message = format!(
                "Bad extension param: {key} is for clones of snapshots, and {template:?} is a template"
            );
            return Err(ApiError::bad_request(message));
        }
    }
    Ok(())
}

/// What the sandbox's first container is to be instead of the template's.
fn change(extensions: &Extensions) -> InplaceUpdate {
    let cpu = |value: &Option<String>| {
        value.clone().map(|value| BTreeMap::from([("cpu".to_owned(), Quantity(value))]))
    };
    let (requests, limits) = (cpu(&extensions.cpu_request), cpu(&extensions.cpu_limit));
    let resources =
        (requests.is_some() || limits.is_some()).then_some(InplaceUpdateResources { requests, limits });
    InplaceUpdate { image: extensions.image.clone(), resources }
}
