//! What mounts OSS volumes, said in the entry `csi` of the ConfigMap.

use serde_json::{Value, json};

use crate::names::containers::CSI_SIDECAR;
use crate::names::csi_agent::{OSS_MOUNTER_VARIABLE, OssMounter};

/// The text of the entry `csi` with `mounter` in the environment of its CSI agent, in the place of what was said there. Our own
/// mounter is the default and needs no word.
///
/// # Errors
/// When `entry` isn't JSON.
pub fn with_oss_mounter(entry: &str, mounter: OssMounter) -> Result<String, serde_json::Error> {
    let mut entry: Value = serde_json::from_str(entry)?;
    let containers = entry.get_mut("csiSidecar").and_then(Value::as_array_mut);
    for container in containers.into_iter().flatten().filter(|container| container["name"] == CSI_SIDECAR) {
        if container.get("env").and_then(Value::as_array).is_none() {
            container["env"] = json!([]);
        }
        let Some(environment) = container["env"].as_array_mut() else { continue };
        environment.retain(|variable| variable["name"] != OSS_MOUNTER_VARIABLE);
        if mounter != OssMounter::default() {
            environment.push(json!({"name": OSS_MOUNTER_VARIABLE, "value": mounter.name()}));
        }
    }
    serde_json::to_string_pretty(&entry)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::injection::default_config_map;
    use crate::names::RUNTIME_CSI;

    fn default_entry() -> String {
        default_config_map().data.unwrap_or_default().remove(RUNTIME_CSI).unwrap_or_default()
    }

    fn variables(entry: &str) -> Vec<Value> {
        let entry: Value = serde_json::from_str(entry).expect("JSON");
        entry["csiSidecar"][0]["env"].as_array().cloned().unwrap_or_default()
    }

    #[test]
    fn the_agent_of_the_default_configuration_is_told_once_and_untold_again() {
        let default = default_entry();
        let told = with_oss_mounter(&default, OssMounter::S3fs).expect("told");
        let variable = json!({"name": "MOUNTLAB_OSS_MOUNTER", "value": "s3fs"});
        assert_eq!(variables(&told)[1..], [variable]);
        assert_eq!(variables(&told)[..1], variables(&default)[..], "the rest stays");
        assert_eq!(with_oss_mounter(&told, OssMounter::S3fs).expect("told"), told);
        assert_eq!(with_oss_mounter(&told, OssMounter::BuiltIn).expect("untold"), default);
    }

    #[test]
    fn an_agent_without_an_environment_gets_one_and_others_get_nothing() {
        let entry = json!({"csiSidecar": [{"name": CSI_SIDECAR}, {"name": "other"}]}).to_string();
        let told: Value =
            serde_json::from_str(&with_oss_mounter(&entry, OssMounter::S3fs).expect("told")).expect("JSON");
        assert_eq!(told["csiSidecar"][0]["env"][0]["value"], "s3fs");
        assert_eq!(told["csiSidecar"][1], json!({"name": "other"}));
        assert!(with_oss_mounter("{", OssMounter::S3fs).is_err());
    }
}
