//! Figures beside s3fs on the same server, by hand:
//! `cargo test --release -p csi-node --test speed -- --ignored --nocapture`.
#![allow(clippy::expect_used, clippy::panic, reason = "test code: a failed expectation ends the test")]

mod common;

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use common::{Agent, BUCKET, KEY_ID, KEY_SECRET, LIMIT, Store, blocking, in_namespaces, mount_line};

const BIG: usize = 256 << 20;
const SMALL_FILES: usize = 200;

/// Seconds for each of the things that are measured.
#[derive(Debug)]
struct Figures {
    mount: f64,
    write: f64,
    read: f64,
    small: f64,
}

fn timed<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let begun = Instant::now();
    let value = work();
    (begun.elapsed().as_secs_f64(), value)
}

fn write_big(root: &Path) -> f64 {
    let block: Vec<u8> = (0..1u32 << 20).map(|at| u8::try_from(at * 7 % 251).expect("a byte")).collect();
    timed(|| {
        let mut file = File::create(root.join("big")).expect("created");
        for _ in 0..BIG / block.len() {
            file.write_all(&block).expect("written");
        }
        file.sync_all().expect("synced");
    })
    .0
}

fn read_big(root: &Path) -> f64 {
    let mut block = vec![0; 1 << 20];
    let (seconds, total) = timed(|| {
        let mut file = File::open(root.join("big")).expect("opened");
        let mut total = 0;
        loop {
            match file.read(&mut block).expect("read") {
                0 => return total,
                count => total += count,
            }
        }
    });
    assert_eq!(total, BIG);
    seconds
}

fn small_files(root: &Path) -> f64 {
    let folder = root.join("small");
    fs::create_dir(&folder).expect("made");
    timed(|| {
        for number in 0..SMALL_FILES {
            fs::write(folder.join(format!("{number}")), format!("content of {number}")).expect("written");
        }
        for number in 0..SMALL_FILES {
            let text = fs::read_to_string(folder.join(format!("{number}"))).expect("read");
            assert_eq!(text, format!("content of {number}"));
        }
    })
    .0
}

async fn ours(store: &Store) -> Figures {
    let agent = Agent::start().await;
    let begun = Instant::now();
    let target = agent.mount(store, "first", &[("path", "/ours")]).await;
    let mount = begun.elapsed().as_secs_f64();
    let (write, small) = blocking({
        let target = target.clone();
        move || (write_big(&target), small_files(&target))
    })
    .await;
    agent.unpublish(&target).await.expect("unmounted");
    let again = agent.mount(store, "second", &[("path", "/ours")]).await;
    let read = blocking(move || read_big(&again)).await;
    let status = fs::read_to_string(format!("/proc/{}/status", agent.process())).expect("its status");
    for line in status.lines().filter(|line| line.starts_with("VmHWM") || line.starts_with("VmRSS")) {
        println!("csi-node {line}");
    }
    Figures { mount, write, read, small }
}

/// Mounts the bucket with s3fs and answers how long that took.
async fn s3fs(store: &Store, directory: &Path, target: &Path) -> f64 {
    use std::os::unix::fs::PermissionsExt as _;
    let password = directory.join("passwd");
    fs::write(&password, format!("{KEY_ID}:{KEY_SECRET}")).expect("written");
    fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).expect("protected");
    fs::create_dir_all(target).expect("made");
    let begun = Instant::now();
    let status = Command::new("s3fs")
        .arg(format!("{BUCKET}:/theirs"))
        .arg(target)
        .args(["-o", &format!("passwd_file={}", password.display()), "-o", &format!("url={}", store.url)])
        .args(["-o", "use_path_request_style"])
        .status()
        .expect("s3fs is installed");
    assert!(status.success());
    let mounted = async {
        while mount_line(target).is_none() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(LIMIT, mounted).await.expect("mounted in time");
    begun.elapsed().as_secs_f64()
}

fn unmount(target: &PathBuf) {
    assert!(Command::new("umount").arg(target).status().expect("umount").success());
}

async fn theirs(store: &Store) -> Figures {
    let directory = tempfile::tempdir().expect("a directory");
    let first = directory.path().join("first");
    store.put("theirs/", "").await;
    let mount = s3fs(store, directory.path(), &first).await;
    let (write, small) = blocking({
        let first = first.clone();
        move || (write_big(&first), small_files(&first))
    })
    .await;
    unmount(&first);
    let second = directory.path().join("second");
    s3fs(store, directory.path(), &second).await;
    let read = blocking({
        let second = second.clone();
        move || read_big(&second)
    })
    .await;
    unmount(&second);
    Figures { mount, write, read, small }
}

#[test]
#[ignore = "takes long, and needs s3fs; figures only mean something in a release build"]
fn figures_beside_s3fs() {
    in_namespaces("figures_beside_s3fs", || async {
        let store = Store::start().await;
        let ours = ours(&store).await;
        println!("ours   {ours:.3?}");
        if Command::new("s3fs").arg("--version").output().is_err() {
            println!("s3fs is not installed: no comparison");
            return;
        }
        let theirs = theirs(&store).await;
        println!("theirs {theirs:.3?}");
        println!(
            "times faster: mount {:.2}, write {:.2}, read {:.2}, small files {:.2}",
            theirs.mount / ours.mount,
            theirs.write / ours.write,
            theirs.read / ours.read,
            theirs.small / ours.small
        );
    });
}
