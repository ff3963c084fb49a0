//! A server that restarts loses what it had taken and not put on its disk; users of the mount must not see it.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::PathBuf;

use lab::NasFault;

use crate::common::{Agent, blocking, in_namespaces};
use crate::support::{Nas, mount, number, until};

const MIB: usize = 1 << 20;

/// The server restarts: what it has not put on its disk is gone.
fn restart(nas: &Nas) {
    nas.fault(NasFault { restart: true, ..NasFault::default() });
}

/// Waits until the server has taken `writes` WRITEs and its folder shows `size` bytes of `name`.
async fn taken(nas: &Nas, name: &str, size: usize, writes: u64) {
    let (sim, path) = (nas.sim.clone(), nas.folder.join(name));
    blocking(move || {
        until("the server takes what is written", || {
            let calls = sim.calls().get("WRITE").copied().unwrap_or(0);
            calls >= writes && fs::metadata(&path).is_ok_and(|found| found.len() >= size as u64)
        });
    })
    .await;
}

/// A file with something in it, of which nothing is on the server's disk.
async fn unsaved_file(nas: &Nas, agent: &Agent, pieces: u8) -> (PathBuf, File) {
    let root = mount(agent, "t", &[]).await;
    let path = root.join("f");
    let file = blocking({
        let path = path.clone();
        move || {
            let file = File::options().read(true).write(true).create_new(true).open(path).expect("opened");
            for at in 0..pieces {
                file.write_all_at(&vec![b'a' + at; MIB], u64::from(at) * MIB as u64).expect("written");
            }
            file
        }
    })
    .await;
    taken(nas, "f", usize::from(pieces) * MIB, pieces.into()).await;
    assert_eq!(nas.calls("COMMIT"), 0, "nothing has been saved yet");
    (path, file)
}

/// Whether `name` in the exported folder holds `pieces` pieces of [`unsaved_file`], the first `begin` bytes of which
/// are 'A'.
fn is_complete(nas: &Nas, pieces: u8, begin: usize) {
    let bytes = fs::read(nas.folder.join("f")).expect("read");
    assert_eq!(bytes.len(), usize::from(pieces) * MIB);
    for (at, piece) in bytes.chunks(MIB).enumerate() {
        let expected = b'a' + u8::try_from(at).expect("small");
        let plain = if at == 0 { &piece[begin..] } else { piece };
        assert!(plain.iter().all(|byte| *byte == expected), "piece {at}");
    }
    assert!(bytes[..begin].iter().all(|byte| *byte == b'A'), "what was written over it");
}

#[test]
fn what_was_lost_is_written_again_before_fsync_returns() {
    in_namespaces("restarts::what_was_lost_is_written_again_before_fsync_returns", || async {
        let nas = Nas::start().await;
        let agent = nas.agent().await;
        let (_, file) = unsaved_file(&nas, &agent, 6).await;
        restart(&nas);
        blocking(move || file.sync_all().expect("synced")).await;
        is_complete(&nas, 6, 0);
        assert!(nas.calls("WRITE") >= 12, "{:?}", nas.sim.calls());
    });
}

#[test]
fn what_was_lost_is_written_again_before_close_returns() {
    in_namespaces("restarts::what_was_lost_is_written_again_before_close_returns", || async {
        let nas = Nas::start().await;
        let agent = nas.agent().await;
        let (_, file) = unsaved_file(&nas, &agent, 3).await;
        restart(&nas);
        // A second restart, while what the first one lost is on its way.
        let again = NasFault {
            procedure: Some("COMMIT".into()),
            delay_milliseconds: Some(300),
            times: Some(1),
            ..NasFault::default()
        };
        nas.fault(again);
        let closing = tokio::spawn(blocking(move || nix::unistd::close(file).expect("closed")));
        let sim = nas.sim.clone();
        blocking(move || {
            until("a COMMIT comes", || sim.calls().get("COMMIT").is_some_and(|calls| *calls > 0));
        })
        .await;
        restart(&nas);
        closing.await.expect("no panic");
        is_complete(&nas, 3, 0);
    });
}

#[test]
fn readers_and_later_writers_notice_nothing() {
    in_namespaces("restarts::readers_and_later_writers_notice_nothing", || async {
        let nas = Nas::start().await;
        let agent = nas.agent().await;
        let (path, file) = unsaved_file(&nas, &agent, 4).await;
        restart(&nas);
        // Somebody who opens it meanwhile sees the whole of it, though the server has none of it.
        let whole = {
            let path = path.clone();
            move || {
                let mut options = OpenOptions::new();
                // Past the kernel's pages.
                options.read(true).custom_flags(libc::O_DIRECT);
                let mut bytes = Vec::new();
                options.open(&path).expect("opened").read_to_end(&mut bytes).expect("read");
                bytes
            }
        };
        let bytes = blocking(whole).await;
        assert_eq!(bytes.len(), 4 * MIB);
        for (at, piece) in bytes.chunks(MIB).enumerate() {
            let expected = b'a' + u8::try_from(at).expect("small");
            assert!(piece.iter().all(|byte| *byte == expected), "piece {at} is lost, or a hole");
        }
        restart(&nas);
        // Over what was lost: the newer bytes must win, whichever goes out first.
        let file = blocking(move || {
            file.write_all_at(&vec![b'A'; MIB / 2], 0).expect("written");
            let mut seen = vec![0; MIB];
            file.read_exact_at(&mut seen, 0).expect("read");
            assert!(seen[..MIB / 2].iter().all(|byte| *byte == b'A'));
            assert!(seen[MIB / 2..].iter().all(|byte| *byte == b'a'));
            file
        })
        .await;
        blocking(move || file.sync_all().expect("synced")).await;
        is_complete(&nas, 4, MIB / 2);
    });
}

#[test]
fn a_file_that_was_saved_before_keeps_what_is_written_over_it() {
    in_namespaces("restarts::a_file_that_was_saved_before_keeps_what_is_written_over_it", || async {
        let nas = Nas::start().await;
        fs::write(nas.folder.join("log"), vec![b'.'; 2 * MIB]).expect("written");
        let agent = nas.agent().await;
        let root = mount(&agent, "t", &[]).await;
        let path = root.join("log");
        let file = blocking({
            let path = path.clone();
            move || {
                let file = OpenOptions::new().write(true).open(&path).expect("opened");
                file.write_all_at(&vec![b'x'; MIB], MIB as u64 / 2).expect("written");
                file
            }
        })
        .await;
        taken(&nas, "log", 2 * MIB, 1).await;
        restart(&nas);
        blocking(move || {
            // Small pieces, which gather, and an end that moves.
            for at in 0..10u64 {
                file.write_all_at(b"0123456789", 2 * MIB as u64 + at * 10).expect("written");
            }
            drop(file);
            let mut appending = OpenOptions::new().append(true).open(path).expect("opened");
            appending.write_all(b"the end").expect("written");
        })
        .await;
        let bytes = fs::read(nas.folder.join("log")).expect("read");
        let expected = [
            vec![b'.'; MIB / 2],
            vec![b'x'; MIB],
            vec![b'.'; MIB / 2],
            b"0123456789".repeat(10),
            b"the end".to_vec(),
        ]
        .concat();
        assert!(bytes == expected, "{} bytes in place of {}", bytes.len(), expected.len());
    });
}

#[test]
fn handles_stay_good_and_those_of_what_is_gone_are_stale() {
    in_namespaces("restarts::handles_stay_good_and_those_of_what_is_gone_are_stale", || async {
        let nas = Nas::start().await;
        fs::create_dir(nas.folder.join("d")).expect("made");
        fs::write(nas.folder.join("d/kept"), "kept").expect("written");
        let agent = nas.agent().await;
        let root = mount(&agent, "t", &["actimeo=0"]).await;
        let (kept, lost) = blocking({
            let root = root.clone();
            move || {
                let kept = File::open(root.join("d/kept")).expect("opened");
                let mut lost = File::create(root.join("d/lost")).expect("created");
                lost.write_all(b"never to be seen").expect("written");
                (kept, lost)
            }
        })
        .await;
        restart(&nas);
        // Removed where the client can't see it: an administrator, or another client's unlink during the outage.
        fs::remove_file(nas.folder.join("d/lost")).expect("removed");
        blocking(move || {
            let mut bytes = [0; 4];
            kept.read_exact_at(&mut bytes, 0).expect("read");
            assert_eq!(&bytes, b"kept");
            assert_eq!(number(lost.sync_all()), libc::ESTALE);
            drop(lost);
            // The mount itself goes on, with new files and old ones.
            fs::write(root.join("d/new"), "new").expect("written");
            assert_eq!(fs::read_to_string(root.join("d/kept")).expect("read"), "kept");
            assert_eq!(number(fs::metadata(root.join("d/lost"))), libc::ENOENT);
        })
        .await;
        assert_eq!(fs::read_to_string(nas.folder.join("d/new")).expect("read"), "new");
    });
}
