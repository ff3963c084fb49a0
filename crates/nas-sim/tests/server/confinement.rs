//! Nothing leads out of an export.

use nfs3_client::nfs3_types::nfs3::{ftype3, nfs_fh3, nfsstat3};
use nfs3_client::nfs3_types::xdr_codec::Opaque;
use rstest::rstest;

use crate::client::{Server, size};

#[rstest]
#[case("/etc")]
#[case("../..")]
#[case("/proc/self/root/etc")]
#[tokio::test]
async fn a_planted_link_is_only_a_link(#[case] target: &str) {
    let server = Server::start().await;
    let mut client = server.mount("/share").await;
    let root = client.root.clone();
    let link = client.symlink(&root, "link", target).await.expect("a link");
    assert_eq!(client.attributes(&link).await.expect("attributes").type_, ftype3::NF3LNK);
    assert_eq!(client.readlink(&link).await.as_deref(), Ok(target));
    assert_eq!(client.lookup(&link, "passwd").await, Err(nfsstat3::NFS3ERR_NOTDIR));
    assert_eq!(client.create(&link, "file").await, Err(nfsstat3::NFS3ERR_NOTDIR));
    assert_eq!(client.page(&link, 0, 4096).await, Err(nfsstat3::NFS3ERR_NOTDIR));
    assert_eq!(client.read(&link, 0, 10).await, Err(nfsstat3::NFS3ERR_INVAL));
    assert_eq!(client.set(&link, size(0)).await, Err(nfsstat3::NFS3ERR_INVAL));
    assert_eq!(server.refused_mount("/share/link").await, "MNT3ERR_NOTDIR");
    assert_eq!(server.refused_mount("/share/link/passwd").await, "MNT3ERR_NOTDIR");
    assert!(server.sim.get("/share/link").is_err());
    assert!(server.sim.put("/share/link/file", b"x").is_err());
    server.sim.delete("/share/link").expect("the link itself goes");
}

#[tokio::test]
async fn the_size_of_what_a_link_leads_to_is_left_alone() {
    let server = Server::start().await;
    let outside = server.directory.path().join("outside");
    std::fs::write(&outside, "precious").expect("a file");
    let mut client = server.mount("/share").await;
    let root = client.root.clone();
    let target = outside.to_str().expect("a text");
    client.symlink(&root, "link", target).await.expect("a link");
    assert_eq!(client.create(&root, "link").await, Err(nfsstat3::NFS3ERR_EXIST));
    client.remove(&root, "link").await.expect("the link is removed");
    assert_eq!(std::fs::read(&outside).expect("still there"), b"precious");
}

#[rstest]
#[case("../outside")]
#[case("a/../../outside")]
#[case("..")]
#[case("")]
#[case("a\0b")]
#[tokio::test]
async fn names_are_single_names(#[case] name: &str) {
    let server = Server::start().await;
    let mut client = server.mount("/share").await;
    let root = client.root.clone();
    assert!(client.create(&root, name).await.is_err(), "{name:?}");
    assert!(client.mkdir(&root, name).await.is_err(), "{name:?}");
    assert!(client.symlink(&root, name, "x").await.is_err(), "{name:?}");
    assert!(client.remove(&root, name).await.is_err(), "{name:?}");
    assert!(client.rmdir(&root, name).await.is_err(), "{name:?}");
    assert!(server.sim.put(&format!("/share/{name}"), b"x").is_err(), "{name:?}");
    let left: Vec<_> = std::fs::read_dir(server.directory.path()).expect("the folder").collect();
    assert_eq!(left.len(), 1, "only the export");
}

#[tokio::test]
async fn foreign_handles_are_refused() {
    let server = Server::start().await;
    let mut client = server.mount("/share").await;
    let handle = |bytes: Vec<u8>| nfs_fh3 { data: Opaque::owned(bytes) };
    let bad = handle(vec![7; 32]);
    assert_eq!(client.attributes(&bad).await.map(drop), Err(nfsstat3::NFS3ERR_BADHANDLE));
    // the inode of the folder above, made up
    let mut forged = client.root.data.to_vec();
    let above = std::os::unix::fs::MetadataExt::ino(&server.directory.path().metadata().expect("a folder"));
    forged[16..24].copy_from_slice(&above.to_be_bytes());
    assert_eq!(client.attributes(&handle(forged)).await.map(drop), Err(nfsstat3::NFS3ERR_STALE));
}
