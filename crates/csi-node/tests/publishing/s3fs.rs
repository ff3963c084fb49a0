//! What is the matter of `s3fs` alone: its process, its key, its end.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tonic::Code;

use crate::common::{
    Agent, BUCKET, DRIVER, KEY_ID, KEY_SECRET, LIMIT, Store, blocking, in_namespaces, mount_line, request,
};

/// An agent that mounts with `s3fs`, as the environment tells it, and a folder for its scratch files.
struct Mounter {
    agent: Agent,
    scratch: TempDir,
}

impl Mounter {
    async fn start(more: &[&str]) -> Self {
        Self::start_in(&[], more).await
    }

    async fn start_in(environment: &[(&str, &str)], more: &[&str]) -> Self {
        let scratch = tempfile::tempdir().expect("a directory");
        let mut arguments = vec!["--scratch-dir", scratch.path().to_str().expect("text")];
        arguments.extend(more);
        let environment = [&[("MOUNTLAB_OSS_MOUNTER", "s3fs")], environment].concat();
        let agent = Agent::start_in(&environment, DRIVER, "oss", &arguments).await;
        Self { agent, scratch }
    }

    /// Every file below the scratch folder.
    fn scratch_files(&self) -> Vec<PathBuf> {
        files(self.scratch.path())
    }

    /// Neither a process nor a file of a mount is there.
    async fn has_nothing_left(&self, target: &Path) {
        until("s3fs is gone", || processes().is_empty()).await;
        until("its folder is gone", || fs::read_dir(self.scratch.path()).expect("read").count() == 0).await;
        assert_eq!(mount_line(target), None);
    }
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("read").map(|entry| entry.expect("listed").path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// The processes that are `s3fs`; those of other tests are in other namespaces.
fn processes() -> BTreeSet<i32> {
    let is_running = |process: &i32| {
        let read = |name: &str| fs::read_to_string(format!("/proc/{process}/{name}")).unwrap_or_default();
        read("comm").trim() == "s3fs" && !read("stat").contains(") Z ")
    };
    all_processes().filter(is_running).collect()
}

fn all_processes() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").expect("read");
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(LIMIT, waiting).await.is_ok(), "not within {LIMIT:?}: {what}");
}

#[test]
fn the_table_shows_what_ossfs_would_and_one_process_serves_it() {
    in_namespaces("s3fs::the_table_shows_what_ossfs_would_and_one_process_serves_it", || async {
        let store = Store::start().await;
        store.put("data-subPath/hello.txt", "from the bucket").await;
        store.put("other/secret.txt", "not below the path").await;
        let mounter = Mounter::start(&[]).await;
        let attributes = [("path", "/data-subPath"), ("otherOpts", "-o umask=022 -o allow_other")];
        let target = mounter.agent.mount(&store, "f69ed0682da4107631b80bf6fe851d69", &attributes).await;
        let line = mount_line(&target).expect("mounted");
        assert!(line.starts_with("ossfs ") && line.contains(" fuse.ossfs rw,nosuid,nodev,"), "{line}");
        assert_eq!(processes().len(), 1);
        let root = target.clone();
        blocking(move || {
            assert_eq!(fs::read_to_string(root.join("hello.txt")).expect("read"), "from the bucket");
            fs::write(root.join("answer.txt"), "from the sandbox").expect("written");
            fs::create_dir(root.join("folder")).expect("made");
            fs::write(root.join("folder/inner.txt"), "deep").expect("written");
            let names = fs::read_dir(&root).expect("opened");
            let names: BTreeSet<_> = names.map(|entry| entry.expect("listed").file_name()).collect();
            assert_eq!(names, ["answer.txt", "folder", "hello.txt"].map(Into::into).into());
        })
        .await;
        assert_eq!(store.get("data-subPath/answer.txt").await, b"from the sandbox");
        assert_eq!(store.get("data-subPath/folder/inner.txt").await, b"deep");
        assert_eq!(store.get("data-subPath/folder/").await, b"");

        mounter.agent.unpublish(&target).await.expect("unmounted");
        assert!(!target.exists(), "the empty target directory goes");
        mounter.has_nothing_left(&target).await;
        mounter.agent.unpublish(&target).await.expect("a second time is fine");
        let told = mounter.agent.stdout();
        assert!(told.contains("\"kind\":\"OssMounted\"") && told.contains("\"mounter\":\"s3fs\""), "{told}");
        assert!(!told.contains("OssMounterEnded"), "{told}");
    });
}

#[test]
fn the_key_is_nowhere_once_it_is_mounted() {
    in_namespaces("s3fs::the_key_is_nowhere_once_it_is_mounted", || async {
        let store = Store::start().await;
        // Whatever it says is in the log: a key that came with it would show.
        let mounter = Mounter::start_in(&[("RUST_LOG", "debug")], &[]).await;
        let options = "-o dbglevel=debug,curldbg=body,use_cache=/elsewhere";
        let target = mounter.agent.mount(&store, "t", &[("otherOpts", options)]).await;
        let root = target.clone();
        blocking(move || fs::write(root.join("f"), "x").expect("written")).await;
        assert_eq!(processes().len(), 1);
        let mut texts = Vec::new();
        for process in all_processes() {
            for name in ["cmdline", "environ", "mountinfo"] {
                // One may have ended meanwhile, and threads of the kernel have none.
                let bytes = fs::read(format!("/proc/{process}/{name}")).unwrap_or_default();
                texts.push((format!("{name} of {process}"), bytes));
            }
        }
        for file in mounter.scratch_files() {
            texts.push((file.display().to_string(), fs::read(&file).expect("read")));
        }
        mounter.agent.unpublish(&target).await.expect("unmounted");
        texts.push(("its output".to_owned(), mounter.agent.stdout().into()));
        texts.push(("its log".to_owned(), mounter.agent.stderr().into()));
        assert!(mounter.agent.stderr().contains("s3fs version"), "its log is at hand");
        for (place, bytes) in texts {
            let text = String::from_utf8_lossy(&bytes);
            assert!(!text.contains(KEY_ID) && !text.contains(KEY_SECRET), "{place}: {text}");
        }
        mounter.has_nothing_left(&target).await;
    });
}

#[test]
fn one_that_was_killed_is_noticed_and_replaced() {
    in_namespaces("s3fs::one_that_was_killed_is_noticed_and_replaced", || async {
        let store = Store::start().await;
        store.put("a.txt", "alive").await;
        let mounter = Mounter::start(&[]).await;
        let target = mounter.agent.mount(&store, "t", &[]).await;
        let first = processes();
        kill(Pid::from_raw(*first.first().expect("one")), Signal::SIGKILL).expect("killed");
        until("it is told", || mounter.agent.stdout().contains("OssMounterEnded")).await;
        let dead = target.clone();
        let error = blocking(move || fs::read(dead.join("a.txt")).expect_err("nobody answers")).await;
        assert_eq!(error.raw_os_error(), Some(libc::ENOTCONN));

        mounter.agent.publish(request(&store, &target, &[])).await.expect("mounted afresh");
        let alive = target.clone();
        assert_eq!(blocking(move || fs::read(alive.join("a.txt")).expect("read")).await, b"alive");
        let second = processes();
        assert!(second.len() == 1 && second.is_disjoint(&first), "{second:?} after {first:?}");
        let table = fs::read_to_string("/proc/self/mounts").expect("the mount table");
        assert_eq!(table.lines().filter(|line| line.contains("fuse.ossfs")).count(), 1, "{table}");

        // A dead one is taken away as well.
        kill(Pid::from_raw(*second.first().expect("one")), Signal::SIGKILL).expect("killed");
        mounter.agent.unpublish(&target).await.expect("unmounted");
        mounter.has_nothing_left(&target).await;
    });
}

#[test]
fn one_that_does_not_mount_says_why_and_leaves_nothing() {
    in_namespaces("s3fs::one_that_does_not_mount_says_why_and_leaves_nothing", || async {
        let store = Store::start().await;
        let mounter = Mounter::start(&[]).await;
        for (options, phrase) in [
            ("-o default_acl=nonsense", "unknown value for default_acl: nonsense"),
            ("-o readdir_optimize", "s3fs: unknown option \"readdir_optimize\""),
            ("-o passwd_file=/etc/shadow", "s3fs: option \"passwd_file\" is refused"),
        ] {
            let target = mounter.agent.target("t");
            let wrong = request(&store, &target, &[("otherOpts", options)]);
            let status = mounter.agent.publish(wrong).await.expect_err(options);
            assert_eq!(status.code(), Code::Internal, "{options}: {status}");
            assert!(status.message().contains(phrase), "{options}: {status}");
            mounter.has_nothing_left(&target).await;
        }
        let target = mounter.agent.target("t");
        let mut odd = request(&store, &target, &[]);
        let secret = "AKSECRET:with-a-colon";
        store.sim.add_key("AKID-colon", secret, oss_sim::Access::Full);
        odd.secrets.insert("akId".into(), "AKID-colon".into());
        odd.secrets.insert("akSecret".into(), secret.into());
        let status = mounter.agent.publish(odd).await.expect_err("refused");
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().contains("no colon") && !status.message().contains(secret), "{status}");
        mounter.has_nothing_left(&target).await;
    });
}

#[test]
fn a_machine_without_it_says_what_to_do() {
    in_namespaces("s3fs::a_machine_without_it_says_what_to_do", || async {
        let store = Store::start().await;
        let mounter = Mounter::start_in(&[("PATH", "/nonexistent")], &[]).await;
        let target = mounter.agent.target("t");
        let status = mounter.agent.publish(request(&store, &target, &[])).await.expect_err("refused");
        assert_eq!(status.code(), Code::Internal, "{status}");
        for phrase in ["not on the PATH of the CSI agent", "install Debian's package s3fs", "--oss-mounter"] {
            assert!(status.message().contains(phrase), "{status}");
        }
        mounter.has_nothing_left(&target).await;
    });
}

/// What a door does with all connections but the first.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Others {
    /// They are accepted and get no answer.
    Kept,
    /// They are shut at once.
    Shut,
}

/// A door to `store` that lets one connection in.
async fn door_for_one(store: &Store, others: Others) -> String {
    let door = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", door.local_addr().expect("an address"));
    let inside = store.url.trim_start_matches("http://").to_owned();
    tokio::spawn(async move {
        let (mut first, _) = door.accept().await.expect("a connection");
        tokio::spawn(async move {
            let mut inside = TcpStream::connect(inside).await.expect("the store");
            // Whichever side ends it.
            let _ = tokio::io::copy_bidirectional(&mut first, &mut inside).await;
        });
        let mut kept = Vec::new();
        while let Ok((connection, _)) = door.accept().await {
            if others == Others::Kept {
                kept.push(connection);
            }
        }
    });
    url
}

#[test]
fn one_that_gets_no_answer_is_given_up_at_the_limit() {
    in_namespaces("s3fs::one_that_gets_no_answer_is_given_up_at_the_limit", || async {
        let store = Store::start().await;
        let url = door_for_one(&store, Others::Kept).await;
        let mounter = Mounter::start(&["--mount-limit", "8"]).await;
        let target = mounter.agent.target("t");
        let status =
            mounter.agent.publish(request(&store, &target, &[("url", &url)])).await.expect_err("silent");
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
        assert!(status.message().contains("s3fs did not mount demo-bucket:/"), "{status}");
        mounter.has_nothing_left(&target).await;
    });
}

#[test]
fn one_that_ends_after_it_mounted_is_no_mount() {
    in_namespaces("s3fs::one_that_ends_after_it_mounted_is_no_mount", || async {
        let store = Store::start().await;
        let url = door_for_one(&store, Others::Shut).await;
        // It pauses before it tries again, for seconds.
        let mounter = Mounter::start(&["--mount-limit", "90"]).await;
        let target = mounter.agent.target("t");
        let attributes = [("url", url.as_str()), ("otherOpts", "-o retries=1")];
        let refused = mounter.agent.publish(request(&store, &target, &attributes)).await;
        let status = refused.expect_err("the bucket does not answer it");
        assert_eq!(status.code(), Code::Internal, "{status}");
        assert!(status.message().contains("unable to connect"), "{status}");
        mounter.has_nothing_left(&target).await;
    });
}

#[test]
fn a_file_that_is_closed_during_the_unmount_is_saved() {
    in_namespaces("s3fs::a_file_that_is_closed_during_the_unmount_is_saved", || async {
        let store = Store::start().await;
        let mounter = Mounter::start(&[]).await;
        let target = mounter.agent.mount(&store, "t", &[]).await;
        let root = target.clone();
        let file = blocking(move || {
            let mut file = File::create(root.join("f")).expect("created");
            file.write_all(b"saved late").expect("written");
            file
        })
        .await;
        let unmounting = mounter.agent.unpublish(&target);
        let closing = async {
            until("the mount is out of sight", || mount_line(&target).is_none()).await;
            blocking(move || drop(file)).await;
        };
        let (unmounted, ()) = tokio::join!(unmounting, closing);
        unmounted.expect("unmounted");
        assert_eq!(store.get("f").await, b"saved late");
        mounter.has_nothing_left(&target).await;
    });
}

#[test]
fn a_busy_mount_is_taken_away_in_the_end() {
    in_namespaces("s3fs::a_busy_mount_is_taken_away_in_the_end", || async {
        let store = Store::start().await;
        store.put("f", "kept").await;
        let mounter = Mounter::start(&[]).await;
        let target = mounter.agent.mount(&store, "t", &[]).await;
        let root = target.clone();
        let held = blocking(move || File::open(root.join("f")).expect("opened")).await;
        mounter.agent.unpublish(&target).await.expect("unmounted");
        mounter.has_nothing_left(&target).await;
        assert_eq!(store.get("f").await, b"kept");
        drop(held);
    });
}

#[test]
fn sigterm_unmounts_everything() {
    in_namespaces("s3fs::sigterm_unmounts_everything", || async {
        let store = Store::start().await;
        let mut mounter = Mounter::start(&[]).await;
        let mut targets = Vec::new();
        for name in ["one", "two", "three"] {
            let target = mounter.agent.mount(&store, name, &[("path", &format!("/{name}"))]).await;
            let root = target.clone();
            blocking(move || fs::write(root.join("f"), "x").expect("written")).await;
            targets.push(target);
        }
        assert_eq!(processes().len(), targets.len());
        mounter.agent.signal(Signal::SIGTERM);
        assert!(mounter.agent.ended().await.success(), "{}", mounter.agent.stderr());
        for target in &targets {
            mounter.has_nothing_left(target).await;
        }
        assert_eq!(store.keys(), ["one/f", "three/f", "two/f"], "in bucket {BUCKET}");
    });
}
