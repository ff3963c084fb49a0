//! Files: made, written, read, cut, linked, renamed, removed.

use nfs3_client::nfs3_types::nfs3::{
    Nfs3Option, createhow3, createverf3, ftype3, nfsstat3, nfstime3, sattr3, set_atime, set_mtime, stable_how,
};

use crate::client::{Server, mode, size};

#[tokio::test]
async fn what_is_written_is_read_on_both_sides() {
    let server = Server::start().await;
    let mut client = server.mount("/share").await;
    let root = client.root.clone();
    let folder = client.mkdir(&root, "folder").await.expect("a directory");
    let file = client.create(&folder, "file").await.expect("a file");
    let written = client.write(&file, 0, b"hello ").await.expect("a write");
    assert_eq!((written.count, written.committed), (6, stable_how::UNSTABLE));
    client.write_with(&file, 6, b"world", stable_how::FILE_SYNC).await.expect("a stable write");
    assert_eq!(client.commit(&file).await, Ok(written.verf), "nothing was lost, so the verifier stays");
    assert_eq!(client.read(&file, 0, 100).await, Ok((b"hello world".to_vec(), true)));
    assert_eq!(client.read(&file, 6, 3).await, Ok((b"wor".to_vec(), false)));
    assert_eq!(client.read(&file, 50, 3).await, Ok((Vec::new(), true)));
    assert_eq!(std::fs::read(server.real("folder/file")).expect("a file"), b"hello world");
    std::fs::write(server.real("folder/outside"), "from outside").expect("a file");
    assert_eq!(client.text("folder/outside").await.as_deref(), Ok("from outside"));
}

#[tokio::test]
async fn a_hole_reads_as_zeroes() {
    let server = Server::start().await;
    let mut client = server.mount("/share").await;
    let root = client.root.clone();
    let file = client.create(&root, "sparse").await.expect("a file");
    client.write(&file, 1 << 30, b"end").await.expect("a write far out");
    let attributes = client.attributes(&file).await.expect("attributes");
    assert_eq!(attributes.size, (1 << 30) + 3);
    assert!(attributes.used < 1 << 20, "{} bytes are used", attributes.used);
    assert_eq!(client.read(&file, 4096, 4).await, Ok((vec![0; 4], false)));
}

#[tokio::test]
async fn a_large_write_moves_as_much_as_was_promised() {
    let server = Server::start().await;
    let mut client = server.mount("/share").await;
    let root = client.root.clone();
    let most = client.info().await.expect("limits").wtmax;
    let file = client.create(&root, "large").await.expect("a file");
    let data: Vec<u8> = (0..most).map(|index| index.to_be_bytes()[3] ^ index.to_be_bytes()[1]).collect();
    assert_eq!(client.write(&file, 0, &data).await.expect("a write").count, most);
    let (read, eof) = client.read(&file, 0, most).await.expect("a read");
    assert!(read == data && eof);
}

#[tokio::test]
async fn the_three_ways_to_create() {
    let server = Server::start().await;
    let mut client = server.mount("/share").await;
    let root = client.root.clone();
    let first = client.create(&root, "file").await.expect("made");
    client.write(&first, 0, b"content").await.expect("a write");
    let guarded = createhow3::GUARDED(mode(0o600));
    assert_eq!(client.create_with(&root, "file", guarded).await, Err(nfsstat3::NFS3ERR_EXIST));
    let again = client.create(&root, "file").await.expect("unchecked is no error");
    assert_eq!(again, first);
    assert_eq!(client.text("file").await.as_deref(), Ok("content"));
    client.create_with(&root, "file", createhow3::UNCHECKED(size(0))).await.expect("cut");
    assert_eq!(client.text("file").await.as_deref(), Ok(""));

    let exclusive = |last| createhow3::EXCLUSIVE(createverf3([250, 1, 2, 3, 4, 5, 6, last]));
    let made = client.create_with(&root, "exclusive", exclusive(7)).await.expect("made");
    let repeated = client.create_with(&root, "exclusive", exclusive(7)).await;
    assert_eq!(repeated, Ok(made), "the same client asks again");
    let other = client.create_with(&root, "exclusive", exclusive(8)).await;
    assert_eq!(other, Err(nfsstat3::NFS3ERR_EXIST), "another client");
    client.mkdir(&root, "folder").await.expect("a directory");
    assert_eq!(client.create(&root, "folder").await, Err(nfsstat3::NFS3ERR_EXIST));
    assert_eq!(client.mknod(&root, "pipe").await, Err(nfsstat3::NFS3ERR_NOTSUPP));
}

#[tokio::test]
async fn attributes_are_set_and_the_guard_is_kept() {
    let server = Server::start().await;
    let mut client = server.mount("/share").await;
    let root = client.root.clone();
    let file = client.create(&root, "file").await.expect("a file");
    client.write(&file, 0, b"0123456789").await.expect("a write");
    let before = client.attributes(&file).await.expect("attributes");
    let time = nfstime3 { seconds: 1_000_000_000, nseconds: 5 };
    let new = sattr3 {
        mode: Nfs3Option::Some(0o4711),
        size: Nfs3Option::Some(4),
        uid: Nfs3Option::Some(1000),
        gid: Nfs3Option::Some(1001),
        atime: set_atime::SET_TO_SERVER_TIME,
        mtime: set_mtime::SET_TO_CLIENT_TIME(time),
    };
    let wrong = Nfs3Option::Some(nfstime3 { seconds: 1, nseconds: 1 });
    let refused = client.set_guarded(&file, new.clone(), wrong).await;
    assert_eq!(refused, Err(nfsstat3::NFS3ERR_NOT_SYNC));
    client.set_guarded(&file, new, Nfs3Option::Some(before.ctime)).await.expect("all of it");
    let after = client.attributes(&file).await.expect("attributes");
    assert_eq!((after.mode, after.size, after.uid, after.gid), (0o4711, 4, 1000, 1001));
    assert_eq!(after.mtime, time);
    assert!(after.atime.seconds > time.seconds);
    assert_eq!(client.set(&root, size(1)).await, Err(nfsstat3::NFS3ERR_ISDIR));
}

#[tokio::test]
async fn a_handle_lives_through_renames_and_a_restart() {
    let mut server = Server::start().await;
    let mut client = server.mount("/share").await;
    let root = client.root.clone();
    let folder = client.mkdir(&root, "folder").await.expect("a directory");
    let other = client.mkdir(&root, "other").await.expect("a directory");
    let file = client.create(&folder, "file").await.expect("a file");
    client.write(&file, 0, b"content").await.expect("a write");
    client.rename((&folder, "file"), (&other, "renamed")).await.expect("renamed");
    client.rename((&root, "other"), (&folder, "below")).await.expect("a directory into another");
    assert_eq!(client.read(&file, 0, 10).await, Ok((b"content".to_vec(), true)));
    std::fs::rename(server.real("folder"), server.real("elsewhere")).expect("renamed from outside");
    assert_eq!(client.lookup(&other, "renamed").await, Ok(file.clone()));
    let verifier = client.commit(&file).await.expect("a verifier");

    server.restart().await;
    let mut client = server.mount("/share").await;
    assert_eq!(client.root, root);
    assert_eq!(client.read(&file, 0, 10).await, Ok((b"content".to_vec(), true)));
    assert_ne!(client.commit(&file).await.expect("a verifier"), verifier, "writes may have been lost");
}

#[tokio::test]
async fn a_handle_of_what_is_gone_is_stale() {
    let server = Server::start().await;
    let mut client = server.mount("/share").await;
    let root = client.root.clone();
    let file = client.create(&root, "file").await.expect("a file");
    client.write(&file, 0, b"old").await.expect("a write");
    client.remove(&root, "file").await.expect("removed");
    assert_eq!(client.read(&file, 0, 3).await, Err(nfsstat3::NFS3ERR_STALE));
    let again = client.create(&root, "file").await.expect("a file of the same name");
    assert_ne!(again, file);
    assert_eq!(client.read(&file, 0, 3).await, Err(nfsstat3::NFS3ERR_STALE));

    let replaced = client.create(&root, "replaced").await.expect("a file");
    client.rename((&root, "file"), (&root, "replaced")).await.expect("renamed over");
    assert_eq!(client.attributes(&replaced).await.map(drop), Err(nfsstat3::NFS3ERR_STALE));
    std::fs::remove_file(server.real("replaced")).expect("removed from outside");
    assert_eq!(client.attributes(&again).await.map(drop), Err(nfsstat3::NFS3ERR_STALE));
}

#[tokio::test]
async fn renames_follow_the_rules_of_posix() {
    let server = Server::start().await;
    let mut client = server.mount("/share").await;
    let root = client.root.clone();
    client.create(&root, "file").await.expect("a file");
    let full = client.mkdir(&root, "full").await.expect("a directory");
    client.create(&full, "inside").await.expect("a file");
    client.mkdir(&root, "empty").await.expect("a directory");
    let mut rename = async |from: &str, to: &str| client.rename((&root, from), (&root, to)).await.map(drop);
    assert_eq!(rename("file", "empty").await, Err(nfsstat3::NFS3ERR_ISDIR));
    assert_eq!(rename("empty", "file").await, Err(nfsstat3::NFS3ERR_NOTDIR));
    assert_eq!(rename("empty", "full").await, Err(nfsstat3::NFS3ERR_NOTEMPTY));
    assert_eq!(rename("missing", "file").await, Err(nfsstat3::NFS3ERR_NOENT));
    assert_eq!(rename("full", "empty").await, Ok(()));
    assert_eq!(rename("file", "a/b").await, Err(nfsstat3::NFS3ERR_INVAL));
    assert_eq!(rename("file", &"x".repeat(256)).await, Err(nfsstat3::NFS3ERR_NAMETOOLONG));
    let below = client.rename((&root, "empty"), (&full, "itself")).await.map(drop);
    assert_eq!(below, Err(nfsstat3::NFS3ERR_INVAL), "a directory into itself");
    let done = client.rename((&root, "file"), (&full, "moved")).await.expect("moved");
    assert!(done.fromdir_wcc.before.is_some() && done.todir_wcc.after.is_some());
}

#[tokio::test]
async fn two_names_of_one_file() {
    let server = Server::start().await;
    let mut client = server.mount("/share").await;
    let root = client.root.clone();
    let folder = client.mkdir(&root, "folder").await.expect("a directory");
    let file = client.create(&root, "one").await.expect("a file");
    client.write(&file, 0, b"content").await.expect("a write");
    client.link(&file, &folder, "two").await.expect("a link");
    assert_eq!(client.attributes(&file).await.expect("attributes").nlink, 2);
    assert_eq!(client.lookup(&folder, "two").await, Ok(file.clone()));
    client.remove(&root, "one").await.expect("removed");
    assert_eq!(client.read(&file, 0, 10).await, Ok((b"content".to_vec(), true)));
    assert_eq!(client.link(&folder, &root, "hard").await, Err(nfsstat3::NFS3ERR_ISDIR));
    assert_eq!(client.link(&file, &folder, "two").await, Err(nfsstat3::NFS3ERR_EXIST));
}

#[tokio::test]
async fn directories_and_files_are_removed_each_in_its_way() {
    let server = Server::start().await;
    let mut client = server.mount("/share").await;
    let root = client.root.clone();
    let folder = client.mkdir(&root, "folder").await.expect("a directory");
    client.create(&folder, "file").await.expect("a file");
    assert_eq!(client.rmdir(&root, "folder").await, Err(nfsstat3::NFS3ERR_NOTEMPTY));
    assert_eq!(client.remove(&root, "folder").await, Err(nfsstat3::NFS3ERR_ISDIR));
    assert_eq!(client.rmdir(&folder, "file").await, Err(nfsstat3::NFS3ERR_NOTDIR));
    assert_eq!(client.remove(&folder, "file").await, Ok(()));
    assert_eq!(client.rmdir(&root, "folder").await, Ok(()));
    assert_eq!(client.lookup(&root, "folder").await, Err(nfsstat3::NFS3ERR_NOENT));
    assert_eq!(client.lookup(&folder, "file").await, Err(nfsstat3::NFS3ERR_STALE));
    assert_eq!(client.attributes(&root).await.expect("attributes").type_, ftype3::NF3DIR);
}

#[tokio::test]
async fn unicode_names_come_back_as_they_were() {
    let server = Server::start().await;
    let mut client = server.mount("/share").await;
    let root = client.root.clone();
    for name in ["grün", "文件", "with space", "ends.", "🙂"] {
        client.create(&root, name).await.expect("a file");
        assert!(server.real(name).is_file(), "{name}");
    }
    let (names, _) = client.page(&root, 2, 65536).await.expect("a page");
    assert_eq!(names.len(), 5);
}
