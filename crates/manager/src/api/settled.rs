//! Waiting for the controller to have done what was written on a sandbox.

use std::time::Duration;

use contract::crd::Sandbox;
use contract::errors::Code;
use kube::ResourceExt as _;

use crate::error::ApiError;
use crate::manager::Manager;
use crate::sandboxes;

/// A wait with its limit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wait {
    /// How long, by the manager's clock.
    pub(crate) limit: Duration,
    /// The code of the error when it lasts longer or the sandbox ends.
    pub(crate) code: Code,
    /// What fails then: `pause sandbox`.
    pub(crate) action: &'static str,
}

impl Manager {
    /// Waits until `look`, which is asked about the newest version of the sandbox after every change, has an answer.
    pub(crate) async fn settled<T>(
        &self,
        written: &Sandbox,
        wait: Wait,
        mut look: impl FnMut(&Sandbox) -> Option<Result<T, ApiError>>,
    ) -> Result<T, ApiError> {
        let Wait { limit, code, action } = wait;
        let (cache, key) = (&self.shared.sandboxes, sandboxes::key(written));
        let failed = |why: String| {
            ApiError::new(code, format!("failed to {action}: {why}")).about(&key.namespace, &key.name)
        };
        let newest = || cache.get(&key.namespace, &key.name).filter(|newest| newest.uid() == written.uid());
        let settled = cache.until(|| {
            let Some(newest) = newest() else { return Some(Err(failed("it ended meanwhile".to_owned()))) };
            let over = newest.metadata.deletion_timestamp.is_some() || sandboxes::phase(&newest).is_final();
            if over {
                let why = format!("it ended meanwhile, last: {}", sandboxes::describe(&newest));
                return Some(Err(failed(why)));
            }
            look(&newest)
        });
        tokio::select! {
            biased;
            settled = settled => settled.map_err(|error| error.about(&key.namespace, &key.name)),
            () = self.shared.options.clock.sleep(limit) => {
                let last = newest().map_or_else(|| "gone".to_owned(), |last| sandboxes::describe(&last));
                Err(failed(format!("not done within {limit:?}, last: {last}")))
            }
        }
    }
}
