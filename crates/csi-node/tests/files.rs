//! What users do with a mounted bucket, as seen from its other side.
#![allow(clippy::expect_used, clippy::panic, reason = "test code: a failed expectation ends the test")]

mod common;

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use common::{Agent, BUCKET, LIMIT, Store, blocking, in_namespaces};
use lab::OssFault;

const MIB: usize = 1 << 20;

fn pattern(length: usize, seed: u8) -> Vec<u8> {
    let block: Vec<u8> = (0..251u8).map(|at| at.wrapping_mul(37).wrapping_add(seed)).collect();
    block.iter().copied().cycle().take(length).collect()
}

fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(path)
        .expect("opened")
        .map(|entry| entry.expect("listed").file_name().into_string().expect("text"))
        .collect();
    names.sort();
    names
}

fn fault(operation: &str) -> OssFault {
    OssFault { operation: Some(operation.to_owned()), ..OssFault::default() }
}

/// What the agent's process holds, in kB; `figure` names a line of its status.
fn memory(agent: &Agent, figure: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", agent.process())).expect("its status");
    let line = status.lines().find_map(|line| line.strip_prefix(figure)?.trim().strip_suffix(" kB"));
    line.and_then(|kilobytes| kilobytes.parse().ok()).expect("a figure")
}

#[test]
fn a_large_file_goes_out_in_parts_and_comes_back_whole() {
    in_namespaces("a_large_file_goes_out_in_parts_and_comes_back_whole", || async {
        let store = Store::start().await;
        let agent = Agent::start().await;
        let first = agent.mount(&store, "first", &[]).await;
        let second = agent.mount(&store, "second", &[]).await;
        let data = pattern(50 * MIB + 12_345, 1);
        let written = data.clone();
        blocking(move || {
            let mut file = File::create(first.join("large")).expect("created");
            for chunk in written.chunks(300_001) {
                file.write_all(chunk).expect("written");
            }
        })
        .await;
        assert!(store.get("large").await == data, "the object is what was written");
        let etag = store.sim.list_objects(BUCKET, "large").expect("listed")[0].etag.clone();
        assert!(etag.ends_with("-7"), "seven parts of 8 MiB: {etag}");
        let expected = data.clone();
        blocking(move || {
            let mut read = Vec::new();
            File::open(second.join("large")).and_then(|mut file| file.read_to_end(&mut read)).expect("read");
            assert!(read == expected, "what is read is what was written");
            let file = File::open(second.join("large")).expect("opened");
            let mut some = [0; 1000];
            for at in [49_999_000_u64, 5, 33_554_430, 20_000_000, 20_001_000, 0] {
                file.read_exact_at(&mut some, at).expect("read");
                let from = usize::try_from(at).expect("small");
                assert_eq!(some[..], expected[from..from + 1000]);
            }
        })
        .await;
        let peak = memory(&agent, "VmHWM:");
        assert!(peak < 150_000, "memory stays bounded: {peak} kB");
        let given_back = async {
            while memory(&agent, "RssAnon:") > 48_000 {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        };
        let in_time = tokio::time::timeout(LIMIT, given_back).await;
        assert!(in_time.is_ok(), "buffers are given back: {} kB are left", memory(&agent, "RssAnon:"));
    });
}

#[test]
fn an_append_to_a_large_file_copies_the_rest_on_the_server() {
    in_namespaces("an_append_to_a_large_file_copies_the_rest_on_the_server", || async {
        let store = Store::start().await;
        let mut data = pattern(40 * MIB, 2);
        store.put("log", data.clone()).await;
        let agent = Agent::start().await;
        let target = agent.mount(&store, "t", &[]).await;
        // Reading the object back to write it again would not get past this.
        let reads =
            store.sim.inject(OssFault { error: Some("500 InternalError".into()), ..fault("GetObject") });
        let reads = reads.expect("a fault");
        let root = target.clone();
        blocking(move || {
            let mut file = OpenOptions::new().append(true).open(root.join("log")).expect("opened");
            file.write_all(b"one more line\n").expect("written");
        })
        .await;
        store.sim.heal(reads).expect("healed");
        data.extend_from_slice(b"one more line\n");
        assert!(store.get("log").await == data);
        blocking(move || {
            let file = OpenOptions::new().write(true).open(target.join("log")).expect("opened");
            file.write_all_at(b"XYZ", 17_000_000).expect("written");
            file.set_len(39_000_000).expect("cut");
        })
        .await;
        data.truncate(39_000_000);
        data[17_000_000..17_000_003].copy_from_slice(b"XYZ");
        assert!(store.get("log").await == data);
    });
}

#[test]
fn ten_thousand_names_are_listed_once_each() {
    in_namespaces("ten_thousand_names_are_listed_once_each", || async {
        let store = Store::start().await;
        for number in 0..10_000 {
            store.put(&format!("many/{number:05} ü"), "").await;
        }
        store.put("many/sub/x", "").await;
        let agent = Agent::start().await;
        let target = agent.mount(&store, "t", &[]).await;
        blocking(move || {
            let found = names(&target.join("many"));
            assert_eq!(found.len(), 10_001);
            assert_eq!(found[0], "00000 ü");
            assert_eq!(found[9_999], "09999 ü");
            assert_eq!(found[10_000], "sub");
            assert!(fs::metadata(target.join("many/sub")).expect("looked at").is_dir());
        })
        .await;
    });
}

#[test]
fn changes_from_outside_are_seen_by_the_next_open() {
    in_namespaces("changes_from_outside_are_seen_by_the_next_open", || async {
        let store = Store::start().await;
        store.put("f", "one").await;
        let agent = Agent::start().await;
        let target = agent.mount(&store, "t", &[]).await;
        for text in ["one", "the second", "3", ""] {
            store.put("f", text).await;
            // What is known of a name is believed for up to a second; an open asks again.
            let path = target.join("f");
            let read = async {
                loop {
                    let path = path.clone();
                    let found = blocking(move || fs::read_to_string(path).expect("read")).await;
                    if found == text {
                        return;
                    }
                    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                }
            };
            tokio::time::timeout(std::time::Duration::from_secs(5), read).await.expect("seen in time");
        }
        store.put("new", "appears").await;
        let path = target.join("new");
        assert_eq!(blocking(move || fs::read_to_string(path).expect("read")).await, "appears");
        store.sim.delete_object(BUCKET, "new").expect("deleted");
        let path = target.join("new");
        let gone = async {
            while path.exists() {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(LIMIT, gone).await.expect("gone in time");
    });
}

#[test]
fn a_renamed_directory_takes_everything_along() {
    in_namespaces("a_renamed_directory_takes_everything_along", || async {
        let store = Store::start().await;
        for number in 0..40 {
            store.put(&format!("old/{number}"), format!("{number}")).await;
        }
        store.put("old/deep/er/x", "deep").await;
        let agent = Agent::start().await;
        let target = agent.mount(&store, "t", &[]).await;
        blocking(move || {
            let held = File::open(target.join("old/7")).expect("opened");
            let mut writing = File::create(target.join("old/new")).expect("created");
            writing.write_all(b"before").expect("written");
            fs::rename(target.join("old"), target.join("moved")).expect("renamed");
            writing.write_all(b", after").expect("written");
            drop(writing);
            let mut text = String::new();
            (&held).read_to_string(&mut text).expect("read");
            assert_eq!(text, "7");
            assert!(!target.join("old").exists());
            assert_eq!(fs::read(target.join("moved/deep/er/x")).expect("read"), b"deep");
            assert_eq!(names(&target.join("moved")).len(), 42);
        })
        .await;
        assert_eq!(store.get("moved/new").await, b"before, after");
        assert_eq!(store.get("moved/39").await, b"39");
        assert!(store.keys().iter().all(|key| key.starts_with("moved/")), "{:?}", store.keys());
    });
}

#[test]
fn who_has_a_removed_file_open_keeps_it() {
    in_namespaces("who_has_a_removed_file_open_keeps_it", || async {
        let store = Store::start().await;
        let data = pattern(12 * MIB, 3);
        store.put("f", data.clone()).await;
        let agent = Agent::start().await;
        let target = agent.mount(&store, "t", &[]).await;
        let keys = store.sim.clone();
        blocking(move || {
            let mut file = OpenOptions::new().read(true).write(true).open(target.join("f")).expect("opened");
            fs::remove_file(target.join("f")).expect("removed");
            assert_eq!(keys.list_objects(BUCKET, "").expect("listed"), []);
            let mut read = Vec::new();
            file.read_to_end(&mut read).expect("read");
            assert!(read == data);
            file.seek(SeekFrom::Start(5)).expect("moved");
            file.write_all(b"still mine").expect("written");
            file.sync_all().expect("nothing to save");
            let mut some = [0; 10];
            file.read_exact_at(&mut some, 5).expect("read");
            assert_eq!(&some, b"still mine");
        })
        .await;
        assert_eq!(store.keys(), Vec::<String>::new());
    });
}

#[test]
fn a_sparse_gibibyte_is_written_at_its_end() {
    in_namespaces("a_sparse_gibibyte_is_written_at_its_end", || async {
        let store = Store::start().await;
        let agent = Agent::start().await;
        let target = agent.mount(&store, "t", &[("otherOpts", "-o multipart_size=64")]).await;
        blocking(move || {
            let file = File::create(target.join("sparse")).expect("created");
            file.write_all_at(b"end", (1 << 28) - 3).expect("written");
            drop(file);
            let file = File::open(target.join("sparse")).expect("opened");
            let mut some = [1; 6];
            file.read_exact_at(&mut some, (1 << 28) - 6).expect("read");
            assert_eq!(&some, b"\0\0\0end");
            file.read_exact_at(&mut some, 1 << 20).expect("read");
            assert_eq!(some, [0; 6]);
        })
        .await;
        assert_eq!(store.sim.list_objects(BUCKET, "sparse").expect("listed")[0].size, 1 << 28);
    });
}

#[test]
fn passing_faults_of_the_store_are_ridden_out() {
    in_namespaces("passing_faults_of_the_store_are_ridden_out", || async {
        let store = Store::start().await;
        store.put("f", pattern(3 * MIB, 4)).await;
        let agent = Agent::start().await;
        let target = agent.mount(&store, "t", &[]).await;
        for operation in ["HeadObject", "GetObject", "PutObject", "ListObjectsV2"] {
            let struck = OssFault { error: Some("503 SlowDown".into()), times: Some(2), ..fault(operation) };
            store.sim.inject(struck).expect("a fault");
        }
        let root = target.clone();
        blocking(move || {
            assert!(fs::read(root.join("f")).expect("read") == pattern(3 * MIB, 4));
            fs::write(root.join("g"), "saved").expect("written");
        })
        .await;
        assert_eq!(store.get("g").await, b"saved");
        // A store that stays broken is an input/output error, and the mount lives on.
        let broken = OssFault { error: Some("500 InternalError".into()), ..fault("PutObject") };
        let broken = store.sim.inject(broken).expect("a fault");
        let root = target.clone();
        let error = blocking(move || {
            let mut file = File::create(root.join("h")).expect("created");
            file.write_all(b"x").expect("kept in memory");
            file.sync_all().expect_err("refused")
        })
        .await;
        assert_eq!(error.raw_os_error(), Some(libc::EIO));
        store.sim.heal(broken).expect("healed");
        blocking(move || fs::write(target.join("h"), "later").expect("written")).await;
        assert_eq!(store.get("h").await, b"later");
    });
}

#[test]
fn the_last_of_two_mounts_to_close_wins() {
    in_namespaces("the_last_of_two_mounts_to_close_wins", || async {
        let store = Store::start().await;
        let agent = Agent::start().await;
        let one = agent.mount(&store, "one", &[]).await;
        let two = agent.mount(&store, "two", &[]).await;
        blocking(move || {
            let mut first = File::create(one.join("f")).expect("created");
            let mut second = File::create(two.join("f")).expect("created");
            first.write_all(b"first").expect("written");
            second.write_all(b"second").expect("written");
            drop(second);
            drop(first);
        })
        .await;
        assert_eq!(store.get("f").await, b"first");
    });
}

#[test]
fn looking_at_every_name_of_a_listing_asks_ahead() {
    in_namespaces("looking_at_every_name_of_a_listing_asks_ahead", || async {
        let store = Store::start().await;
        for number in 0..100 {
            store.put(&format!("many/{number:03}"), vec![b'x'; number]).await;
        }
        let agent = Agent::start().await;
        let target = agent.mount(&store, "t", &[]).await;
        let slow = OssFault { delay_milliseconds: Some(200), ..fault("HeadObject") };
        store.sim.inject(slow).expect("a fault");
        let begun = std::time::Instant::now();
        let folder = target.join("many");
        blocking(move || {
            for (number, name) in names(&folder).into_iter().enumerate() {
                let found = fs::symlink_metadata(folder.join(name)).expect("looked at");
                assert_eq!(found.len(), number as u64);
            }
            // What changed here is never answered from what was asked before.
            fs::write(folder.join("050"), "changed").expect("written");
            assert_eq!(fs::metadata(folder.join("050")).expect("looked at").len(), 7);
        })
        .await;
        // One after the other would take twenty seconds.
        assert!(begun.elapsed() < std::time::Duration::from_secs(10), "took {:?}", begun.elapsed());
    });
}

#[test]
fn a_small_file_takes_two_requests_to_write_and_one_to_read() {
    in_namespaces("a_small_file_takes_two_requests_to_write_and_one_to_read", || async {
        let store = Store::start().await;
        let agent = Agent::start().await;
        let folder = agent.mount(&store, "t", &[]).await.join("new");
        // What was asked about this one file; the directory may be asked about again in between.
        let asked = |name: &str| -> Vec<String> {
            let about = store.journal.entries().into_iter().filter(|entry| entry.subject.ends_with(name));
            about.map(|entry| entry.kind.clone()).collect()
        };
        // Where one name was missing the next may be as well: a listing then tells that at once, and not HeadObject.
        let first = folder.clone();
        blocking(move || {
            fs::create_dir(&first).expect("made");
            fs::write(first.join("first"), "one").expect("written");
        })
        .await;
        let second = folder.join("second");
        blocking(move || {
            fs::write(&second, "two").expect("written");
            assert_eq!(fs::read(&second).expect("read"), b"two");
        })
        .await;
        assert_eq!(asked("/new/second"), ["PutObject", "GetObject"]);
    });
}
