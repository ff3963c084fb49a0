//! What the CSI agent and whoever makes its image agree on: where faults come from.
//!
//! Neither is part of the ConfigMap `sandbox-injection-config`: the product's defaults know no faults
//! (`docs/design/0009-faults-at-csi-calls.md`).

/// Environment variable with the folder of the faults in force; without it the agent looks for none.
pub const FAULTS_VARIABLE: &str = "MOUNTLAB_CSI_FAULTS";

/// The folder itself, in the agent's container.
pub const FAULTS_DIRECTORY: &str = "/run/mountlab/faults";

/// Environment variable with a JSON list of faults that the image itself has, which can't be healed.
pub const DEFECTS_VARIABLE: &str = "MOUNTLAB_CSI_DEFECTS";

/// Last path component of the agent's image, whatever its registry.
pub const IMAGE: &str = "csi-agent";

/// Tag whose mounts never answer, by the product document's note on 504.
pub const HANGING_TAG: &str = "v1.35.3-cgroupv1-dport-forbidden";
