//! The steps of a scenario and what each takes.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::expectation::default_namespace;
use super::object::{ApplyStep, DeleteStep, GetStep, PatchStep};
use super::program::{JavaScriptStep, KubectlStep, PythonStep, ShellStep};
use super::{Eventually, Expect, Holds, NasStep, Period};

macro_rules! steps {
    ($( $(#[$doc:meta])* $field:ident $key:literal : $type:ty, )*) => {
        /// One step: exactly one action, and what is expected of it.
        #[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        pub struct Step {
            /// What the step is for, shown in reports in place of its action.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub name: Option<String>,
            /// What its outcome must be. Without it the action has to succeed.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub expect: Option<Expect>,
            /// Repeat the action, which must be one that only looks, until its outcome is as expected.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub within: Option<Period>,
            /// Only start the action, and call it so: the next steps are carried out meanwhile, and a later `join`
            /// has its outcome. What the action itself names by `as` is known from the `join` on.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub background: Option<String>,
            $(
                $(#[$doc])*
                #[serde(rename = $key, default, skip_serializing_if = "Option::is_none")]
                pub $field: Option<$type>,
            )*
        }

        /// The names of all actions.
        pub const ACTIONS: &[&str] = &[$($key),*];

        impl Step {
            /// The actions that are given; a valid step has exactly one.
            pub fn actions(&self) -> Vec<&'static str> {
                let mut given = Vec::new();
                $( if self.$field.is_some() { given.push($key); } )*
                given
            }
        }
    };
}

steps! {
    /// Creates a sandbox through the E2B API. Outcome: `status`, `sandbox`; of a refusal `status`, `code`, `message`,
    /// `requestId`, `shouldRetry`.
    create "create": CreateStep,
    /// Connects to a sandbox, waking it when it is paused. Outcome as of `create`.
    connect "connect": ConnectStep,
    /// What the API says of a sandbox. Outcome as of `create`.
    info "info": InfoStep,
    /// The sandboxes that the API lists. Outcome: `sandboxes`.
    sandboxes "sandboxes": SandboxesStep,
    /// Sets a sandbox's deadline. Outcome: `status`; of a refusal as of `create`.
    timeout "timeout": TimeoutStep,
    /// Pauses (hibernates) a sandbox; carried out when the pause is complete. Outcome: `status`; of a refusal as of
    /// `create`.
    pause "pause": PauseStep,
    /// Wakes a paused sandbox up in the way of older SDKs, newer ones use `connect`; carried out when it is ready.
    /// Outcome: `status`; of a refusal as of `create`.
    resume "resume": ResumeStep,
    /// Takes a snapshot of a sandbox, which a `create` can have as its template: `${name.snapshotID}`. Outcome: `status`,
    /// `snapshotID`, `names`; of a refusal as of `create`.
    snapshot "snapshot": SnapshotStep,
    /// The snapshots that the API lists. Outcome: `snapshots`.
    snapshots "snapshots": SnapshotsStep,
    /// Deletes a snapshot; sandboxes that were made from it go on. Outcome: `status`; of a refusal as of `create`.
    delete_snapshot "deleteSnapshot": DeleteSnapshotStep,
    /// Ends a sandbox. Outcome: `status`; of a refusal as of `create`.
    kill "kill": KillStep,
    /// Runs a command in a sandbox. Outcome: `exitCode`, `stdout`, `stderr`, `error`; of a refusal `status`, `code`,
    /// `message`.
    run "run": RunStep,
    /// Writes a file in a sandbox, making its parents. Outcome: `status`; of a refusal also `code`, `message`.
    write "write": WriteStep,
    /// Reads a file in a sandbox. Outcome: `content`; of a refusal `status`, `code`, `message`.
    read "read": ReadStep,
    /// Lists a directory in a sandbox. Outcome: `entries`, sorted by path; of a refusal `status`, `code`, `message`.
    list "list": ListStep,
    /// The storage mounts of a sandbox, read from its mount table outside of the sandbox. Outcome: a list with
    /// `path` (the link that was asked for), `target` (the mount point), `driver`, `fileSystem`, `source`,
    /// `readOnly`, `options`, sorted by path.
    mounts "mounts": MountsStep,
    /// Creates or changes Kubernetes objects (server-side apply). Outcome: `objects`; of a refusal `status`, `code`
    /// (the reason), `message`.
    apply "apply": ApplyStep,
    /// Merges a patch into a Kubernetes object. Outcome: `object`; of a refusal as of `apply`.
    patch "patch": PatchStep,
    /// Deletes a Kubernetes object and waits until it is gone. Outcome: `status`; of a refusal as of `apply`.
    delete "delete": DeleteStep,
    /// Reads a Kubernetes object. Outcome: `object`, and `value` where `at` is given; of a refusal as of `apply`.
    get "get": GetStep,
    /// Gives a name to a sandbox that came about without the E2B API, such as one that a SandboxClaim took, so that `run`,
    /// `read`, `mounts` and the others can use it. Outcome: `object`; of a refusal as of `apply`, 404 when there is none.
    adopt "adopt": AdoptStep,
    /// Uses the object store from outside with an S3 client. Outcome: `status`, `content`, `keys`; of a refusal
    /// `status`, `code`, `message`.
    oss "oss": OssStep,
    /// Looks at or changes an export of the NFS server, from the server's side. Outcome: `content` of `get`, `entry` of
    /// `look`, `paths` and `entries` (with `path`, `kind`, `size`, `mode`, `uid`, `gid`, `target`) of `list`; of a
    /// refusal `code` (such as `ENOENT`) and `message`.
    nas "nas": NasStep,
    /// Runs Python with the official SDK, outside the lab. Outcome: `exitCode`, `stdout`, `stderr`.
    python "python": PythonStep,
    /// Runs JavaScript with Node and the official SDK (`@e2b/code-interpreter` 2.8.0 with `e2b` 2.51.0), outside the lab.
    /// Outcome: `exitCode`, `stdout`, `stderr`.
    javascript "javascript": JavaScriptStep,
    /// Runs a command outside the lab. Outcome: `exitCode`, `stdout`, `stderr`.
    shell "shell": ShellStep,
    /// Runs kubectl against the lab. Outcome: `exitCode`, `stdout`, `stderr`.
    kubectl "kubectl": KubectlStep,
    /// Starts a fault. Outcome: `status`.
    fault "fault": FaultStep,
    /// Ends a fault. Outcome: `status`.
    heal "heal": HealStep,
    /// Moves the lab's clock forward. Outcome: `status`.
    advance "advance": Period,
    /// Waits for the end of the action that a step started in the background, by the name that it gave. Outcome: that
    /// action's.
    join "join": String,
    /// Waits for an entry of the journal.
    eventually "eventually": Eventually,
    /// Watches that a state lasts.
    holds "holds": Holds,
}

/// How to create a sandbox.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateStep {
    /// Name by which later steps call it.
    #[serde(rename = "as", default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Name of the SandboxSet, or id or name of a snapshot.
    pub template: String,
    /// Seconds until the sandbox ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
    /// Metadata, with the keys that ask for mounts among it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// Environment of every process in the sandbox.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Mounts asked for in the body.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volume_mounts: Vec<BodyMount>,
    /// Pause instead of delete at the timeout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_pause: Option<bool>,
    /// Whether the sandbox may reach the internet: with `false` it gets the label that policies select by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_internet_access: Option<bool>,
    /// Where the sandbox may connect to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkLists>,
}

/// The field `network` of a create: it becomes a `TrafficPolicy`, after the mounts are made.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NetworkLists {
    /// Addresses, ranges and domain names that it may connect to; nothing else then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_out: Vec<String>,
    /// Addresses and ranges that it may not connect to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deny_out: Vec<String>,
}

/// One entry of the body's `volumeMounts`.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BodyMount {
    /// Name of the PersistentVolume.
    pub name: String,
    /// Path in the sandbox.
    pub path: String,
}

/// How to connect to a sandbox.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConnectStep {
    /// Another name by which later steps call it.
    #[serde(rename = "as", default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The sandbox: a name that a step gave, or an id.
    pub sandbox: String,
    /// Seconds until the sandbox ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
}

/// Which sandbox to give a name.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AdoptStep {
    /// Name by which later steps call it.
    #[serde(rename = "as")]
    pub name: String,
    /// Its namespace.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// Labels that the Sandbox has.
    pub labels: BTreeMap<String, String>,
    /// Which of them, in the order of their names; the first is 0.
    #[serde(default)]
    pub index: usize,
}

/// Which sandbox to ask about.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InfoStep {
    /// The sandbox: a name that a step gave, or an id.
    pub sandbox: String,
}

/// Which sandboxes to list.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SandboxesStep {
    /// `running`, `paused`; empty means both.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub states: Vec<String>,
    /// Pairs that must all be in the metadata.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

/// When a sandbox ends.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TimeoutStep {
    /// The sandbox: a name that a step gave, or an id.
    pub sandbox: String,
    /// Seconds from now.
    pub seconds: u64,
}

/// Which sandbox to pause.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PauseStep {
    /// The sandbox: a name that a step gave, or an id.
    pub sandbox: String,
}

/// Which sandbox to wake up.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResumeStep {
    /// The sandbox: a name that a step gave, or an id.
    pub sandbox: String,
    /// Seconds until the sandbox ends by itself.
    pub timeout: u64,
}

/// What to take a snapshot of.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SnapshotStep {
    /// Name by which later steps call its outcome, as in `${name.snapshotID}`.
    #[serde(rename = "as", default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The sandbox: a name that a step gave, or an id.
    pub sandbox: String,
    /// A name for the snapshot, by which it can be used too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub called: Option<String>,
}

/// Which snapshots to list.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SnapshotsStep {
    /// Only those of this sandbox: a name that a step gave, or an id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<String>,
    /// How many a page has, 1 to 100; all pages are read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Which snapshot to delete.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeleteSnapshotStep {
    /// Its id or name.
    pub snapshot: String,
}

/// Which sandbox to end.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KillStep {
    /// The sandbox: a name that a step gave, or an id.
    pub sandbox: String,
}

/// A command in a sandbox.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RunStep {
    /// Name by which later steps call its outcome, as in `${name.stdout}`.
    #[serde(rename = "as", default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The sandbox, by the name that a step gave it.
    #[serde(rename = "in")]
    pub sandbox: String,
    /// A line for `bash -l -c`.
    pub command: String,
    /// The user in the sandbox; absent means its default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The working directory; absent means the user's home.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// Environment on top of the sandbox's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// The command is killed after this time; absent means the limit `step`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Period>,
}

/// A file to write in a sandbox.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WriteStep {
    /// The sandbox, by the name that a step gave it.
    #[serde(rename = "in")]
    pub sandbox: String,
    /// The file.
    pub path: String,
    /// What it holds afterwards.
    pub content: String,
    /// The user in the sandbox; absent means its default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// A file to read in a sandbox.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReadStep {
    /// The sandbox, by the name that a step gave it.
    #[serde(rename = "in")]
    pub sandbox: String,
    /// The file.
    pub path: String,
    /// The user in the sandbox; absent means its default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// A directory to list in a sandbox.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListStep {
    /// The sandbox, by the name that a step gave it.
    #[serde(rename = "in")]
    pub sandbox: String,
    /// The directory.
    pub path: String,
    /// How many levels deep; absent means 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub depth: Option<u32>,
    /// The user in the sandbox; absent means its default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// Whose mounts to read.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MountsStep {
    /// The sandbox, by the name that a step gave it.
    #[serde(rename = "in")]
    pub sandbox: String,
}

/// One request to the object store; exactly one of `put`, `get`, `list` and `delete`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OssStep {
    /// The bucket; absent means the one of the placeholder `OSS_BUCKET`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket: Option<String>,
    /// Key of an object to write; `content` says what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub put: Option<String>,
    /// What [`Self::put`] writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// Key of an object to read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub get: Option<String>,
    /// Prefix of the keys to list; empty for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<String>,
    /// Key of an object to delete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delete: Option<String>,
}

/// A fault to start.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FaultStep {
    /// Name by which `heal` calls it.
    #[serde(rename = "as", default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The fault.
    pub inject: lab::Fault,
}

/// A fault to end.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HealStep {
    /// The fault, by the name that a step gave it.
    pub fault: String,
}
