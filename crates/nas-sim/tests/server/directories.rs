//! Listings that last: pages, cookies, many entries.

use std::collections::BTreeSet;

use nfs3_client::nfs3_types::nfs3::{nfs_fh3, nfsstat3};

use crate::client::{Client, Server};

/// All names of a directory, page by page; `between` is called after each page.
async fn names(client: &mut Client, dir: &nfs_fh3, room: u32, mut between: impl FnMut(usize)) -> Vec<String> {
    let (mut all, mut cookie, mut pages) = (Vec::new(), 0, 0);
    loop {
        let (page, eof) = client.page(dir, cookie, room).await.expect("a page");
        cookie = page.last().map_or(cookie, |(_, cookie)| *cookie);
        all.extend(page.into_iter().map(|(name, _)| name));
        pages += 1;
        if eof {
            return all;
        }
        between(pages);
    }
}

#[tokio::test]
async fn ten_thousand_entries_come_once_each_whatever_happens_meanwhile() {
    let mut server = Server::start().await;
    for index in 0..10_000 {
        std::fs::write(server.real(&format!("file-{index:05}")), "").expect("a file");
    }
    let mut client = server.mount("/share").await;
    let root = client.root.clone();
    let share = server.real("");
    let listed = names(&mut client, &root, 32 * 1024, |page| {
        // Entries come and go; those that stay must be told all the same.
        std::fs::write(share.join(format!("new-{page}")), "").expect("a file");
        std::fs::remove_file(share.join(format!("file-{:05}", page - 1))).expect("removed");
    })
    .await;
    let unique: BTreeSet<_> = listed.iter().collect();
    assert_eq!(unique.len(), listed.len(), "no entry comes twice");
    let stayed = (1000..10_000).map(|index| format!("file-{index:05}"));
    assert!(stayed.clone().all(|name| unique.contains(&name)));
    assert!(listed.contains(&".".to_owned()) && listed.contains(&"..".to_owned()));

    let (first, _) = client.page(&root, 0, 4096).await.expect("a page");
    let (name, cookie) = first.last().expect("an entry").clone();
    let (rest, _) = client.page(&root, cookie, 4096).await.expect("a page");
    server.restart().await;
    let mut client = server.mount("/share").await;
    let again = client.page(&root, cookie, 4096).await.expect("a page");
    assert_eq!(again.0, rest, "a listing goes on after a restart, from {name}");
}

#[tokio::test]
async fn attributes_and_handles_come_along() {
    let server = Server::start().await;
    let mut client = server.mount("/share").await;
    let root = client.root.clone();
    let file = client.create(&root, "file").await.expect("a file");
    client.write(&file, 0, b"12345").await.expect("a write");
    client.symlink(&root, "link", "/etc/passwd").await.expect("a link");
    let (entries, eof) = client.page_plus(&root, 0, 65536).await.expect("a page");
    assert!(eof);
    assert_eq!(entries.len(), 4);
    let entry = entries.iter().find(|entry| entry.name.as_ref() == b"file").expect("the file");
    assert_eq!(entry.name_handle.clone().unwrap(), file);
    assert_eq!(entry.name_attributes.clone().unwrap().size, 5);
    let link = entries.iter().find(|entry| entry.name.as_ref() == b"link").expect("the link");
    assert_eq!(link.name_attributes.clone().unwrap().size, 11, "the link itself, not what it leads to");
}

#[tokio::test]
async fn a_page_too_small_for_one_entry_is_refused() {
    let server = Server::start().await;
    let mut client = server.mount("/share").await;
    let root = client.root.clone();
    assert_eq!(client.page(&root, 0, 100).await, Err(nfsstat3::NFS3ERR_TOOSMALL));
    let file = client.create(&root, "file").await.expect("a file");
    assert_eq!(client.page(&file, 0, 4096).await, Err(nfsstat3::NFS3ERR_NOTDIR));
    let limits = client.limits().await.expect("limits");
    assert_eq!((limits.name_max, limits.no_trunc, limits.case_insensitive), (255, true, false));
}

#[tokio::test]
async fn above_the_export_there_is_nothing() {
    let server = Server::start().await;
    let mut client = server.mount("/share").await;
    let root = client.root.clone();
    assert_eq!(client.lookup(&root, "..").await, Ok(root.clone()));
    let folder = client.mkdir(&root, "folder").await.expect("a directory");
    assert_eq!(client.lookup(&folder, "..").await, Ok(root.clone()));
    assert_eq!(client.lookup(&folder, ".").await, Ok(folder));
}
