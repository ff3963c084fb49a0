//! The private folder of one `s3fs`: its key until it has read that, its temporary files until it ends.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::driver::Refusal;
use crate::s3::Credentials;

/// The folder, mode 0700; it goes when this is dropped, with everything in it.
#[derive(Debug)]
pub(super) struct Folder {
    directory: TempDir,
}

impl Folder {
    /// Makes one in `scratch_directory`, with the key of `bucket` in it.
    ///
    /// # Errors
    /// `InvalidArgument` for a key that a line of the password file can't hold, `Internal` when nothing can be made.
    pub(super) fn make(
        scratch_directory: &Path,
        bucket: &str,
        credentials: &Credentials,
    ) -> Result<Self, Refusal> {
        let line = line(bucket, credentials)?;
        let made = || -> io::Result<Self> {
            let mut builder = tempfile::Builder::new();
            let builder = builder.prefix("s3fs-").permissions(Permissions::from_mode(0o700));
            let directory = builder.tempdir_in(scratch_directory)?;
            let folder = Self { directory };
            fs::create_dir(folder.temporary_files())?;
            let mut file =
                OpenOptions::new().write(true).create_new(true).mode(0o600).open(folder.key_file())?;
            file.write_all(line.as_bytes())?;
            Ok(folder)
        };
        made()
            .map_err(|error| Refusal::internal(format!("the private folder of s3fs can't be made: {error}")))
    }

    /// Where the key is, mode 0600.
    pub(super) fn key_file(&self) -> PathBuf {
        self.directory.path().join("key")
    }

    /// Where `s3fs` keeps files that are being changed, and copies of others if it is told to.
    pub(super) fn temporary_files(&self) -> PathBuf {
        self.directory.path().join("files")
    }
}

/// The line `bucket:id:secret`. The program splits it at the first and at the last colon and takes no white space.
fn line(bucket: &str, credentials: &Credentials) -> Result<String, Refusal> {
    let (id, secret) = (credentials.id(), credentials.secret());
    let is_blank = |char: char| char.is_whitespace() || char.is_control();
    if secret.contains(':') || id.contains(is_blank) || secret.contains(is_blank) {
        return Err(Refusal::invalid(
            "the AccessKey can't be handed to s3fs: its password file takes no white space, and no colon in the secret",
        ));
    }
    Ok(format!("{bucket}:{id}:{secret}\n"))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use tonic::Code;

    use super::*;

    #[test]
    fn the_key_is_for_nobody_else_and_goes_with_the_folder() {
        let scratch = tempfile::tempdir().expect("a directory");
        let folder = Folder::make(scratch.path(), "data", &Credentials::new("id", "secret")).expect("made");
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o7777;
        assert_eq!((mode(folder.directory.path()), mode(&folder.key_file())), (0o700, 0o600));
        assert_eq!(fs::read_to_string(folder.key_file()).expect("read"), "data:id:secret\n");
        drop(folder);
        assert_eq!(fs::read_dir(scratch.path()).expect("read").count(), 0);
    }

    #[rstest]
    #[case("id", "se cret")]
    #[case("id", "se:cret")]
    #[case("i\nd", "AKSECRET")]
    fn a_key_that_would_be_read_wrongly_is_refused_without_showing_it(
        #[case] id: &str,
        #[case] secret: &str,
    ) {
        let scratch = tempfile::tempdir().expect("a directory");
        let refusal =
            Folder::make(scratch.path(), "data", &Credentials::new(id, secret)).expect_err("refused");
        assert_eq!(refusal.code, Code::InvalidArgument);
        assert!(!refusal.message.contains(secret), "{refusal}");
        assert_eq!(fs::read_dir(scratch.path()).expect("read").count(), 0);
    }
}
