//! What the CSI agent and whoever makes or starts its image agree on: where faults come from, and what mounts OSS volumes.
//!
//! None of it is part of the ConfigMap `sandbox-injection-config` as it is installed: the product's defaults know no faults
//! (`docs/design/0009-faults-at-csi-calls.md`) and no other mounter (`docs/design/0013-two-oss-mounters.md`).

use serde::{Deserialize, Serialize};

/// Environment variable with the folder of the faults in force; without it the agent looks for none.
pub const FAULTS_VARIABLE: &str = "MOUNTLAB_CSI_FAULTS";

/// The folder itself, in the agent's container.
pub const FAULTS_DIRECTORY: &str = "/run/mountlab/faults";

/// Environment variable with a JSON list of faults that the image itself has, which can't be healed.
pub const DEFECTS_VARIABLE: &str = "MOUNTLAB_CSI_DEFECTS";

/// Environment variable with what mounts OSS volumes, an [`OssMounter`] by its name; without it our own mounter does.
pub const OSS_MOUNTER_VARIABLE: &str = "MOUNTLAB_OSS_MOUNTER";

/// What mounts OSS volumes.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OssMounter {
    /// The agent itself.
    #[default]
    BuiltIn,
    /// The program `s3fs`, started by the agent for each mount.
    S3fs,
}

impl OssMounter {
    /// The name, as options and [`OSS_MOUNTER_VARIABLE`] have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::BuiltIn => "built-in",
            Self::S3fs => "s3fs",
        }
    }
}

/// Last path component of the agent's image, whatever its registry.
pub const IMAGE: &str = "csi-agent";

/// Tag whose mounts never answer, by the product document's note on 504.
pub const HANGING_TAG: &str = "v1.35.3-cgroupv1-dport-forbidden";
