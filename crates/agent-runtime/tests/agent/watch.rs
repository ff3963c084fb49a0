//! Watches of `filesystem.Filesystem`.

use std::time::{Duration, UNIX_EPOCH};

use fuser::{FileAttr, FileHandle, FileType, INodeNo, ReplyAttr, Request};
use serde_json::{Value, json};

use crate::support::rpc::{End, Stream};
use crate::support::{Sandbox, soon};

const WATCH: &str = "/filesystem.Filesystem/WatchDir";

async fn watch(sandbox: &Sandbox, message: Value) -> Stream {
    let mut stream = sandbox.stream(WATCH, message).await;
    assert_eq!(stream.next().await, Ok(json!({ "start": {} })));
    stream
}

/// Reads events until the one that is wanted, and returns it.
async fn event(stream: &mut Stream, name: &str, kind: &str) -> Value {
    let look = async {
        loop {
            let message = stream.next().await.expect("an event");
            let event = &message["filesystem"];
            if event["name"] == name && event["type"] == kind {
                return event.clone();
            }
        }
    };
    soon(&format!("{kind} of {name}"), look).await
}

#[tokio::test]
async fn changes_are_told_in_the_order_they_happen() {
    let sandbox = Sandbox::start().await;
    let mut stream = watch(&sandbox, json!({ "path": "" })).await;
    std::fs::write(sandbox.path("f"), "x").expect("written");
    std::fs::rename(sandbox.path("f"), sandbox.path("g")).expect("renamed");
    std::fs::remove_file(sandbox.path("g")).expect("removed");
    let expected = [("f", "CREATE"), ("f", "WRITE"), ("f", "RENAME"), ("g", "CREATE"), ("g", "REMOVE")];
    for (name, kind) in expected {
        let message = stream.next().await.expect("an event");
        let expected = json!({ "filesystem": { "name": name, "type": format!("EVENT_TYPE_{kind}") } });
        assert_eq!(message, expected);
    }
}

#[tokio::test]
async fn entries_come_along_when_asked_for() {
    let sandbox = Sandbox::start().await;
    let mut stream = watch(&sandbox, json!({ "path": "", "include_entry": true })).await;
    std::fs::write(sandbox.path("f"), "text").expect("written");
    let write = event(&mut stream, "f", "EVENT_TYPE_WRITE").await;
    assert_eq!((&write["entry"]["path"], &write["entry"]["size"]), (&json!(sandbox.path("f")), &json!("4")));
    std::fs::remove_file(sandbox.path("f")).expect("removed");
    assert!(event(&mut stream, "f", "EVENT_TYPE_REMOVE").await.get("entry").is_none());
}

#[tokio::test]
async fn new_directories_are_watched_too() {
    let sandbox = Sandbox::start().await;
    std::fs::create_dir(sandbox.path("old")).expect("made");
    let mut stream = watch(&sandbox, json!({ "path": ".", "recursive": true })).await;
    std::fs::write(sandbox.path("old/f"), "x").expect("written");
    event(&mut stream, "old/f", "EVENT_TYPE_WRITE").await;
    std::fs::create_dir_all(sandbox.path("new/deep/er")).expect("made");
    event(&mut stream, "new/deep/er", "EVENT_TYPE_CREATE").await;
    std::fs::write(sandbox.path("new/deep/er/f"), "x").expect("written");
    event(&mut stream, "new/deep/er/f", "EVENT_TYPE_WRITE").await;
    std::fs::rename(sandbox.path("new"), sandbox.path("moved")).expect("renamed");
    event(&mut stream, "moved", "EVENT_TYPE_CREATE").await;
    std::fs::write(sandbox.path("moved/deep/er/g"), "x").expect("written");
    event(&mut stream, "moved/deep/er/g", "EVENT_TYPE_WRITE").await;
}

#[tokio::test]
async fn a_flat_watch_doesnt_look_below() {
    let sandbox = Sandbox::start().await;
    std::fs::create_dir(sandbox.path("d")).expect("made");
    let mut stream = watch(&sandbox, json!({ "path": "." })).await;
    std::fs::write(sandbox.path("d/f"), "x").expect("written");
    std::fs::write(sandbox.path("mark"), "").expect("written");
    assert_eq!(stream.next().await.expect("an event")["filesystem"]["name"], "mark");
}

#[tokio::test]
async fn a_watcher_collects_until_it_is_asked() {
    let sandbox = Sandbox::start().await;
    let created = sandbox.ask("/filesystem.Filesystem/CreateWatcher", json!({ "path": "." })).await;
    let select = json!({ "watcherId": created["watcherId"] });
    std::fs::write(sandbox.path("f"), "x").expect("written");
    let mut events = Vec::new();
    let collect = async {
        while events.len() < 2 {
            let drained = sandbox.ask("/filesystem.Filesystem/GetWatcherEvents", select.clone()).await;
            events.extend(drained["events"].as_array().expect("a list").clone());
        }
    };
    soon("two events", collect).await;
    assert_eq!(events[0], json!({ "name": "f", "type": "EVENT_TYPE_CREATE" }));
    assert_eq!(events[1], json!({ "name": "f", "type": "EVENT_TYPE_WRITE" }));
    assert_eq!(sandbox.ask("/filesystem.Filesystem/RemoveWatcher", select.clone()).await, json!({}));
    for method in ["GetWatcherEvents", "RemoveWatcher"] {
        assert_eq!(
            sandbox.refused(&format!("/filesystem.Filesystem/{method}"), select.clone()).await,
            "not_found"
        );
    }
}

#[tokio::test]
async fn what_cant_be_watched() {
    let sandbox = Sandbox::start().await;
    std::fs::write(sandbox.path("f"), "x").expect("written");
    for (path, code) in [("nothing", "not_found"), ("f", "invalid_argument")] {
        let mut stream = sandbox.stream(WATCH, json!({ "path": path })).await;
        assert_eq!(stream.next().await, Err(End::Error(code.into())));
        let created = sandbox.refused("/filesystem.Filesystem/CreateWatcher", json!({ "path": path })).await;
        assert_eq!(created, code);
    }
}

/// A network file system with nothing in it.
struct Empty;

impl fuser::Filesystem for Empty {
    fn getattr(&self, _: &Request, _: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let attributes = FileAttr {
            ino: INodeNo::ROOT,
            size: 0,
            blocks: 0,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: FileType::Directory,
            perm: 0o755,
            nlink: 2,
            uid: 0,
            gid: 0,
            rdev: 0,
            flags: 0,
            blksize: 512,
        };
        reply.attr(&Duration::from_secs(60), &attributes);
    }
}

#[tokio::test]
async fn a_network_mount_is_watched_only_on_demand() {
    let sandbox = Sandbox::start().await;
    let mount_point = sandbox.path("mounted");
    std::fs::create_dir(&mount_point).expect("made");
    let mounted = fuser::spawn_mount(Empty, &mount_point, &fuser::Config::default());
    let mounted = mounted.expect("this test needs /dev/fuse and the right to mount");
    std::os::unix::fs::symlink(&mount_point, sandbox.path("link")).expect("made");
    for path in ["mounted", "link"] {
        let refused = sandbox.refused("/filesystem.Filesystem/CreateWatcher", json!({ "path": path })).await;
        assert_eq!(refused, "invalid_argument");
    }
    let allowed = json!({ "path": "link", "allowNetworkMounts": true });
    sandbox.ask("/filesystem.Filesystem/CreateWatcher", allowed).await;
    mounted.umount_and_join().expect("unmounted");
}
