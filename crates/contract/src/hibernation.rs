//! Whether a sandbox's storage lets it hibernate (DECISIONS 1 to 4, `kubernetes.md` §10.2), as a pure function.
//!
//! NAS storage doesn't, and the driver of the PersistentVolume makes it NAS, not a name. One such mount among others
//! is enough. A volume that can't be read any more counts too: a wake-up could not mount it.

use k8s_openapi::api::core::v1::PersistentVolume;

use crate::errors::{Code, Problem};
use crate::intents::MountIntent;
use crate::names::drivers;
use crate::resolve;

/// What a sandbox's storage says about hibernating.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// It comes back at the wake-up, or there is none.
    #[default]
    Possible,
    /// It would not come back; the problem is a [`Code::StorageNotHibernatable`] that names every such volume.
    Refused(Problem),
}

/// The verdict about the entries of a persisted mount list, each with its volume if that exists.
pub fn judge(mounts: &[(MountIntent, Option<PersistentVolume>)]) -> Verdict {
    let obstacles: Vec<String> =
        mounts.iter().filter_map(|(intent, volume)| obstacle(intent, volume.as_ref())).collect();
    if obstacles.is_empty() { Verdict::Possible } else { refused(&obstacles.join("; ")) }
}

/// The verdict about a sandbox whose persisted mount list can't be read, for the reason that `problem` gives.
pub fn unreadable(problem: &Problem) -> Verdict {
    refused(&format!("what it has mounted cannot be told ({}), so it counts as NAS", problem.message()))
}

/// Whether volumes of that driver keep a sandbox from hibernating.
pub fn is_nas(driver: &str) -> bool {
    driver == drivers::NAS
}

fn obstacle(intent: &MountIntent, volume: Option<&PersistentVolume>) -> Option<String> {
    let (name, path) = (&intent.pv_name, &intent.mount_path);
    let Some(volume) = volume else {
        return Some(format!(
            "PersistentVolume {name} at {path} cannot be read any more, so it counts as NAS: a wake-up could not mount it"
        ));
    };
    match resolve::csi_source(volume) {
        Ok(csi) if is_nas(&csi.driver) => {
            Some(format!("PersistentVolume {name} at {path} is NAS storage (driver {})", csi.driver))
        }
        Ok(_) => None,
        Err(problem) => Some(format!(
            "PersistentVolume {name} at {path} counts as NAS, a wake-up could not mount it: {}",
            problem.message()
        )),
    }
}

fn refused(why: &str) -> Verdict {
    Verdict::Refused(Problem::new(
        Code::StorageNotHibernatable,
        format!(
            "a sandbox with NAS storage cannot hibernate: {why}; it keeps running as it is: kill it instead, or use OSS"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    fn mount(name: &str, spec: Option<Value>) -> (MountIntent, Option<PersistentVolume>) {
        let intent = MountIntent {
            pv_name: name.to_owned(),
            mount_path: format!("/{name}"),
            ..MountIntent::default()
        };
        let volume = spec.map(|spec| {
            serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).expect("a volume")
        });
        (intent, volume)
    }

    fn of_driver(name: &str, driver: &str) -> (MountIntent, Option<PersistentVolume>) {
        mount(name, Some(json!({"csi": {"driver": driver, "volumeHandle": name}})))
    }

    #[rstest]
    #[case::nothing_mounted(vec![], &[])]
    #[case::oss(vec![of_driver("data", drivers::OSS)], &[])]
    #[case::oss_by_the_name_of_nas(vec![of_driver("nas-pv", drivers::OSS)], &[])]
    #[case::another_driver(vec![of_driver("data", "disk.example.com")], &[])]
    #[case::nas(vec![of_driver("data", drivers::NAS)], &["data at /data is NAS", drivers::NAS])]
    #[case::mixed(vec![of_driver("a", drivers::OSS), of_driver("b", drivers::NAS)], &["b at /b is NAS"])]
    #[case::two(vec![of_driver("a", drivers::NAS), of_driver("b", drivers::NAS)], &["a at /a", "b at /b"])]
    #[case::gone(vec![mount("lost", None)], &["lost at /lost cannot be read any more"])]
    #[case::no_csi(vec![mount("plain", Some(json!({})))], &["plain at /plain counts as NAS", "no found csi object"])]
    fn the_driver_decides_and_every_obstacle_is_named(
        #[case] mounts: Vec<(MountIntent, Option<PersistentVolume>)>,
        #[case] named: &[&str],
    ) {
        match judge(&mounts) {
            Verdict::Possible => assert!(named.is_empty()),
            Verdict::Refused(problem) => {
                assert_eq!((problem.code(), problem.http_status()), (Code::StorageNotHibernatable, 400));
                assert!(!named.is_empty() && problem.message().contains("kill it instead, or use OSS"));
                for words in named {
                    assert!(problem.message().contains(words), "{words} in {problem}");
                }
            }
        }
    }

    #[test]
    fn a_list_that_cannot_be_read_counts_as_nas() {
        let problem = crate::intents::decode_annotation("{").expect_err("no list");
        let Verdict::Refused(refusal) = unreadable(&problem) else { panic!("refused") };
        assert!(refusal.message().contains("csi-volume-config"), "{refusal}");
    }
}
