//! Which capabilities this process can ever have.

use std::fs;

/// The number of `CAP_SYS_RESOURCE` in the kernel's list.
const SYS_RESOURCE: u32 = 24;

/// Whether processes here can be given the right to raise resource limits. Where they can't, a daemon that was
/// started here can't start a privileged container without help ([`crate::oci_runtime`]).
pub(crate) fn can_raise_limits() -> bool {
    // A kernel that doesn't tell is taken for one that allows it: the daemon will say otherwise.
    fs::read_to_string("/proc/self/status").map_or(true, |status| bounding_set_has(&status, SYS_RESOURCE))
}

fn bounding_set_has(status: &str, capability: u32) -> bool {
    let line = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
    line.and_then(|hexadecimal| u64::from_str_radix(hexadecimal.trim(), 16).ok())
        .is_none_or(|set| set & (1 << capability) != 0)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::all("CapBnd:\t000001ffffffffff\n", true)]
    #[case::all_but_it("CapEff:\t000001ffffffffff\nCapBnd:\t000001fffeffffff\n", false)]
    #[case::none("CapBnd:\t0000000000000000\n", false)]
    #[case::not_told("Name:\tbash\n", true)]
    fn the_bounding_set_is_read(#[case] status: &str, #[case] expected: bool) {
        assert_eq!(bounding_set_has(status, SYS_RESOURCE), expected);
    }
}
