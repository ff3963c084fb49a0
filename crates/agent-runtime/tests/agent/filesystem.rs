//! `filesystem.Filesystem` without watches.

use std::os::unix::fs::{MetadataExt as _, symlink};

use rstest::rstest;
use serde_json::{Value, json};

use crate::support::Sandbox;

const SERVICE: &str = "/filesystem.Filesystem";

async fn ask(sandbox: &Sandbox, method: &str, message: Value) -> Value {
    sandbox.ask(&format!("{SERVICE}/{method}"), message).await
}

async fn refused(sandbox: &Sandbox, method: &str, message: Value) -> String {
    sandbox.refused(&format!("{SERVICE}/{method}"), message).await
}

#[tokio::test]
async fn an_entry_is_shown_in_full() {
    let sandbox = Sandbox::start().await;
    std::fs::write(sandbox.path("f"), "12345").expect("written");
    let entry = ask(&sandbox, "Stat", json!({ "path": "f" })).await["entry"].clone();
    let metadata = std::fs::metadata(sandbox.path("f")).expect("there");
    let expected = json!({
        "name": "f", "type": "FILE_TYPE_FILE", "path": sandbox.path("f"), "size": "5", "mode": 0o644,
        "permissions": "-rw-r--r--", "owner": "root", "group": "root", "isSymlink": false,
        "modifiedTime": jiff::Timestamp::new(metadata.mtime(), i32::try_from(metadata.mtime_nsec()).expect("small")).expect("a time").to_string(),
    });
    assert_eq!(entry, expected);
}

#[tokio::test]
async fn directories_are_made_once_for_the_user() {
    let sandbox = Sandbox::start().await;
    let made = ask(&sandbox, "MakeDir", json!({ "path": "a/b" })).await;
    assert_eq!(
        (&made["entry"]["owner"], &made["entry"]["type"]),
        (&json!("user"), &json!("FILE_TYPE_DIRECTORY"))
    );
    assert_eq!(std::fs::metadata(sandbox.path("a")).expect("there").uid(), 1000);
    assert_eq!(refused(&sandbox, "MakeDir", json!({ "path": "a/b" })).await, "already_exists");
    std::fs::write(sandbox.path("f"), "").expect("written");
    assert_eq!(refused(&sandbox, "MakeDir", json!({ "path": "f" })).await, "invalid_argument");
    assert_eq!(refused(&sandbox, "MakeDir", json!({ "path": "f/g" })).await, "invalid_argument");
}

#[tokio::test]
async fn moving_makes_the_way() {
    let sandbox = Sandbox::start().await;
    std::fs::write(sandbox.path("f"), "x").expect("written");
    let moved = ask(&sandbox, "Move", json!({ "source": "f", "destination": "new/place/g" })).await;
    assert_eq!(moved["entry"]["path"], sandbox.path("new/place/g"));
    assert!(!std::path::Path::new(&sandbox.path("f")).exists());
    let gone = json!({ "source": "f", "destination": "other/g" });
    assert_eq!(refused(&sandbox, "Move", gone).await, "not_found");
    assert!(!std::path::Path::new(&sandbox.path("other")).exists());
}

#[tokio::test]
async fn removing_is_recursive_and_nothing_is_fine() {
    let sandbox = Sandbox::start().await;
    std::fs::create_dir_all(sandbox.path("a/b")).expect("made");
    std::fs::create_dir(sandbox.path("kept")).expect("made");
    symlink(sandbox.path("kept"), sandbox.path("a/link")).expect("made");
    for path in ["a", "a", "nothing/at/all"] {
        assert_eq!(ask(&sandbox, "Remove", json!({ "path": path })).await, json!({}));
    }
    assert!(std::path::Path::new(&sandbox.path("kept")).is_dir(), "a link is removed, not what it points to");
}

#[tokio::test]
async fn listings_are_lexical_and_stop_at_links() {
    let sandbox = Sandbox::start().await;
    std::fs::create_dir_all(sandbox.path("d/b/deep")).expect("made");
    for file in ["d/a", "d/b/x", "d/b.txt", "d/b/deep/y"] {
        std::fs::write(sandbox.path(file), "").expect("written");
    }
    symlink("b", sandbox.path("d/c")).expect("made");
    symlink("nowhere", sandbox.path("d/dangling")).expect("made");
    symlink("d", sandbox.path("alias")).expect("made");
    let names = async |path: &str, depth: u32| {
        let listed = ask(&sandbox, "ListDir", json!({ "path": path, "depth": depth })).await;
        let entries = listed["entries"].as_array().expect("a list").clone();
        let below = entries
            .iter()
            .map(|entry| entry["path"].as_str().expect("a path").replace(&sandbox.path(""), ""));
        below.collect::<Vec<_>>()
    };
    assert_eq!(names("d", 0).await, ["d/a", "d/b", "d/b.txt", "d/c", "d/dangling"]);
    assert_eq!(names("alias", 1).await, ["alias/a", "alias/b", "alias/b.txt", "alias/c", "alias/dangling"]);
    assert_eq!(names("d", 2).await, ["d/a", "d/b", "d/b/deep", "d/b/x", "d/b.txt", "d/c", "d/dangling"]);
    assert_eq!(names("d", 9).await.len(), 8);
}

#[rstest]
#[case("Stat", json!({ "path": "nothing" }), "not_found")]
#[case("Stat", json!({ "path": "~eve" }), "invalid_argument")]
#[case("ListDir", json!({ "path": "nothing" }), "not_found")]
#[case("ListDir", json!({ "path": "/etc/hostname" }), "invalid_argument")]
#[case("ListDir", json!({ "path": "loop" }), "failed_precondition")]
#[tokio::test]
async fn what_cant_be_looked_at(#[case] method: &str, #[case] message: Value, #[case] code: &str) {
    let sandbox = Sandbox::start().await;
    symlink("loop", sandbox.path("loop")).expect("made");
    assert_eq!(refused(&sandbox, method, message).await, code);
}

#[tokio::test]
async fn an_unknown_user_is_refused() {
    let sandbox = Sandbox::start().await;
    let (status, answer) =
        sandbox.call_as("eve", "/filesystem.Filesystem/Stat", json!({ "path": "." })).await;
    assert_eq!((status, &answer["code"]), (401, &json!("unauthenticated")));
    let (status, answer) =
        sandbox.call_as("root", "/filesystem.Filesystem/Stat", json!({ "path": "" })).await;
    assert_eq!((status, &answer["entry"]["path"]), (200, &json!(sandbox.place.path())));
}
