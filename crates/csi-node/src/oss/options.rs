//! Options of the FUSE client: read from `otherOpts` and `mountOptions`, put together with the driver's own, and
//! understood.

use std::time::Duration;

use thiserror::Error;

use super::attributes::AttributeError;
use super::volume::{Encryption, OssVolume};

/// Smallest part that S3 takes, in MiB.
const SMALLEST_PART: u64 = 5;
/// Largest part that is buffered here, in MiB.
const LARGEST_PART: u64 = 64;
/// Most parts on their way at once.
const MOST_PARALLEL: usize = 16;

/// Options that ossfs and FUSE know and that change nothing here: caches, logs, retries and request details.
pub(super) const WITHOUT_EFFECT: [&str; 49] = [
    "async",
    "async_read",
    "atime",
    "auto_cache",
    "auto_unmount",
    "big_writes",
    "compat_dir",
    "complement_stat",
    "connect_timeout",
    "curldbg",
    "dbglevel",
    "default_acl",
    "default_permissions",
    "del_cache",
    "dev",
    "dirsync",
    "enable_content_md5",
    "enable_noobj_cache",
    "endpoint",
    "ensure_diskfree",
    "exec",
    "fsname",
    "kernel_cache",
    "list_object_max_keys",
    "listobjectsv2",
    "logfile",
    "max_dirty_data",
    "max_stat_cache_size",
    "multireq_max",
    "nobrowse",
    "nodev",
    "noextendedmeta",
    "nonempty",
    "nosuid",
    "noxattr",
    "readdir_check_size",
    "readdir_optimize",
    "readwrite_timeout",
    "relatime",
    "retries",
    "rw",
    "singlepart_copy_limit",
    "sigv1",
    "sigv4",
    "ssl_verify_hostname",
    "sync",
    "use_cache",
    "use_path_request_style",
    "use_xattr",
];

/// One option: a name, and a value if it has one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FuseOption {
    /// The name.
    pub name: String,
    /// What follows the `=`.
    pub value: Option<String>,
}

/// An option that can't be followed. Values are not quoted: they may hold secrets.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum OptionError {
    /// Nobody knows it.
    #[error("ossfs: unknown option {0:?}")]
    Unknown(String),
    /// `s3fs` doesn't know it.
    #[error(
        "s3fs: unknown option {0:?}; leave it out, or let the built-in mounter mount (--oss-mounter built-in)"
    )]
    UnknownToS3fs(String),
    /// `s3fs` knows it, and it would reach for what is the agent's.
    #[error(
        "s3fs: option {0:?} is refused: keys, files and logs of the CSI agent are not for a volume to choose"
    )]
    Reserved(String),
    /// Its value isn't what it takes.
    #[error("ossfs: option {name} needs {expected}")]
    Value {
        /// The option.
        name: &'static str,
        /// What its value must be.
        expected: &'static str,
    },
}

impl FuseOption {
    /// Reads `name` or `name=value`.
    pub fn parse(text: &str) -> Self {
        let text = text.trim();
        match text.split_once('=') {
            Some((name, value)) => Self { name: name.trim().to_owned(), value: Some(value.to_owned()) },
            None => Self { name: text.to_owned(), value: None },
        }
    }

    fn new(name: &str, value: Option<&str>) -> Self {
        Self { name: name.to_owned(), value: value.map(str::to_owned) }
    }

    /// Reads a list with commas.
    fn parse_list(text: &str) -> impl Iterator<Item = Self> {
        text.split(',').filter(|part| !part.trim().is_empty()).map(Self::parse)
    }

    /// Reads `otherOpts`: `-o a -o b,c -od`.
    ///
    /// # Errors
    /// The number of the first token that fits nowhere, from 1.
    pub fn parse_other(text: &str) -> Result<Vec<Self>, AttributeError> {
        let mut options = Vec::new();
        let mut tokens = text.split_whitespace().enumerate();
        while let Some((index, token)) = tokens.next() {
            let list = match token.strip_prefix("-o") {
                Some("") => match tokens.next() {
                    Some((_, list)) if !list.starts_with('-') => list,
                    _ => return Err(AttributeError::OtherOpts(index + 1)),
                },
                Some(list) => list,
                None => return Err(AttributeError::OtherOpts(index + 1)),
            };
            options.extend(Self::parse_list(list));
        }
        Ok(options)
    }

    /// Reads a list with commas, as it stands on a command line.
    pub fn parse_defaults(text: &str) -> Vec<Self> {
        Self::parse_list(text).collect()
    }

    /// `options` behind those of `defaults` that they don't set themselves.
    pub fn with_defaults(defaults: &[Self], mut options: Vec<Self>) -> Vec<Self> {
        let unset = |default: &&Self| !options.iter().any(|option| option.name == default.name);
        let mut all: Vec<Self> = defaults.iter().filter(unset).cloned().collect();
        all.append(&mut options);
        all
    }

    /// All options of a mount, the driver's own first: `otherOpts`, then `mount_flags` of the PV; an option of the
    /// user's replaces the driver's of the same name. `ro` of a read-only volume stays, whatever the user says.
    pub fn assemble(volume: &OssVolume, mount_flags: &[String], read_only: bool) -> Vec<Self> {
        let mut user = volume.other_options.clone();
        user.extend(mount_flags.iter().flat_map(|flags| Self::parse_list(flags)));
        if read_only {
            user.retain(|option| option.name != "rw");
        }
        let mut options = vec![Self::new("url", Some(&volume.url))];
        if read_only {
            options.push(Self::new("ro", None));
        }
        match &volume.encryption {
            Some(Encryption::Kms(key)) => {
                let value = key.as_ref().map_or("kmsid".to_owned(), |key| format!("kmsid:{key}"));
                options.push(Self::new("use_sse", Some(&value)));
            }
            Some(Encryption::Aes256) => options.push(Self::new("use_sse", Some("1"))),
            None => {}
        }
        match volume.signature.as_deref() {
            Some("v1") => options.push(Self::new("sigv1", None)),
            Some(_) => options.push(Self::new("sigv4", None)),
            None => {}
        }
        if let Some(region) = &volume.region {
            options.push(Self::new("region", Some(region)));
        }
        options.push(Self::new("dbglevel", Some("warn")));
        options.push(Self::new("allow_other", None));
        options.push(Self::new("listobjectsv2", None));
        options.retain(|option| !user.iter().any(|other| other.name == option.name));
        options.extend(user);
        options
    }
}

/// What the options amount to.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[allow(clippy::struct_excessive_bools, reason = "these are the flags of the client's command line")]
pub struct Settings {
    /// The endpoint, with its scheme.
    pub url: String,
    /// Region to sign for.
    pub region: Option<String>,
    /// Nobody may write.
    pub read_only: bool,
    /// Users other than root may use it.
    pub allow_other: bool,
    /// Everything shows the mode `0777 & !umask`.
    pub umask: Option<u32>,
    /// The root shows the mode `0777 & !mp_umask`.
    pub root_umask: Option<u32>,
    /// Everything belongs to this user.
    pub uid: Option<u32>,
    /// Everything belongs to this group.
    pub gid: Option<u32>,
    /// Programs can't be run from it.
    pub no_exec: bool,
    /// Access times are not kept.
    pub no_atime: bool,
    /// Size of a part, in bytes.
    pub part_size: Option<u64>,
    /// Parts on their way at once.
    pub parallel_parts: Option<usize>,
    /// How long attributes are believed.
    pub attributes_live: Option<Duration>,
    /// Server-side encryption of new objects.
    pub encryption: Option<Encryption>,
}

impl Settings {
    /// Understands `options`; of several with the same name the last one counts.
    ///
    /// # Errors
    /// The first option that is unknown, or whose value isn't what it takes.
    pub fn of(options: &[FuseOption]) -> Result<Self, OptionError> {
        let mut settings = Self::default();
        for option in options {
            settings.take(option)?;
        }
        Ok(settings)
    }

    /// Understands one more option.
    ///
    /// # Errors
    /// When it is unknown, or its value isn't what it takes.
    pub(super) fn take(&mut self, option: &FuseOption) -> Result<(), OptionError> {
        let value = option.value.as_deref();
        match option.name.as_str() {
            "url" => required("url", value, "an address")?.clone_into(&mut self.url),
            "region" => self.region = Some(required("region", value, "a region")?.to_owned()),
            "ro" => self.read_only = true,
            "allow_other" => self.allow_other = true,
            "noexec" => self.no_exec = true,
            "noatime" => self.no_atime = true,
            "umask" => self.umask = Some(mask("umask", value)?),
            "mp_umask" => self.root_umask = Some(mask("mp_umask", value)?),
            "uid" => self.uid = Some(number("uid", value, "a user number")?),
            "gid" => self.gid = Some(number("gid", value, "a group number")?),
            "multipart_size" => {
                let mebibytes: u64 = number("multipart_size", value, "a number of MiB, at least 5")?;
                if mebibytes < SMALLEST_PART {
                    return Err(OptionError::Value {
                        name: "multipart_size",
                        expected: "a number of MiB, at least 5",
                    });
                }
                self.part_size = Some(mebibytes.min(LARGEST_PART) << 20);
            }
            "parallel_count" => {
                let count: usize = number("parallel_count", value, "a number")?;
                self.parallel_parts = Some(count.clamp(1, MOST_PARALLEL));
            }
            "stat_cache_expire" => {
                let seconds = number("stat_cache_expire", value, "a number of seconds")?;
                self.attributes_live = Some(Duration::from_secs(seconds));
            }
            "use_sse" => self.encryption = Some(encryption(value)?),
            name if WITHOUT_EFFECT.contains(&name) => {}
            name => return Err(OptionError::Unknown(name.to_owned())),
        }
        Ok(())
    }
}

fn required<'a>(
    name: &'static str,
    value: Option<&'a str>,
    expected: &'static str,
) -> Result<&'a str, OptionError> {
    value.map(str::trim).filter(|value| !value.is_empty()).ok_or(OptionError::Value { name, expected })
}

fn number<T: std::str::FromStr>(
    name: &'static str,
    value: Option<&str>,
    expected: &'static str,
) -> Result<T, OptionError> {
    required(name, value, expected)?.parse().map_err(|_| OptionError::Value { name, expected })
}

fn mask(name: &'static str, value: Option<&str>) -> Result<u32, OptionError> {
    const EXPECTED: &str = "an octal number up to 0777";
    let digits = required(name, value, EXPECTED)?;
    u32::from_str_radix(digits, 8)
        .ok()
        .filter(|mask| *mask <= 0o777)
        .ok_or(OptionError::Value { name, expected: EXPECTED })
}

fn encryption(value: Option<&str>) -> Result<Encryption, OptionError> {
    match value {
        None | Some("1") => Ok(Encryption::Aes256),
        Some("kmsid") => Ok(Encryption::Kms(None)),
        Some(value) => match value.strip_prefix("kmsid:") {
            Some(key) if !key.is_empty() => Ok(Encryption::Kms(Some(key.to_owned()))),
            _ => Err(OptionError::Value { name: "use_sse", expected: "1, kmsid or kmsid:KEY" }),
        },
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn volume(other: &str) -> OssVolume {
        OssVolume {
            bucket: "data".into(),
            url: "https://h.example".into(),
            path: "/".into(),
            other_options: FuseOption::parse_other(other).expect("options"),
            encryption: None,
            signature: None,
            region: None,
        }
    }

    fn assembled(volume: &OssVolume, flags: &[&str], read_only: bool) -> String {
        let flags: Vec<String> = flags.iter().map(|flag| (*flag).into()).collect();
        FuseOption::assemble(volume, &flags, read_only)
            .into_iter()
            .map(|option| match option.value {
                Some(value) => format!("{}={value}", option.name),
                None => option.name,
            })
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn what_the_volume_says_wins_over_the_agents_defaults() {
        let defaults = FuseOption::parse_defaults("uid=1000,gid=1000");
        let options = FuseOption::assemble(&volume("-o uid=7"), &[], false);
        let settings = Settings::of(&FuseOption::with_defaults(&defaults, options)).expect("settings");
        assert_eq!((settings.uid, settings.gid), (Some(7), Some(1000)));
    }

    #[rstest]
    #[case("", "")]
    #[case("-o umask=022 -o allow_other", "umask=022 allow_other")]
    #[case("-oumask=022,allow_other", "umask=022 allow_other")]
    #[case("  -o   a,,b  ", "a b")]
    fn other_options(#[case] text: &str, #[case] expected: &str) {
        let options = FuseOption::parse_other(text).expect("options");
        let shown: Vec<_> = options
            .iter()
            .map(|option| {
                option.value.as_ref().map_or(option.name.clone(), |value| format!("{}={value}", option.name))
            })
            .collect();
        assert_eq!(shown.join(" "), expected);
    }

    #[rstest]
    #[case("umask=022", 1)]
    #[case("-o", 1)]
    #[case("-o a b", 3)]
    #[case("-o -o a", 1)]
    #[case("--o a", 1)]
    #[case("-x", 1)]
    fn what_is_no_option_is_refused_by_its_place(#[case] text: &str, #[case] place: usize) {
        assert_eq!(FuseOption::parse_other(text).expect_err("refused"), AttributeError::OtherOpts(place));
    }

    #[rstest]
    #[case::plain("", &[], false, "url=https://h.example dbglevel=warn allow_other listobjectsv2")]
    #[case::product("-o umask=022 -o allow_other", &[], false,
        "url=https://h.example dbglevel=warn listobjectsv2 umask=022 allow_other")]
    #[case::flags_after_other("-o uid=1", &["uid=2,gid=3", "noexec"], false,
        "url=https://h.example dbglevel=warn allow_other listobjectsv2 uid=1 uid=2 gid=3 noexec")]
    #[case::user_wins("-o url=http://other -o dbglevel=err", &[], false,
        "allow_other listobjectsv2 url=http://other dbglevel=err")]
    #[case::read_only("-o rw", &["rw"], true, "url=https://h.example ro dbglevel=warn allow_other listobjectsv2")]
    fn assembly(
        #[case] other: &str,
        #[case] flags: &[&str],
        #[case] read_only: bool,
        #[case] expected: &str,
    ) {
        assert_eq!(assembled(&volume(other), flags, read_only), expected);
    }

    #[test]
    fn encryption_signature_and_region_become_options() {
        let volume = OssVolume {
            encryption: Some(Encryption::Kms(Some("k".into()))),
            signature: Some("v4".into()),
            region: Some("r".into()),
            ..volume("")
        };
        assert_eq!(
            assembled(&volume, &[], false),
            "url=https://h.example use_sse=kmsid:k sigv4 region=r dbglevel=warn allow_other listobjectsv2"
        );
        let settings = Settings::of(&FuseOption::assemble(&volume, &[], false)).expect("settings");
        assert_eq!(settings.encryption, volume.encryption);
        assert_eq!(settings.region.as_deref(), Some("r"));
    }

    #[test]
    fn the_last_of_several_counts() {
        let settings = Settings::of(&FuseOption::assemble(&volume("-o uid=1"), &["uid=2".into()], false));
        assert_eq!(settings.expect("settings").uid, Some(2));
    }

    #[rstest]
    #[case("umask=8", "umask")]
    #[case("umask=1777", "umask")]
    #[case("umask", "umask")]
    #[case("mp_umask=x", "mp_umask")]
    #[case("uid=root", "uid")]
    #[case("multipart_size=1", "multipart_size")]
    #[case("use_sse=custom", "use_sse")]
    fn wrong_values_are_refused_by_name(#[case] option: &str, #[case] expected: &str) {
        match Settings::of(&[FuseOption::parse(option)]) {
            Err(OptionError::Value { name, .. }) => assert_eq!(name, expected),
            other => panic!("got {other:?}"),
        }
    }

    #[test]
    fn an_unknown_option_is_refused_without_its_value() {
        let error = Settings::of(&[FuseOption::parse("passwd=AKSECRET")]).expect_err("refused");
        assert_eq!(error.to_string(), "ossfs: unknown option \"passwd\"");
    }

    #[test]
    fn known_options_without_effect_are_listed_once_and_in_order() {
        let mut sorted = WITHOUT_EFFECT.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), WITHOUT_EFFECT.len());
    }
}
