//! The real program in a mount namespace of its own, where the paths it can't be told are ours.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use contract::names::drivers::OSS;
use csi_api::NodePublishVolumeRequest;
use tokio::process::{Child, Command};

use super::PROGRAM;
use super::csi::Driver;

/// The secret that must show nowhere.
pub(crate) const SECRET: &str = "s3cr3t-access-key";

const PREPARE: &str = r#"
set -e
mount --bind "$PLACE/mount-root" "$PLACE/mount-root"
mount -t tmpfs tmpfs /run
mkdir -p /run/csi/sockets
mount --bind "$PLACE/sockets" /run/csi/sockets
cp -a /etc "$PLACE/etc"
mount --bind "$PLACE/etc" /etc
mount -t tmpfs tmpfs /home
exec "$@"
"#;

/// A place with mount-root, a driver's double, and everything else that the program writes to.
pub(crate) struct Enclosure {
    pub(crate) place: tempfile::TempDir,
    pub(crate) driver: Driver,
}

impl Enclosure {
    pub(crate) fn new() -> Self {
        let place = tempfile::tempdir().expect("a directory");
        let sockets = place.path().join("sockets").join(OSS);
        std::fs::create_dir_all(&sockets).expect("made");
        std::fs::create_dir(place.path().join("mount-root")).expect("made");
        let driver = Driver::start_at(&sockets.join("csi.sock"));
        Self { place, driver }
    }

    /// The program with `arguments`. Its number stays the same through everything that prepares it.
    pub(crate) fn start(&self, arguments: &[&str], input: Stdio) -> Child {
        assert!(Path::new("/var/run").is_symlink(), "these tests expect /var/run to lead to /run");
        let mut command = Command::new("unshare");
        command.args(["--mount", "bash", "-c", PREPARE, "prepare", PROGRAM]).args(arguments);
        command.env("PLACE", self.place.path()).env("POD_UID", "pod-1").kill_on_drop(true);
        command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("unshare, bash and mount are needed")
    }

    /// The user's path.
    pub(crate) fn path(&self) -> PathBuf {
        self.place.path().join("data-oss")
    }

    /// A request to mount there.
    pub(crate) fn request(&self) -> NodePublishVolumeRequest {
        let pairs = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        NodePublishVolumeRequest {
            volume_id: "oss-pv-abc123".into(),
            target_path: self.path().to_string_lossy().into_owned(),
            secrets: pairs(&[("akId", "AKID-of-test"), ("akSecret", SECRET)]),
            volume_context: pairs(&[("bucket", "demo"), ("url", "http://oss.example")]),
            ..NodePublishVolumeRequest::default()
        }
    }
}

/// Fails when `text` gives the secret away, in whatever encoding.
pub(crate) fn assert_discreet(text: &str) {
    for encoding in journal::secrecy::encodings(SECRET) {
        assert!(!text.contains(&encoding), "{encoding} is in: {text}");
    }
}
