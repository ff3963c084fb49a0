//! The Node service with faults around it.

use csi_api::node_server::Node;
use csi_api::{
    NodeExpandVolumeRequest, NodeExpandVolumeResponse, NodeGetCapabilitiesRequest,
    NodeGetCapabilitiesResponse, NodeGetInfoRequest, NodeGetInfoResponse, NodeGetVolumeStatsRequest,
    NodeGetVolumeStatsResponse, NodePublishVolumeRequest, NodePublishVolumeResponse, NodeStageVolumeRequest,
    NodeStageVolumeResponse, NodeUnpublishVolumeRequest, NodeUnpublishVolumeResponse,
    NodeUnstageVolumeRequest, NodeUnstageVolumeResponse,
};
use lab::CsiCall;
use tonic::{Request, Response, Status};

use super::connection::Cut;
use super::rules::{Call, Faults};
use super::strike::Strike;

/// A Node service whose publications and unpublications go wrong where a rule says so; the rest passes through.
#[derive(Clone, Debug)]
pub struct FaultyNode<N> {
    inner: N,
    faults: Faults,
    driver: String,
}

impl<N: Node + Clone> FaultyNode<N> {
    /// `inner`, the service of `driver`, with `faults` around it.
    pub fn new(inner: N, faults: Faults, driver: impl Into<String>) -> Self {
        Self { inner, faults, driver: driver.into() }
    }

    async fn strike<R>(
        &self,
        method: CsiCall,
        target: &str,
        request: &Request<R>,
    ) -> Option<(Strike, Option<Cut>)> {
        let call = Call { method, driver: &self.driver, target };
        let strike = self.faults.strike(call).await?;
        strike.announce(call);
        Some((strike, request.extensions().get::<Cut>().cloned()))
    }
}

/// Like the service itself, a struck call goes on when its caller goes away.
async fn detached<T: Send + 'static>(
    work: impl Future<Output = Result<Response<T>, Status>> + Send + 'static,
) -> Result<Response<T>, Status> {
    let joined = tokio::spawn(work).await;
    joined.unwrap_or_else(|error| Err(Status::internal(format!("the call ended early: {error}"))))
}

#[tonic::async_trait]
impl<N: Node + Clone> Node for FaultyNode<N> {
    async fn node_publish_volume(
        &self,
        request: Request<NodePublishVolumeRequest>,
    ) -> Result<Response<NodePublishVolumeResponse>, Status> {
        let target = request.get_ref().target_path.clone();
        match self.strike(CsiCall::NodePublishVolume, &target, &request).await {
            None => self.inner.node_publish_volume(request).await,
            Some((strike, cut)) => {
                let inner = self.inner.clone();
                let work = async move { inner.node_publish_volume(request).await };
                detached(strike.answer(cut, work)).await
            }
        }
    }

    async fn node_unpublish_volume(
        &self,
        request: Request<NodeUnpublishVolumeRequest>,
    ) -> Result<Response<NodeUnpublishVolumeResponse>, Status> {
        let target = request.get_ref().target_path.clone();
        match self.strike(CsiCall::NodeUnpublishVolume, &target, &request).await {
            None => self.inner.node_unpublish_volume(request).await,
            Some((strike, cut)) => {
                let inner = self.inner.clone();
                let work = async move { inner.node_unpublish_volume(request).await };
                detached(strike.answer(cut, work)).await
            }
        }
    }

    async fn node_get_capabilities(
        &self,
        request: Request<NodeGetCapabilitiesRequest>,
    ) -> Result<Response<NodeGetCapabilitiesResponse>, Status> {
        self.inner.node_get_capabilities(request).await
    }

    async fn node_get_info(
        &self,
        request: Request<NodeGetInfoRequest>,
    ) -> Result<Response<NodeGetInfoResponse>, Status> {
        self.inner.node_get_info(request).await
    }

    async fn node_stage_volume(
        &self,
        request: Request<NodeStageVolumeRequest>,
    ) -> Result<Response<NodeStageVolumeResponse>, Status> {
        self.inner.node_stage_volume(request).await
    }

    async fn node_unstage_volume(
        &self,
        request: Request<NodeUnstageVolumeRequest>,
    ) -> Result<Response<NodeUnstageVolumeResponse>, Status> {
        self.inner.node_unstage_volume(request).await
    }

    async fn node_get_volume_stats(
        &self,
        request: Request<NodeGetVolumeStatsRequest>,
    ) -> Result<Response<NodeGetVolumeStatsResponse>, Status> {
        self.inner.node_get_volume_stats(request).await
    }

    async fn node_expand_volume(
        &self,
        request: Request<NodeExpandVolumeRequest>,
    ) -> Result<Response<NodeExpandVolumeResponse>, Status> {
        self.inner.node_expand_volume(request).await
    }
}
