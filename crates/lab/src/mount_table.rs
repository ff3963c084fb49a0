//! What `/proc/PID/mountinfo` says, wherever it was read.

use crate::Mount;

/// One line of a mount table, with paths as the process sees them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MountLine {
    /// Unique among the mounts that exist.
    pub id: u64,
    /// Device numbers.
    pub device: String,
    /// Where it is mounted.
    pub mount_point: String,
    /// Options of the mount.
    pub options: String,
    /// File system type.
    pub file_system: String,
    /// What is mounted.
    pub source: String,
    /// Options of the file system.
    pub super_options: String,
}

/// Parses a mount table; lines of a format that the kernel doesn't write are left out.
pub fn parse_mount_table(text: &str) -> Vec<MountLine> {
    text.lines().filter_map(parse_line).collect()
}

impl MountLine {
    /// The line as a mount, with those of `links` (link, destination) that lead to it.
    pub fn into_mount(self, links: &[(String, String)]) -> Mount {
        let mut options: Vec<String> = Vec::new();
        for option in self.options.split(',').chain(self.super_options.split(',')) {
            if !option.is_empty() && !options.iter().any(|known| known == option) {
                options.push(option.to_owned());
            }
        }
        let says = |options: &str| options.split(',').any(|option| option == "ro");
        let read_only = says(&self.options) || says(&self.super_options);
        if read_only {
            options.retain(|option| option != "rw");
        }
        let leads_here = links.iter().filter(|(_, destination)| *destination == self.mount_point);
        Mount {
            links: leads_here.map(|(link, _)| link.clone()).collect(),
            path: self.mount_point,
            file_system: self.file_system,
            source: self.source,
            read_only,
            options,
        }
    }
}

fn parse_line(line: &str) -> Option<MountLine> {
    let (mount, file_system) = line.split_once(" - ")?;
    let mut mount = mount.split(' ');
    let mut file_system = file_system.split(' ');
    let id = mount.next()?.parse().ok()?;
    let (_parent, device, _root) = (mount.next()?, mount.next()?, mount.next()?);
    Some(MountLine {
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
        let table = parse_mount_table(text);
        assert_eq!(table.len(), 2);
        assert_eq!(table[1].id, 80);
        assert_eq!(table[1].device, "0:51");
        assert_eq!(table[1].mount_point, "/data oss");
        assert_eq!(table[1].options, "ro,nosuid");
        assert_eq!(table[1].file_system, "fuse.ossfs");
        assert_eq!(table[1].source, "bucket:/path\\x");
        assert_eq!(table[1].super_options, "rw,user_id=0");
    }

    #[test]
    fn either_side_makes_a_mount_read_only() {
        let text = "1 0 0:1 / /a ro,nosuid - fuse.ossfs b rw,user_id=0\n2 0 0:2 / /b rw - nfs s:/ ro\n3 0 0:3 / /c rw - tmpfs t rw\n";
        let links = [("/link".to_owned(), "/a".to_owned())];
        let mounts: Vec<_> =
            parse_mount_table(text).into_iter().map(|line| line.into_mount(&links)).collect();
        assert_eq!(mounts.iter().map(|mount| mount.read_only).collect::<Vec<_>>(), [true, true, false]);
        assert_eq!(mounts[0].options, ["ro", "nosuid", "user_id=0"]);
        assert_eq!(mounts[0].links, ["/link"]);
        assert_eq!(mounts[2].options, ["rw"]);
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "[ -~\\n]{0,200}") {
            parse_mount_table(&text);
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
