//! Publications that fail, that repeat, that meet a dead mount; and what must never show.
#![allow(clippy::expect_used, clippy::panic, reason = "test code: a failed expectation ends the test")]

mod common;
#[path = "publishing/s3fs.rs"]
mod s3fs;

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

use common::{
    Agent, BUCKET, KEY_ID, KEY_SECRET, LIMIT, Store, blocking, in_namespaces, mount_line, request,
    with_mounter,
};
use csi_api::volume_capability::access_mode::Mode;
use nix::sys::signal::Signal;
use oss_sim::Access;
use rstest::rstest;
use tokio::net::TcpListener;
use tonic::Code;

/// Changes one thing of a good request.
type Change = fn(&mut csi_api::NodePublishVolumeRequest);

fn attribute(request: &mut csi_api::NodePublishVolumeRequest, name: &str, value: &str) {
    request.volume_context.insert(name.into(), value.into());
}

#[rstest]
#[case::built_in("built-in")]
#[case::s3fs("s3fs")]
fn refused_publications_say_why_and_leave_nothing(#[case] mounter: &'static str) {
    with_mounter("refused_publications_say_why_and_leave_nothing", mounter, |agent| async move {
        let store = Store::start().await;
        store.sim.add_key("AKID-denied", "AKSECRET-denied", Access::Denied);
        let cases: Vec<(&str, Change, Code, &str)> = vec![
            ("id", |it| it.volume_id.clear(), Code::InvalidArgument, "volume_id"),
            ("target", |it| it.target_path.clear(), Code::InvalidArgument, "target_path"),
            ("relative", |it| it.target_path = "a/b".into(), Code::InvalidArgument, "absolute"),
            ("capability", |it| it.volume_capability = None, Code::InvalidArgument, "volume_capability"),
            (
                "no-key",
                |it| it.secrets.clear(),
                Code::InvalidArgument,
                "missing access key in node publish secret",
            ),
            (
                "blank-key",
                |it| _ = it.secrets.insert("akSecret".into(), " ".into()),
                Code::InvalidArgument,
                "OSS authorization error",
            ),
            ("no-url", |it| attribute(it, "url", ""), Code::InvalidArgument, "Url/Bucket empty"),
            (
                "domain",
                |it| attribute(it, "url", "http://demo-bucket.oss.example"),
                Code::InvalidArgument,
                "is a bucket domain name",
            ),
            ("path", |it| attribute(it, "path", "x"), Code::InvalidArgument, "should start with /"),
            (
                "options",
                |it| attribute(it, "otherOpts", "umask=022"),
                Code::InvalidArgument,
                "invalid otherOpts",
            ),
            ("fuse", |it| attribute(it, "fuseType", "ossfs2"), Code::InvalidArgument, "Unsupported fuseType"),
            ("attribute-key", |it| attribute(it, "akId", KEY_ID), Code::InvalidArgument, "akId is refused"),
            (
                "unknown-option",
                |it| attribute(it, "otherOpts", "-o frobnicate=1"),
                Code::Internal,
                "unknown option",
            ),
            (
                "secret",
                |it| _ = it.secrets.insert("akSecret".into(), "AKSECRET-wrong".into()),
                Code::Internal,
                "Invalid Credentials",
            ),
            (
                "unknown-id",
                |it| _ = it.secrets.insert("akId".into(), "AKID-unknown".into()),
                Code::Internal,
                "Invalid Credentials",
            ),
            (
                "denied",
                |it| {
                    it.secrets.insert("akId".into(), "AKID-denied".into());
                    it.secrets.insert("akSecret".into(), "AKSECRET-denied".into());
                },
                Code::Internal,
                "Invalid Credentials",
            ),
            ("bucket", |it| attribute(it, "bucket", "no-such-bucket"), Code::Internal, "Bucket not found"),
        ];
        for (name, change, code, phrase) in cases {
            let target = agent.target(name);
            let mut wrong = request(&store, &target, &[]);
            change(&mut wrong);
            let status = agent.publish(wrong).await.expect_err(name);
            assert_eq!(status.code(), code, "{name}: {status}");
            assert!(status.message().contains(phrase), "{name}: {status}");
            assert!(!status.message().contains("AK"), "{name} shows a key: {status}");
            assert_eq!(mount_line(&target), None, "{name}");
        }
        for text in [agent.stdout(), agent.stderr()] {
            assert!(!text.contains("AKID") && !text.contains("AKSECRET"), "{text}");
        }
        assert!(agent.stdout().contains("\"code\":\"InvalidArgument\""), "{}", agent.stdout());
    });
}

#[test]
fn an_endpoint_that_is_not_there_is_given_up_in_time() {
    in_namespaces("an_endpoint_that_is_not_there_is_given_up_in_time", || async {
        let store = Store::start().await;
        let agent = Agent::start_with(&["--mount-limit", "7"]).await;
        let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let silent_url = format!("http://{}", silent.local_addr().expect("an address"));
        let free = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let refused_url = format!("http://{}", free.local_addr().expect("an address"));
        drop(free);
        let cases = [
            ("refused", refused_url.as_str(), Code::DeadlineExceeded, "refuses connections"),
            ("unresolved", "http://no-such-host.invalid:80", Code::DeadlineExceeded, "can't be resolved"),
            // TCP to a broadcast address fails like a connection that a policy forbids: at once, and for good.
            ("unroutable", "http://255.255.255.255:80", Code::DeadlineExceeded, "may be forbidden"),
            ("silent", silent_url.as_str(), Code::DeadlineExceeded, "deadline exceeded"),
        ];
        let publications = cases.map(|(name, url, code, phrase)| {
            let (agent, store) = (&agent, &store);
            async move {
                let target = agent.target(name);
                let begun = Instant::now();
                let status = agent.publish(request(store, &target, &[("url", url)])).await.expect_err(name);
                let took = begun.elapsed();
                assert_eq!(status.code(), code, "{name}: {status}");
                assert!(status.message().contains(phrase), "{name}: {status}");
                // Nobody's start heals a network that carries nothing.
                let limit = if name == "unroutable" { 4 } else { 9 };
                assert!(took < Duration::from_secs(limit), "{name} took {took:?}");
                assert_eq!(mount_line(&target), None);
            }
        });
        futures::future::join_all(publications).await;
    });
}

#[rstest]
#[case::built_in("built-in")]
#[case::s3fs("s3fs")]
fn a_repeated_publication_is_compared_with_the_first(#[case] mounter: &'static str) {
    with_mounter("a_repeated_publication_is_compared_with_the_first", mounter, |agent| async move {
        let store = Store::start().await;
        let target = agent.mount(&store, "t", &[("path", "/a")]).await;
        agent.publish(request(&store, &target, &[("path", "/a")])).await.expect("the same is fine");
        // A live mount hides attribute errors.
        agent
            .publish(request(&store, &target, &[("path", "/a"), ("otherOpts", "nonsense")]))
            .await
            .expect("hidden");
        for other in [("path", "/b"), ("bucket", "other"), ("url", "http://h.example")] {
            let status =
                agent.publish(request(&store, &target, &[("path", "/a"), other])).await.expect_err("refused");
            assert_eq!(status.code(), Code::AlreadyExists, "{other:?}: {status}");
        }
        let mut read_only = request(&store, &target, &[("path", "/a")]);
        read_only.readonly = true;
        assert_eq!(agent.publish(read_only).await.expect_err("refused").code(), Code::AlreadyExists);
        // Three at once for one place: one mount.
        let again = agent.target("again");
        let publications = (0..3).map(|number| {
            let mut wanted = request(&store, &again, &[]);
            wanted.volume_id = format!("pv-{number}");
            agent.publish(wanted)
        });
        for outcome in futures::future::join_all(publications).await {
            outcome.expect("published");
        }
        let table = fs::read_to_string("/proc/self/mounts").expect("the mount table");
        assert_eq!(table.lines().filter(|line| line.contains("/oss/again ")).count(), 1);
        agent.unpublish(&again).await.expect("unmounted");
        agent.unpublish(&target).await.expect("unmounted");
        assert_eq!(mount_line(&target), None);
    });
}

#[test]
fn a_dead_mount_is_replaced() {
    in_namespaces("a_dead_mount_is_replaced", || async {
        let store = Store::start().await;
        store.put("a.txt", "alive").await;
        let mut agent = Agent::start().await;
        let target = agent.mount(&store, "t", &[]).await;
        agent.signal(Signal::SIGKILL);
        agent.ended().await;
        let dead = target.clone();
        let error = blocking(move || fs::read(dead.join("a.txt")).expect_err("nobody answers")).await;
        assert_eq!(error.raw_os_error(), Some(libc::ENOTCONN));
        let second = Agent::start().await;
        second.publish(request(&store, &target, &[])).await.expect("mounted afresh");
        let alive = target.clone();
        assert_eq!(blocking(move || fs::read(alive.join("a.txt")).expect("read")).await, b"alive");
        let table = fs::read_to_string("/proc/self/mounts").expect("the mount table");
        assert_eq!(table.lines().filter(|line| line.contains("fuse.ossfs")).count(), 1, "{table}");
        second.unpublish(&target).await.expect("unmounted");
    });
}

#[rstest]
#[case::built_in("built-in")]
#[case::s3fs("s3fs")]
fn a_read_only_volume_is_read_only_for_everybody(#[case] mounter: &'static str) {
    with_mounter("a_read_only_volume_is_read_only_for_everybody", mounter, |agent| async move {
        let store = Store::start().await;
        store.put("a.txt", "kept").await;
        let ways: [(&str, Change); 3] = [
            ("flag", |it| it.readonly = true),
            ("mode", |it| {
                let capability = it.volume_capability.as_mut().expect("given");
                capability.access_mode.as_mut().expect("given").mode = Mode::SingleNodeReaderOnly.into();
            }),
            ("option", |it| attribute(it, "otherOpts", "-o ro")),
        ];
        for (name, change) in ways {
            let target = agent.target(name);
            let mut wanted = request(&store, &target, &[]);
            change(&mut wanted);
            agent.publish(wanted).await.expect("mounted");
            blocking(move || {
                assert_eq!(fs::read(target.join("a.txt")).expect("read"), b"kept");
                for error in [
                    fs::write(target.join("a.txt"), "x").expect_err("refused"),
                    fs::write(target.join("new"), "x").expect_err("refused"),
                    fs::create_dir(target.join("d")).expect_err("refused"),
                    fs::remove_file(target.join("a.txt")).expect_err("refused"),
                    fs::rename(target.join("a.txt"), target.join("b.txt")).expect_err("refused"),
                ] {
                    assert_eq!(error.raw_os_error(), Some(libc::EROFS), "{name}");
                }
            })
            .await;
        }
        assert_eq!(store.keys(), ["a.txt"]);
    });
}

#[test]
fn what_may_not_be_written_fails_at_close_and_what_does_not_fit_too() {
    in_namespaces("what_may_not_be_written_fails_at_close_and_what_does_not_fit_too", || async {
        let store = Store::start().await;
        store.put("a.txt", "kept").await;
        store.sim.add_key("AKID-reader", "AKSECRET-reader", Access::ReadOnly);
        let agent = Agent::start().await;
        let target = agent.target("t");
        let mut reader = request(&store, &target, &[]);
        reader.secrets.insert("akId".into(), "AKID-reader".into());
        reader.secrets.insert("akSecret".into(), "AKSECRET-reader".into());
        agent.publish(reader).await.expect("a reader may mount");
        let root = target.clone();
        let errors = blocking(move || {
            let mut file = File::create(root.join("new")).expect("created");
            file.write_all(b"x").expect("kept in memory");
            let synced = file.sync_all().expect_err("refused");
            let made = fs::create_dir(root.join("d")).expect_err("refused");
            let removed = fs::remove_file(root.join("a.txt")).expect_err("refused");
            drop(file);
            assert_eq!(fs::read(root.join("a.txt")).expect("read"), b"kept");
            assert!(!root.join("new").exists(), "what could not be saved is gone");
            [synced, made, removed]
        })
        .await;
        for error in errors {
            assert_eq!(error.raw_os_error(), Some(libc::EPERM), "{error}");
        }
        let writable = agent.mount(&store, "w", &[]).await;
        store.sim.set_capacity(Some(100_000));
        let error = blocking(move || {
            let mut file = File::create(writable.join("large")).expect("created");
            file.write_all(&vec![7; 200_000]).expect("kept in memory");
            file.sync_all().expect_err("full")
        })
        .await;
        assert_eq!(error.raw_os_error(), Some(libc::ENOSPC), "{error}");
        assert_eq!(store.keys(), ["a.txt"]);
    });
}

#[rstest]
#[case::built_in("built-in")]
#[case::s3fs("s3fs")]
fn a_missing_prefix_mounts_and_appears_with_the_first_file(#[case] mounter: &'static str) {
    with_mounter("a_missing_prefix_mounts_and_appears_with_the_first_file", mounter, |agent| async move {
        let store = Store::start().await;
        let target = agent.mount(&store, "t", &[("path", "/not/there")]).await;
        assert_eq!(store.keys(), Vec::<String>::new(), "a mount makes nothing");
        let root = target.clone();
        blocking(move || {
            assert_eq!(fs::read_dir(&root).expect("opened").count(), 0);
            fs::write(root.join("f"), "x").expect("written");
        })
        .await;
        assert_eq!(store.keys(), ["not/there/f"]);
    });
}

#[rstest]
#[case::built_in("built-in")]
#[case::s3fs("s3fs")]
fn modes_and_owners_follow_the_options(#[case] mounter: &'static str) {
    with_mounter("modes_and_owners_follow_the_options", mounter, |agent| async move {
        let store = Store::start().await;
        store.put("plain.txt", "x").await;
        store.put("folder/inner.txt", "x").await;
        let look = |target: &Path| {
            let target = target.to_owned();
            blocking(move || {
                ["", "plain.txt", "folder"].map(|name| {
                    let found = fs::metadata(target.join(name)).expect("looked at");
                    (found.permissions().mode() & 0o7777, found.uid(), found.gid())
                })
            })
        };
        let plain = agent.mount(&store, "plain", &[]).await;
        assert_eq!(look(&plain).await, [(0o777, 0, 0), (0o640, 0, 0), (0o750, 0, 0)]);
        let umask = agent.mount(&store, "umask", &[("otherOpts", "-o umask=022 -o allow_other")]).await;
        assert_eq!(look(&umask).await, [(0o755, 0, 0), (0o755, 0, 0), (0o755, 0, 0)]);
        let owned =
            agent.mount(&store, "owned", &[("otherOpts", "-o uid=1000,gid=1001 -o mp_umask=027")]).await;
        assert_eq!(look(&owned).await, [(0o750, 1000, 1001), (0o640, 1000, 1001), (0o750, 1000, 1001)]);
    });
}

#[test]
fn attributes_are_kept_with_the_object() {
    in_namespaces("attributes_are_kept_with_the_object", || async {
        let store = Store::start().await;
        store.put("f", "content").await;
        let agent = Agent::start().await;
        let first = agent.mount(&store, "first", &[]).await;
        let root = first.clone();
        let time = std::time::SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000, 5);
        blocking(move || {
            fs::set_permissions(root.join("f"), fs::Permissions::from_mode(0o604)).expect("set");
            std::os::unix::fs::chown(root.join("f"), Some(7), Some(8)).expect("set");
            OpenOptions::new().write(true).open(root.join("f")).and_then(|file| file.set_modified(time)).expect("set");
            fs::create_dir(root.join("d")).expect("made");
            fs::set_permissions(root.join("d"), fs::Permissions::from_mode(0o700)).expect("set");
            std::os::unix::fs::symlink("f", root.join("l")).expect("linked");
            let name = std::ffi::CString::new("user.x").expect("text");
            let path = std::ffi::CString::new(root.join("f").to_str().expect("text")).expect("text");
            let output = std::process::Command::new("python3")
                .args(["-c", "import os,sys\ntry: os.setxattr(sys.argv[1], sys.argv[2], b'v')\nexcept OSError as e: print(e.errno)"])
                .args([path.to_str().expect("text"), name.to_str().expect("text")])
                .output()
                .expect("python3");
            assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), libc::EOPNOTSUPP.to_string());
        })
        .await;
        // Another mount knows nothing but what the bucket holds.
        let second = agent.mount(&store, "second", &[]).await;
        blocking(move || {
            let found = fs::metadata(second.join("f")).expect("looked at");
            assert_eq!((found.mode() & 0o7777, found.uid(), found.gid()), (0o604, 7, 8));
            assert_eq!(found.modified().expect("a time"), time);
            assert_eq!(fs::read(second.join("f")).expect("read"), b"content");
            assert_eq!(fs::metadata(second.join("d")).expect("looked at").mode() & 0o7777, 0o700);
            assert_eq!(fs::read_link(second.join("l")).expect("a link"), Path::new("f"));
            assert_eq!(fs::read(second.join("l")).expect("followed"), b"content");
        })
        .await;
        assert_eq!(store.get("l").await, b"f");
    });
}

#[test]
fn sigterm_saves_and_unmounts() {
    in_namespaces("sigterm_saves_and_unmounts", || async {
        let store = Store::start().await;
        let mut agent = Agent::start().await;
        let target = agent.mount(&store, "t", &[]).await;
        let root = target.clone();
        // Held open, never closed: only the agent can save it.
        let file = blocking(move || {
            let mut file = File::create(root.join("f")).expect("created");
            file.write_all(b"unsaved").expect("written");
            file
        })
        .await;
        assert_eq!(store.keys(), Vec::<String>::new());
        agent.signal(Signal::SIGTERM);
        assert!(agent.ended().await.success(), "{}", agent.stderr());
        assert_eq!(store.get("f").await, b"unsaved");
        assert_eq!(mount_line(&target), None);
        drop(file);
    });
}

#[test]
fn no_secret_is_in_the_process_or_its_files() {
    in_namespaces("no_secret_is_in_the_process_or_its_files", || async {
        let store = Store::start().await;
        let agent = Agent::start().await;
        let target = agent.mount(&store, "t", &[]).await;
        let root = target.clone();
        blocking(move || fs::write(root.join("f"), "x").expect("written")).await;
        agent.unpublish(&target).await.expect("unmounted");
        let process = agent.process();
        let mut texts = vec![agent.stdout(), agent.stderr()];
        for name in ["cmdline", "environ", "mountinfo"] {
            let bytes = fs::read(format!("/proc/{process}/{name}")).expect("read");
            texts.push(String::from_utf8_lossy(&bytes).into_owned());
        }
        for text in texts {
            assert!(!text.contains(KEY_ID) && !text.contains(KEY_SECRET), "{text}");
        }
    });
}

#[test]
fn identity_and_node_tell_what_they_are() {
    in_namespaces("identity_and_node_tell_what_they_are", || async {
        let agent = Agent::start_with(&["--node-id", "node-1"]).await;
        let info = agent.identity().get_plugin_info(csi_api::GetPluginInfoRequest {}).await.expect("told");
        assert_eq!(info.into_inner().name, common::DRIVER);
        let mut node = agent.node();
        let info = node.node_get_info(csi_api::NodeGetInfoRequest {}).await.expect("told").into_inner();
        assert_eq!(info.node_id, "node-1");
        let capabilities =
            node.node_get_capabilities(csi_api::NodeGetCapabilitiesRequest {}).await.expect("told");
        assert_eq!(capabilities.into_inner().capabilities, []);
        let stage =
            node.node_stage_volume(csi_api::NodeStageVolumeRequest::default()).await.expect_err("none");
        assert_eq!(stage.code(), Code::Unimplemented);
        let unpublish = node.node_unpublish_volume(csi_api::NodeUnpublishVolumeRequest::default()).await;
        assert_eq!(unpublish.expect_err("refused").code(), Code::InvalidArgument);
    });
}

#[test]
fn a_busy_mount_is_taken_away_and_its_bucket_untouched() {
    in_namespaces("a_busy_mount_is_taken_away_and_its_bucket_untouched", || async {
        let store = Store::start().await;
        store.put("f", "kept").await;
        let agent = Agent::start().await;
        let target = agent.mount(&store, "t", &[]).await;
        let root = target.clone();
        let held = blocking(move || File::open(root.join("f")).expect("opened")).await;
        let begun = Instant::now();
        agent.unpublish(&target).await.expect("unmounted");
        assert!(begun.elapsed() < LIMIT / 2);
        assert_eq!(mount_line(&target), None);
        assert_eq!(store.get("f").await, b"kept");
        let threads = fs::read_dir(format!("/proc/{}/task", agent.process())).expect("its threads");
        let serving = threads
            .filter_map(|entry| fs::read_to_string(entry.ok()?.path().join("comm")).ok())
            .filter(|name| name.starts_with("fuser"))
            .count();
        assert_eq!(serving, 0, "the threads of the mount have ended");
        drop(held);
        assert!(!BUCKET.is_empty());
    });
}
