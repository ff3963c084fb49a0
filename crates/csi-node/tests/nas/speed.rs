//! Figures beside `nfs-cp` of libnfs on the same server, by hand:
//! `cargo test --release -p csi-node --test nas speed -- --ignored --nocapture`.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::common::{blocking, in_namespaces};
use crate::support::{EXPORT, Nas, PRODUCT_OPTIONS, mount};

const BIG: usize = 256 << 20;
const SMALL_FILES: usize = 200;

fn timed(work: impl FnOnce()) -> f64 {
    let begun = Instant::now();
    work();
    begun.elapsed().as_secs_f64()
}

fn block() -> Vec<u8> {
    (0..1u32 << 20).map(|at| u8::try_from(at * 7 % 251).expect("a byte")).collect()
}

fn write_big(path: &Path) -> f64 {
    let block = block();
    timed(|| {
        let mut file = File::create(path).expect("created");
        for _ in 0..BIG / block.len() {
            file.write_all(&block).expect("written");
        }
        file.sync_all().expect("synced");
    })
}

fn read_big(path: &Path) -> f64 {
    let mut block = vec![0; 1 << 20];
    timed(|| {
        let mut file = File::open(path).expect("opened");
        let mut total = 0;
        loop {
            match file.read(&mut block).expect("read") {
                0 => break,
                count => total += count,
            }
        }
        assert_eq!(total, BIG);
    })
}

fn small_files(folder: &Path) -> f64 {
    fs::create_dir(folder).expect("made");
    timed(|| {
        for number in 0..SMALL_FILES {
            fs::write(folder.join(format!("{number}")), format!("content of {number}")).expect("written");
        }
        for number in 0..SMALL_FILES {
            let text = fs::read_to_string(folder.join(format!("{number}"))).expect("read");
            assert_eq!(text, format!("content of {number}"));
        }
    })
}

/// Copies with `nfs-cp`, which takes local paths and URLs.
fn copy(from: &str, to: &str) {
    let output = Command::new("nfs-cp").args([from, to]).stdout(Stdio::null()).output().expect("nfs-cp");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn theirs(port: u16, local: &Path, round: usize) -> (f64, f64, f64) {
    let url = |name: &str| format!("nfs://127.0.0.1{EXPORT}/{name}-{round}?nfsport={port}&mountport={port}");
    let big = local.join("big");
    write_big(&big);
    let path = |name: &str| local.join(name).to_str().expect("text").to_owned();
    let write = timed(|| copy(&path("big"), &url("theirs")));
    let read = timed(|| copy(&url("theirs"), &path("back")));
    fs::write(local.join("small"), "content of 123").expect("written");
    let small = timed(|| {
        for number in 0..SMALL_FILES {
            copy(&path("small"), &url(&format!("small-{number}")));
        }
        for number in 0..SMALL_FILES {
            copy(&url(&format!("small-{number}")), &path(&format!("back-{number}")));
        }
    });
    (write, read, small)
}

#[test]
#[ignore = "takes long, and needs libnfs-utils; figures only mean something in a release build"]
fn figures_beside_nfs_cp() {
    in_namespaces("speed::figures_beside_nfs_cp", || async {
        let nas = Nas::start().await;
        let agent = nas.agent().await;
        for round in 0..3 {
            let name = format!("ours-{round}");
            let begun = Instant::now();
            let first = mount(&agent, &name, &PRODUCT_OPTIONS).await;
            let mounting = begun.elapsed().as_secs_f64();
            let (write, small) = blocking({
                let (first, name) = (first.clone(), name.clone());
                move || (write_big(&first.join(&name)), small_files(&first.join(format!("folder-{name}"))))
            })
            .await;
            agent.unpublish(&first).await.expect("unmounted");
            let second = mount(&agent, &name, &PRODUCT_OPTIONS).await;
            let read = blocking(move || read_big(&second.join(name))).await;
            println!("ours   mount {mounting:.3}, write {write:.3}, read {read:.3}, small {small:.3}");
            if Command::new("nfs-cp").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
                println!("nfs-cp is not installed: no comparison");
                continue;
            }
            let local = tempfile::tempdir().expect("a directory");
            let port = nas.port;
            let theirs = blocking(move || theirs(port, local.path(), round)).await;
            println!("theirs write {:.3}, read {:.3}, small {:.3}", theirs.0, theirs.1, theirs.2);
            println!(
                "times as fast: write {:.2}, read {:.2}, small files {:.2}",
                theirs.0 / write,
                theirs.1 / read,
                theirs.2 / small
            );
        }
        let status = fs::read_to_string(format!("/proc/{}/status", agent.process())).expect("its status");
        for line in status.lines().filter(|line| line.starts_with("VmHWM") || line.starts_with("VmRSS")) {
            println!("csi-node {line}");
        }
    });
}
