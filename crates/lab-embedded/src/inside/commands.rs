//! Commands in the node's containers, as the API server has them run for `kubectl exec`.

use std::time::Duration;

use async_trait::async_trait;
use kube_sim::{Finished, NotRun, PodCommands};
use node_sim::Node;

/// How long a command may take, in real time.
const LIMIT: Duration = Duration::from_secs(60);

/// Has the node run them.
#[derive(Debug)]
pub(crate) struct NodeCommands {
    node: Node,
}

impl NodeCommands {
    pub(crate) fn new(node: Node) -> Self {
        Self { node }
    }
}

#[async_trait]
impl PodCommands for NodeCommands {
    async fn run(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        command: Vec<String>,
    ) -> Result<Finished, NotRun> {
        let ended = self.node.output_of(namespace, pod, container, &command, LIMIT).await;
        let (code, output, error) = ended.map_err(|error| NotRun(crate::chain(&error)))?;
        Ok(Finished { code, output: output.into(), error: error.into() })
    }
}
