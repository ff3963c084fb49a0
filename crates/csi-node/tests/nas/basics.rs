//! The product's example, and the file operations that users know.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::time::{Duration, SystemTime};

use crate::common::{blocking, in_namespaces, mount_line};
use crate::support::{EXPORT, Nas, PRODUCT_OPTIONS, as_user, mount, names, number, request};

#[test]
fn the_product_example_is_mounted_read_and_written() {
    in_namespaces("basics::the_product_example_is_mounted_read_and_written", || async {
        let nas = Nas::start().await;
        fs::create_dir(nas.folder.join("data-subPath")).expect("made");
        fs::write(nas.folder.join("data-subPath/hello.txt"), "from the share").expect("written");
        fs::write(nas.folder.join("secret.txt"), "not below the path").expect("written");
        let agent = nas.agent().await;
        let target = agent.target("483fe5e1d20e8ef3ea6f0331af761ca6");
        let path = format!("{EXPORT}/data-subPath");
        agent.publish(request(&target, &path, &PRODUCT_OPTIONS)).await.expect("mounted");
        let line = mount_line(&target).expect("mounted");
        assert!(line.starts_with("127.0.0.1:/share/data-subPath "), "{line}");
        assert!(line.contains(" fuse.nfs rw,"), "{line}");
        let root = target.clone();
        blocking(move || {
            assert_eq!(fs::read_to_string(root.join("hello.txt")).expect("read"), "from the share");
            fs::write(root.join("answer.txt"), "from the sandbox").expect("written");
            fs::create_dir(root.join("folder")).expect("made");
            fs::write(root.join("folder/inner.txt"), "deep").expect("written");
            assert_eq!(names(&root), ["answer.txt", "folder", "hello.txt"]);
            assert!(!root.join("../secret.txt").exists(), "the path is the top");
        })
        .await;
        let below =
            |name: &str| fs::read_to_string(nas.folder.join("data-subPath").join(name)).expect("read");
        assert_eq!(below("answer.txt"), "from the sandbox");
        assert_eq!(below("folder/inner.txt"), "deep");
        let journal = agent.stdout();
        assert!(
            journal.contains("\"kind\":\"NasMounted\"") && journal.contains("\"user-space\""),
            "{journal}"
        );
        assert!(agent.stderr().contains("user-space"), "{}", agent.stderr());

        agent.unpublish(&target).await.expect("unmounted");
        assert_eq!(mount_line(&target), None);
        assert!(!target.exists(), "the empty target directory goes");
        agent.unpublish(&target).await.expect("a second time is fine");
    });
}

#[test]
fn files_are_changed_in_every_way() {
    in_namespaces("basics::files_are_changed_in_every_way", || async {
        let nas = Nas::start().await;
        let agent = nas.agent().await;
        let root = mount(&agent, "t", &[]).await;
        let folder = nas.folder.clone();
        blocking(move || {
            // Appended, in small pieces.
            let path = root.join("log");
            for line in 0..100 {
                let mut file = OpenOptions::new().append(true).create(true).open(&path).expect("opened");
                writeln!(file, "line {line}").expect("written");
            }
            let text = fs::read_to_string(folder.join("log")).expect("read");
            assert_eq!(text.lines().count(), 100);
            assert!(text.ends_with("line 99\n"), "{text}");

            // Overwritten here and there, read back through the same handle.
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(true)
                .open(root.join("f"))
                .expect("opened");
            file.write_all(b"0123456789").expect("written");
            file.write_all_at(b"ab", 3).expect("written");
            file.write_all_at(b"YZ", 12).expect("written");
            file.seek(SeekFrom::Start(0)).expect("sought");
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).expect("read");
            assert_eq!(bytes, b"012ab56789\0\0YZ");
            assert_eq!(file.metadata().expect("asked").len(), 14);

            // Cut and made longer.
            file.set_len(4).expect("cut");
            file.set_len(6).expect("made longer");
            file.sync_all().expect("synced");
            drop(file);
            assert_eq!(fs::read(folder.join("f")).expect("read"), b"012a\0\0");

            // Renamed, over another one as well.
            fs::write(root.join("other"), "other").expect("written");
            fs::rename(root.join("f"), root.join("other")).expect("renamed");
            assert_eq!(fs::read(folder.join("other")).expect("read"), b"012a\0\0");
            assert!(!folder.join("f").exists());

            // Links of both kinds.
            symlink("other", root.join("soft")).expect("linked");
            assert_eq!(fs::read_link(folder.join("soft")).expect("read").to_str(), Some("other"));
            fs::hard_link(root.join("other"), root.join("hard")).expect("linked");
            let (one, two) = (fs::metadata(root.join("other")), fs::metadata(root.join("hard")));
            let (one, two) = (one.expect("asked"), two.expect("asked"));
            assert_eq!((one.ino(), one.nlink()), (two.ino(), 2));
            assert_eq!(one.ino(), fs::metadata(folder.join("hard")).expect("asked").ino());
            fs::remove_file(root.join("hard")).expect("removed");
            assert_eq!(fs::metadata(root.join("other")).expect("asked").nlink(), 1);

            // Permissions, owners and times.
            fs::set_permissions(root.join("other"), fs::Permissions::from_mode(0o640)).expect("set");
            std::os::unix::fs::chown(root.join("other"), Some(1000), Some(1001)).expect("given away");
            let then = SystemTime::UNIX_EPOCH + Duration::new(1_600_000_000, 123_456_789);
            let file = File::options().write(true).open(root.join("other")).expect("opened");
            file.set_modified(then).expect("set");
            drop(file);
            let found = fs::metadata(folder.join("other")).expect("asked");
            assert_eq!((found.mode() & 0o7777, found.uid(), found.gid()), (0o640, 1000, 1001));
            assert_eq!(found.modified().expect("a time"), then);
            assert_eq!(fs::metadata(root.join("other")).expect("asked").modified().expect("a time"), then);

            // Errors are those of a file system.
            assert_eq!(number(fs::read(root.join("no-such"))), libc::ENOENT);
            fs::create_dir(root.join("d")).expect("made");
            fs::write(root.join("d/x"), "").expect("written");
            assert_eq!(number(fs::remove_dir(root.join("d"))), libc::ENOTEMPTY);
            assert_eq!(number(fs::create_dir(root.join("d"))), libc::EEXIST);
            assert_eq!(number(File::create_new(root.join("other"))), libc::EEXIST);
            assert_eq!(number(fs::remove_file(root.join("d"))), libc::EISDIR);
            assert_eq!(number(fs::read_dir(root.join("other"))), libc::ENOTDIR);
            assert_eq!(number(fs::write(root.join("n".repeat(256)), "")), libc::ENAMETOOLONG);
        })
        .await;
    });
}

#[test]
fn a_file_that_is_open_outlives_its_name() {
    in_namespaces("basics::a_file_that_is_open_outlives_its_name", || async {
        let nas = Nas::start().await;
        let agent = nas.agent().await;
        let root = mount(&agent, "t", &[]).await;
        let folder = nas.folder.clone();
        blocking(move || {
            let open = |name: &str| {
                let mut options = OpenOptions::new();
                options
                    .read(true)
                    .write(true)
                    .create(true)
                    .truncate(false)
                    .open(root.join(name))
                    .expect("opened")
            };
            let mut file = open("removed");
            file.write_all(b"before").expect("written");
            fs::remove_file(root.join("removed")).expect("removed");
            assert!(!root.join("removed").exists());
            file.write_all(b" after").expect("written");
            let mut text = String::new();
            file.seek(SeekFrom::Start(0)).expect("sought");
            file.read_to_string(&mut text).expect("read");
            assert_eq!(text, "before after");
            assert!(names(&folder)[0].starts_with(".nfs"), "{:?}", names(&folder));
            drop(file);
            crate::support::until("the hidden name goes", || names(&folder).is_empty());

            // Renamed while it is open, and replaced while it is open.
            let mut file = open("first");
            file.write_all(b"one").expect("written");
            fs::rename(root.join("first"), root.join("second")).expect("renamed");
            file.write_all(b" two").expect("written");
            file.sync_all().expect("synced");
            assert_eq!(fs::read_to_string(folder.join("second")).expect("read"), "one two");
            fs::write(root.join("third"), "new").expect("written");
            fs::rename(root.join("third"), root.join("second")).expect("replaced");
            text.clear();
            file.seek(SeekFrom::Start(0)).expect("sought");
            file.read_to_string(&mut text).expect("read");
            assert_eq!(text, "one two");
            assert_eq!(fs::read_to_string(root.join("second")).expect("read"), "new");
            drop(file);
            crate::support::until("the hidden name goes", || names(&folder) == ["second"]);
        })
        .await;
    });
}

#[test]
fn large_folders_sparse_files_and_names_of_every_kind() {
    in_namespaces("basics::large_folders_sparse_files_and_names_of_every_kind", || async {
        let nas = Nas::start().await;
        let folder = nas.folder.clone();
        fs::create_dir(folder.join("many")).expect("made");
        for number in 0..10_000 {
            fs::write(folder.join(format!("many/{number:05}")), "").expect("written");
        }
        let agent = nas.agent().await;
        let root = mount(&agent, "t", &[]).await;
        blocking(move || {
            let listed = names(&root.join("many"));
            assert_eq!(listed.len(), 10_000);
            assert!(listed.iter().enumerate().all(|(number, name)| *name == format!("{number:05}")));
            // What a listing brings along answers what usually follows.
            for name in listed.iter().step_by(97) {
                assert!(fs::metadata(root.join("many").join(name)).expect("asked").is_file());
            }

            // A hole of 1 GiB takes no space and reads as zeros.
            let file = OpenOptions::new().read(true).write(true).create_new(true).open(root.join("sparse"));
            let file = file.expect("opened");
            file.write_all_at(b"end", (1 << 30) - 3).expect("written");
            file.sync_all().expect("synced");
            let found = fs::metadata(folder.join("sparse")).expect("asked");
            assert_eq!(found.len(), 1 << 30);
            assert!(found.blocks() < 1000, "{} blocks", found.blocks());
            let mut bytes = [1; 7];
            file.read_exact_at(&mut bytes, (1 << 30) - 7).expect("read");
            assert_eq!(&bytes, b"\0\0\0\0end");
            file.read_exact_at(&mut bytes, 500 << 20).expect("read");
            assert_eq!(bytes, [0; 7]);

            // Names are bytes; case and form are kept.
            for name in ["ü", "u\u{308}", "日本語", "🙂 smile", "UPPER", "upper", "-rf", "a\nb", " "] {
                fs::write(root.join(name), name).expect("written");
                assert_eq!(fs::read_to_string(folder.join(name)).expect("read"), name);
                assert!(names(&root).contains(&name.to_owned()));
            }
        })
        .await;
        assert!(nas.calls("READDIRPLUS") > 0, "{:?}", nas.sim.calls());
        assert!(nas.calls("LOOKUP") < 1000, "{:?}", nas.sim.calls());
    });
}

#[test]
fn who_may_do_what_is_decided_by_modes_and_by_the_server() {
    in_namespaces("basics::who_may_do_what_is_decided_by_modes_and_by_the_server", || async {
        let nas = Nas::start().await;
        fs::set_permissions(&nas.folder, fs::Permissions::from_mode(0o755)).expect("set");
        fs::write(nas.folder.join("roots"), "x").expect("written");
        fs::set_permissions(nas.folder.join("roots"), fs::Permissions::from_mode(0o600)).expect("set");
        fs::create_dir(nas.folder.join("theirs")).expect("made");
        std::os::unix::fs::chown(nas.folder.join("theirs"), Some(1000), Some(1000)).expect("given away");
        let agent = nas.agent().await;
        fs::set_permissions(agent.directory.path(), fs::Permissions::from_mode(0o755)).expect("set");
        let root = mount(&agent, "t", &[]).await;
        let folder = nas.folder.clone();
        blocking(move || {
            let (code, text) = as_user("cat roots", &root);
            assert!(code != 0 && text.contains("Permission denied"), "{text}");
            let (code, text) = as_user("echo x > new", &root);
            assert!(code != 0 && text.contains("Permission denied"), "{text}");
            let (code, text) =
                as_user("umask 027; echo mine > theirs/f && mkdir theirs/d && cat theirs/f", &root);
            assert_eq!((code, text.as_str()), (0, "mine\n"));
            let found = fs::metadata(folder.join("theirs/f")).expect("asked");
            assert_eq!((found.uid(), found.gid(), found.mode() & 0o777), (1000, 1000, 0o640));
            let found = fs::metadata(folder.join("theirs/d")).expect("asked");
            assert_eq!((found.uid(), found.mode() & 0o777), (1000, 0o750));
        })
        .await;
    });
}
