//! Has the C library's allocator give large buffers back to the machine.
//!
//! Left alone, glibc maps a large buffer by itself only until the first one is freed; later ones come out of heaps,
//! several for each core, and freeing them returns little (`mallopt(3)`): an agent kept 115 MB after 256 MiB had
//! passed through it, as long as its sandbox lived. A fixed threshold keeps every part of an upload and every range
//! that is read ahead a mapping of its own, which ends when it is freed. It lies above what comes and goes with every
//! read of a socket: mapping that anew each time cost an eighth of the time of a large read. The settings are read when
//! a process starts, so the agent starts itself once more with them.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// What the allocator is told; sizes in bytes.
const SETTINGS: [(&str, &str); 3] =
    [("MALLOC_ARENA_MAX", "2"), ("MALLOC_MMAP_THRESHOLD_", "1000000"), ("MALLOC_TRIM_THRESHOLD_", "2000000")];

/// Starts this process anew with the settings, unless it has some already.
pub(crate) fn settle() {
    if !cfg!(target_env = "gnu") || SETTINGS.iter().any(|(name, _)| std::env::var_os(name).is_some()) {
        return;
    }
    let mut arguments = std::env::args_os();
    let mut again = Command::new("/proc/self/exe");
    if let Some(name) = arguments.next() {
        again.arg0(name);
    }
    let error = again.args(arguments).envs(SETTINGS).exec();
    tracing::warn!(%error, "the agent can't start itself anew: it will keep more memory than it needs");
}
