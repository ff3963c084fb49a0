//! Starting a container: image, description, process.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use journal::source;
use k8s_openapi::api::core::v1::Container;
use serde_json::json;
use tokio::task::JoinHandle;

use super::backoff::Backoff;
use super::blueprint::blueprint;
use super::container::Supervisor;
use super::exec::Running;
use crate::catalogue::ImageError;
use crate::error_chain;
use crate::events::EventType;
use crate::logs::{Logs, Pipes};

/// The waiting reason after a program that could not be executed.
pub(super) const RUN_CONTAINER_ERROR: &str = "RunContainerError";

/// Why an attempt did not begin: a waiting reason and what to say.
pub(super) struct NotStarted {
    pub(super) reason: &'static str,
    pub(super) message: String,
    /// The waiting reason while the next attempt is held back.
    pub(super) held_back: &'static str,
}

/// A container that runs.
pub(super) struct Started {
    pub(super) running: Arc<Running>,
    /// Ends once the last output was read.
    pub(super) drained: JoinHandle<()>,
    /// The attempt's folder.
    pub(super) place: PathBuf,
    pub(super) at: Timestamp,
}

impl Supervisor {
    /// Starts the container's process.
    pub(super) async fn start(&mut self, container: &Container) -> Result<Started, NotStarted> {
        let context = &self.context;
        let asked = container.image.as_deref().unwrap_or_default();
        let image = context.node.catalogue.resolve(asked).map_err(|error| match error {
            ImageError::Invalid(_) => NotStarted {
                reason: "InvalidImageName",
                message: format!("Failed to apply default image tag {asked:?}: {error}"),
                held_back: "InvalidImageName",
            },
            ImageError::Unreachable { .. } => NotStarted {
                reason: "ErrImagePull",
                message: error.to_string(),
                held_back: "ImagePullBackOff",
            },
        })?;
        self.event(
            container,
            EventType::Normal,
            "Pulled",
            format!("Container image {asked:?} already present on machine"),
        );
        let number = context.attempts.fetch_add(1, Ordering::Relaxed);
        let place = context.directory.join("containers").join(format!("{}-{number}", container.name));
        let refused = |reason, error: &dyn std::error::Error| NotStarted {
            reason,
            message: error_chain(error),
            held_back: reason,
        };
        let sandbox = context.sandbox().ok_or_else(|| NotStarted {
            reason: "CreateContainerError",
            message: "the pod's sandbox is gone".to_owned(),
            held_back: "CreateContainerError",
        })?;
        let spec = blueprint(context, sandbox, container, &image, &place)
            .await
            .map_err(|error| refused("CreateContainerConfigError", &error))?;
        self.event(container, EventType::Normal, "Created", format!("Created container: {}", container.name));
        let (pipes, output) = Pipes::new().map_err(|error| refused("CreateContainerError", &error))?;
        let asked_at = Instant::now();
        let process = context
            .node
            .runtime
            .run(&spec, output)
            .await
            .map_err(|error| refused(RUN_CONTAINER_ERROR, &error))?;
        let log = context.logs(&container.name).map(Logs::begin);
        let drained = tokio::spawn(pipes.drain(context.sink(&container.name, log)));
        let running = Arc::new(Running {
            process,
            privileged: spec.privileged,
            template: spec.process,
            place: place.clone(),
        });
        let id = format!("mountlab://{}-{}-{number}", context.uid, container.name);
        let restarting = std::mem::take(&mut self.restarting);
        context.board.update(self.index, |record| {
            if restarting {
                record.restart_count += 1;
                record.wait_for("ContainerCreating", None);
            }
            asked.clone_into(&mut record.image);
            record.image_id = image.id;
            record.container_id = Some(id);
            record.running = Some(running.clone());
            record.ready = false;
            record.started = false;
        });
        self.pulls = Backoff::default();
        self.announce_start(container, &running, asked_at.elapsed());
        Ok(Started { running, drained, place, at: self.context.node.clock.now() })
    }

    fn announce_start(&self, container: &Container, running: &Running, took: Duration) {
        self.event(container, EventType::Normal, "Started", format!("Started container {}", container.name));
        let Some(record) = self.context.board.get(self.index) else { return };
        let body = json!({
            "image": record.image_id,
            "containerID": record.container_id,
            "process": running.process.id(),
            "restartCount": record.restart_count,
            "milliseconds": took.as_secs_f64() * 1000.0,
        });
        self.context.node.journal.record(
            source::PROCESS,
            "started",
            &self.context.subject(&container.name),
            body,
        );
    }
}
