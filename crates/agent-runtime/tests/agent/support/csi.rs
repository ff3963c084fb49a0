//! A CSI driver that only remembers, on a real socket.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use contract::names::drivers::OSS;
use csi_api::node_server::{Node, NodeServer};
use csi_api::*;
use tokio::net::UnixListener;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status};

use super::Sandbox;

/// How the driver answers a request to mount.
#[derive(Clone, Debug, Default)]
pub(crate) enum Behaviour {
    /// Makes the target directory.
    #[default]
    Mounts,
    /// Answers with an error; `SECRETS` in its text is replaced by the request's secrets.
    Fails(tonic::Code, &'static str),
    /// Never answers; the first unmount after it finds the volume busy.
    Hangs,
    /// Says that it has mounted, but there is no directory.
    Lies,
}

/// What the driver was asked.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) published: Vec<NodePublishVolumeRequest>,
    pub(crate) unpublished: Vec<NodeUnpublishVolumeRequest>,
}

/// A driver that serves until it is dropped.
pub(crate) struct Driver {
    pub(crate) log: Arc<Mutex<Log>>,
    pub(crate) behaviour: Arc<Mutex<Behaviour>>,
    server: JoinHandle<()>,
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// The socket of the OSS driver of `sandbox`.
pub(crate) fn socket(sandbox: &Sandbox) -> PathBuf {
    let folder = sandbox.place.path().join("sockets").join(OSS);
    std::fs::create_dir_all(&folder).expect("made");
    folder.join("csi.sock")
}

impl Driver {
    /// Serves as the OSS driver of `sandbox`.
    pub(crate) fn start(sandbox: &Sandbox) -> Self {
        Self::start_at(&socket(sandbox))
    }

    /// Serves on `socket`.
    pub(crate) fn start_at(socket: &std::path::Path) -> Self {
        let listener = UnixListener::bind(socket).expect("a socket");
        let (log, behaviour) = (Arc::default(), Arc::default());
        let service = Service { log: Arc::clone(&log), behaviour: Arc::clone(&behaviour) };
        let server = tonic::transport::Server::builder()
            .add_service(NodeServer::new(service))
            .serve_with_incoming(UnixListenerStream::new(listener));
        let server = tokio::spawn(async move { server.await.expect("served") });
        Self { log, behaviour, server }
    }

    pub(crate) fn behave(&self, behaviour: Behaviour) {
        *self.behaviour.lock().expect("not poisoned") = behaviour;
    }

    pub(crate) fn published(&self) -> Vec<NodePublishVolumeRequest> {
        self.log.lock().expect("not poisoned").published.clone()
    }

    pub(crate) fn unpublished(&self) -> Vec<NodeUnpublishVolumeRequest> {
        self.log.lock().expect("not poisoned").unpublished.clone()
    }
}

struct Service {
    log: Arc<Mutex<Log>>,
    behaviour: Arc<Mutex<Behaviour>>,
}

type Answer<T> = Result<Response<T>, Status>;

fn unused<T>() -> Answer<T> {
    Err(Status::unimplemented("not used by the agent"))
}

#[tonic::async_trait]
impl Node for Service {
    async fn node_publish_volume(
        &self,
        request: Request<NodePublishVolumeRequest>,
    ) -> Answer<NodePublishVolumeResponse> {
        let request = request.into_inner();
        self.log.lock().expect("not poisoned").published.push(request.clone());
        let behaviour = self.behaviour.lock().expect("not poisoned").clone();
        match behaviour {
            Behaviour::Mounts => std::fs::create_dir_all(&request.target_path)?,
            Behaviour::Fails(code, text) => {
                let secrets = request.secrets.values().cloned().collect::<Vec<_>>().join(" ");
                return Err(Status::new(code, text.replace("SECRETS", &secrets)));
            }
            Behaviour::Hangs => std::future::pending().await,
            Behaviour::Lies => {}
        }
        Ok(Response::new(NodePublishVolumeResponse {}))
    }

    async fn node_unpublish_volume(
        &self,
        request: Request<NodeUnpublishVolumeRequest>,
    ) -> Answer<NodeUnpublishVolumeResponse> {
        let mut log = self.log.lock().expect("not poisoned");
        log.unpublished.push(request.into_inner());
        let hung = matches!(*self.behaviour.lock().expect("not poisoned"), Behaviour::Hangs);
        if hung && log.unpublished.len() == 1 {
            return Err(Status::aborted("already an operation"));
        }
        Ok(Response::new(NodeUnpublishVolumeResponse {}))
    }

    async fn node_stage_volume(&self, _: Request<NodeStageVolumeRequest>) -> Answer<NodeStageVolumeResponse> {
        unused()
    }

    async fn node_unstage_volume(
        &self,
        _: Request<NodeUnstageVolumeRequest>,
    ) -> Answer<NodeUnstageVolumeResponse> {
        unused()
    }

    async fn node_get_volume_stats(
        &self,
        _: Request<NodeGetVolumeStatsRequest>,
    ) -> Answer<NodeGetVolumeStatsResponse> {
        unused()
    }

    async fn node_expand_volume(
        &self,
        _: Request<NodeExpandVolumeRequest>,
    ) -> Answer<NodeExpandVolumeResponse> {
        unused()
    }

    async fn node_get_capabilities(
        &self,
        _: Request<NodeGetCapabilitiesRequest>,
    ) -> Answer<NodeGetCapabilitiesResponse> {
        unused()
    }

    async fn node_get_info(&self, _: Request<NodeGetInfoRequest>) -> Answer<NodeGetInfoResponse> {
        unused()
    }
}
