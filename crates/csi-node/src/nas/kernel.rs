//! Mounts with the kernel's client.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use tokio::time::timeout;

use super::attributes::{NasVolume, NfsVersion};
use super::mounter::{MountFailure, Mounter};
use crate::driver::{Mounted, Place, Refusal};
use crate::fs::detach;

/// How long an unmount may take; after it the mount is taken out of sight and ends by itself.
const UNMOUNT_LIMIT: Duration = Duration::from_secs(10);

/// Options that are flags of `mount(2)` and not the file system's.
const FLAGS: [(&str, MsFlags); 7] = [
    ("ro", MsFlags::MS_RDONLY),
    ("noexec", MsFlags::MS_NOEXEC),
    ("noatime", MsFlags::MS_NOATIME),
    ("nodiratime", MsFlags::MS_NODIRATIME),
    ("relatime", MsFlags::MS_RELATIME),
    ("strictatime", MsFlags::MS_STRICTATIME),
    ("sync", MsFlags::MS_SYNCHRONOUS),
];
/// Options that only the mount program knows.
const NOT_THE_KERNELS: [&str; 12] =
    ["rw", "defaults", "auto", "noauto", "_netdev", "nofail", "bg", "fg", "suid", "dev", "exec", "async"];

/// See the module.
#[derive(Debug)]
pub(super) struct KernelMounter;

/// What `mount(2)` is given.
#[derive(Debug, Eq, PartialEq)]
struct Call {
    kind: &'static str,
    flags: MsFlags,
    data: String,
}

impl Call {
    fn new(volume: &NasVolume, port: u16, address: IpAddr) -> Self {
        let mut flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        let mut data = Vec::new();
        for option in &volume.options {
            if let Some((_, flag)) = FLAGS.iter().find(|(name, _)| name == option) {
                flags |= *flag;
            } else if !NOT_THE_KERNELS.contains(&option.as_str()) && !option.starts_with("retry=") {
                data.push(option.clone());
            }
        }
        let names = |name: &str| data.iter().any(|option| option.split('=').next() == Some(name));
        let mut more = vec![format!("vers={}", volume.version)];
        if !names("port") {
            more.push(format!("port={port}"));
        }
        // File storage in the cloud answers MOUNT on the port of NFS.
        if volume.version == NfsVersion::V3 && !names("mountport") {
            more.push(format!("mountport={port}"));
        }
        more.push(format!("addr={address}"));
        data.extend(more);
        let kind = if volume.version == NfsVersion::V3 { "nfs" } else { "nfs4" };
        Self { kind, flags, data: data.join(",") }
    }
}

#[async_trait]
impl Mounter for KernelMounter {
    async fn mount(
        &self,
        volume: &NasVolume,
        port: u16,
        place: &Place,
    ) -> Result<Box<dyn Mounted>, MountFailure> {
        let source = volume.source();
        let failed = |reason: &str| MountFailure::Other(format!("mounting {source} failed: {reason}"));
        let host = volume.server.trim_matches(['[', ']']);
        let mut addresses =
            tokio::net::lookup_host((host, port)).await.map_err(|error| failed(&error.to_string()))?;
        let address = addresses.next().ok_or_else(|| failed("the host has no address"))?.ip();
        let call = Call::new(volume, port, address);
        let target = place.path();
        let (from, to) = (source.clone(), target.to_owned());
        place.clear().await?;
        let mounted = tokio::task::spawn_blocking(move || {
            mount(Some(from.as_str()), &to, Some(call.kind), call.flags, Some(call.data.as_str()))
        });
        match mounted.await.map_err(|error| failed(&error.to_string()))? {
            Ok(()) => Ok(Box::new(KernelMount { target: target.to_owned() })),
            Err(error @ (Errno::ENOENT | Errno::EACCES)) => {
                Err(MountFailure::NoPath(format!("mounting {source} failed: {}", error.desc())))
            }
            Err(error) => Err(failed(error.desc())),
        }
    }
}

#[derive(Debug)]
struct KernelMount {
    target: PathBuf,
}

#[async_trait]
impl Mounted for KernelMount {
    fn has_ended(&self) -> bool {
        let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let target = self.target.to_str().unwrap_or_default();
        !table.lines().any(|line| line.split(' ').nth(4) == Some(target))
    }

    async fn unmount(self: Box<Self>) -> Result<(), Refusal> {
        let Self { target } = *self;
        let hangs = || {
            Refusal::internal(format!("unmounting {} did not end within {UNMOUNT_LIMIT:?}", target.display()))
        };
        let path = target.clone();
        timeout(UNMOUNT_LIMIT, tokio::task::spawn_blocking(move || detach(&path)))
            .await
            .map_err(|_| hangs())?
            .map_err(|_| hangs())?
            .map_err(|error| Refusal::internal(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::product(
        NfsVersion::V3,
        "nolock,tcp,noresvport",
        "nfs",
        MsFlags::empty(),
        "nolock,tcp,noresvport,vers=3,port=2049,mountport=2049,addr=10.0.0.9"
    )]
    #[case::read_only(NfsVersion::V3, "nolock,noexec,ro", "nfs", MsFlags::MS_RDONLY.union(MsFlags::MS_NOEXEC),
        "nolock,vers=3,port=2049,mountport=2049,addr=10.0.0.9")]
    #[case::four(
        NfsVersion::V4(1),
        "noresvport,_netdev",
        "nfs4",
        MsFlags::empty(),
        "noresvport,vers=4.1,port=2049,addr=10.0.0.9"
    )]
    #[case::ports(
        NfsVersion::V3,
        "port=3049,mountport=635",
        "nfs",
        MsFlags::empty(),
        "port=3049,mountport=635,vers=3,addr=10.0.0.9"
    )]
    fn calls(
        #[case] version: NfsVersion,
        #[case] options: &str,
        #[case] kind: &str,
        #[case] flags: MsFlags,
        #[case] data: &str,
    ) {
        let volume = NasVolume {
            server: "10.0.0.9".to_owned(),
            path: "/share".to_owned(),
            version,
            options: options.split(',').map(str::to_owned).collect(),
            mode: None,
        };
        let call = Call::new(&volume, 2049, IpAddr::from([10, 0, 0, 9]));
        assert_eq!((call.kind, call.data.as_str()), (kind, data));
        assert_eq!(call.flags, flags | MsFlags::MS_NOSUID | MsFlags::MS_NODEV);
    }
}
