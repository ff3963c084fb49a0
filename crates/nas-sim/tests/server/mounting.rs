//! MOUNT, the port mapper, and exports from the server's side.

use std::time::Duration;

use nas_sim::{Access, ExportError, ExportOptions, Kind};
use nfs3_client::net::Connector;
use nfs3_client::nfs3_types::nfs3::nfsstat3;
use nfs3_client::{MountClient, PortmapperClient};

use rstest::rstest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::client::{Dial, Server};

#[tokio::test]
async fn a_directory_of_an_export_can_be_mounted_by_itself() {
    let server = Server::start().await;
    server.sim.put("/share/data-subPath/hello.txt", b"hello").expect("a file");
    for path in ["/share/data-subPath", "/share//data-subPath/", "/share/./data-subPath"] {
        let mut client = server.mount(path).await;
        assert_eq!(client.text("hello.txt").await.as_deref(), Ok("hello"), "{path}");
    }
    assert_eq!(server.refused_mount("/share/missing").await, "MNT3ERR_NOENT");
    assert_eq!(server.refused_mount("/other").await, "MNT3ERR_NOENT");
    assert_eq!(server.refused_mount("/sharemore").await, "MNT3ERR_NOENT");
    assert_eq!(server.refused_mount("/").await, "MNT3ERR_NOENT");
    assert_eq!(server.refused_mount("/share/data-subPath/hello.txt").await, "MNT3ERR_NOTDIR");
    assert_eq!(server.refused_mount("/share/../etc").await, "MNT3ERR_INVAL");
    let told = server.told("MNT");
    assert!(told.contains(&("/share/missing".to_owned(), "MNT3ERR_NOENT".to_owned())), "{told:?}");
    assert!(told.contains(&("/share/data-subPath".to_owned(), "MNT3_OK".to_owned())), "{told:?}");
}

#[tokio::test]
async fn a_refused_export_is_refused_at_mount_and_after() {
    let server = Server::start().await;
    let mut client = server.mount("/share").await;
    let refused = ExportOptions { access: Access::Refused, ..ExportOptions::default() };
    server.sim.set_export("/share", refused).expect("an export");
    assert_eq!(server.refused_mount("/share").await, "MNT3ERR_ACCES");
    let root = client.root.clone();
    assert_eq!(client.attributes(&root).await.map(drop), Err(nfsstat3::NFS3ERR_ACCES));
    server.sim.set_export("/share", ExportOptions::default()).expect("an export");
    client.attributes(&root).await.expect("allowed again");
}

#[tokio::test]
async fn the_port_mapper_names_the_one_port() {
    let server = Server::start().await;
    let stream = Dial.connect(server.address).await.expect("a connection");
    let mut portmapper = PortmapperClient::new(stream);
    for (program, version, expected) in
        [(100_003, 3, server.address.port()), (100_005, 3, server.address.port()), (100_003, 4, 0)]
    {
        let port = portmapper.getport(program, version, 6).await.unwrap_or(0);
        assert_eq!(port, expected, "{program} version {version}");
    }
}

#[tokio::test]
async fn exports_and_mounts_are_listed() {
    let server = Server::start().await;
    server.sim.add_export("/other", ExportOptions::default()).expect("an export");
    let client = server.mount("/share").await;
    let stream = Dial.connect(server.address).await.expect("a connection");
    let mut mounts = MountClient::new(stream);
    let offered = mounts.export().await.expect("a list");
    let offered: Vec<_> = offered.0.iter().map(|node| node.ex_dir.0.to_vec()).collect();
    assert_eq!(offered, [b"/share".to_vec(), b"/other".to_vec()]);
    assert_eq!(mounts.dump().await.expect("a list").0.len(), 1);
    client.connection.unmount().await.expect("unmounted");
    assert!(mounts.dump().await.expect("a list").is_empty());
}

#[tokio::test]
async fn exports_cannot_be_in_each_other() {
    let server = Server::start().await;
    let add = |path: &str| server.sim.add_export(path, ExportOptions::default());
    assert!(matches!(add("/share/below"), Err(ExportError::Overlap { .. })));
    assert!(matches!(add("/"), Err(ExportError::Overlap { .. })));
    assert!(matches!(add("share"), Err(ExportError::Path { .. })));
    assert!(matches!(add("/a/../b"), Err(ExportError::Path { .. })));
    assert!(matches!(add("/a/"), Err(ExportError::Path { .. })));
    add("/shared/deep").expect("beside the other");
    assert_eq!(server.sim.exports(), ["/share", "/shared/deep"]);
}

#[tokio::test]
async fn the_contents_are_seen_and_changed_from_the_servers_side() {
    let server = Server::start().await;
    let sim = &server.sim;
    sim.put("/share/a/file", b"one").expect("written");
    sim.put("/share/a/file", b"two").expect("written over");
    sim.make_directory("/share/a/folder").expect("made");
    sim.symlink("/share/link", "/etc").expect("linked");
    assert_eq!(sim.get("/share/a/file").expect("read"), b"two");
    assert_eq!(sim.read_link("/share/link").expect("a link"), "/etc");
    let listed = sim.list("/share").expect("listed");
    let listed: Vec<_> = listed.iter().map(|entry| (entry.path.as_str(), entry.kind, entry.mode)).collect();
    assert_eq!(
        listed,
        [
            ("/share/a", Kind::Directory, 0o777),
            ("/share/a/file", Kind::File, 0o666),
            ("/share/a/folder", Kind::Directory, 0o777),
            ("/share/link", Kind::Symlink, 0o777),
        ]
    );
    let mut client = server.mount("/share").await;
    let file = client.walk("a/file").await.expect("the file");
    sim.delete("/share/a").expect("removed with all that is in it");
    assert_eq!(client.read(&file, 0, 10).await, Err(nfsstat3::NFS3ERR_STALE));
    assert!(sim.delete("/share/a").is_err(), "it is gone");
    assert!(sim.delete("/share").is_err(), "an export stays");
    assert!(sim.put("/elsewhere/file", b"").is_err(), "no export");
}

#[rstest]
#[case::no_call(&[0x80, 0, 0, 4, 1, 2, 3, 4])]
#[case::too_large(&[0xff, 0xff, 0xff, 0xff])]
#[case::an_answer(&[0x80, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 1])]
#[tokio::test]
async fn what_is_no_call_ends_its_connection_and_no_other(#[case] bytes: &[u8]) {
    let server = Server::start().await;
    let mut client = server.mount("/share").await;
    let mut stream = tokio::net::TcpStream::connect(server.address).await.expect("a connection");
    stream.write_all(bytes).await.expect("sent");
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_mins(1), stream.read_to_end(&mut answer)).await;
    // Closed with bytes unread, a connection is reset.
    assert!(read.expect("an end within a minute").is_err() || answer.is_empty());
    let root = client.root.clone();
    client.attributes(&root).await.expect("the other goes on");
}
