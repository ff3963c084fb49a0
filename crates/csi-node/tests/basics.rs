//! The product's example: publish, read what is in the bucket, write to it, list, unpublish.
#![allow(clippy::expect_used, clippy::panic, reason = "test code: a failed expectation ends the test")]

mod common;
mod sanity;

use common::{Agent, BUCKET, KEY_ID, KEY_SECRET, Store, blocking, in_namespaces, mount_line, with_mounter};
use rstest::rstest;

#[test]
fn a_published_bucket_is_read_written_and_listed() {
    in_namespaces("a_published_bucket_is_read_written_and_listed", || async {
        let store = Store::start().await;
        store.put("data-subPath/hello.txt", "from the bucket").await;
        store.put("other/secret.txt", "not below the path").await;
        let agent = Agent::start().await;
        let attributes = [("path", "/data-subPath"), ("otherOpts", "-o umask=022 -o allow_other")];
        let target = agent.mount(&store, "f69ed0682da4107631b80bf6fe851d69", &attributes).await;
        let line = mount_line(&target).expect("mounted");
        assert!(line.starts_with("ossfs ") && line.contains(" fuse.ossfs rw,"), "{line}");

        let root = target.clone();
        blocking(move || {
            assert_eq!(std::fs::read_to_string(root.join("hello.txt")).expect("read"), "from the bucket");
            std::fs::write(root.join("answer.txt"), "from the sandbox").expect("written");
            std::fs::create_dir(root.join("folder")).expect("made");
            std::fs::write(root.join("folder/inner.txt"), "deep").expect("written");
            let mut names: Vec<_> = std::fs::read_dir(&root)
                .expect("opened")
                .map(|entry| entry.expect("listed").file_name().into_string().expect("text"))
                .collect();
            names.sort();
            assert_eq!(names, ["answer.txt", "folder", "hello.txt"]);
        })
        .await;
        assert_eq!(store.get("data-subPath/answer.txt").await, b"from the sandbox");
        assert_eq!(store.get("data-subPath/folder/inner.txt").await, b"deep");
        assert_eq!(store.get("data-subPath/folder/").await, b"");

        agent.unpublish(&target).await.expect("unmounted");
        assert_eq!(mount_line(&target), None);
        assert!(!target.exists(), "the empty target directory goes");
        agent.unpublish(&target).await.expect("a second time is fine");
        assert!(agent.stdout().contains("\"kind\":\"NodePublishVolume\""), "{}", agent.stdout());
    });
}

#[rstest]
#[case::built_in("built-in")]
#[case::s3fs("s3fs")]
fn the_conformance_test_of_the_csi_passes(#[case] mounter: &'static str) {
    with_mounter("the_conformance_test_of_the_csi_passes", mounter, |agent| async move {
        let store = Store::start().await;
        let context = [("bucket", BUCKET), ("url", store.url.as_str())];
        sanity::conforms(&agent, &context, &[("akId", KEY_ID), ("akSecret", KEY_SECRET)]).await;
    });
}
