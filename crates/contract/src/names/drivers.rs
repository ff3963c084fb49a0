//! CSI drivers (`storage.md` §2.2).

/// Object storage.
pub const OSS: &str = "ossplugin.csi.alibabacloud.com";
/// File storage.
pub const NAS: &str = "nasplugin.csi.alibabacloud.com";
/// Environment variable with the allowed drivers, comma-separated.
pub const LIST_VARIABLE: &str = "DYNAMIC_STORAGE_DRIVER_LIST";
/// Newer name of [`LIST_VARIABLE`].
pub const LIST_VARIABLE_NEW: &str = "ON_DEMAND_MOUNT_DRIVER_LIST";

/// Directory of the driver's mounts below mount-root: `oss`, `nas`, otherwise the driver's name.
pub fn staging_folder(driver: &str) -> &str {
    match driver {
        OSS => "oss",
        NAS => "nas",
        other => other,
    }
}
