//! A container's root: overlays, `/proc`, `/sys`, a small `/dev`, and the way into it.

use std::ffi::CString;
use std::fs;
use std::os::fd::AsFd as _;
use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::fs::{Mode, OFlags, open};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_bind_recursive, mount_change,
    mount_remount, unmount,
};
use rustix::process::{fchdir, pivot_root};

use super::error::{At as _, ShimError};
use super::protocol::ContainerSpec;

const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
/// What a container that is not privileged may see but not change, and what it may not even see.
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];
const MASKED: [&str; 7] = [
    "/proc/kcore",
    "/proc/keys",
    "/proc/key-users",
    "/proc/timer_list",
    "/proc/sched_debug",
    "/proc/latency_stats",
    "/proc/kallsyms",
];

fn text(value: String) -> Result<CString, ShimError> {
    CString::new(value)
        .map_err(|error| ShimError::new("a mount option holds a NUL byte", std::io::Error::other(error)))
}

/// Mounts the overlays on the empty root directory.
pub(super) fn assemble(spec: &ContainerSpec) -> Result<(), ShimError> {
    for overlay in &spec.overlays {
        let target = spec.root.join(&overlay.target);
        let marks = if spec.user_namespace { ",userxattr" } else { "" };
        let lower: Vec<_> = overlay.lower.iter().map(|layer| layer.display().to_string()).collect();
        let lower = lower.join(":");
        let options = text(format!(
            "lowerdir={lower},upperdir={},workdir={}{marks}",
            overlay.upper.display(),
            overlay.work.display()
        ))?;
        mount("overlay", &target, "overlay", MountFlags::NODEV, Some(options.as_c_str()))
            .at(|| format!("mounting an overlay of {lower} at /{}", overlay.target.display()))?;
    }
    Ok(())
}

/// In the container's first process: mounts what belongs to its PID namespace.
pub(super) fn furnish(spec: &ContainerSpec) -> Result<(), ShimError> {
    let quiet = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("proc", spec.root.join("proc"), "proc", quiet, None).at(|| "mounting /proc")?;
    // Where the kernel refuses it (in some user namespaces) `/sys` stays an empty directory.
    let _ = mount("sysfs", spec.root.join("sys"), "sysfs", quiet | MountFlags::RDONLY, None);
    make_devices(spec)
}

/// Makes the container's root the root of the process and lets go of the node's.
pub(super) fn enter(root: &Path) -> Result<(), ShimError> {
    let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let old = open("/", directory, Mode::empty()).at(|| "opening the node's root")?;
    rustix::process::chdir(root).at(|| "entering the container's root")?;
    pivot_root(".", ".").at(|| "changing the root")?;
    fchdir(old.as_fd()).at(|| "leaving the node's root")?;
    // Private first: otherwise unmounting would reach the same mounts in the node and in other containers.
    let all = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change(".", all).at(|| "cutting the node's mounts off")?;
    unmount(".", UnmountFlags::DETACH).at(|| "detaching the node's mounts")?;
    rustix::process::chdir("/").at(|| "entering the container's root")
}

fn make_devices(spec: &ContainerSpec) -> Result<(), ShimError> {
    let dev = spec.root.join("dev");
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    mount("tmpfs", &dev, "tmpfs", flags, Some(c"mode=755,size=64k")).at(|| "mounting /dev")?;
    for name in DEVICES.iter().copied().chain(spec.devices.iter().map(String::as_str)) {
        let node = dev.join(name);
        let step = || format!("making /dev/{name}");
        fs::write(&node, "").at(step)?;
        mount_bind(Path::new("/dev").join(name), &node).at(step)?;
    }
    for (name, kind, options) in
        [("pts", "devpts", c"newinstance,ptmxmode=0666,mode=0620"), ("shm", "tmpfs", c"mode=1777,size=64m")]
    {
        let place = dev.join(name);
        let step = || format!("making /dev/{name}");
        fs::create_dir(&place).at(step)?;
        mount(kind, &place, kind, flags, Some(options)).at(step)?;
    }
    for (name, leads_to) in [
        ("ptmx", "pts/ptmx"),
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ] {
        symlink(leads_to, dev.join(name)).at(|| format!("making /dev/{name}"))?;
    }
    Ok(())
}

/// Takes away what a container that is not privileged has no business with: root in it is root of the machine when
/// the lab was started by root.
pub(super) fn finish(spec: &ContainerSpec) -> Result<(), ShimError> {
    for overlay in spec.overlays.iter().filter(|_| spec.read_only_root) {
        let target = Path::new("/").join(&overlay.target);
        crate::read_only::remount(&target).at(|| format!("making {} read-only", target.display()))?;
    }
    if spec.privileged {
        return Ok(());
    }
    for path in READ_ONLY.into_iter().filter(|path| Path::new(path).exists()) {
        let step = || format!("protecting {path}");
        mount_bind_recursive(path, path).at(step)?;
        let flags = MountFlags::BIND
            | MountFlags::RDONLY
            | MountFlags::NOSUID
            | MountFlags::NODEV
            | MountFlags::NOEXEC;
        mount_remount(path, flags, "").at(step)?;
    }
    for path in MASKED.into_iter().filter(|path| Path::new(path).exists()) {
        mount_bind("/dev/null", path).at(|| format!("masking {path}"))?;
    }
    Ok(())
}
