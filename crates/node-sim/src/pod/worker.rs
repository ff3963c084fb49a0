//! The worker of one pod: from its first volume to its last trace.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use kube::api::{DeleteParams, Preconditions};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::blueprint::write_pod_files;
use super::board::Role;
use super::container::{Directive, supervise};
use super::termination::DEFAULT_GRACE;
use super::volumes::{self, VolumeContext, Volumes};
use super::{PodContext, Sandbox, containers, hibernation, resize, spec_of, writer};
use crate::error_chain;
use crate::events::{EventType, KUBELET};
use crate::network::{NetworkError, PodNamespaces};
use crate::policies::{self, Enforced};

/// What the watch says about a pod.
#[derive(Clone, Debug)]
pub(crate) struct Update {
    /// The object as it was seen last.
    pub(crate) pod: Arc<Pod>,
    /// It isn't in the API any more.
    pub(crate) gone: bool,
}

/// How long a pod's containers may take to go beyond their grace period, in real time, before what holds them is
/// taken away.
const STRAGGLER_LIMIT: Duration = Duration::from_secs(5);
/// The wait before a volume or sandbox that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// A container with its supervisor.
struct Member {
    index: usize,
    role: Role,
    directive: watch::Sender<Directive>,
    task: JoinHandle<()>,
}

/// Runs a pod until it is gone from the API and nothing of it is left here.
pub(crate) async fn run(context: Arc<PodContext>, updates: watch::Receiver<Update>) {
    let writer = tokio::spawn(writer::follow(context.clone()));
    let sleep = tokio::spawn(hibernation::follow(context.clone(), updates.clone()));
    let mut worker = Worker { context, members: Vec::new(), updates, course: None };
    let stop = worker.live().await;
    sleep.abort();
    worker.end(stop).await;
    writer.abort();
    let _ = writer.await;
    if let Err(error) = worker.clean_up().await {
        tracing::error!(
            pod = worker.context.full_name(),
            error = error_chain(&error),
            "a pod left something behind"
        );
    }
    worker.delete_object().await;
}

struct Worker {
    context: Arc<PodContext>,
    members: Vec<Member>,
    updates: watch::Receiver<Update>,
    course: Option<JoinHandle<()>>,
}

impl Worker {
    /// Runs the pod's course until it is to be deleted; the instant by which it has to be gone.
    async fn live(&mut self) -> Timestamp {
        let mut steps = self.steps();
        loop {
            if let Some(stop) = self.take_update() {
                return stop;
            }
            tokio::select! {
                changed = self.updates.changed() => if changed.is_err() {
                    return self.context.node.clock.now();
                },
                step = steps.recv() => match step {
                    Some(Step::Start(index, role, container)) => self.start(index, role, container),
                    Some(Step::Finish) => self.finish().await,
                    None => if self.updates.changed().await.is_err() {
                        return self.context.node.clock.now();
                    },
                }
            }
        }
    }

    /// Plans the pod's course in a task, which tells what is to be done next.
    fn steps(&mut self) -> tokio::sync::mpsc::UnboundedReceiver<Step> {
        let (tell, steps) = tokio::sync::mpsc::unbounded_channel();
        let context = self.context.clone();
        self.course = Some(tokio::spawn(async move {
            tokio::select! {
                () = tell.closed() => {}
                () = course(&context, &tell) => {}
            }
        }));
        steps
    }

    /// Passes the latest object on; an instant if the pod has to go.
    fn take_update(&mut self) -> Option<Timestamp> {
        let Update { pod, gone } = self.updates.borrow_and_update().clone();
        self.context.set_pod(pod.clone());
        let now = self.context.node.clock.now();
        if gone {
            return Some(now);
        }
        if pod.metadata.deletion_timestamp.is_some() {
            let grace = pod
                .metadata
                .deletion_grace_period_seconds
                .map_or(DEFAULT_GRACE, |seconds| Duration::from_secs(u64::try_from(seconds).unwrap_or(0)));
            return Some(clock::later(now, grace));
        }
        let spec = spec_of(&pod);
        resize::follow(&self.context.board, &spec);
        for (container, member) in containers(&spec).enumerate().filter_map(|(index, container)| {
            Some((container, self.members.iter().find(|member| member.index == index)?))
        }) {
            member.directive.send_if_modified(|directive| match directive {
                Directive::Run(known) if **known != *container => {
                    *known = Arc::new(container.clone());
                    true
                }
                _ => false,
            });
        }
        None
    }

    fn start(&mut self, index: usize, role: Role, container: Arc<Container>) {
        let (directive, directives) = watch::channel(Directive::Run(container));
        let task = tokio::spawn(supervise(self.context.clone(), index, role, directives));
        self.members.push(Member { index, role, directive, task });
    }

    /// Every main container has ended for good: the sidecars follow, and what the pod used is given back.
    async fn finish(&mut self) {
        let until = clock::later(self.context.node.clock.now(), self.grace());
        self.end(until).await;
        if let Err(error) = self.clean_up().await {
            tracing::error!(
                pod = self.context.full_name(),
                error = error_chain(&error),
                "a pod left something behind"
            );
        }
    }

    fn grace(&self) -> Duration {
        let seconds = spec_of(&self.context.pod()).termination_grace_period_seconds;
        seconds.map_or(DEFAULT_GRACE, |seconds| Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
    }

    /// Stops everything by `until`, or earlier if the pod's deletion is hurried on.
    async fn end(&mut self, mut until: Timestamp) {
        // Its receiver is gone, so it ends; what it was making is complete or dropped before anything is removed.
        if let Some(course) = self.course.take() {
            let _ = course.await;
        }
        let context = self.context.clone();
        let mut updates = self.updates.clone();
        loop {
            tokio::select! {
                () = self.stop_all(until) => return,
                sooner = hurried(&context, &mut updates, until) => until = sooner,
            }
        }
    }

    /// Main and init containers first, all at once; then the sidecars, the last one first.
    async fn stop_all(&mut self, until: Timestamp) {
        let tell = |member: &Member| member.directive.send_replace(Directive::Stop(until));
        for member in self.members.iter().filter(|member| member.role != Role::Sidecar) {
            tell(member);
        }
        let mut stragglers = Vec::new();
        let clock = self.context.node.clock.clone();
        for group in [false, true] {
            for member in
                self.members.iter_mut().rev().filter(|member| (member.role == Role::Sidecar) == group)
            {
                if group {
                    member.directive.send_replace(Directive::Stop(until));
                }
                let limit = async {
                    clock.sleep_until(until).await;
                    tokio::time::sleep(STRAGGLER_LIMIT).await;
                };
                if member.task.is_finished() {
                    continue;
                }
                tokio::select! {
                    _ = &mut member.task => {}
                    () = limit => stragglers.push(member.index),
                }
            }
        }
        for index in stragglers {
            let name = self.context.board.get(index).map(|record| record.name);
            tracing::warn!(pod = self.context.full_name(), container = name, "container is still not gone");
        }
    }

    /// Gives back what the pod used: mounts, the link, folders. Doing it again does nothing.
    async fn clean_up(&self) -> Result<(), CleanUpError> {
        let directory = self.context.directory.clone();
        let folder = directory.clone();
        let removed = tokio::task::spawn_blocking(move || -> io::Result<()> {
            volumes::detach_all(&folder)?;
            if folder.exists() { std::fs::remove_dir_all(&folder) } else { Ok(()) }
        });
        if let Some(sandbox) = self.context.sandbox() {
            self.context.node.network.detach(&sandbox.link).await.map_err(CleanUpError::Network)?;
        }
        self.context.node.network.release(&self.context.uid);
        let failed = |source| CleanUpError::Folder { path: directory, source };
        removed.await.map_err(io::Error::other).and_then(|removed| removed).map_err(failed)
    }

    /// Writes the last status and lets the object go.
    async fn delete_object(&self) {
        let context = &self.context;
        if self.updates.borrow().gone {
            return;
        }
        if let Err(error) = context.write_status().await {
            tracing::warn!(pod = context.full_name(), %error, "last status not written");
        }
        let parameters = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions { uid: Some(context.uid.clone()), resource_version: None }),
            ..DeleteParams::default()
        };
        for _ in 0..5 {
            match context.api().delete(&context.name, &parameters).await {
                Ok(_) => return,
                Err(kube::Error::Api(error)) if error.code == 404 || error.code == 409 => return,
                Err(error) => {
                    tracing::warn!(pod = context.full_name(), %error, "object not deleted; trying again");
                }
            }
            tokio::time::sleep(RETRY).await;
        }
    }
}

/// Waits for an update that wants the pod gone before `until`; the new instant.
async fn hurried(context: &PodContext, updates: &mut watch::Receiver<Update>, until: Timestamp) -> Timestamp {
    loop {
        if updates.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        let Update { pod, gone } = updates.borrow_and_update().clone();
        context.set_pod(pod.clone());
        let now = context.node.clock.now();
        let grace = match pod.metadata.deletion_grace_period_seconds {
            _ if gone => Duration::ZERO,
            Some(seconds) => Duration::from_secs(u64::try_from(seconds).unwrap_or(0)),
            None => Duration::MAX,
        };
        let wanted = clock::later(now, grace);
        if wanted < until {
            return wanted;
        }
    }
}

/// Why something of a pod is left.
#[derive(Debug, thiserror::Error)]
enum CleanUpError {
    /// Its link.
    #[error("removing the pod's link failed")]
    Network(#[source] NetworkError),
    /// Its folder.
    #[error("removing {path} failed", path = path.display())]
    Folder {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// What the worker has to do next.
enum Step {
    Start(usize, Role, Arc<Container>),
    Finish,
}

/// A pod's course: sandbox, init containers one after the other, main containers, and its end if they all end.
async fn course(context: &Arc<PodContext>, tell: &tokio::sync::mpsc::UnboundedSender<Step>) {
    prepare(context).await;
    context.board.touch();
    let spec = spec_of(&context.pod());
    let inits = spec.init_containers.iter().flatten();
    for (index, container) in inits.clone().enumerate() {
        let role = Role::of_init(container);
        let _ = tell.send(Step::Start(index, role, Arc::new(container.clone())));
        context
            .board
            .wait_until(|records| {
                records.get(index).is_some_and(|record| match role {
                    Role::Sidecar => record.started && record.state.running.is_some(),
                    _ => record.finished.is_some(),
                })
            })
            .await;
        if role == Role::Init && context.board.get(index).is_some_and(|record| record.finished != Some(0)) {
            let _ = tell.send(Step::Finish);
            return;
        }
    }
    let first = inits.count();
    for (offset, container) in spec.containers.iter().enumerate() {
        let index = first + offset;
        context.board.update(index, |record| {
            if record.state.waiting.is_some() {
                record.wait_for("ContainerCreating", None);
            }
        });
        let _ = tell.send(Step::Start(index, Role::Main, Arc::new(container.clone())));
    }
    let all_finished = |records: &[super::board::Record]| {
        records.iter().filter(|record| record.role == Role::Main).all(|record| record.finished.is_some())
    };
    context.board.wait_until(all_finished).await;
    let _ = tell.send(Step::Finish);
}

/// Makes the sandbox and puts it under the network policies, trying until both are done.
async fn prepare(context: &Arc<PodContext>) {
    loop {
        match make_sandbox(context).await {
            Ok(sandbox) => {
                let _ = context.sandbox.set(sandbox);
                break;
            }
            Err((reason, message)) => context.event(KUBELET, EventType::Warning, reason, message),
        }
        context.node.clock.sleep(RETRY).await;
    }
    while let Err(error) = policies::admit(context).await {
        context.event(KUBELET, EventType::Warning, "FailedCreatePodSandBox", error_chain(&error));
        context.node.clock.sleep(RETRY).await;
    }
}

async fn make_sandbox(context: &Arc<PodContext>) -> Result<Sandbox, (&'static str, String)> {
    let failed = |error: &dyn std::error::Error| ("FailedCreatePodSandBox", error_chain(error));
    let pod = context.pod();
    let spec = spec_of(&pod);
    let hostname = spec.hostname.as_deref().unwrap_or(&context.name);
    let namespaces = PodNamespaces::create(hostname).await.map_err(|error| failed(&error))?;
    let link =
        context.node.network.attach(&namespaces, &context.uid).await.map_err(|error| failed(&error))?;
    let made = finish_sandbox(context, &link.address.to_string()).await;
    match made {
        Ok(volumes) => Ok(Sandbox {
            address_text: link.address.to_string(),
            namespaces,
            link,
            enforced: Enforced::default(),
            volumes,
        }),
        Err(error) => {
            // The link goes with the namespaces, which nothing else holds.
            context.node.network.release(&context.uid);
            Err(error)
        }
    }
}

async fn finish_sandbox(context: &Arc<PodContext>, address: &str) -> Result<Volumes, (&'static str, String)> {
    let pod = context.pod();
    write_pod_files(context, address).map_err(|error| ("FailedCreatePodSandBox", error_chain(&error)))?;
    let facts = super::environment::Facts { pod_ip: address.to_owned(), ..context.facts() };
    let volume_context = VolumeContext {
        client: context.client(),
        pod: &pod,
        namespace: &context.namespace,
        facts: &facts,
        host_paths: &context.node.host_paths,
    };
    let directory = context.directory.join("volumes");
    let mut volumes = Volumes::new();
    for volume in spec_of(&pod).volumes.iter().flatten() {
        let prepared = volumes::prepare(&volume_context, volume, &directory).await;
        let path = prepared.map_err(|error| ("FailedMount", error_chain(&error)))?;
        volumes.insert(volume.name.clone(), path);
    }
    Ok(volumes)
}
