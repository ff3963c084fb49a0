//! The two traits: a backend brings labs up, a lab is one that is up.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use journal::Journal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Access, ExportCall, ExportReply, Fault, FaultHandle, Kept, LabError, Mount, Requirement, SharedPart,
    Sharing,
};

/// Something that a scenario can need and a backend can lack.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Capability {
    /// An object store of the lab's own, with buckets that a scenario fills.
    ObjectStore,
    /// NFS exports of the lab's own.
    NetworkFileSystem,
    /// NFS exports that let clients only read, or let none in, or take root or everybody for nobody.
    ExportRules,
    /// NFS exports that hold no more than so many bytes.
    ExportCapacity,
    /// Reading a sandbox's mount table from outside the sandbox.
    MountTable,
    /// Moving the clock (`advance`).
    Clock,
    /// Faults at the CSI calls.
    RpcFaults,
    /// Faults of the storage servers that change their answers, call by call: errors, delays, half bodies, stale handles,
    /// a full disk.
    StorageFaults,
    /// Storage servers that are gone, hang or restart as a whole.
    StorageOutages,
    /// Killing processes of sandboxes, such as sidecars.
    ProcessFaults,
    /// Killing components of the system itself.
    ComponentFaults,
    /// Entries of the journal that only the lab's own servers and node write: requests to the storage servers, rules of
    /// packet filters, mounts in sidecars.
    ServerJournal,
    /// Changing the configuration of the system itself, such as ConfigMap `sandbox-injection-config`.
    SystemConfiguration,
    /// Network policies that are enforced.
    NetworkPolicies,
    /// Sandboxes that don't reach each other's ports, without any policy.
    SeparateSandboxes,
    /// A node that can keep the file system of a container, so that checkpoints of sandboxes can be taken. A kubelet can't.
    Checkpoints,
    /// A node that keeps the processes of a paused sandbox with their memory, and its files. A kubelet can only stop the pod and
    /// make it again.
    MemoryKept,
    /// Commands in pods by `kubectl exec`, and ports forwarded to this machine.
    PodCommands,
    /// Pods that request and get the resources that the files say.
    ResourceRequests,
    /// A node that takes away the mounts of an agent that is dead and has no successor. A kubelet doesn't: the pod stays in
    /// its end until somebody unmounts them.
    DeadMountRemoval,
}

impl fmt::Display for Capability {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::ObjectStore => "an object store of its own",
            Self::NetworkFileSystem => "NFS exports of its own",
            Self::ExportRules => "NFS exports with rules of access",
            Self::ExportCapacity => "NFS exports with a limited capacity",
            Self::MountTable => "reading a sandbox's mount table",
            Self::Clock => "moving the clock",
            Self::RpcFaults => "faults at CSI calls",
            Self::StorageFaults => "faults in the answers of storage servers",
            Self::StorageOutages => "outages of storage servers",
            Self::ProcessFaults => "killing processes of sandboxes",
            Self::ComponentFaults => "killing components of the system",
            Self::ServerJournal => "a journal of storage servers, packet filters and sidecars' mounts",
            Self::SystemConfiguration => "a system whose own configuration may be changed",
            Self::NetworkPolicies => "a network that enforces policies",
            Self::SeparateSandboxes => "a network that keeps sandboxes apart",
            Self::Checkpoints => "a node that takes checkpoints of sandboxes",
            Self::MemoryKept => "a node that keeps memory and files of paused sandboxes",
            Self::PodCommands => "commands in pods by kubectl",
            Self::ResourceRequests => "pods that request what the files say",
            Self::DeadMountRemoval => "a node that takes away mounts of dead agents",
        })
    }
}

/// How a lab is to be brought up.
#[derive(Clone, Debug)]
pub struct UpOptions {
    /// Names the lab in messages and in the names of what it makes; unique among labs that run at once.
    pub name: String,
    /// Seed of whatever is drawn by chance.
    pub seed: u64,
    /// Where the lab may leave files that outlive it: logs, the kubeconfig.
    pub directory: PathBuf,
    /// How long bringing it up may take before [`LabError::Deadline`].
    pub deadline: Duration,
    /// What its scenario needs. A lab on a cluster that others use lets nothing be changed that isn't named here.
    pub needed: Vec<Capability>,
    /// What its scenario does with parts that labs may share, whether or not they do. A lab need not offer what isn't used,
    /// nor touch it.
    pub sharing: Sharing,
}

/// A place where labs can be brought up.
#[async_trait]
pub trait Backend: Send + Sync {
    /// `embedded`, `kind` or `cluster`.
    fn name(&self) -> &'static str;

    /// Which of `needed` this backend does not have.
    fn missing(&self, needed: &[Capability]) -> Vec<Capability>;

    /// What a paused sandbox keeps there.
    fn kept(&self) -> Kept {
        Kept::by(self.missing(&[Capability::MemoryKept]).is_empty())
    }

    /// The parts that its labs have in common. Scenarios that disturb one of them don't run beside those that use it.
    fn shared(&self) -> &[SharedPart] {
        &[]
    }

    /// How many labs are up at once unless the user says it, on a machine with so many processors.
    fn jobs(&self, processors: usize) -> usize {
        processors
    }

    /// Whether a lab that goes down takes so little of this machine that the next may come up meanwhile.
    fn goes_down_aside(&self) -> bool {
        false
    }

    /// What it needs of this machine, checked now.
    fn requirements(&self) -> Vec<Requirement> {
        Vec::new()
    }

    /// Looks for what would keep every lab from coming up, once before a run.
    ///
    /// # Errors
    /// [`LabError::Machine`] with what is missing and how to get it.
    async fn check(&self) -> Result<(), LabError> {
        Ok(())
    }

    /// The run is over and its last lab down: what the backend itself brought up goes.
    ///
    /// # Errors
    /// [`LabError`] naming what could not be removed.
    async fn finish(&self) -> Result<(), LabError> {
        Ok(())
    }

    /// How long a lab may take to go down; `stopped` when the run was stopped and somebody waits for its end.
    fn down_limit(&self, stopped: bool) -> Duration {
        if stopped { Duration::from_millis(1500) } else { Duration::from_secs(20) }
    }

    /// Brings a lab up and returns once it answers on every address of its [`Access`].
    ///
    /// # Errors
    /// [`LabError`] with what failed; nothing of a lab that didn't come up is left.
    async fn up(&self, options: UpOptions) -> Result<Box<dyn Lab>, LabError>;
}

/// A running lab. Dropping it takes it down without waiting; [`Lab::down`] waits and reports.
#[async_trait]
pub trait Lab: Send + Sync {
    /// Where its parts are reached.
    fn access(&self) -> &Access;

    /// The journal of everything in this lab.
    fn journal(&self) -> &Journal;

    /// Returns once the journal holds everything that the lab had recorded when this was called. Nothing to wait for where
    /// entries are written as things happen, or where nobody can say what is still under way.
    ///
    /// # Errors
    /// [`LabError`] when the lab is gone.
    async fn catch_up(&self) -> Result<(), LabError> {
        Ok(())
    }

    /// The mount table of the sandbox's main container, read from outside of it: every mount point that a process
    /// of the container sees.
    ///
    /// # Errors
    /// [`LabError::NotFound`] when there is no such running sandbox.
    async fn mounts(&self, namespace: &str, sandbox: &str) -> Result<Vec<Mount>, LabError>;

    /// Moves the lab's clock forward.
    ///
    /// # Errors
    /// [`LabError::Unsupported`] where the backend lacks [`Capability::Clock`].
    async fn advance(&self, duration: Duration) -> Result<(), LabError>;

    /// Starts a fault, which lasts until it is healed, has struck as often as it says, or the lab ends.
    ///
    /// # Errors
    /// [`LabError::Unsupported`] for a fault that the backend cannot make.
    async fn inject(&self, fault: Fault) -> Result<FaultHandle, LabError>;

    /// Ends a fault.
    ///
    /// # Errors
    /// [`LabError::NotFound`] for a handle that isn't of this lab.
    async fn heal(&self, fault: FaultHandle) -> Result<(), LabError>;

    /// Does something at the NFS server, from its own side: past its protocol and its faults.
    ///
    /// # Errors
    /// [`LabError::Unsupported`] where the backend lacks [`Capability::NetworkFileSystem`].
    async fn at_exports(&self, _call: ExportCall) -> Result<ExportReply, LabError> {
        Err(LabError::Unsupported { backend: "this", what: Capability::NetworkFileSystem.to_string() })
    }

    /// Hears that a bucket was made in the object store, by the name that the scenario knows; a store that outlives the
    /// lab has to be cleaned of it.
    fn note_bucket(&self, _bucket: &str) {}

    /// What is there although no sandbox claims it: mounts, processes and links of sandboxes that are gone.
    ///
    /// # Errors
    /// [`LabError`] when the inventory can't be taken.
    async fn leftovers(&self) -> Result<Vec<Leftover>, LabError>;

    /// How much memory the lab holds now, in bytes: the proportional share of each of its processes and what its
    /// files in memory take.
    ///
    /// # Errors
    /// [`LabError::Unsupported`] where the backend can't tell.
    async fn memory(&self) -> Result<u64, LabError> {
        Err(LabError::Unsupported { backend: "this", what: "a measure of its memory".to_owned() })
    }

    /// Puts back what it disturbed of parts that it shares with other labs, and uses them no more: of all that is there only
    /// [`Lab::down`] is to come. Nothing to do where nothing is shared.
    ///
    /// # Errors
    /// [`LabError`] naming what is still disturbed.
    async fn settle(&self) -> Result<(), LabError> {
        Ok(())
    }

    /// Takes the lab down and returns once nothing of it is left.
    ///
    /// # Errors
    /// [`LabError`] naming what could not be removed.
    async fn down(self: Box<Self>) -> Result<(), LabError>;
}

/// One entry of the leak ledger.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Leftover {
    /// `mount`, `process`, `interface`, `directory` or `object`.
    pub kind: String,
    /// Path, process id and name, or object name.
    pub subject: String,
    /// Which sandbox or component made it, as far as known.
    pub owner: String,
}
