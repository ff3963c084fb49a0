//! The components of the system, each in a runtime of its own: killed, a component ends with everything that it has begun,
//! and a new one takes its place.
//!
//! A runtime is here what a container is in a cluster. Its end drops every task at its next halt, closes the connections,
//! and runs nothing for a farewell; what a dying component would still like to do (give a claimed sandbox back, for one) it
//! can't begin any more. The new one starts at once, as a kubelet starts a container that fails for the first time. As long as
//! there is none, the manager's address refuses connections, as a Service without endpoints does.

use std::sync::Arc;
use std::time::Duration;

use axum::serve::ListenerExt as _;
use clock::SharedClock;
use contract::names::SYSTEM_NAMESPACE;
use journal::{Journal, source};
use kube_sim::{Caller, KubeSim};
use lab::{Component, Listener};
use manager::{Manager, ManagerOptions};
use prometheus_client::registry::Registry;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::{Mutex, mpsc};

use super::pages::MetricsPages;
use super::parts::{Failed, failed};
use super::send;
use crate::protocol::Report;

/// How long the end of a component may take; its tasks end at their next halt.
const END_LIMIT: Duration = Duration::from_secs(10);

/// Service accounts of controller and manager.
const CONTROLLER_ACCOUNT: &str = "sandbox-controller-manager";
const MANAGER_ACCOUNT: &str = "sandbox-manager";

/// What components are made of.
pub(crate) struct Plan {
    pub(crate) api: KubeSim,
    pub(crate) clock: SharedClock,
    pub(crate) journal: Journal,
    /// The key of the E2B API.
    pub(crate) e2b_key: String,
    /// Where the manager answers.
    pub(crate) e2b: Listener,
    /// Where their metrics are shown.
    pub(crate) pages: Arc<MetricsPages>,
    /// Who hears of components that end by themselves.
    pub(crate) reports: mpsc::UnboundedSender<Report>,
}

/// The components that run.
pub(crate) struct Components {
    plan: Arc<Plan>,
    controller: Mutex<Place>,
    manager: Mutex<Place>,
}

/// Where a component runs.
struct Place {
    process: Process,
    /// How often it was killed.
    kills: u32,
}

/// A component at work; dropped, it ends without anybody waiting for it.
struct Process(Option<Runtime>);

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Process {
    /// Ends it as SIGKILL would, and returns once nothing of it runs any more.
    fn kill(mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_timeout(END_LIMIT);
        }
    }
}

impl Components {
    /// Starts each of them.
    pub(crate) fn start(plan: Plan) -> Result<Self, Failed> {
        let place = |process| Mutex::new(Place { process, kills: 0 });
        let controller = place(start_controller(&plan)?);
        let manager = place(start_manager(&plan)?);
        Ok(Self { plan: Arc::new(plan), controller, manager })
    }

    /// Kills a component, and starts it again. Returns once the new one is there; it has read nothing yet.
    pub(crate) async fn kill(&self, component: Component) -> Result<(), Failed> {
        let plan = Arc::clone(&self.plan);
        let mut place = match component {
            Component::Controller => self.controller.lock().await,
            Component::Manager => self.manager.lock().await,
        };
        let old = std::mem::replace(&mut place.process, Process(None));
        if component == Component::Manager {
            plan.e2b.close().map_err(failed("manager's address"))?;
        }
        // Its threads are waited for, which may not happen on a thread of this runtime.
        tokio::task::spawn_blocking(move || old.kill()).await.map_err(failed("component's end"))?;
        place.process = match component {
            Component::Controller => start_controller(&plan)?,
            Component::Manager => {
                plan.e2b.open().map_err(failed("manager's address"))?;
                start_manager(&plan)?
            }
        };
        place.kills += 1;
        let (subject, body) = (format!("Component/{component}"), json!({"restarts": place.kills}));
        plan.journal.record(source::PROCESS, "started", &subject, body);
        Ok(())
    }
}

/// A client with the service account that the component has in a cluster (`kind/manifests/20-rbac.yaml`).
fn client(plan: &Plan, account: &str, default_namespace: &str) -> kube::Client {
    plan.api.client_as(&Caller::service_account(SYSTEM_NAMESPACE, account), default_namespace)
}

fn runtime(name: &'static str) -> Result<Runtime, Failed> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).thread_name(name).enable_all().build().map_err(failed(name))
}

/// The controller runs until it is killed or the lab ends; if it ends before, the outside hears of it.
fn start_controller(plan: &Plan) -> Result<Process, Failed> {
    let runtime = runtime("controller")?;
    let inside = runtime.enter();
    let metrics = controller::Metrics::default();
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    plan.pages.set(Component::Controller, move || service::metrics_text(&registry));
    let options = controller::ControllerOptions {
        journal: Some(plan.journal.clone()),
        metrics,
        ..controller::ControllerOptions::new(
            client(plan, CONTROLLER_ACCOUNT, SYSTEM_NAMESPACE),
            plan.clock.clone(),
        )
    };
    let reports = plan.reports.clone();
    tokio::spawn(async move {
        let reason = match controller::run(options).await {
            Ok(()) => "it ended".to_owned(),
            Err(error) => crate::chain(&error),
        };
        send(&reports, Report::Failed { part: "controller".to_owned(), reason });
    });
    drop(inside);
    Ok(Process(Some(runtime)))
}

fn start_manager(plan: &Plan) -> Result<Process, Failed> {
    let runtime = runtime("manager")?;
    let inside = runtime.enter();
    let manager = Manager::new(ManagerOptions {
        journal: Some(plan.journal.clone()),
        admin_key: plan.e2b_key.clone(),
        ..ManagerOptions::new(client(plan, MANAGER_ACCOUNT, "default"), plan.clock.clone())
    })
    .map_err(failed("manager"))?;
    let listener = plan.e2b.handle().and_then(TcpListener::from_std).map_err(failed("manager's address"))?;
    // Answers are small and awaited one by one: they must not wait for company.
    let listener = listener.tap_io(|connection| {
        if let Err(error) = connection.set_nodelay(true) {
            tracing::debug!(%error, "a connection keeps its delay");
        }
    });
    let background = manager.start();
    let router = manager.router();
    let measured = manager.clone();
    plan.pages.set(Component::Manager, move || measured.metrics_text());
    let reports = plan.reports.clone();
    tokio::spawn(async move {
        let served = axum::serve(listener, router).await;
        drop(background);
        if let Err(error) = served {
            send(&reports, Report::Failed { part: "manager".to_owned(), reason: crate::chain(&error) });
        }
    });
    drop(inside);
    Ok(Process(Some(runtime)))
}
