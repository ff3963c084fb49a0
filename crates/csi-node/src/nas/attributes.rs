//! A publish request of a NAS volume, checked (`storage.md` §6.4).

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

use thiserror::Error;
use tonic::Code;

use crate::driver::Refusal;

/// Hosts of this family serve version 3 only, and their root is `/share`.
const EXTREME: &str = "extreme.nas.aliyuncs.com";
/// Root of an export of that family.
const EXTREME_ROOT: &str = "/share";
/// Where the sandbox leaves its pod's UID.
const POD_UID: &str = "csi.storage.k8s.io/pod.uid";

/// Options of a version 3 mount for which the volume names none.
const DEFAULTS: [&str; 8] =
    ["nolock", "proto=tcp", "rsize=1048576", "wsize=1048576", "hard", "timeo=600", "retrans=2", "noresvport"];

/// Attributes that ask for what this agent has no part for.
const NOT_SUPPORTED: [&str; 4] = ["accessPoint", "mountType", "sysConfig", "modeType"];

/// An attribute or option that can't be mounted.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum VolumeError {
    /// No server.
    #[error("attribute server is missing")]
    NoServer,
    /// The server carries a port or a path.
    #[error("attribute server {0:?} must be a host without port or path: the path belongs in attribute path")]
    Server(String),
    /// The path is relative.
    #[error("attribute path {0:?} should start with /")]
    Path(String),
    /// The path leads out of itself.
    #[error("attribute path {0:?} has a component . or ..")]
    PathComponent(String),
    /// No such version of NFS.
    #[error("vers {0:?} is unknown; known are 3, 4.0, 4.1 and 4.2")]
    Version(String),
    /// The server speaks version 3 only.
    #[error("vers {version} can't be mounted from {server}: extreme NAS serves version 3 only")]
    ExtremeVersion {
        /// The attribute.
        server: String,
        /// What was asked for.
        version: NfsVersion,
    },
    /// Another client than NFS.
    #[error("mountProtocol {0:?} is not supported; only nfs is")]
    Protocol(String),
    /// The mode is no number.
    #[error("attribute mode {0:?} is not octal permissions")]
    Mode(String),
    /// The mode of a whole file system.
    #[error("attribute mode can't be set on path /: give a directory of its own")]
    ModeOfRoot,
    /// Something that isn't there.
    #[error("attribute {0} is not supported")]
    NotSupported(&'static str),
    /// The sandbox did not say who it is.
    #[error("volume context lacks {POD_UID}")]
    NoPodUid,
}

impl From<VolumeError> for Refusal {
    fn from(error: VolumeError) -> Self {
        let code = match &error {
            VolumeError::NoServer
            | VolumeError::PathComponent(_)
            | VolumeError::Protocol(_)
            | VolumeError::Mode(_)
            | VolumeError::NotSupported(_) => Code::InvalidArgument,
            VolumeError::Server(_)
            | VolumeError::Path(_)
            | VolumeError::Version(_)
            | VolumeError::ExtremeVersion { .. }
            | VolumeError::ModeOfRoot
            | VolumeError::NoPodUid => Code::Unknown,
        };
        Self::new(code, error.to_string())
    }
}

/// Version of the protocol.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NfsVersion {
    /// Version 3.
    V3,
    /// Version 4 and its minor version.
    V4(u8),
}

impl NfsVersion {
    fn parse(text: &str) -> Result<Self, VolumeError> {
        match text {
            "" | "3" | "3.0" => Ok(Self::V3),
            "4" | "4.0" => Ok(Self::V4(0)),
            "4.1" => Ok(Self::V4(1)),
            "4.2" => Ok(Self::V4(2)),
            other => Err(VolumeError::Version(other.to_owned())),
        }
    }
}

impl Display for NfsVersion {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::V3 => formatter.write_str("3"),
            Self::V4(minor) => write!(formatter, "4.{minor}"),
        }
    }
}

/// Attributes as they come: names in lower case, values verbatim.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Attributes(BTreeMap<String, String>);

impl Attributes {
    /// Reads a volume context.
    pub fn read(context: &BTreeMap<String, String>) -> Self {
        Self(context.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect())
    }

    /// The attribute called `name` in any case; "" if it isn't there.
    pub fn get(&self, name: &str) -> &str {
        self.0.get(&name.to_ascii_lowercase()).map_or("", String::as_str)
    }
}

/// A NAS volume whose attributes are right.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NasVolume {
    /// Host.
    pub server: String,
    /// Absolute path, without a slash at its end unless it is the root.
    pub path: String,
    /// Version of the protocol.
    pub version: NfsVersion,
    /// Options, `ro` among them where nobody may write; without the version.
    pub options: Vec<String>,
    /// Permissions to give the mounted directory.
    pub mode: Option<u32>,
}

impl NasVolume {
    /// Checks `attributes` and the options of the PersistentVolume.
    ///
    /// # Errors
    /// The first attribute that is wrong.
    pub fn check(
        attributes: &Attributes,
        mount_options: &[String],
        read_only: bool,
    ) -> Result<Self, VolumeError> {
        let protocol = attributes.get("mountProtocol");
        if !matches!(protocol, "" | "nfs") {
            return Err(VolumeError::Protocol(protocol.to_owned()));
        }
        if let Some(name) = NOT_SUPPORTED.into_iter().find(|name| !attributes.get(name).is_empty()) {
            return Err(VolumeError::NotSupported(name));
        }
        let server = attributes.get("server");
        check_server(server)?;
        let path = normal_path(attributes.get("path"))?;
        let assembled = Options::assemble(mount_options, attributes.get("options"));
        let version = NfsVersion::parse(assembled.version.as_deref().unwrap_or(attributes.get("vers")))?;
        if is_extreme(server) && version != NfsVersion::V3 {
            return Err(VolumeError::ExtremeVersion { server: server.to_owned(), version });
        }
        let mode = match attributes.get("mode") {
            "" => None,
            _ if read_only => None,
            _ if path == "/" => return Err(VolumeError::ModeOfRoot),
            text => Some(parse_mode(text)?),
        };
        if attributes.get(POD_UID).is_empty() {
            return Err(VolumeError::NoPodUid);
        }
        let mut options = assembled.list.unwrap_or_else(|| default_options(version));
        if read_only && !options.iter().any(|option| option == "ro") {
            options.push("ro".to_owned());
        }
        Ok(Self { server: server.to_owned(), path, version, options, mode })
    }

    /// `server:path`, as the mount table shows it.
    pub fn source(&self) -> String {
        format!("{}:{}", self.server, self.path)
    }

    /// The directories above [`Self::path`] from the nearest to the export's root, in one of which it may be made.
    /// None for a root: that is never made.
    pub fn parents(&self) -> Vec<&str> {
        let root = if is_extreme(&self.server) { EXTREME_ROOT } else { "/" };
        let mut parents = Vec::new();
        let mut at = self.path.as_str();
        while at != root
            && let Some((above, _)) = at.rsplit_once('/')
        {
            at = if above.is_empty() { "/" } else { above };
            if is_extreme(&self.server) && !(at == root || at.starts_with("/share/")) {
                break;
            }
            parents.push(at);
            if at == "/" {
                break;
            }
        }
        parents
    }
}

fn is_extreme(server: &str) -> bool {
    server.ends_with(EXTREME)
}

fn check_server(server: &str) -> Result<(), VolumeError> {
    if server.is_empty() {
        return Err(VolumeError::NoServer);
    }
    let bracketed = server.starts_with('[') && server.ends_with(']');
    if (server.contains(':') && !bracketed) || server.contains(['/', '\0', ' ', ',']) {
        return Err(VolumeError::Server(server.to_owned()));
    }
    Ok(())
}

fn normal_path(path: &str) -> Result<String, VolumeError> {
    if path.is_empty() {
        return Ok("/".to_owned());
    }
    if !path.starts_with('/') || path.contains('\0') {
        return Err(VolumeError::Path(path.to_owned()));
    }
    if path.split('/').any(|part| part == "." || part == "..") {
        return Err(VolumeError::PathComponent(path.to_owned()));
    }
    let trimmed = path.trim_end_matches('/');
    Ok(if trimmed.is_empty() { "/".to_owned() } else { trimmed.to_owned() })
}

fn parse_mode(text: &str) -> Result<u32, VolumeError> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777);
    mode.ok_or_else(|| VolumeError::Mode(text.to_owned()))
}

fn default_options(version: NfsVersion) -> Vec<String> {
    let defaults: &[&str] = match version {
        NfsVersion::V3 => &DEFAULTS,
        NfsVersion::V4(_) => &["noresvport"],
    };
    defaults.iter().map(|option| (*option).to_owned()).collect()
}

/// What mountOptions and attribute `options` say together.
#[derive(Debug, Default, Eq, PartialEq)]
struct Options {
    /// The version that mountOptions name.
    version: Option<String>,
    /// The whole list; nothing if the defaults are to be taken.
    list: Option<Vec<String>>,
}

impl Options {
    fn assemble(mount_options: &[String], attribute: &str) -> Self {
        let mut version = None;
        let mut list = Vec::new();
        for option in mount_options.iter().flat_map(|entry| entry.split(',')).map(str::trim) {
            if let Some(value) = option.strip_prefix("vers=") {
                version = Some(value.to_owned());
            } else if !option.is_empty() && !is_credential(option) {
                list.push(option.to_owned());
            }
        }
        if list.is_empty() {
            let options = attribute.split(',').map(str::trim).filter(|option| !option.is_empty());
            list = options.map(str::to_owned).collect();
        }
        let list = match list.as_slice() {
            [] => None,
            [single] if single == "none" => Some(Vec::new()),
            _ => Some(list),
        };
        Self { version, list }
    }
}

/// Keys of identity-based access, which plain NFS has no use for; they must not show up in a mount table.
fn is_credential(option: &str) -> bool {
    option.starts_with("access_key_id=") || option.starts_with("access_key_secret=")
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const HOST: &str = "xxx.cn-hangzhou.nas.aliyuncs.com";
    const EXTREME_HOST: &str = "xxx.xxx.extreme.nas.aliyuncs.com";

    fn check(
        pairs: &[(&str, &str)],
        mount_options: &[&str],
        read_only: bool,
    ) -> Result<NasVolume, VolumeError> {
        let mut context =
            BTreeMap::from([("server".to_owned(), HOST.to_owned()), (POD_UID.to_owned(), "8f1c".to_owned())]);
        context.extend(pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())));
        let mount_options: Vec<String> = mount_options.iter().map(|option| (*option).into()).collect();
        NasVolume::check(&Attributes::read(&context), &mount_options, read_only)
    }

    #[test]
    fn the_product_example() {
        let attributes = [("server", EXTREME_HOST), ("path", "/share/data-subPath")];
        let volume = check(&attributes, &["nolock,tcp,noresvport", "vers=3"], false).expect("checked");
        assert_eq!(volume.source(), "xxx.xxx.extreme.nas.aliyuncs.com:/share/data-subPath");
        assert_eq!(volume.version, NfsVersion::V3);
        assert_eq!(volume.options, ["nolock", "tcp", "noresvport"]);
    }

    #[rstest]
    #[case::colon(&[("server", "host:2049")], Code::Unknown)]
    #[case::source(&[("server", "host:/share")], Code::Unknown)]
    #[case::slash(&[("server", "host/share")], Code::Unknown)]
    #[case::bare_six(&[("server", "fe80::1")], Code::Unknown)]
    #[case::no_server(&[("server", "")], Code::InvalidArgument)]
    #[case::relative(&[("path", "share")], Code::Unknown)]
    #[case::dots(&[("path", "/a/../b")], Code::InvalidArgument)]
    #[case::version(&[("vers", "5")], Code::Unknown)]
    #[case::extreme(&[("server", EXTREME_HOST), ("vers", "4.0")], Code::Unknown)]
    #[case::efc(&[("mountProtocol", "efc")], Code::InvalidArgument)]
    #[case::alinas(&[("accessPoint", "ap-1")], Code::InvalidArgument)]
    #[case::loop_device(&[("mountType", "losetup")], Code::InvalidArgument)]
    #[case::system(&[("sysConfig", "read_ahead_kb=1")], Code::InvalidArgument)]
    #[case::mode_of_root(&[("mode", "0777")], Code::Unknown)]
    #[case::mode(&[("mode", "rwx"), ("path", "/a")], Code::InvalidArgument)]
    #[case::pod(&[(POD_UID, "")], Code::Unknown)]
    fn refused(#[case] pairs: &[(&str, &str)], #[case] code: Code) {
        let error = check(pairs, &[], false).expect_err("refused");
        assert_eq!(Refusal::from(error.clone()).code, code, "{error}");
    }

    #[rstest]
    #[case("", "/")]
    #[case("/", "/")]
    #[case("//", "/")]
    #[case("/a/", "/a")]
    #[case("/a/b//", "/a/b")]
    #[case("/with space/ü", "/with space/ü")]
    fn paths(#[case] path: &str, #[case] expected: &str) {
        assert_eq!(check(&[("path", path)], &[], false).expect("checked").path, expected);
    }

    #[rstest]
    #[case::none("", &[], NfsVersion::V3)]
    #[case::three("3.0", &[], NfsVersion::V3)]
    #[case::four("4", &[], NfsVersion::V4(0))]
    #[case::minor("4.1", &[], NfsVersion::V4(1))]
    #[case::option_wins("4.0", &["vers=3"], NfsVersion::V3)]
    #[case::option_in_a_list("", &["nolock,vers=4.2"], NfsVersion::V4(2))]
    fn versions(#[case] attribute: &str, #[case] options: &[&str], #[case] expected: NfsVersion) {
        assert_eq!(check(&[("vers", attribute)], options, false).expect("checked").version, expected);
    }

    #[test]
    fn a_version_in_mount_options_is_no_way_around_the_extreme_rule() {
        let error = check(&[("server", EXTREME_HOST)], &["vers=4"], false).expect_err("refused");
        assert!(matches!(error, VolumeError::ExtremeVersion { .. }), "{error}");
        check(&[("server", EXTREME_HOST), ("vers", "4")], &["vers=3"], false).expect("beats the attribute");
    }

    const V3_DEFAULTS: &str =
        "nolock,proto=tcp,rsize=1048576,wsize=1048576,hard,timeo=600,retrans=2,noresvport";

    #[rstest]
    #[case::defaults("", &[], "", V3_DEFAULTS)]
    #[case::only_a_version("", &["vers=3"], "", V3_DEFAULTS)]
    #[case::version_four("4.0", &[], "", "noresvport")]
    #[case::attribute("", &[], "nolock,soft", "nolock,soft")]
    #[case::attribute_and_version("", &["vers=3"], "nolock", "nolock")]
    #[case::mount_options_replace("", &["tcp"], "nolock,soft", "tcp")]
    #[case::split("", &["nolock,tcp", "noresvport"], "", "nolock,tcp,noresvport")]
    #[case::no_options("", &["none"], "nolock", "")]
    #[case::no_options_attribute("", &[], "none", "")]
    #[case::none_among_others("", &["none,tcp"], "", "none,tcp")]
    #[case::credentials("", &["access_key_id=a,access_key_secret=b"], "", V3_DEFAULTS)]
    fn options(
        #[case] version: &str,
        #[case] mount_options: &[&str],
        #[case] attribute: &str,
        #[case] expected: &str,
    ) {
        let pairs = [("vers", version), ("options", attribute)];
        let volume = check(&pairs, mount_options, false).expect("checked");
        assert_eq!(volume.options.join(","), expected);
        let read_only = check(&pairs, mount_options, true).expect("checked").options.join(",");
        assert_eq!(read_only, format!("{expected},ro").trim_start_matches(','));
    }

    #[test]
    fn ro_is_not_said_twice_and_a_read_only_volume_keeps_its_mode() {
        let volume = check(&[("mode", "0700"), ("path", "/a")], &["ro"], true).expect("checked");
        assert_eq!((volume.options, volume.mode), (vec!["ro".to_owned()], None));
        assert_eq!(
            check(&[("mode", "0750"), ("path", "/a")], &[], false).expect("checked").mode,
            Some(0o750)
        );
    }

    #[rstest]
    #[case::names_in_any_case(&[("SERVER", "[fe80::1]")], "[fe80::1]")]
    fn servers(#[case] pairs: &[(&str, &str)], #[case] expected: &str) {
        let context = pairs.iter().copied().chain([(POD_UID, "x")]);
        let context = context.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let volume = NasVolume::check(&Attributes::read(&context), &[], false).expect("checked");
        assert_eq!(volume.server, expected);
    }

    #[rstest]
    #[case(HOST, "/", &[])]
    #[case(HOST, "/a", &["/"])]
    #[case(HOST, "/a/b/c", &["/a/b", "/a", "/"])]
    #[case(HOST, "/share", &["/"])]
    #[case(EXTREME_HOST, "/share", &[])]
    #[case(EXTREME_HOST, "/share/x/y", &["/share/x", "/share"])]
    #[case(EXTREME_HOST, "/other/x", &[])]
    #[case(EXTREME_HOST, "/", &[])]
    fn places_to_make_a_path_in(#[case] server: &str, #[case] path: &str, #[case] expected: &[&str]) {
        let volume = check(&[("server", server), ("path", path)], &[], false).expect("checked");
        assert_eq!(volume.parents(), expected);
    }
}
