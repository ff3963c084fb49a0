//! Whether one more sandbox fits into a key's quota (`e2b-api.md` §5.2); asked at create only.

use contract::crd::SandboxSet;
use contract::errors::Code;

use super::Caller;
use super::record::{Dimension, Limit, Scope};
use crate::api::view::Resources;
use crate::error::ApiError;
use crate::manager::Manager;
use crate::sandboxes::Situation;

impl Manager {
    /// # Errors
    /// 403 naming the first limit that another sandbox of `set` would exceed.
    pub(crate) fn check_quota(&self, caller: &Caller, set: &SandboxSet) -> Result<(), ApiError> {
        let quota = self.shared.keys.record(&caller.id).and_then(|record| record.quota);
        let Some(quota) = quota else { return Ok(()) };
        let wanted = self.resources_of_set(set);
        let now = self.now();
        let owned = self.shared.sandboxes.select(|sandbox| self.owns(caller, sandbox));
        let owned: Vec<_> = owned
            .iter()
            .map(|sandbox| (Situation::of(sandbox, now), self.resources_of_sandbox(sandbox)))
            .collect();
        for limit in &quota.limits {
            let used: u64 = owned
                .iter()
                .filter(|(situation, _)| counts(*situation, limit.scope))
                .map(|(_, resources)| weight(limit.dimension, *resources))
                .sum();
            if used + weight(limit.dimension, wanted) > limit.most {
                return Err(exceeded(limit, used));
            }
        }
        Ok(())
    }
}

fn counts(situation: Situation, scope: Scope) -> bool {
    match situation {
        Situation::Running | Situation::NotReady => true,
        Situation::Pausing | Situation::Paused | Situation::Waking => scope == Scope::All,
        Situation::Hidden => false,
    }
}

fn weight(dimension: Dimension, resources: Resources) -> u64 {
    match dimension {
        Dimension::Sandboxes => 1,
        Dimension::MilliCpu => resources.milli_cpu,
        Dimension::MemoryMb => resources.memory_mb,
    }
}

fn exceeded(limit: &Limit, used: u64) -> ApiError {
    let (what, unit) = match limit.dimension {
        Dimension::Sandboxes => ("sandbox.count", "sandboxes"),
        Dimension::MilliCpu => ("limits.cpu", "milli-CPU"),
        Dimension::MemoryMb => ("limits.memory", "MB"),
    };
    let message =
        format!("quota {what} exceeded: {used} of {} {unit} are in use; end sandboxes first", limit.most);
    ApiError::new(Code::Forbidden, message)
}
