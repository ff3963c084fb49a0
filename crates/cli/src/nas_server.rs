//! `--nas-server HOST[:/EXPORT]` and `--nas-server-here HOST[:PORT]`.

use std::net::Ipv6Addr;

/// Where NFS is, unless somebody says otherwise; in a PersistentVolume nobody can.
const NFS_PORT: u16 = 2049;

/// An NFS server and one of its exports.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct NasServer {
    /// As it stands in a PersistentVolume.
    pub(crate) host: String,
    /// `/` for the root, else without a slash at its end.
    pub(crate) export: String,
}

/// Where NFS is for this machine.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct NasServerHere {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl NasServer {
    /// Reads what was typed.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let parts = if text.contains("://") { None } else { text.split_once(":/") };
        let (host, export) = match parts {
            Some((host, export)) => (host, format!("/{}", export.trim_end_matches('/'))),
            None => (text, "/".to_owned()),
        };
        check_host(host)
            .map_err(|reason| format!("{reason}; say HOST or HOST:/EXPORT, such as nas.example.com:/labs"))?;
        let is_clean = |part: &str| !matches!(part, "" | "." | "..");
        if export != "/" && !export.split('/').skip(1).all(is_clean) {
            return Err(format!("{export} is no path of an export: it has an empty part, `.` or `..`"));
        }
        Ok(Self { host: host.to_owned(), export })
    }
}

impl NasServerHere {
    /// The same host, on the usual port.
    pub(crate) fn same_as(server: &NasServer) -> Self {
        Self { host: server.host.clone(), port: NFS_PORT }
    }

    /// Reads what was typed.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let after_number = text.rfind(']').map_or(0, |end| end + 1);
        let (host, port) = match text[after_number..].split_once(':') {
            Some((rest, port)) => {
                let number =
                    port.parse().map_err(|_| format!("{port:?} is no port; say HOST or HOST:PORT"))?;
                (&text[..after_number + rest.len()], number)
            }
            None => (text, NFS_PORT),
        };
        check_host(host)
            .map_err(|reason| format!("{reason}; say HOST or HOST:PORT, such as 127.0.0.1:2049"))?;
        Ok(Self { host: host.to_owned(), port })
    }
}

/// A name or a number; one of version 6 stands in brackets.
fn check_host(host: &str) -> Result<(), String> {
    let fits = if let Some(number) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        number.parse::<Ipv6Addr>().is_ok()
    } else {
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
        !host.is_empty() && host.bytes().all(letter)
    };
    if fits { Ok(()) } else { Err(format!("{host:?} is no host by itself")) }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("nas.example.com", "nas.example.com", "/")]
    #[case("192.0.2.1:/labs", "192.0.2.1", "/labs")]
    #[case("192.0.2.1:/labs/deep/", "192.0.2.1", "/labs/deep")]
    #[case("nas:/", "nas", "/")]
    #[case("[fd00::1]:/labs", "[fd00::1]", "/labs")]
    fn servers(#[case] text: &str, #[case] host: &str, #[case] export: &str) {
        let expected = NasServer { host: host.to_owned(), export: export.to_owned() };
        assert_eq!(NasServer::parse(text), Ok(expected));
    }

    #[rstest]
    #[case("", "no host")]
    #[case("nas:2049", "HOST:/EXPORT")]
    #[case("nfs://nas/labs", "HOST:/EXPORT")]
    #[case("nas:labs", "HOST:/EXPORT")]
    #[case("root@nas:/labs", "no host")]
    #[case("fd00::1", "no host")]
    #[case("nas:/labs//x", "empty part")]
    #[case("nas:/labs/../x", "`..`")]
    fn what_is_no_server(#[case] text: &str, #[case] words: &str) {
        let error = NasServer::parse(text).expect_err(text);
        assert!(error.contains(words), "{error}");
    }

    #[rstest]
    #[case("127.0.0.1:12345", "127.0.0.1", 12345)]
    #[case("nas", "nas", 2049)]
    #[case("[fd00::1]", "[fd00::1]", 2049)]
    #[case("[fd00::1]:3049", "[fd00::1]", 3049)]
    fn servers_here(#[case] text: &str, #[case] host: &str, #[case] port: u16) {
        assert_eq!(NasServerHere::parse(text), Ok(NasServerHere { host: host.to_owned(), port }));
    }

    #[rstest]
    #[case("nas:/labs")]
    #[case("nas:70000")]
    #[case("[fd00::1")]
    #[case(":2049")]
    fn what_is_nowhere(#[case] text: &str) {
        assert!(NasServerHere::parse(text).expect_err(text).contains("HOST:PORT"), "{text}");
    }
}
