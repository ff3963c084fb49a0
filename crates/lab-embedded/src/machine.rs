//! What the embedded backend needs of the machine.

use std::fs;
use std::fs::OpenOptions;
use std::path::Path;

use contract::names::csi_agent::OssMounter;
use lab::{LabError, Requirement};
use nix::unistd::geteuid;
use node_sim::{PacketFilter, try_packet_filter};

use crate::backend::NAME;

/// Every requirement, checked now.
pub(crate) fn requirements() -> Vec<Requirement> {
    vec![
        namespaces(),
        file_system("fuse", "OSS volumes are FUSE mounts", "load the kernel module: modprobe fuse"),
        fuse_device(),
        file_system(
            "overlay",
            "a sandbox writes to a throw-away layer",
            "load the kernel module: modprobe overlay",
        ),
        packet_filter(),
        kernel_nfs(),
        program("python3", "scenarios with a `python` step", "apt-get install python3 python3-venv"),
        program("node", "scenarios with a `javascript` step", "apt-get install nodejs npm"),
        program("kubectl", "scenarios with a `kubectl` step", "apt-get install kubernetes-client"),
        program("s3fs", "OSS volumes mounted by s3fs (`--oss-mounter s3fs`)", "apt-get install s3fs"),
    ]
}

/// The error that names what is missing for labs whose OSS volumes `oss_mounter` mounts, if anything is.
pub(crate) fn check(oss_mounter: OssMounter) -> Result<(), LabError> {
    missing(requirements(), oss_mounter)
}

fn missing(requirements: Vec<Requirement>, oss_mounter: OssMounter) -> Result<(), LabError> {
    let is_needed = |requirement: &Requirement| {
        !requirement.optional || (oss_mounter == OssMounter::S3fs && requirement.name == oss_mounter.name())
    };
    let missing: Vec<Requirement> =
        requirements.into_iter().filter(|requirement| !requirement.met && is_needed(requirement)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let join = |text: fn(&Requirement) -> String| missing.iter().map(text).collect::<Vec<_>>().join("; ");
    Err(LabError::Machine {
        backend: NAME,
        missing: join(|requirement| format!("{} ({})", requirement.name, requirement.found)),
        remedy: join(|requirement| requirement.remedy.clone()),
    })
}

fn namespaces() -> Requirement {
    let requirement = |met, found: String, remedy: &str| Requirement {
        name: "namespaces",
        purpose: "a lab lives in namespaces of its own, so that nothing of it can leak",
        met,
        optional: false,
        found,
        remedy: remedy.to_owned(),
    };
    for kind in ["pid", "mnt", "net", "ipc", "uts"] {
        if !Path::new("/proc/self/ns").join(kind).exists() {
            return requirement(
                false,
                format!("the kernel has no {kind} namespaces"),
                "use a kernel that has them",
            );
        }
    }
    if geteuid().is_root() {
        return requirement(true, "running as root".to_owned(), "");
    }
    for (switch, refusing) in [
        ("/proc/sys/kernel/unprivileged_userns_clone", "0"),
        ("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1"),
        ("/proc/sys/user/max_user_namespaces", "0"),
    ] {
        if fs::read_to_string(switch).is_ok_and(|value| value.trim() == refusing) {
            return requirement(
                false,
                format!("{switch} is {refusing}, so an ordinary user may make no user namespace"),
                "run as root, or ask the administrator to change that switch",
            );
        }
    }
    let met = Path::new("/proc/self/ns/user").exists();
    requirement(met, "running as an ordinary user, in a user namespace".to_owned(), "run as root")
}

fn file_system(name: &'static str, purpose: &'static str, remedy: &str) -> Requirement {
    let met = fs::read_to_string("/proc/filesystems")
        .is_ok_and(|table| table.lines().any(|line| line.split_whitespace().last() == Some(name)));
    Requirement {
        name: if name == "fuse" { "FUSE in the kernel" } else { "overlay file system" },
        purpose,
        met,
        optional: false,
        found: format!("{name} is {}in /proc/filesystems", if met { "" } else { "not " }),
        remedy: remedy.to_owned(),
    }
}

/// Either way NAS volumes are mounted; the user should know by whom.
fn kernel_nfs() -> Requirement {
    let met = fs::read_to_string("/proc/filesystems")
        .is_ok_and(|table| table.lines().any(|line| line.split_whitespace().last() == Some("nfs")));
    let found = if met {
        "nfs is in /proc/filesystems: the kernel's client mounts NAS volumes"
    } else {
        "nfs is not in /proc/filesystems: our own client mounts NAS volumes, over FUSE"
    };
    Requirement {
        name: "NFS in the kernel",
        purpose: "NAS volumes are mounted by the kernel's client, as in a cluster",
        met,
        optional: true,
        found: found.to_owned(),
        remedy: "load the kernel module: modprobe nfs".to_owned(),
    }
}

fn fuse_device() -> Requirement {
    let opened = OpenOptions::new().read(true).write(true).open("/dev/fuse");
    Requirement {
        name: "/dev/fuse",
        purpose: "the CSI node agent opens it for every OSS mount",
        met: opened.is_ok(),
        optional: false,
        found: match &opened {
            Ok(_) => "can be opened".to_owned(),
            Err(error) => format!("can't be opened: {error}"),
        },
        remedy: "run as root, or as root: chmod 0666 /dev/fuse".to_owned(),
    }
}

/// Without it everything runs but network policies: enforcing the first says what is missing.
fn packet_filter() -> Requirement {
    let tried = try_packet_filter();
    Requirement {
        name: "nftables in the kernel",
        purpose: "NetworkPolicy and TrafficPolicy are enforced in each pod's network namespace",
        met: tried.is_ok(),
        optional: true,
        found: match &tried {
            Ok(PacketFilter::TakesRules) => "takes rules of every kind that policies need".to_owned(),
            Ok(PacketFilter::Answers) => {
                "can be talked to; whether it takes every rule can be tried as root only".to_owned()
            }
            Err(error) => format!("can't be used: {}", with_cause(error)),
        },
        remedy: "load the kernel modules: modprobe -a nf_tables nft_ct nft_reject_inet nf_conntrack; a kernel for \
                 clouds may keep them in a package of its own, such as linux-modules-extra-$(uname -r). The program \
                 nft is not needed"
            .to_owned(),
    }
}

fn with_cause(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}

fn program(name: &'static str, purpose: &'static str, remedy: &str) -> Requirement {
    let found = std::env::var_os("PATH").and_then(|path| {
        std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
    });
    Requirement {
        name,
        purpose,
        met: found.is_some(),
        optional: true,
        found: found.map_or_else(|| "not on PATH".to_owned(), |file| file.display().to_string()),
        remedy: remedy.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requirement(name: &'static str, optional: bool) -> Requirement {
        Requirement {
            name,
            purpose: "of tests",
            met: false,
            optional,
            found: "not on PATH".to_owned(),
            remedy: format!("apt-get install {name}"),
        }
    }

    #[test]
    fn s3fs_is_needed_where_it_is_to_mount_and_nowhere_else() {
        let table = || vec![requirement("node", true), requirement("s3fs", true)];
        assert!(missing(table(), OssMounter::BuiltIn).is_ok());
        let error = missing(table(), OssMounter::S3fs).expect_err("missing").to_string();
        assert!(error.contains("s3fs (not on PATH)") && error.contains("apt-get install s3fs"), "{error}");
        assert!(!error.contains("node"), "{error}");
        assert!(missing(vec![requirement("overlay", false)], OssMounter::BuiltIn).is_err());
    }
}
