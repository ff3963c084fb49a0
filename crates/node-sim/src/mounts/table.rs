//! Reading `/proc/PID/mountinfo`.

use std::io;

/// One line of a mount table, with paths as the process sees them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Line {
    /// Unique among the mounts that exist.
    pub(crate) id: u64,
    /// Device numbers.
    pub(crate) device: String,
    /// Where it is mounted.
    pub(crate) mount_point: String,
    /// Options of the mount.
    pub(crate) options: String,
    /// File system type.
    pub(crate) file_system: String,
    /// What is mounted.
    pub(crate) source: String,
    /// Options of the file system.
    pub(crate) super_options: String,
}

/// The mount table of a process, by process id or `self`, in the order of mounting.
pub(crate) fn of_process(process: &str) -> io::Result<Vec<Line>> {
    Ok(parse(&std::fs::read_to_string(format!("/proc/{process}/mountinfo"))?))
}

/// Parses a mount table; lines of a format that the kernel doesn't write are left out.
pub(crate) fn parse(text: &str) -> Vec<Line> {
    text.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<Line> {
    let (mount, file_system) = line.split_once(" - ")?;
    let mut mount = mount.split(' ');
    let mut file_system = file_system.split(' ');
    let id = mount.next()?.parse().ok()?;
    let (_parent, device, _root) = (mount.next()?, mount.next()?, mount.next()?);
    Some(Line {
        id,
        device: device.to_owned(),
        mount_point: unescape(mount.next()?),
        options: mount.next()?.to_owned(),
        file_system: unescape(file_system.next()?),
        source: unescape(file_system.next()?),
        super_options: file_system.next().unwrap_or_default().to_owned(),
    })
}

/// The kernel writes blanks, tabs, line breaks and backslashes as three octal digits.
fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut position = 0;
    while let Some(&byte) = bytes.get(position) {
        let octal = bytes.get(position + 1..position + 4).and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 8).ok()
        });
        if let (b'\\', Some(value)) = (byte, octal) {
            plain.push(value);
            position += 4;
        } else {
            plain.push(byte);
            position += 1;
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_table_is_read() {
        let text = "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n\
                    80 36 0:51 / /data\\040oss ro,nosuid shared:7 - fuse.ossfs bucket:/path\\134x rw,user_id=0\n\
                    nonsense\n";
        let table = parse(text);
        assert_eq!(table.len(), 2);
        assert_eq!(table[1].id, 80);
        assert_eq!(table[1].device, "0:51");
        assert_eq!(table[1].mount_point, "/data oss");
        assert_eq!(table[1].options, "ro,nosuid");
        assert_eq!(table[1].file_system, "fuse.ossfs");
        assert_eq!(table[1].source, "bucket:/path\\x");
        assert_eq!(table[1].super_options, "rw,user_id=0");
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "[ -~\\n]{0,200}") {
            parse(&text);
        }

        #[test]
        fn what_the_kernel_escapes_is_read_back(path in "[a-z \\\\]{1,20}") {
            let escaped: String = path.chars().map(|character| match character {
                ' ' => "\\040".to_owned(),
                '\\' => "\\134".to_owned(),
                other => other.to_string(),
            }).collect();
            prop_assert_eq!(unescape(&escaped), path);
        }
    }
}
