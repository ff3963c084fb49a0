//! Who may do what: modes, squashing, read-only and full exports.

use nas_sim::{Access, ExportOptions, Squash};
use nfs3_client::nfs3_types::nfs3::{
    ACCESS3_EXTEND, ACCESS3_LOOKUP, ACCESS3_MODIFY, ACCESS3_READ, Nfs3Option, createhow3, nfsstat3, sattr3,
    set_mtime,
};

use crate::client::{Server, mode, size};

#[tokio::test]
async fn modes_are_kept_for_everybody_but_root() {
    let server = Server::start().await;
    let mut root = server.mount("/share").await;
    let top = root.root.clone();
    let private = root.mkdir(&top, "private").await.expect("a directory");
    root.set(&private, mode(0o700)).await.expect("a mode");
    let secret = root.create(&private, "secret").await.expect("a file");
    let shared = root.create(&top, "shared").await.expect("a file");

    let mut user = server.mount_as("/share", 1000, 1000, &[]).await;
    assert_eq!(user.lookup(&private, "secret").await, Err(nfsstat3::NFS3ERR_ACCES));
    assert_eq!(user.create(&private, "mine").await, Err(nfsstat3::NFS3ERR_ACCES));
    assert_eq!(user.page(&private, 0, 4096).await, Err(nfsstat3::NFS3ERR_ACCES));
    assert_eq!(user.write(&shared, 0, b"x").await.map(drop), Err(nfsstat3::NFS3ERR_ACCES));
    assert_eq!(user.set(&shared, mode(0o777)).await, Err(nfsstat3::NFS3ERR_PERM));
    assert_eq!(user.set(&shared, size(0)).await, Err(nfsstat3::NFS3ERR_ACCES));
    assert!(user.read(&shared, 0, 1).await.is_ok());
    let asked = ACCESS3_READ | ACCESS3_MODIFY | ACCESS3_EXTEND | ACCESS3_LOOKUP;
    assert_eq!(user.access(&shared, asked).await, Ok(ACCESS3_READ));
    assert_eq!(user.access(&private, asked).await, Ok(0));
    assert_eq!(root.access(&private, asked).await, Ok(asked));
    root.read(&secret, 0, 1).await.expect("root reads");
}

#[tokio::test]
async fn what_a_user_makes_is_theirs() {
    let server = Server::start().await;
    let mut user = server.mount_as("/share", 1000, 1001, &[1002]).await;
    let top = user.root.clone();
    let file = user.create(&top, "mine").await.expect("the export is open to everybody");
    let made = user.attributes(&file).await.expect("attributes");
    assert_eq!((made.uid, made.gid, made.mode), (1000, 1001, 0o644));
    user.set(&file, mode(0o000)).await.expect("the owner may");
    user.write(&file, 0, b"still mine").await.expect("the owner may have it open");
    let group = |gid| sattr3 { gid: Nfs3Option::Some(gid), ..sattr3::default() };
    assert_eq!(user.set(&file, group(1002)).await, Ok(()), "a group of theirs");
    assert_eq!(user.set(&file, group(50)).await, Err(nfsstat3::NFS3ERR_PERM));
    let give = sattr3 { uid: Nfs3Option::Some(1), ..sattr3::default() };
    assert_eq!(user.set(&file, give).await, Err(nfsstat3::NFS3ERR_PERM));

    let mut other = server.mount_as("/share", 1003, 1003, &[]).await;
    assert_eq!(other.read(&file, 0, 1).await, Err(nfsstat3::NFS3ERR_ACCES));
    let touch = sattr3 { mtime: set_mtime::SET_TO_SERVER_TIME, ..sattr3::default() };
    assert_eq!(other.set(&file, touch).await, Err(nfsstat3::NFS3ERR_ACCES));
    let mut root = server.mount("/share").await;
    root.set(&top, mode(0o1777)).await.expect("sticky");
    assert_eq!(other.remove(&top, "mine").await, Err(nfsstat3::NFS3ERR_ACCES));
    assert_eq!(other.rename((&top, "mine"), (&top, "theirs")).await.map(drop), Err(nfsstat3::NFS3ERR_ACCES));
    assert_eq!(user.remove(&top, "mine").await, Ok(()));
}

#[tokio::test]
async fn root_is_squashed_where_the_export_says_so() {
    let server = Server::start_with(ExportOptions { squash: Squash::Root, ..ExportOptions::default() }).await;
    server.sim.put("/share/private/file", b"x").expect("a file");
    let folder = server.real("private");
    std::fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("a mode");
    let mut root = server.mount("/share").await;
    let top = root.root.clone();
    let private = root.lookup(&top, "private").await.expect("the folder");
    assert_eq!(root.lookup(&private, "file").await, Err(nfsstat3::NFS3ERR_ACCES));
    let made = root.create(&top, "made").await.expect("a file");
    assert_eq!(root.attributes(&made).await.expect("attributes").uid, 65534);

    let all = ExportOptions { squash: Squash::All, ..ExportOptions::default() };
    server.sim.set_export("/share", all).expect("an export");
    let mut user = server.mount_as("/share", 1000, 1000, &[]).await;
    let made = user.create(&top, "by-user").await.expect("a file");
    assert_eq!(user.attributes(&made).await.expect("attributes").uid, 65534);
}

#[tokio::test]
async fn a_read_only_export_is_read() {
    let server =
        Server::start_with(ExportOptions { access: Access::ReadOnly, ..ExportOptions::default() }).await;
    server.sim.put("/share/file", b"content").expect("a file");
    let mut client = server.mount("/share").await;
    let top = client.root.clone();
    let file = client.walk("file").await.expect("the file");
    assert_eq!(client.text("file").await.as_deref(), Ok("content"));
    let refused = nfsstat3::NFS3ERR_ROFS;
    assert_eq!(client.write(&file, 0, b"x").await.map(drop), Err(refused));
    assert_eq!(client.create(&top, "new").await, Err(refused));
    assert_eq!(client.mkdir(&top, "new").await, Err(refused));
    assert_eq!(client.symlink(&top, "new", "x").await, Err(refused));
    assert_eq!(client.remove(&top, "file").await, Err(refused));
    assert_eq!(client.rename((&top, "file"), (&top, "new")).await.map(drop), Err(refused));
    assert_eq!(client.link(&file, &top, "new").await, Err(refused));
    assert_eq!(client.set(&file, mode(0o777)).await, Err(refused));
    assert_eq!(client.access(&file, ACCESS3_READ | ACCESS3_MODIFY).await, Ok(ACCESS3_READ));
    assert_eq!(server.told("WRITE"), [("/share/file".to_owned(), "NFS3ERR_ROFS".to_owned())]);
}

#[tokio::test]
async fn a_full_export_takes_what_fits() {
    let server =
        Server::start_with(ExportOptions { capacity_bytes: Some(10_000), ..ExportOptions::default() }).await;
    server.sim.put("/share/there", &[0; 4000]).expect("a file");
    let mut client = server.mount("/share").await;
    let top = client.root.clone();
    let space = client.space().await.expect("space");
    assert_eq!((space.tbytes, space.fbytes, space.abytes), (10_000, 6000, 6000));
    let file = client.create(&top, "file").await.expect("a file");
    assert_eq!(client.write(&file, 0, &[1; 8000]).await.expect("a part of it").count, 6000);
    assert_eq!(client.write(&file, 6000, &[1; 2000]).await.map(drop), Err(nfsstat3::NFS3ERR_NOSPC));
    assert_eq!(client.write(&file, 0, &[2; 6000]).await.expect("in place").count, 6000);
    assert_eq!(client.set(&file, size(6001)).await, Err(nfsstat3::NFS3ERR_NOSPC));
    let with_size = createhow3::GUARDED(size(1));
    assert_eq!(client.create_with(&top, "another", with_size).await, Err(nfsstat3::NFS3ERR_NOSPC));
    assert!(!server.real("another").exists(), "no half-made file is left");
    client.remove(&top, "there").await.expect("removed");
    assert_eq!(client.write(&file, 6000, &[1; 2000]).await.expect("there is room again").count, 2000);
    client.set(&file, size(0)).await.expect("cut");
    assert_eq!(client.space().await.expect("space").fbytes, 10_000);
}
