//! What `s3fs` is told: options of a volume in its words, and the agent's own.

use std::ffi::OsString;
use std::path::Path;

use super::folder::Folder;
use super::version::Version;
use crate::oss::mounter::Order;
use crate::oss::options::{FuseOption, OptionError, Settings};
use crate::oss::volume::Encryption;

/// Options that ossfs and `s3fs` both know, and that are passed on as they are.
const PASSED: [&str; 39] = [
    "allow_other",
    "async",
    "async_read",
    "atime",
    "auto_cache",
    "big_writes",
    "complement_stat",
    "connect_timeout",
    "default_acl",
    "default_permissions",
    "del_cache",
    "dirsync",
    "enable_content_md5",
    "enable_noobj_cache",
    "endpoint",
    "ensure_diskfree",
    "gid",
    "kernel_cache",
    "list_object_max_keys",
    "listobjectsv2",
    "max_dirty_data",
    "max_stat_cache_size",
    "mp_umask",
    "multipart_size",
    "multireq_max",
    "noatime",
    "noexec",
    "parallel_count",
    "readwrite_timeout",
    "retries",
    "ro",
    "singlepart_copy_limit",
    "ssl_verify_hostname",
    "stat_cache_expire",
    "sync",
    "uid",
    "umask",
    "use_path_request_style",
    "use_xattr",
];

/// Options that only `s3fs` knows, and that are passed on as they are.
const PASSED_UNREAD: [&str; 19] = [
    "cipher_suites",
    "multipart_copy_size",
    "multipart_threshold",
    "no_check_certificate",
    "nocopyapi",
    "nodnscache",
    "nomixupload",
    "nomultipart",
    "norenameapi",
    "nosscache",
    "notsup_compat_dir",
    "noua",
    "noxmlns",
    "requester_pays",
    "sigv2",
    "stat_cache_interval_expire",
    "storage_class",
    "use_rrs",
    "use_wtf8",
];

/// Options that ossfs knows and that are said by the agent, in the words of `s3fs`, or not at all: whose mount it is, how it
/// logs, how requests are signed.
const SAID_BY_THE_AGENT: [&str; 20] = [
    "auto_unmount",
    "compat_dir",
    "curldbg",
    "dbglevel",
    "dev",
    "exec",
    "fsname",
    "logfile",
    "nobrowse",
    "nodev",
    "nonempty",
    "nosuid",
    "region",
    "relatime",
    "rw",
    "sigv1",
    "sigv4",
    "url",
    "use_cache",
    "use_sse",
];

/// Options with which `s3fs` would take other keys than the volume's, or files of the agent's.
const RESERVED: [&str; 26] = [
    "accessKeyId",
    "ahbe_conf",
    "bucket",
    "check_cache_dir_exist",
    "createbucket",
    "credlib",
    "credlib_opts",
    "ecs",
    "host",
    "iam_role",
    "ibm_iam_auth",
    "ibm_iam_endpoint",
    "imdsv1only",
    "instance_name",
    "load_sse_c",
    "mime",
    "passwd_file",
    "profile",
    "public_bucket",
    "secretAccessKey",
    "servicepath",
    "set_check_cache_sigusr1",
    "subtype",
    "suid",
    "tmpdir",
    "use_session_token",
];

/// Limits of requests, in seconds: those of the built-in mounter (`s3::Limits`). Without them a store that is gone would be
/// waited for for minutes.
const TIMEOUTS: [(&str, &str); 3] = [("connect_timeout", "5"), ("readwrite_timeout", "20"), ("retries", "3")];

/// How long attributes are believed, in seconds, as by the built-in mounter: sandboxes that share a bucket see each other's
/// changes. `s3fs` itself would have 900.
const ATTRIBUTES_LIVE: (&str, &str) = ("stat_cache_expire", "1");

/// Understands `options`, as far as they are more than passed on.
///
/// # Errors
/// The first option that `s3fs` doesn't know or that isn't for a volume to say, or whose value isn't what it takes.
pub(super) fn settings(options: &[FuseOption]) -> Result<Settings, OptionError> {
    let mut settings = Settings::default();
    for option in options {
        let name = option.name.as_str();
        if RESERVED.contains(&name) {
            return Err(OptionError::Reserved(name.to_owned()));
        }
        if PASSED_UNREAD.contains(&name) {
            continue;
        }
        if !PASSED.contains(&name) && !SAID_BY_THE_AGENT.contains(&name) {
            return Err(OptionError::UnknownToS3fs(name.to_owned()));
        }
        settings.take(option)?;
    }
    if settings.encryption == Some(Encryption::Kms(None)) {
        let expected = "kmsid:KEY, for s3fs knows no default key: give attribute kmsKeyId";
        return Err(OptionError::Value { name: "use_sse", expected });
    }
    Ok(settings)
}

/// The command line, without the program. `folder` has the key.
pub(super) fn arguments(order: &Order, target: &Path, folder: &Folder, version: Version) -> Vec<OsString> {
    let endpoint = order.bucket.endpoint();
    let given = |name: &str| order.options.iter().any(|option| option.name == name);
    let files = folder.temporary_files();
    let mut options = vec![
        with_path("passwd_file", &folder.key_file()),
        with_path("tmpdir", &files),
        with_value("url", &order.settings.url),
        with_value("endpoint", endpoint.region()),
        "dbglevel=warn".to_owned(),
        "no_time_stamp_msg".to_owned(),
        // What is below the mount point is hidden, as by any mount.
        "nonempty".to_owned(),
    ];
    if endpoint.is_path_style() {
        options.push("use_path_request_style".to_owned());
    }
    if !given("sigv2") {
        options.push("sigv4".to_owned());
    }
    if version >= Version::LOOKS_FOR_THE_FOLDER {
        options.push("compat_dir".to_owned());
    }
    let defaults = TIMEOUTS.iter().chain([&ATTRIBUTES_LIVE]).filter(|(name, _)| !given(name));
    options.extend(defaults.map(|(name, value)| with_value(name, value)));
    for option in &order.options {
        let name = option.name.as_str();
        let value = option.value.as_deref();
        if name == "use_sse" {
            options.push(value.map_or("use_sse".to_owned(), |value| with_value(name, value)));
        } else if name == "use_cache" && value.is_some_and(|value| !value.is_empty()) {
            // A cache is the volume's wish, where it is is the agent's.
            options.push(with_path(name, &files));
        } else if PASSED.contains(&name) || PASSED_UNREAD.contains(&name) {
            options.push(value.map_or(name.to_owned(), |value| with_value(name, value)));
        }
    }
    // What the mount table shows (`storage.md` §1.11).
    options.push("fsname=ossfs".to_owned());
    options.push("subtype=ossfs".to_owned());

    let prefix = order.volume.prefix();
    let source = format!("{}:/{}", order.volume.bucket, prefix.trim_end_matches('/'));
    let mut arguments = vec![OsString::from("-f")];
    // The bucket comes before the mount point, and the mount point after what says who may use it.
    arguments.extend(options.into_iter().flat_map(|option| [OsString::from("-o"), option.into()]));
    arguments.extend(["--".into(), source.into(), target.into()]);
    arguments
}

fn with_path(name: &str, path: &Path) -> String {
    with_value(name, &path.to_string_lossy())
}

/// Commas separate options there, and a backslash takes a comma's meaning away.
fn with_value(name: &str, value: &str) -> String {
    format!("{name}={}", value.replace('\\', "\\\\").replace(',', "\\,"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use clock::SystemClock;
    use rstest::rstest;

    use super::*;
    use crate::oss::attributes::Attributes;
    use crate::oss::options::WITHOUT_EFFECT;
    use crate::oss::volume::OssVolume;
    use crate::s3::{Bucket, BucketOptions, Credentials, Endpoint, Limits};

    /// An order for `attributes` of a volume, beside bucket and address.
    fn order(attributes: &[(&str, &str)], read_only: bool) -> Order {
        let mut context: BTreeMap<String, String> = [("bucket", "data"), ("url", "http://10.0.0.1:9000")]
            .map(|(name, value)| (name.into(), value.into()))
            .into();
        context.extend(attributes.iter().map(|(name, value)| ((*name).into(), (*value).into())));
        let attributes = Attributes::read(&context).expect("attributes");
        let volume = OssVolume::check(&attributes, "", read_only).expect("a volume");
        let options = FuseOption::assemble(&volume, &[], read_only);
        let settings = settings(&options).expect("settings");
        let endpoint =
            Endpoint::new(&settings.url, &volume.bucket, settings.region.as_deref()).expect("an endpoint");
        let credentials = Credentials::new("AKID-sentinel", "AKSECRET-sentinel");
        let bucket = Bucket::new(BucketOptions {
            endpoint,
            credentials: credentials.clone(),
            object_headers: Vec::new(),
            limits: Limits::default(),
            clock: SystemClock::shared(),
        });
        let bucket = bucket.expect("a bucket");
        Order { volume, options, settings, bucket, credentials, limit: Duration::from_secs(1) }
    }

    /// The command line with the folder's path as `FOLDER`.
    fn told(order: &Order, version: Version) -> String {
        let scratch = tempfile::tempdir().expect("a directory");
        let folder = Folder::make(scratch.path(), &order.volume.bucket, &order.credentials).expect("made");
        let arguments = arguments(order, Path::new("/run/csi/t"), &folder, version);
        let words: Vec<_> = arguments.iter().map(|word| word.to_str().expect("text")).collect();
        let place = folder.key_file().parent().expect("a folder").display().to_string();
        words.join(" ").replace(" -o ", " ").replace(&place, "FOLDER")
    }

    const DEBIAN: Version = Version(1, 90);

    #[rstest]
    #[case::product(
        &[("path", "/data-subPath"), ("otherOpts", "-o umask=022 -o allow_other")],
        false,
        "-f passwd_file=FOLDER/key tmpdir=FOLDER/files url=http://10.0.0.1:9000 endpoint=us-east-1 dbglevel=warn \
         no_time_stamp_msg nonempty use_path_request_style sigv4 connect_timeout=5 readwrite_timeout=20 retries=3 \
         stat_cache_expire=1 listobjectsv2 umask=022 allow_other fsname=ossfs subtype=ossfs -- data:/data-subPath /run/csi/t"
    )]
    #[case::read_only_of_a_host_with_the_bucket_in_front(
        &[("url", "https://oss-cn-a.aliyuncs.com"), ("otherOpts", "-o rw,retries=9,stat_cache_expire=30")],
        true,
        "-f passwd_file=FOLDER/key tmpdir=FOLDER/files url=https://oss-cn-a.aliyuncs.com endpoint=cn-a dbglevel=warn \
         no_time_stamp_msg nonempty sigv4 connect_timeout=5 readwrite_timeout=20 ro allow_other listobjectsv2 retries=9 \
         stat_cache_expire=30 fsname=ossfs subtype=ossfs -- data:/ /run/csi/t"
    )]
    #[case::its_own_words(
        &[("region", "r-1"), ("encrypted", "kms"), ("kmsKeyId", "k"), ("path", "//a,b//c/"),
          ("otherOpts", "-o sigv2,nomultipart,use_cache=/elsewhere,dbglevel=debug,curldbg,logfile=/x,fsname=y,dev")],
        false,
        "-f passwd_file=FOLDER/key tmpdir=FOLDER/files url=http://10.0.0.1:9000 endpoint=r-1 dbglevel=warn \
         no_time_stamp_msg nonempty use_path_request_style connect_timeout=5 readwrite_timeout=20 retries=3 \
         stat_cache_expire=1 use_sse=kmsid:k allow_other listobjectsv2 sigv2 nomultipart use_cache=FOLDER/files \
         fsname=ossfs subtype=ossfs -- data:/a,b/c /run/csi/t"
    )]
    fn command_lines(#[case] attributes: &[(&str, &str)], #[case] read_only: bool, #[case] expected: &str) {
        let told = told(&order(attributes, read_only), DEBIAN);
        assert_eq!(told, expected);
        assert!(!told.contains("sentinel"), "{told}");
    }

    #[test]
    fn a_newer_program_is_told_that_the_folder_may_be_missing() {
        let order = order(&[], false);
        assert!(told(&order, Version::LOOKS_FOR_THE_FOLDER).contains(" compat_dir "));
        assert!(!told(&order, DEBIAN).contains("compat_dir"));
    }

    #[rstest]
    #[case("frobnicate=1", "s3fs: unknown option \"frobnicate\"")]
    #[case("readdir_optimize", "s3fs: unknown option \"readdir_optimize\"")]
    #[case("passwd_file=/etc/shadow", "s3fs: option \"passwd_file\" is refused")]
    #[case("iam_role=auto", "s3fs: option \"iam_role\" is refused")]
    #[case("umask=999", "option umask needs")]
    #[case("use_sse=custom:/etc/shadow", "option use_sse needs")]
    #[case("use_sse=kmsid", "kmsKeyId")]
    fn options_that_cannot_be_followed(#[case] option: &str, #[case] expected: &str) {
        let error = settings(&[FuseOption::parse(option)]).expect_err("refused").to_string();
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains("shadow"), "{error}");
    }

    /// A volume that the built-in mounter mounts is mounted by `s3fs` too, but for what only ossfs knows.
    #[test]
    fn options_of_the_built_in_mounter_are_known_here() {
        const OSSFS_ALONE: [&str; 4] =
            ["noextendedmeta", "noxattr", "readdir_check_size", "readdir_optimize"];
        for name in WITHOUT_EFFECT {
            let outcome = settings(&[FuseOption::parse(name)]);
            assert_eq!(outcome.is_err(), OSSFS_ALONE.contains(&name), "{name}: {outcome:?}");
        }
    }

    #[test]
    fn no_option_is_in_two_lists() {
        let all = [&PASSED[..], &PASSED_UNREAD, &SAID_BY_THE_AGENT, &RESERVED].concat();
        let mut once = all.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), all.len());
    }
}
