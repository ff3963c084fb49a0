//! Who a container's process is and what it may do.

use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};

use super::error::{At as _, ShimError};
use super::protocol::ProcessSpec;

/// Becomes the user of the specification with its capabilities only.
pub(super) fn apply(process: &ProcessSpec, privileged: bool) -> Result<(), ShimError> {
    let kept = CapabilitySet::from_bits_retain(process.capabilities);
    if !privileged {
        for capability in CapabilitySet::all().iter().filter(|capability| !kept.contains(*capability)) {
            // What the machine doesn't know or has dropped before needs no dropping.
            if capability_is_in_bounding_set(capability).unwrap_or(false) {
                remove_capability_from_bounding_set(capability)
                    .at(|| format!("dropping capability {capability:?}"))?;
            }
        }
    }
    hand_over_output(process)?;
    become_user(process)?;
    if !privileged && process.user == 0 {
        let has = capabilities(None).at(|| "reading capabilities")?;
        let allowed = has.permitted & kept;
        let sets =
            CapabilitySets { effective: allowed, permitted: allowed, inheritable: CapabilitySet::empty() };
        set_capabilities(None, sets).at(|| "dropping capabilities")?;
    }
    if process.no_new_privileges {
        set_no_new_privs(true).at(|| "asking for no new privileges")?;
    }
    Ok(())
}

/// Makes standard input, output and error the user's, as runc does: else `/proc/1/fd/1` can't be opened, which writes to
/// the container's log. Devices, such as `/dev/null`, are everybody's.
fn hand_over_output(process: &ProcessSpec) -> Result<(), ShimError> {
    use nix::errno::Errno;
    use rustix::fs::FileType;

    let (user, group) = (Uid::from_raw(process.user), Gid::from_raw(process.group));
    for stream in [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()] {
        let step = || "looking at a standard stream";
        let status = rustix::fs::fstat(stream).at(step)?;
        let is_device = FileType::from_raw_mode(status.st_mode) == FileType::CharacterDevice;
        if is_device || status.st_uid == process.user {
            continue;
        }
        match nix::unistd::fchown(stream, Some(user), Some(group)) {
            // A user namespace that only root exists in has nobody else to give it to.
            Ok(()) | Err(Errno::EINVAL | Errno::EPERM | Errno::EROFS) => {}
            Err(error) => return Err(ShimError::new("handing over a standard stream", error)),
        }
    }
    Ok(())
}

fn become_user(process: &ProcessSpec) -> Result<(), ShimError> {
    let groups: Vec<Gid> = process.groups.iter().copied().map(Gid::from_raw).collect();
    match setgroups(&groups) {
        Ok(()) => {}
        // A user namespace that only root exists in forbids changing groups; there are none to lose then.
        Err(nix::errno::Errno::EPERM) if groups.is_empty() => {}
        Err(error) => return Err(ShimError::new("setting supplementary groups", error)),
    }
    let (user, group) = (Uid::from_raw(process.user), Gid::from_raw(process.group));
    let hint = || format!("becoming user {} and group {} (do they exist here?)", process.user, process.group);
    setresgid(group, group, group).at(hint)?;
    setresuid(user, user, user).at(hint)
}
