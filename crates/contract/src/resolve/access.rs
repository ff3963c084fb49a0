//! Read-only or not (`storage.md` §2.4).

use csi_api::volume_capability::access_mode::Mode;
use k8s_openapi::api::core::v1::PersistentVolume;

use crate::intents::MountIntent;

/// Whether the volume's access modes allow reading only: `ReadOnlyMany` is there and no mode that writes.
pub fn is_pure_read_only(volume: &PersistentVolume) -> bool {
    let modes = volume.spec.as_ref().and_then(|spec| spec.access_modes.as_deref()).unwrap_or_default();
    let writes =
        |mode: &String| matches!(mode.as_str(), "ReadWriteOnce" | "ReadWriteMany" | "ReadWriteOncePod");
    modes.iter().any(|mode| mode == "ReadOnlyMany") && !modes.iter().any(writes)
}

pub(super) fn is_read_only(intent: &MountIntent, volume: &PersistentVolume) -> bool {
    intent.read_only || is_pure_read_only(volume)
}

pub(super) fn mode(intent: &MountIntent, volume: &PersistentVolume) -> Mode {
    if is_read_only(intent, volume) { Mode::SingleNodeReaderOnly } else { Mode::SingleNodeWriter }
}
