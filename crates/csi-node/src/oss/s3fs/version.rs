//! Which `s3fs` is there, if any.

use std::io;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use super::PROGRAM;
use crate::driver::Refusal;

/// How long it may take to tell its version.
const LIMIT: Duration = Duration::from_secs(10);

/// Version of the program, such as 1.90.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Version(pub(super) u32, pub(super) u32);

impl Version {
    /// From this one on the folder that is mounted must exist, unless option `compat_dir` is given.
    pub(super) const LOOKS_FOR_THE_FOLDER: Self = Self(1, 92);

    /// Asks the program on the search path.
    ///
    /// # Errors
    /// `Internal` when there is none, or it doesn't tell; the text says what to do.
    pub(super) async fn of_program() -> Result<Self, Refusal> {
        let mut command = Command::new(PROGRAM);
        command.arg("--version").env_clear().kill_on_drop(true);
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        let output = match timeout(LIMIT, command.output()).await {
            Ok(Ok(output)) => output,
            Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => return Err(missing()),
            Ok(Err(error)) => return Err(Refusal::internal(format!("s3fs can't be run: {error}"))),
            Err(_) => {
                return Err(Refusal::internal(format!("s3fs did not tell its version within {LIMIT:?}")));
            }
        };
        let text = String::from_utf8_lossy(&output.stdout);
        let version = Self::read(&text).ok_or_else(|| {
            Refusal::internal(
                "s3fs did not tell its version: is the program of that name on the PATH s3fs-fuse?",
            )
        })?;
        tracing::info!(?version, "found s3fs");
        Ok(version)
    }

    /// Reads what `s3fs --version` prints: `… File System V1.90 (commit:…) with …`.
    fn read(text: &str) -> Option<Self> {
        let mut words = text.lines().next()?.split_whitespace();
        let (major, rest) = words.find_map(|word| word.strip_prefix('V')?.split_once('.'))?;
        let minor = rest.split(|char: char| !char.is_ascii_digit()).next()?;
        Some(Self(major.parse().ok()?, minor.parse().ok()?))
    }
}

fn missing() -> Refusal {
    Refusal::internal(
        "s3fs is to mount OSS volumes (--oss-mounter s3fs, MOUNTLAB_OSS_MOUNTER) and is not on the PATH of the CSI agent: \
         install Debian's package s3fs where the agent runs, or let the built-in mounter mount",
    )
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::debian(
        "Amazon Simple Storage Service File System V1.90 (commit:unknown) with GnuTLS(gcrypt)\nCopyright",
        Some(Version(1, 90))
    )]
    #[case::newer(
        "Amazon Simple Storage Service File System V1.95 (commit:abc) with OpenSSL",
        Some(Version(1, 95))
    )]
    #[case::suffix("File System V1.97-rc1", Some(Version(1, 97)))]
    #[case::other("s3fs: invalid option", None)]
    #[case::nothing("", None)]
    fn versions(#[case] text: &str, #[case] expected: Option<Version>) {
        assert_eq!(Version::read(text), expected);
    }

    #[test]
    fn versions_are_compared_by_number() {
        assert!(Version(1, 90) < Version::LOOKS_FOR_THE_FOLDER);
        assert!(Version(1, 100) > Version::LOOKS_FOR_THE_FOLDER);
    }
}
