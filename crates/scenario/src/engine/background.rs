//! Steps that are under way while others are carried out: what a fault does *during* a call is only seen so.

use std::collections::BTreeMap;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;

use super::context::StepError;
use super::steps::Outcome;

type Finished = Result<Outcome, StepError>;

/// Actions that were started and not joined yet, by name.
#[derive(Default)]
pub(super) struct Background<'a> {
    under_way: FuturesUnordered<BoxFuture<'a, (String, Finished)>>,
    finished: BTreeMap<String, Finished>,
}

impl<'a> Background<'a> {
    /// Starts an action.
    pub(super) fn start(&mut self, name: &str, action: impl Future<Output = Finished> + Send + 'a) {
        let name = name.to_owned();
        self.under_way.push(Box::pin(async move { (name, action.await) }));
    }

    /// Does `work`; what was started goes on meanwhile.
    pub(super) async fn beside<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                value = &mut work => return value,
                Some((name, finished)) = self.under_way.next() => {
                    self.finished.insert(name, finished);
                }
            }
        }
    }

    /// Waits for the end of the action called `name`.
    pub(super) async fn join(&mut self, name: &str) -> Finished {
        loop {
            if let Some(finished) = self.finished.remove(name) {
                return finished;
            }
            let Some((name, finished)) = self.under_way.next().await else {
                return Err(StepError(format!("nothing called {name} is under way")));
            };
            self.finished.insert(name, finished);
        }
    }
}
