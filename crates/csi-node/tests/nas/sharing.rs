//! Two mounts of one export: what one writes, the other sees.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;

use nix::fcntl::{Flock, FlockArg};

use crate::common::{blocking, in_namespaces};
use crate::support::{Nas, mount, names, number, until};

#[test]
fn whoever_opens_a_file_sees_what_was_closed_before() {
    in_namespaces("sharing::whoever_opens_a_file_sees_what_was_closed_before", || async {
        let nas = Nas::start().await;
        // Two pods: an agent each.
        let (left, right) = (nas.agent().await, nas.agent().await);
        let (one, two) = (mount(&left, "one", &[]).await, mount(&right, "two", &[]).await);
        let folder = nas.folder.clone();
        blocking(move || {
            for round in 0..20 {
                let (writer, reader) = if round % 2 == 0 { (&one, &two) } else { (&two, &one) };
                // Of the same length, so that only times tell; longer; and shorter.
                for text in [format!("round {round:02}"), "x".repeat(5000 + round), format!("{round}")] {
                    fs::write(writer.join("f"), &text).expect("written");
                    assert_eq!(fs::read_to_string(reader.join("f")).expect("read"), text, "round {round}");
                }
                // Names are seen as soon as somebody lists, and missing ones as soon as they are there.
                let name = format!("new-{round}");
                assert!(!reader.join(&name).exists());
                fs::write(writer.join(&name), "").expect("written");
                assert!(reader.join(&name).exists(), "{name}");
                assert!(names(reader).contains(&name));
            }
            // Written by somebody else altogether, on the server itself.
            fs::write(folder.join("f"), "by the server").expect("written");
            assert_eq!(fs::read_to_string(one.join("f")).expect("read"), "by the server");
            // Appended by both in turn.
            for (turn, root) in [&one, &two].into_iter().cycle().take(10).enumerate() {
                let mut file =
                    OpenOptions::new().append(true).create(true).open(root.join("log")).expect("opened");
                writeln!(file, "turn {turn}").expect("written");
            }
            let log = fs::read_to_string(folder.join("log")).expect("read");
            let turns: Vec<String> = (0..10).map(|turn| format!("turn {turn}")).collect();
            assert_eq!(log.lines().collect::<Vec<_>>(), turns);
            // Replaced by a rename, as editors do.
            fs::write(one.join("draft"), "the new one").expect("written");
            assert_eq!(fs::read_to_string(two.join("f")).expect("read"), "by the server");
            fs::rename(one.join("draft"), one.join("f")).expect("renamed");
            let replaced = || fs::read_to_string(two.join("f")).is_ok_and(|text| text == "the new one");
            until("the other mount opens the file that has the name now", replaced);
        })
        .await;
    });
}

#[test]
fn attributes_are_believed_for_as_long_as_the_options_say() {
    in_namespaces("sharing::attributes_are_believed_for_as_long_as_the_options_say", || async {
        let nas = Nas::start().await;
        fs::write(nas.folder.join("a"), "four").expect("written");
        let agent = nas.agent().await;
        let long = mount(&agent, "long", &["actimeo=600"]).await;
        let none = mount(&agent, "none", &["noac"]).await;
        let folder = nas.folder.clone();
        blocking(move || {
            let size = |root: &std::path::Path| fs::metadata(root.join("a")).expect("asked").len();
            assert_eq!((size(&long), size(&none)), (4, 4));
            fs::write(folder.join("a"), "much longer").expect("written");
            assert_eq!((size(&long), size(&none)), (4, 11), "one still believes, the other asks");
            assert_eq!(fs::read_to_string(long.join("a")).expect("read"), "much longer", "opening asks");
            assert_eq!(size(&long), 11);
        })
        .await;
        let before = nas.calls("GETATTR");
        let root = agent.target("long");
        blocking(move || {
            for _ in 0..50 {
                fs::metadata(root.join("a")).expect("asked");
            }
        })
        .await;
        assert!(nas.calls("GETATTR") - before < 3, "{:?}", nas.sim.calls());
    });
}

#[test]
fn a_reader_that_stays_sees_a_file_grow() {
    in_namespaces("sharing::a_reader_that_stays_sees_a_file_grow", || async {
        let nas = Nas::start().await;
        let agent = nas.agent().await;
        let root = mount(&agent, "t", &["actimeo=1"]).await;
        let folder = nas.folder.clone();
        blocking(move || {
            fs::write(folder.join("log"), "first\n").expect("written");
            let mut reader = File::open(root.join("log")).expect("opened");
            let mut text = String::new();
            reader.read_to_string(&mut text).expect("read");
            assert_eq!(text, "first\n");
            let mut writer = OpenOptions::new().append(true).open(folder.join("log")).expect("opened");
            writer.write_all(b"second\n").expect("written");
            until("what was added is seen", || {
                reader.read_to_string(&mut text).expect("read");
                text == "first\nsecond\n"
            });
            // Small writes of one that stays open reach the server without a close.
            let mut file = File::create(root.join("slow")).expect("created");
            file.write_all(b"a few bytes").expect("written");
            until("what was written is on the server", || {
                fs::read(folder.join("slow")).is_ok_and(|bytes| bytes == b"a few bytes")
            });
            file.seek(SeekFrom::Start(2)).expect("sought");
            file.write_all(b"FEW").expect("written");
            file.sync_data().expect("synced");
            assert_eq!(fs::read(folder.join("slow")).expect("read"), b"a FEW bytes");
        })
        .await;
    });
}

#[test]
fn locks_hold_within_a_mount_only() {
    in_namespaces("sharing::locks_hold_within_a_mount_only", || async {
        let nas = Nas::start().await;
        let agent = nas.agent().await;
        let (one, two) = (mount(&agent, "one", &["nolock"]).await, mount(&agent, "two", &["nolock"]).await);
        blocking(move || {
            let open = |root: &std::path::Path| {
                OpenOptions::new().read(true).write(true).create(true).truncate(false).open(root.join("lock"))
            };
            let held = Flock::lock(open(&one).expect("opened"), FlockArg::LockExclusiveNonblock);
            let held = held.map_err(|(_, error)| error).expect("locked");
            let second = Flock::lock(open(&one).expect("opened"), FlockArg::LockExclusiveNonblock);
            assert_eq!(second.map_err(|(_, error)| error).err(), Some(nix::errno::Errno::EWOULDBLOCK));
            let elsewhere = Flock::lock(open(&two).expect("opened"), FlockArg::LockExclusiveNonblock);
            assert!(elsewhere.is_ok(), "another mount knows nothing of it");
            drop(held);
            let third = Flock::lock(open(&one).expect("opened"), FlockArg::LockExclusiveNonblock);
            assert!(third.is_ok(), "free again");
        })
        .await;
    });
}

#[test]
fn memory_that_is_mapped_is_written_back() {
    in_namespaces("sharing::memory_that_is_mapped_is_written_back", || async {
        let nas = Nas::start().await;
        let agent = nas.agent().await;
        let root = mount(&agent, "t", &[]).await;
        let folder = nas.folder.clone();
        blocking(move || {
            // Python maps it, changes it, and leaves the rest to the kernel.
            fs::write(root.join("m"), vec![b'.'; 10_000]).expect("written");
            let script = "import mmap,sys\nf=open(sys.argv[1],'r+b')\nm=mmap.mmap(f.fileno(),0)\nm[5000:5005]=b'hello'\nm.flush()\nm.close()\nf.close()\n";
            let status = std::process::Command::new("python3").args(["-c", script]).arg(root.join("m")).status();
            assert!(status.expect("python runs").success());
            let file = File::open(folder.join("m")).expect("opened");
            let mut bytes = [0; 7];
            file.read_exact_at(&mut bytes, 4999).expect("read");
            assert_eq!(&bytes, b".hello.");
            assert_eq!(number(File::open(root.join("n"))), libc::ENOENT);
        })
        .await;
    });
}
