//! How much memory the lab holds.

use std::fs;
use std::io;
use std::path::Path;

/// Bytes that the lab's processes and the files below `state` (in memory) take. Each process counts with its
/// proportional share (PSS), so that a page shared by twelve processes counts once; what it maps of files in memory
/// counts with those files.
pub(crate) fn measure(state: &Path) -> io::Result<u64> {
    let mut total = 0;
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()) {
            total += share(&entry.path());
        }
    }
    // Checkpoints have a file system of their own.
    for folder in [state, &state.join("node/checkpoints")] {
        let files = rustix::fs::statvfs(folder)?;
        total += (files.f_blocks - files.f_bfree) * files.f_frsize;
    }
    Ok(total)
}

/// The proportional share of one process; 0 for one that has just ended.
fn share(process: &Path) -> u64 {
    let Ok(rollup) = fs::read_to_string(process.join("smaps_rollup")) else {
        return 0;
    };
    let kibibytes = |name: &str| {
        let number = rollup.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_suffix("kB"));
        number.and_then(|number| number.trim().parse::<u64>().ok()).unwrap_or(0)
    };
    kibibytes("Pss:").saturating_sub(kibibytes("Pss_Shmem:")) * 1024
}
