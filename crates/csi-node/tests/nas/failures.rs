//! Servers that go away, hang, forget and refuse, while somebody reads and writes.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lab::NasFault;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tonic::Code;

use crate::common::{LIMIT, blocking, in_namespaces, mount_line};
use crate::support::{EXPORT, Nas, mount, number, request, until};

fn gone() -> NasFault {
    NasFault { gone: true, ..NasFault::default() }
}

fn hang() -> NasFault {
    NasFault { hang: true, ..NasFault::default() }
}

/// A process that reads `name` in `directory` and is stuck at it.
fn stuck_reader(directory: &Path, name: &str) -> Child {
    let child =
        Command::new("cat").arg(directory.join(name)).stdout(Stdio::null()).spawn().expect("cat starts");
    let waits = format!("/proc/{}/syscall", child.id());
    until("the reader waits for the server", || {
        // The state says no more than "sleeps"; where it sleeps says the rest.
        fs::read_to_string(format!("/proc/{}/cmdline", child.id())).is_ok_and(|line| line.starts_with("cat"))
            && fs::metadata(&waits).is_ok()
            && fs::read_to_string(format!("/proc/{}/wchan", child.id())).is_ok_and(|place| {
                place.contains("request_wait") || place.contains("fuse") || place.contains("folio")
            })
    });
    child
}

fn ended_within(child: &mut Child, limit: Duration) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < limit {
        if child.try_wait().expect("waited for").is_some() {
            return true;
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
    false
}

#[test]
fn a_server_that_comes_back_is_used_again() {
    in_namespaces("failures::a_server_that_comes_back_is_used_again", || async {
        let nas = Nas::start().await;
        fs::write(nas.folder.join("a"), "before").expect("written");
        let agent = nas.agent().await;
        let root = mount(&agent, "t", &["hard"]).await;
        let fault = nas.fault(gone());
        // Hard: whoever comes meanwhile waits, and is served afterwards.
        let reader = tokio::spawn(blocking({
            let root = root.clone();
            move || fs::read_to_string(root.join("a")).expect("read")
        }));
        let writer = tokio::spawn(blocking({
            let root = root.clone();
            move || fs::write(root.join("b"), "written across the outage").expect("written")
        }));
        let log = || agent.stderr().contains("NFS server not responding");
        blocking_until("the outage is noticed", log).await;
        assert!(!reader.is_finished() && !writer.is_finished());
        nas.heal(fault);
        assert_eq!(reader.await.expect("no panic"), "before");
        writer.await.expect("no panic");
        assert_eq!(fs::read_to_string(nas.folder.join("b")).expect("read"), "written across the outage");
        assert!(agent.stderr().contains("answers again"), "{}", agent.stderr());
    });
}

async fn blocking_until(what: &'static str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LIMIT * 2, waiting).await.unwrap_or_else(|_| panic!("{what} does not come about"));
}

#[test]
fn a_soft_mount_gives_up_and_a_hard_one_lets_its_users_be_killed() {
    in_namespaces("failures::a_soft_mount_gives_up_and_a_hard_one_lets_its_users_be_killed", || async {
        let nas = Nas::start().await;
        fs::write(nas.folder.join("a"), "content").expect("written");
        let agent = nas.agent().await;
        let soft = mount(&agent, "soft", &["soft,timeo=5,retrans=1,actimeo=0"]).await;
        let hard = mount(&agent, "hard", &["hard,timeo=5,actimeo=0"]).await;
        for fault in [hang(), gone()] {
            let id = nas.fault(fault);
            blocking({
                let (soft, hard) = (soft.clone(), hard.clone());
                move || {
                    let begun = Instant::now();
                    assert_eq!(number(fs::read(soft.join("a"))), libc::EIO);
                    assert!(begun.elapsed() >= Duration::from_millis(900), "{:?}", begun.elapsed());
                    for signal in [Signal::SIGKILL, Signal::SIGTERM, Signal::SIGINT] {
                        let mut reader = stuck_reader(&hard, "a");
                        kill(Pid::from_raw(reader.id().cast_signed()), signal).expect("signalled");
                        assert!(ended_within(&mut reader, LIMIT), "{signal} does not end a reader");
                    }
                }
            })
            .await;
            nas.heal(id);
            blocking({
                let (soft, hard) = (soft.clone(), hard.clone());
                move || {
                    for root in [soft, hard] {
                        let read = || fs::read_to_string(root.join("a")).is_ok_and(|text| text == "content");
                        until("the server is used again", read);
                    }
                }
            })
            .await;
        }
    });
}

#[test]
fn a_dead_server_does_not_hold_up_an_unpublish() {
    in_namespaces("failures::a_dead_server_does_not_hold_up_an_unpublish", || async {
        let nas = Nas::start().await;
        fs::write(nas.folder.join("a"), "content").expect("written");
        let agent = nas.agent().await;
        let idle = mount(&agent, "idle", &["hard"]).await;
        let busy = mount(&agent, "busy", &["hard,actimeo=0"]).await;
        let written = mount(&agent, "written", &["hard"]).await;
        let mut unsaved = blocking({
            let written = written.clone();
            move || File::create(written.join("lost")).expect("created")
        })
        .await;
        nas.fault(hang());
        let mut reader = blocking({
            let busy = busy.clone();
            move || stuck_reader(&busy, "a")
        })
        .await;
        // It stays open: closing it would wait for the server.
        let unsaved = blocking(move || {
            unsaved.write_all(b"never saved").expect("taken");
            unsaved
        })
        .await;
        let begun = Instant::now();
        let (one, two, three) =
            tokio::join!(agent.unpublish(&idle), agent.unpublish(&busy), agent.unpublish(&written));
        assert!((one.is_ok(), two.is_ok(), three.is_ok()) == (true, true, true), "{one:?} {two:?} {three:?}");
        assert!(begun.elapsed() < Duration::from_secs(25), "{:?}", begun.elapsed());
        assert_eq!((mount_line(&idle), mount_line(&busy), mount_line(&written)), (None, None, None));
        assert!(blocking(move || ended_within(&mut reader, LIMIT)).await, "whoever waited is told");
        drop(unsaved);
    });
}

#[test]
fn a_connection_that_breaks_loses_nothing_that_was_written() {
    in_namespaces("failures::a_connection_that_breaks_loses_nothing_that_was_written", || async {
        let nas = Nas::start().await;
        let agent = nas.agent().await;
        let root = mount(&agent, "t", &[]).await;
        let folder = nas.folder.clone();
        let file = blocking(move || {
            let file = OpenOptions::new().write(true).create_new(true).open(root.join("f")).expect("opened");
            for at in 0..6u64 {
                file.write_all_at(&vec![b'a' + u8::try_from(at).expect("small"); 1 << 20], at << 20)
                    .expect("written");
            }
            until("the server has taken some of it", || {
                fs::metadata(folder.join("f")).is_ok_and(|found| found.len() >= 2 << 20)
            });
            file
        })
        .await;
        // The connection breaks in the middle of it.
        let fault = nas.fault(NasFault {
            procedure: Some("WRITE".into()),
            drop_connection: true,
            times: Some(2),
            ..NasFault::default()
        });
        blocking(move || {
            for at in 6..12u64 {
                file.write_all_at(&vec![b'a' + u8::try_from(at).expect("small"); 1 << 20], at << 20)
                    .expect("written");
            }
            file.sync_all().expect("synced");
        })
        .await;
        nas.heal(fault);
        let bytes = fs::read(nas.folder.join("f")).expect("read");
        assert_eq!(bytes.len(), 12 << 20);
        for (at, piece) in bytes.chunks(1 << 20).enumerate() {
            let expected = b'a' + u8::try_from(at).expect("small");
            assert!(piece.iter().all(|byte| *byte == expected), "piece {at}");
        }
    });
}

#[test]
fn errors_of_the_server_reach_the_program() {
    in_namespaces("failures::errors_of_the_server_reach_the_program", || async {
        let nas = Nas::start().await;
        fs::write(nas.folder.join("a"), "content").expect("written");
        let agent = nas.agent().await;
        let root = mount(&agent, "t", &["actimeo=0"]).await;
        let full = nas.fault(NasFault { full: true, ..NasFault::default() });
        blocking({
            let root = root.clone();
            move || {
                let written = OpenOptions::new().write(true).open(root.join("a")).and_then(|mut file| {
                    file.write_all(&vec![1; 3 << 20])?;
                    file.sync_all()
                });
                assert_eq!(number(written), libc::ENOSPC);
            }
        })
        .await;
        nas.heal(full);
        for (error, expected) in
            [("NFS3ERR_IO", libc::EIO), ("NFS3ERR_ACCES", libc::EACCES), ("NFS3ERR_STALE", libc::ESTALE)]
        {
            let fault = nas.fault(NasFault {
                procedure: Some("READ".into()),
                error: Some(error.into()),
                ..NasFault::default()
            });
            let read = blocking({
                let root = root.clone();
                move || {
                    let file = File::open(root.join("a")).expect("opened");
                    // Past the kernel's pages, which say EIO whatever happened.
                    let mut bytes = [0; 4];
                    nix::sys::uio::pread(&file, &mut bytes, 0).map_err(std::io::Error::from)
                }
            })
            .await;
            assert!(matches!(number(read), number if number == expected || number == libc::EIO), "{error}");
            nas.heal(fault);
        }
        // "Try again later" is obeyed.
        let busy = nas.fault(NasFault {
            procedure: Some("GETATTR".into()),
            error: Some("NFS3ERR_JUKEBOX".into()),
            times: Some(2),
            ..NasFault::default()
        });
        let size = blocking({
            let root = root.clone();
            move || fs::metadata(root.join("a")).expect("asked").len()
        })
        .await;
        assert_eq!(size, fs::metadata(nas.folder.join("a")).expect("asked").len());
        nas.heal(busy);
        // Every handle is forgotten: what was open is lost, and the mount says so instead of hanging.
        nas.fault(NasFault { stale: true, ..NasFault::default() });
        let outcome = blocking({
            let root = root.clone();
            move || number(fs::metadata(root.join("a")))
        })
        .await;
        assert_eq!(outcome, libc::ESTALE);
        agent.unpublish(&root).await.expect("unmounted");
        agent.publish(request(&root, EXPORT, &[])).await.expect("mounted afresh");
        assert!(blocking(move || fs::metadata(root.join("a")).is_ok()).await);
    });
}

#[test]
fn a_killed_agent_leaves_a_dead_mount_that_the_next_one_replaces() {
    in_namespaces("failures::a_killed_agent_leaves_a_dead_mount_that_the_next_one_replaces", || async {
        let nas = Nas::start().await;
        fs::write(nas.folder.join("a"), "alive").expect("written");
        let mut agent = nas.agent().await;
        let target = mount(&agent, "t", &[]).await;
        agent.signal(Signal::SIGKILL);
        agent.ended().await;
        let dead = target.clone();
        assert_eq!(blocking(move || number(fs::read(dead.join("a")))).await, libc::ENOTCONN);
        let second = nas.agent().await;
        second.publish(request(&target, EXPORT, &[])).await.expect("mounted afresh");
        let alive = target.clone();
        assert_eq!(blocking(move || fs::read_to_string(alive.join("a")).expect("read")).await, "alive");
        let table = fs::read_to_string("/proc/self/mounts").expect("the mount table");
        assert_eq!(table.lines().filter(|line| line.contains("fuse.nfs")).count(), 1, "{table}");
        // A silent server is no reason to replace a mount: its users' writes wait there.
        let fault = nas.fault(hang());
        second.publish(request(&target, EXPORT, &[])).await.expect("the same is fine");
        let status = second.publish(request(&target, "/other", &[])).await.expect_err("another volume");
        assert_eq!(status.code(), Code::AlreadyExists, "{status}");
        nas.heal(fault);
        second.unpublish(&target).await.expect("unmounted");
    });
}

#[test]
fn the_end_of_the_agent_saves_what_was_written() {
    in_namespaces("failures::the_end_of_the_agent_saves_what_was_written", || async {
        let nas = Nas::start().await;
        let mut agent = nas.agent().await;
        let root = mount(&agent, "t", &[]).await;
        let file = blocking(move || {
            let mut file = File::create(root.join("f")).expect("created");
            file.write_all(b"not closed yet").expect("written");
            file
        })
        .await;
        agent.signal(Signal::SIGTERM);
        assert!(agent.ended().await.success());
        assert_eq!(fs::read_to_string(nas.folder.join("f")).expect("read"), "not closed yet");
        drop(file);
    });
}
