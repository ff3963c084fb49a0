//! Options of a mount as the user-space client understands them (`nfs(5)`).

use std::time::Duration;

use thiserror::Error;

/// Largest read or write, in bytes.
const LARGEST_TRANSFER: u32 = 1 << 20;
/// Smallest read or write, in bytes.
const SMALLEST_TRANSFER: u32 = 4096;

/// Options of the kernel's client that change nothing here: what they ask for is so, or has no meaning.
const WITHOUT_EFFECT: [&str; 46] = [
    "ac",
    "acl",
    "async",
    "atime",
    "auto",
    "bg",
    "cto",
    "defaults",
    "dev",
    "diratime",
    "exec",
    "fg",
    "fsc",
    "intr",
    "local_lock",
    "lock",
    "lookupcache",
    "mand",
    "mountproto",
    "mountvers",
    "namlen",
    "nconnect",
    "noacl",
    "noatime",
    "noauto",
    "nodev",
    "nodiratime",
    "nofsc",
    "nointr",
    "nolock",
    "nomand",
    "noresvport",
    "norelatime",
    "nosharecache",
    "nosuid",
    "posix",
    "rdirplus",
    "relatime",
    "resvport",
    "retry",
    "sharecache",
    "strictatime",
    "suid",
    "tcp",
    "_netdev",
    "nofail",
];

/// An option that can't be followed.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum OptionError {
    /// Nobody knows it.
    #[error("mount.nfs: an incorrect mount option was specified: {0:?} is unknown")]
    Unknown(String),
    /// Its value isn't what it takes.
    #[error("mount.nfs: an incorrect mount option was specified: {name} needs {expected}")]
    Value {
        /// The option.
        name: String,
        /// What its value must be.
        expected: &'static str,
    },
    /// Something that needs the kernel's client.
    #[error("option {0} needs the kernel's NFS client, which this machine does not have")]
    KernelOnly(String),
}

/// How long attributes are believed: at least, and at most while they don't change.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Believed {
    /// After a change was seen.
    pub least: Duration,
    /// After a long time without a change.
    pub most: Duration,
}

impl Believed {
    const fn seconds(least: u64, most: u64) -> Self {
        Self { least: Duration::from_secs(least), most: Duration::from_secs(most) }
    }
}

/// What the client does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[allow(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub struct NfsOptions {
    /// Nobody may write.
    pub read_only: bool,
    /// Programs can't be run from it.
    pub no_exec: bool,
    /// An operation that the server doesn't answer fails, instead of being tried for ever.
    pub soft: bool,
    /// How long one call is waited for before it is sent again.
    pub timeout: Duration,
    /// How many times a call is sent again before a soft mount gives up.
    pub retries: u32,
    /// Bytes in one read.
    pub read_size: u32,
    /// Bytes in one write.
    pub write_size: u32,
    /// Attributes of files.
    pub files: Believed,
    /// Attributes of directories.
    pub directories: Believed,
    /// Whether opening a file trusts what is known of it.
    pub trusts_on_open: bool,
    /// Whether a write returns when the server has it on disk.
    pub synchronous: bool,
    /// Whether listings bring attributes along.
    pub listings_with_attributes: bool,
    /// Port of the server, if another one than the driver's.
    pub port: Option<u16>,
}

impl Default for NfsOptions {
    /// The defaults of the kernel's client.
    fn default() -> Self {
        Self {
            read_only: false,
            no_exec: false,
            soft: false,
            timeout: Duration::from_secs(60),
            retries: 2,
            read_size: LARGEST_TRANSFER,
            write_size: LARGEST_TRANSFER,
            files: Believed::seconds(3, 60),
            directories: Believed::seconds(30, 60),
            trusts_on_open: false,
            synchronous: false,
            listings_with_attributes: true,
            port: None,
        }
    }
}

impl NfsOptions {
    /// Reads a list of options; of two that contradict each other the later one counts.
    ///
    /// # Errors
    /// The first option that can't be followed.
    pub fn read<T: AsRef<str>>(list: &[T]) -> Result<Self, OptionError> {
        let mut options = Self::default();
        for option in list {
            let (name, value) = match option.as_ref().split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (option.as_ref(), None),
            };
            options.set(name, value)?;
        }
        Ok(options)
    }

    fn set(&mut self, name: &str, value: Option<&str>) -> Result<(), OptionError> {
        let number = || number(name, value);
        let seconds = || number().map(|number| Duration::from_secs(number.into()));
        match name {
            "ro" => self.read_only = true,
            "rw" => self.read_only = false,
            "noexec" => self.no_exec = true,
            "hard" => self.soft = false,
            "soft" | "softerr" | "softreval" => self.soft = true,
            "timeo" => {
                let tenths = number()?;
                if tenths == 0 {
                    return Err(wrong(name, "a number of tenths of a second above 0"));
                }
                self.timeout = Duration::from_millis(u64::from(tenths) * 100);
            }
            "retrans" => self.retries = number()?,
            "rsize" => self.read_size = transfer(number()?),
            "wsize" => self.write_size = transfer(number()?),
            "acregmin" => self.files.least = seconds()?,
            "acregmax" => self.files.most = seconds()?,
            "acdirmin" => self.directories.least = seconds()?,
            "acdirmax" => self.directories.most = seconds()?,
            "actimeo" => {
                let both = Believed { least: seconds()?, most: seconds()? };
                (self.files, self.directories) = (both, both);
            }
            "noac" => {
                (self.files, self.directories) = (Believed::seconds(0, 0), Believed::seconds(0, 0));
                self.synchronous = true;
            }
            "nocto" => self.trusts_on_open = true,
            "sync" => self.synchronous = true,
            "nordirplus" => self.listings_with_attributes = false,
            "port" => self.port = port(name, value)?,
            "mountport" => _ = port(name, value)?,
            "proto" if matches!(value, Some("tcp" | "tcp6")) => {}
            "sec" if value == Some("sys") => {}
            "vers" | "nfsvers" if matches!(value, Some("3" | "3.0")) => {}
            "proto" | "udp" | "rdma" | "sec" | "vers" | "nfsvers" | "minorversion" => {
                return Err(OptionError::KernelOnly(name.to_owned()));
            }
            known if WITHOUT_EFFECT.contains(&known) => {}
            unknown => return Err(OptionError::Unknown(unknown.to_owned())),
        }
        Ok(())
    }
}

fn wrong(name: &str, expected: &'static str) -> OptionError {
    OptionError::Value { name: name.to_owned(), expected }
}

fn number(name: &str, value: Option<&str>) -> Result<u32, OptionError> {
    value.and_then(|value| value.parse().ok()).ok_or_else(|| wrong(name, "a number"))
}

fn port(name: &str, value: Option<&str>) -> Result<Option<u16>, OptionError> {
    let port: u16 = value.and_then(|value| value.parse().ok()).ok_or_else(|| wrong(name, "a port"))?;
    Ok(Some(port).filter(|port| *port != 0))
}

/// As the kernel does: too much or too little is no error, and a size is a multiple of 4096.
fn transfer(size: u32) -> u32 {
    if size == 0 {
        return LARGEST_TRANSFER;
    }
    size.clamp(SMALLEST_TRANSFER, LARGEST_TRANSFER) / SMALLEST_TRANSFER * SMALLEST_TRANSFER
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn the_driver_defaults_are_understood() {
        let text = "nolock,proto=tcp,rsize=1048576,wsize=1048576,hard,timeo=600,retrans=2,noresvport";
        let options = NfsOptions::read(&text.split(',').collect::<Vec<_>>()).expect("read");
        assert_eq!(options, NfsOptions::default());
    }

    #[rstest]
    #[case("soft,timeo=5,retrans=1", |it: &NfsOptions| it.soft && it.timeout == Duration::from_millis(500) && it.retries == 1)]
    #[case("soft,hard", |it: &NfsOptions| !it.soft)]
    #[case("ro", |it: &NfsOptions| it.read_only)]
    #[case("rsize=100,wsize=70000", |it: &NfsOptions| it.read_size == 4096 && it.write_size == 69632)]
    #[case("rsize=99999999", |it: &NfsOptions| it.read_size == LARGEST_TRANSFER)]
    #[case("actimeo=7", |it: &NfsOptions| it.files == Believed::seconds(7, 7) && it.directories == it.files)]
    #[case("acregmin=1,acdirmax=90", |it: &NfsOptions| it.files == Believed::seconds(1, 60) && it.directories == Believed::seconds(30, 90))]
    #[case("noac", |it: &NfsOptions| it.files == Believed::seconds(0, 0) && it.synchronous)]
    #[case("nocto,nordirplus,noexec", |it: &NfsOptions| it.trusts_on_open && !it.listings_with_attributes && it.no_exec)]
    #[case("port=3049", |it: &NfsOptions| it.port == Some(3049))]
    #[case("vers=3,sec=sys,tcp", |it: &NfsOptions| *it == NfsOptions::default())]
    fn understood(#[case] list: &str, #[case] holds: fn(&NfsOptions) -> bool) {
        let options = NfsOptions::read(&list.split(',').collect::<Vec<_>>()).expect("read");
        assert!(holds(&options), "{list}: {options:?}");
    }

    #[rstest]
    #[case("frobnicate", "\"frobnicate\" is unknown")]
    #[case("timeo=0", "timeo needs")]
    #[case("timeo=soon", "timeo needs a number")]
    #[case("rsize", "rsize needs a number")]
    #[case("port=70000", "port needs a port")]
    #[case("proto=udp", "needs the kernel's NFS client")]
    #[case("sec=krb5", "needs the kernel's NFS client")]
    #[case("vers=4.1", "needs the kernel's NFS client")]
    fn refused(#[case] option: &str, #[case] phrase: &str) {
        let error = NfsOptions::read(&[option]).expect_err("refused").to_string();
        assert!(error.contains(phrase), "{error}");
    }
}
