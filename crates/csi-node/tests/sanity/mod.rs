//! `csi-sanity`, the conformance test of the Container Storage Interface: its Identity and Node groups.
//!
//! ```text
//!   csi-sanity ──► front ──► agent                    what a node plugin must do by itself
//!              ──► front ──► agent                    what it must do beside a controller: this front claims to have one
//!              ──► Provisioner, the mock controller   "creates" volumes, all of which are the test's
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use csi_api::controller_server::{Controller, ControllerServer};
use csi_api::controller_service_capability::rpc::Type;
use csi_api::controller_service_capability::{Rpc, Type as Capability};
use csi_api::identity_server::{Identity, IdentityServer};
use csi_api::{
    ControllerGetCapabilitiesRequest, ControllerGetCapabilitiesResponse, ControllerServiceCapability,
    CreateVolumeRequest, CreateVolumeResponse, DeleteVolumeRequest, DeleteVolumeResponse,
    GetPluginCapabilitiesRequest, GetPluginCapabilitiesResponse, GetPluginInfoRequest, GetPluginInfoResponse,
    PluginCapability, ProbeRequest, ProbeResponse, Volume, plugin_capability,
};
use tokio::net::UnixListener;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::service::Routes;
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status};
use tower::Service as _;

use crate::common::{Agent, blocking};

/// How long a connection is held before it is served. csi-sanity's client waits for a change of the connection's state,
/// and for a minute in vain when the connection is ready before it begins to wait.
const HELD: Duration = Duration::from_millis(500);

/// What there is to create: the same volume again and again.
#[derive(Clone, Debug)]
struct Provisioner {
    context: BTreeMap<String, String>,
}

#[tonic::async_trait]
impl Controller for Provisioner {
    async fn create_volume(
        &self,
        request: Request<CreateVolumeRequest>,
    ) -> Result<Response<CreateVolumeResponse>, Status> {
        let volume = Volume {
            volume_id: request.into_inner().name,
            volume_context: self.context.clone(),
            ..Default::default()
        };
        Ok(Response::new(CreateVolumeResponse { volume: Some(volume) }))
    }

    async fn delete_volume(
        &self,
        _request: Request<DeleteVolumeRequest>,
    ) -> Result<Response<DeleteVolumeResponse>, Status> {
        Ok(Response::new(DeleteVolumeResponse::default()))
    }

    async fn controller_get_capabilities(
        &self,
        _request: Request<ControllerGetCapabilitiesRequest>,
    ) -> Result<Response<ControllerGetCapabilitiesResponse>, Status> {
        let creates = Capability::Rpc(Rpc { r#type: Type::CreateDeleteVolume.into() });
        let capabilities = vec![ControllerServiceCapability { r#type: Some(creates) }];
        Ok(Response::new(ControllerGetCapabilitiesResponse { capabilities }))
    }
}

/// Claims a controller service.
#[derive(Clone, Copy, Debug)]
struct WithController;

#[tonic::async_trait]
impl Identity for WithController {
    async fn get_plugin_info(
        &self,
        _request: Request<GetPluginInfoRequest>,
    ) -> Result<Response<GetPluginInfoResponse>, Status> {
        let name = "mock.controller".to_owned();
        Ok(Response::new(GetPluginInfoResponse { name, ..Default::default() }))
    }

    async fn get_plugin_capabilities(
        &self,
        _request: Request<GetPluginCapabilitiesRequest>,
    ) -> Result<Response<GetPluginCapabilitiesResponse>, Status> {
        let service =
            plugin_capability::Service { r#type: plugin_capability::service::Type::ControllerService.into() };
        let capability = PluginCapability { r#type: Some(plugin_capability::Type::Service(service)) };
        Ok(Response::new(GetPluginCapabilitiesResponse { capabilities: vec![capability] }))
    }

    async fn probe(&self, _request: Request<ProbeRequest>) -> Result<Response<ProbeResponse>, Status> {
        Ok(Response::new(ProbeResponse::default()))
    }
}

/// Serves `routes` on a socket in `directory`.
fn serve(directory: &Path, name: &str, routes: Routes) -> PathBuf {
    let socket = directory.join(name);
    let listener = UnixListenerStream::new(UnixListener::bind(&socket).expect("a socket"));
    let incoming = listener.then(|connection| async {
        tokio::time::sleep(HELD).await;
        connection
    });
    tokio::spawn(Server::builder().add_routes(routes).serve_with_incoming(incoming));
    socket
}

/// The agent, behind what `before` answers itself.
fn front(agent: Channel, before: Routes) -> Routes {
    let forward = tower::service_fn(move |request: http::Request<_>| {
        let mut agent = agent.clone();
        async move {
            let ready = std::future::poll_fn(|context| agent.poll_ready(context)).await;
            let answer = match ready {
                Ok(()) => agent.call(request.map(tonic::body::Body::new)).await,
                Err(error) => Err(error),
            };
            let failed = |error: tonic::transport::Error| Status::unavailable(error.to_string()).into_http();
            Ok::<_, std::convert::Infallible>(answer.unwrap_or_else(failed))
        }
    });
    before.into_axum_router().fallback_service(forward).into()
}

/// The program, built if it isn't there yet.
fn program() -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tools/csi-sanity");
    let output = Command::new(script).output().expect("tools/csi-sanity starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    PathBuf::from(String::from_utf8(output.stdout).expect("a path").trim())
}

/// Specs that ran and held, and the names of the skipped ones.
#[derive(Debug, Eq, PartialEq)]
struct Verdict {
    passed: usize,
    skipped: Vec<String>,
}

/// Runs the specs whose name `focus` matches.
fn run(program: &Path, directory: &Path, sockets: (&Path, &Path), focus: &str) -> Verdict {
    let report = directory.join("report.json");
    let output = Command::new(program)
        .arg(format!("--csi.endpoint=unix:{}", sockets.0.display()))
        .arg(format!("--csi.controllerendpoint=unix:{}", sockets.1.display()))
        .arg(format!("--csi.secrets={}", directory.join("secrets.yaml").display()))
        .arg(format!("--csi.mountdir={}", directory.join("mounts").display()))
        .arg(format!("--csi.stagingdir={}", directory.join("staging").display()))
        .arg(format!("--ginkgo.json-report={}", report.display()))
        .arg(format!("--ginkgo.focus={focus}"))
        .output()
        .expect("csi-sanity starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "csi-sanity: {}\n{text}", output.status);
    let report = std::fs::read(&report).expect("a report");
    let report: serde_json::Value = serde_json::from_slice(&report).expect("a readable report");
    let mut verdict = Verdict { passed: 0, skipped: Vec::new() };
    for spec in report[0]["SpecReports"].as_array().expect("specs") {
        let focused = spec["ContainerHierarchyTexts"][0].as_str();
        match spec["State"].as_str() {
            Some("passed") if focused.is_some() => verdict.passed += 1,
            // Specs outside the focus are "skipped" without a message.
            Some("skipped") if !spec["Failure"]["Message"].as_str().unwrap_or_default().is_empty() => {
                let name = spec["LeafNodeText"].as_str().unwrap_or_default();
                let reason = spec["Failure"]["Message"].as_str().unwrap_or_default();
                verdict.skipped.push(format!("{name}: {reason}"));
            }
            _ => {}
        }
    }
    verdict
}

/// Runs the conformance test against `agent`. What is created there is the volume of `context`, and `secrets` (lines of
/// YAML) go with every publication.
pub(crate) async fn conforms(agent: &Agent, context: &[(&str, &str)], secrets: &[(&str, &str)]) {
    let directory = tempfile::tempdir().expect("a directory");
    let context = context.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let mut file = "NodePublishVolumeSecret:\n".to_owned();
    for (name, value) in secrets {
        file.extend(["  ", name, ": ", value, "\n"]);
    }
    std::fs::write(directory.path().join("secrets.yaml"), file).expect("written");
    let controller = Routes::new(ControllerServer::new(Provisioner { context }))
        .add_service(IdentityServer::new(WithController));
    let controller = serve(directory.path(), "controller.sock", controller);
    let beside = Routes::new(IdentityServer::new(WithController));
    let front = |name: &str, before| serve(directory.path(), name, front(agent.channel(), before));
    let (alone, beside) = (front("alone.sock", Routes::default()), front("beside.sock", beside));
    let (alone, beside) = blocking({
        let directory = directory.path().to_owned();
        move || {
            let program = program();
            let run = |socket: &Path, focus: &str| run(&program, &directory, (socket, &controller), focus);
            (run(&alone, "(Identity|Node) Service"), run(&beside, "Node Service should (work|be idempotent)"))
        }
    })
    .await;
    assert_eq!(beside, Verdict { passed: 2, skipped: vec![] });
    assert_eq!(alone.passed, 11, "{alone:#?}");
    // What these drivers don't offer; the last two are those that run beside a controller.
    let without = |reason: &str| alone.skipped.iter().filter(|it| it.contains(reason)).count();
    let counted =
        ["NodeStageVolume", "NodeUnstageVolume", "NodeGetVolume", "NodeExpandVolume", "Controller Service"];
    let counted = counted.map(|reason| without(&format!("{reason} not")));
    assert_eq!(counted.iter().sum::<usize>(), alone.skipped.len(), "{alone:#?}");
    assert!(!agent.stderr().contains("panicked"), "{}", agent.stderr());
}
