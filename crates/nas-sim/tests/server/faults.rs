//! Faults as clients meet them.

use std::time::Duration;

use lab::NasFault;
use nas_sim::FaultError;
use nfs3_client::nfs3_types::nfs3::{GETATTR3args, REMOVE3args, diropargs3, nfsstat3, stable_how};
use tokio::net::{TcpListener, TcpStream};

use crate::client::{Client, Server, size};

/// How long something that must come may take.
const SOON: Duration = Duration::from_secs(60);

fn fault() -> NasFault {
    NasFault::default()
}

/// Whether a call on this connection gets an answer at all.
async fn is_answered(client: &mut Client) -> bool {
    let arguments = GETATTR3args { object: client.root.clone() };
    let answering = client.connection.getattr(&arguments);
    tokio::time::timeout(SOON, answering).await.expect("an answer or an end").is_ok()
}

#[tokio::test]
async fn a_procedure_fails_as_often_as_it_is_told_to() {
    let server = Server::start().await;
    let mut client = server.mount("/share").await;
    let root = client.root.clone();
    let file = client.create(&root, "file").await.expect("a file");
    let error = Some("NFS3ERR_IO".to_owned());
    let rule = NasFault { procedure: Some("WRITE".into()), error, times: Some(1), ..fault() };
    server.sim.inject(rule).expect("a rule");
    assert_eq!(client.write(&file, 0, b"x").await.map(drop), Err(nfsstat3::NFS3ERR_IO));
    client.write(&file, 0, b"x").await.expect("only once");
    // every procedure's failure can be read
    let error = Some("NFS3ERR_JUKEBOX".to_owned());
    let id = server.sim.inject(NasFault { error, ..fault() }).expect("a rule");
    let later = nfsstat3::NFS3ERR_JUKEBOX;
    assert_eq!(client.attributes(&root).await.map(drop), Err(later));
    assert_eq!(client.lookup(&root, "file").await, Err(later));
    assert_eq!(client.rename((&root, "file"), (&root, "new")).await.map(drop), Err(later));
    assert_eq!(client.link(&file, &root, "new").await, Err(later));
    assert_eq!(client.page(&root, 0, 4096).await, Err(later));
    assert_eq!(client.page_plus(&root, 0, 4096).await.map(drop), Err(later));
    assert_eq!(client.mkdir(&root, "new").await, Err(later));
    assert_eq!(client.commit(&file).await, Err(later));
    assert_eq!(client.space().await.map(drop), Err(later));
    server.sim.heal(id).expect("in force");
    client.attributes(&root).await.expect("healed");
    assert!(matches!(server.sim.heal(id), Err(FaultError::NotFound(_))));
}

#[tokio::test]
async fn mounting_can_be_refused_by_a_fault() {
    let server = Server::start().await;
    let error = Some("MNT3ERR_ACCES".to_owned());
    let rule = NasFault { procedure: Some("MNT".into()), error, ..fault() };
    let id = server.sim.inject(rule).expect("a rule");
    assert_eq!(server.refused_mount("/share").await, "MNT3ERR_ACCES");
    server.sim.heal(id).expect("in force");
    server.mount("/share").await;
}

#[tokio::test]
async fn a_full_server_says_so() {
    let server = Server::start().await;
    let mut client = server.mount("/share").await;
    let root = client.root.clone();
    let file = client.create(&root, "file").await.expect("a file");
    server.sim.inject(NasFault { full: true, ..fault() }).expect("a rule");
    assert_eq!(client.write(&file, 0, b"x").await.map(drop), Err(nfsstat3::NFS3ERR_NOSPC));
    assert_eq!(client.mkdir(&root, "folder").await, Err(nfsstat3::NFS3ERR_NOSPC));
    client.read(&file, 0, 1).await.expect("reading needs no space");
}

#[tokio::test]
async fn a_server_that_is_gone_refuses_and_comes_back() {
    let server = Server::start().await;
    let mut client = server.mount("/share").await;
    let beside = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let outside = beside.local_addr().expect("an address");
    server.sim.serve_without_faults(beside);
    let id = server.sim.inject(NasFault { gone: true, ..fault() }).expect("a rule");
    assert!(!is_answered(&mut client).await, "its connections are cut");
    let refused = TcpStream::connect(server.address).await.map(drop).map_err(|error| error.kind());
    assert_eq!(refused, Err(std::io::ErrorKind::ConnectionRefused));
    TcpStream::connect(outside).await.expect("the other door stays open");
    server.sim.heal(id).expect("in force");
    let back = async {
        while TcpStream::connect(server.address).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, back).await.expect("back within a minute");
    server.mount("/share").await;
}

#[tokio::test]
async fn a_call_that_hangs_is_answered_once_healed() {
    let server = Server::start().await;
    let mut client = server.mount("/share").await;
    let rule = NasFault { procedure: Some("GETATTR".into()), hang: true, ..fault() };
    let id = server.sim.inject(rule).expect("a rule");
    let root = client.root.clone();
    let asking = tokio::spawn(async move { client.attributes(&root).await.is_ok() });
    let struck = async {
        while !server.journal.entries().iter().any(|entry| entry.kind == "struck") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, struck).await.expect("the call came");
    assert!(!asking.is_finished());
    // another connection and another procedure are not held up
    server.mount("/share").await;
    server.sim.heal(id).expect("in force");
    let answered = tokio::time::timeout(SOON, asking).await.expect("answered within a minute");
    assert!(answered.expect("no panic"));
}

#[tokio::test]
async fn handles_become_stale_for_good() {
    let server = Server::start().await;
    let mut client = server.mount("/share").await;
    let root = client.root.clone();
    let id = server.sim.inject(NasFault { stale: true, ..fault() }).expect("a rule");
    assert_eq!(client.attributes(&root).await.map(drop), Err(nfsstat3::NFS3ERR_STALE));
    server.sim.heal(id).expect("in force");
    assert_eq!(client.attributes(&root).await.map(drop), Err(nfsstat3::NFS3ERR_STALE));
    let mut again = server.mount("/share").await;
    let root = again.root.clone();
    again.attributes(&root).await.expect("mounted again");
}

#[tokio::test]
async fn a_restart_loses_what_was_not_committed_and_nothing_else() {
    let server = Server::start().await;
    let mut client = server.mount("/share").await;
    let root = client.root.clone();
    let file = client.create(&root, "file").await.expect("a file");
    client.write(&file, 0, b"0123456789").await.expect("a write");
    let verifier = client.commit(&file).await.expect("a verifier");
    client.write(&file, 2, b"abcdef").await.expect("within");
    client.write(&file, 4, b"XY").await.expect("over the one before");
    client.write(&file, 12, b"behind a hole").await.expect("past the end");
    let synced = client.create(&root, "synced").await.expect("a file");
    client.write(&synced, 0, b"first").await.expect("a write");
    client.write_with(&synced, 5, b", second", stable_how::FILE_SYNC).await.expect("on disk, with the first");
    let cut = client.create(&root, "cut").await.expect("a file");
    client.write(&cut, 0, b"0123456789").await.expect("a write");
    client.set(&cut, size(4)).await.expect("cut");
    client.write(&cut, 4, b"lost").await.expect("a write");
    let removed = client.create(&root, "removed").await.expect("a file");
    client.write(&removed, 0, b"whatever").await.expect("a write");
    client.remove(&root, "removed").await.expect("removed");
    assert_eq!(client.text("file").await.as_deref(), Ok("01abXYef89\0\0behind a hole"));

    let id = server.sim.inject(NasFault { restart: true, ..fault() }).expect("a rule");
    assert!(!is_answered(&mut client).await, "its connections are cut");
    let lost = server.journal.entries().iter().find(|entry| entry.kind == "restarted").cloned();
    let lost = lost.expect("told").body.clone();
    assert_eq!((&lost["lostFiles"], &lost["lostBytes"]), (&2.into(), &25.into()), "{lost}");
    let back = async {
        while TcpStream::connect(server.address).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, back).await.expect("back within a minute");
    let mut client = server.mount("/share").await;
    assert_eq!(client.root, root, "handles stay good");
    let read = client.read(&file, 0, 100).await;
    assert_eq!(read, Ok((b"0123456789".to_vec(), true)), "as it was committed");
    assert_eq!(client.text("synced").await.as_deref(), Ok("first, second"));
    assert_eq!(client.text("cut").await.as_deref(), Ok("0123"));
    let now = client.commit(&file).await.expect("a verifier");
    assert_ne!(now, verifier);
    assert_eq!(client.write(&file, 0, b"x").await.expect("a write").verf, now);
    assert_eq!(client.commit(&file).await, Ok(now), "it restarts once");
    server.sim.heal(id).expect("in force");
    assert_eq!(client.commit(&file).await, Ok(now));
}

#[tokio::test]
async fn a_broken_connection_is_the_end_of_it() {
    let server = Server::start().await;
    let mut client = server.mount("/share").await;
    let root = client.root.clone();
    client.create(&root, "file").await.expect("a file");
    let rule =
        NasFault { procedure: Some("REMOVE".into()), drop_connection: true, times: Some(1), ..fault() };
    server.sim.inject(rule).expect("a rule");
    let object = diropargs3 { dir: root.clone(), name: b"file".to_vec().into() };
    let arguments = REMOVE3args { object };
    let removing = client.connection.remove(&arguments);
    assert!(tokio::time::timeout(SOON, removing).await.expect("an end").is_err());
    assert!(server.real("file").exists(), "it was not carried out");
    let mut again = server.mount("/share").await;
    again.remove(&root, "file").await.expect("on a new connection");
    assert!(server.sim.calls()["REMOVE"] == 2);
}
