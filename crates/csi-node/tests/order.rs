//! The order of a publication (`storage.md` §6.3), with a driver and a mount table that only take notes.
#![allow(clippy::expect_used, reason = "test code: a failed expectation ends the test")]

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use csi_api::node_server::Node as _;
use csi_api::volume_capability::AccessType;
use csi_api::{NodePublishVolumeRequest, NodeUnpublishVolumeRequest, VolumeCapability};
use csi_node::{
    Driver, Liveness, MountTable, Mounted, NodeOptions, NodeService, Place, Preparation, Refusal,
    VolumeIdentity,
};
use rstest::rstest;
use tokio::sync::Semaphore;
use tonic::{Code, Request};

/// What was done, and the mounts that are there.
#[derive(Clone, Debug, Default)]
struct Notes {
    log: Arc<Mutex<Vec<String>>>,
    mounted: Arc<Mutex<HashSet<PathBuf>>>,
    dead: Arc<Mutex<HashSet<PathBuf>>>,
}

impl Notes {
    fn note(&self, text: impl Into<String>) {
        self.log.lock().expect("unpoisoned").push(text.into());
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.log.lock().expect("unpoisoned"))
    }
}

impl MountTable for Notes {
    fn is_mounted(&self, target: &Path) -> io::Result<bool> {
        self.note("look");
        Ok(self.mounted.lock().expect("unpoisoned").contains(target))
    }

    fn answers(&self, target: &Path) -> bool {
        self.note("test");
        !self.dead.lock().expect("unpoisoned").contains(target)
    }

    fn is_served(&self, target: &Path) -> bool {
        self.answers(target)
    }

    fn detach(&self, target: &Path) -> io::Result<()> {
        self.note("detach");
        self.mounted.lock().expect("unpoisoned").remove(target);
        self.dead.lock().expect("unpoisoned").remove(target);
        Ok(())
    }
}

#[derive(Debug)]
struct NotingDriver {
    notes: Notes,
    gate: Arc<Semaphore>,
}

impl Driver for NotingDriver {
    fn name(&self) -> &'static str {
        "noting.example"
    }

    fn prepare(&self, request: &NodePublishVolumeRequest) -> Result<Box<dyn Preparation>, Refusal> {
        self.notes.note("prepare");
        if request.secrets.is_empty() {
            return Err(Refusal::invalid("no credentials"));
        }
        Ok(Box::new(NotingPreparation {
            notes: self.notes.clone(),
            gate: Arc::clone(&self.gate),
            request: request.clone(),
        }))
    }

    fn liveness(&self) -> Liveness {
        Liveness::Answers
    }
}

#[derive(Debug)]
struct NotingPreparation {
    notes: Notes,
    gate: Arc<Semaphore>,
    request: NodePublishVolumeRequest,
}

#[async_trait]
impl Preparation for NotingPreparation {
    fn identity(&self) -> VolumeIdentity {
        let source = self.request.volume_context.get("source").cloned().unwrap_or_default();
        VolumeIdentity { source, path: "/".into(), read_only: self.request.readonly }
    }

    async fn mount(self: Box<Self>, place: &Place) -> Result<Box<dyn Mounted>, Refusal> {
        drop(self.gate.acquire().await.expect("open"));
        if self.request.volume_context.contains_key("wrong") {
            let secret = self.request.secrets.values().next().cloned().unwrap_or_default();
            return Err(Refusal::internal(format!("the store quotes {secret}")));
        }
        place.clear().await?;
        self.notes.note("mount");
        let target = place.path();
        assert!(target.is_dir(), "the target directory is made first");
        self.notes.mounted.lock().expect("unpoisoned").insert(target.to_owned());
        Ok(Box::new(NotingMount { notes: self.notes.clone(), target: target.to_owned() }))
    }
}

#[derive(Debug)]
struct NotingMount {
    notes: Notes,
    target: PathBuf,
}

#[async_trait]
impl Mounted for NotingMount {
    fn has_ended(&self) -> bool {
        false
    }

    async fn unmount(self: Box<Self>) -> Result<(), Refusal> {
        self.notes.note("unmount");
        self.notes.mounted.lock().expect("unpoisoned").remove(&self.target);
        Ok(())
    }
}

struct Bench {
    notes: Notes,
    gate: Arc<Semaphore>,
    service: NodeService,
    directory: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let notes = Notes::default();
        let gate = Arc::new(Semaphore::new(8));
        let driver = Arc::new(NotingDriver { notes: notes.clone(), gate: Arc::clone(&gate) });
        let service = NodeService::new(NodeOptions {
            driver,
            mounts: Arc::new(notes.clone()),
            node_id: "node".into(),
            search_path: "/usr/bin".into(),
        });
        Self { notes, gate, service, directory: tempfile::tempdir().expect("a directory") }
    }

    fn target(&self) -> PathBuf {
        self.directory.path().join("root/oss/target")
    }

    fn request(&self) -> NodePublishVolumeRequest {
        NodePublishVolumeRequest {
            volume_id: "pv-1".into(),
            target_path: self.target().to_str().expect("text").into(),
            volume_capability: Some(VolumeCapability {
                access_type: Some(AccessType::Mount(csi_api::volume_capability::MountVolume::default())),
                access_mode: None,
            }),
            secrets: [("akSecret".to_owned(), "sentinel".to_owned())].into(),
            ..Default::default()
        }
    }

    async fn publish(&self, request: NodePublishVolumeRequest) -> Result<(), tonic::Status> {
        self.service.node_publish_volume(Request::new(request)).await.map(drop)
    }

    async fn unpublish(&self) -> Result<(), tonic::Status> {
        let request = NodeUnpublishVolumeRequest {
            volume_id: "other-id".into(),
            target_path: self.target().to_str().expect("text").into(),
        };
        self.service.node_unpublish_volume(Request::new(request)).await.map(drop)
    }
}

#[tokio::test]
async fn a_free_target_is_mounted_and_unmounted() {
    let bench = Bench::new();
    bench.publish(bench.request()).await.expect("published");
    assert_eq!(bench.notes.take(), ["prepare", "look", "mount"]);
    bench.publish(bench.request()).await.expect("the same again");
    assert_eq!(bench.notes.take(), ["prepare", "look", "test"]);
    bench.unpublish().await.expect("unpublished");
    assert_eq!(bench.notes.take(), ["unmount", "look"]);
    assert!(!bench.target().exists());
    bench.unpublish().await.expect("again");
    assert_eq!(bench.notes.take(), ["look"]);
}

#[tokio::test]
async fn a_dead_mount_is_detached_first() {
    let bench = Bench::new();
    std::fs::create_dir_all(bench.target()).expect("made");
    bench.notes.mounted.lock().expect("unpoisoned").insert(bench.target());
    bench.notes.dead.lock().expect("unpoisoned").insert(bench.target());
    bench.publish(bench.request()).await.expect("published");
    assert_eq!(bench.notes.take(), ["prepare", "look", "test", "detach", "mount"]);
}

#[tokio::test]
async fn a_dead_mount_stays_as_long_as_nothing_can_be_mounted_in_its_place() {
    let bench = Bench::new();
    std::fs::create_dir_all(bench.target()).expect("made");
    bench.notes.mounted.lock().expect("unpoisoned").insert(bench.target());
    bench.notes.dead.lock().expect("unpoisoned").insert(bench.target());
    let mut request = bench.request();
    request.volume_context.insert("wrong".into(), "yes".into());
    bench.publish(request).await.expect_err("the store refuses");
    assert_eq!(bench.notes.take(), ["prepare", "look", "test"]);
    bench.publish(bench.request()).await.expect("published");
    assert_eq!(bench.notes.take(), ["prepare", "look", "test", "detach", "mount"]);
}

#[tokio::test]
async fn a_live_mount_that_nobody_remembers_is_kept_and_unpublished() {
    let bench = Bench::new();
    std::fs::create_dir_all(bench.target()).expect("made");
    std::fs::write(bench.target().join("customer"), "data").expect("written");
    bench.notes.mounted.lock().expect("unpoisoned").insert(bench.target());
    bench.publish(bench.request()).await.expect("kept");
    assert_eq!(bench.notes.take(), ["prepare", "look", "test"]);
    bench.unpublish().await.expect("unpublished");
    assert_eq!(bench.notes.take(), ["look", "detach"]);
    assert!(bench.target().join("customer").exists(), "nothing in a directory is ever deleted");
}

#[rstest]
#[case::no_id(|it: &mut NodePublishVolumeRequest| it.volume_id.clear(), &[])]
#[case::no_capability(|it: &mut NodePublishVolumeRequest| it.volume_capability = None, &[])]
#[case::proc(|it: &mut NodePublishVolumeRequest| it.target_path = "/proc/1".into(), &[])]
#[case::programs(|it: &mut NodePublishVolumeRequest| it.target_path = "/usr/bin/x".into(), &[])]
#[case::no_credentials(|it: &mut NodePublishVolumeRequest| it.secrets.clear(), &["prepare"])]
#[tokio::test]
async fn what_is_wrong_is_found_before_anything_is_touched(
    #[case] change: impl Fn(&mut NodePublishVolumeRequest),
    #[case] steps: &[&str],
) {
    let bench = Bench::new();
    let mut request = bench.request();
    change(&mut request);
    let status = bench.publish(request).await.expect_err("refused");
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert_eq!(bench.notes.take(), steps);
    assert!(!bench.target().exists());
}

#[tokio::test]
async fn another_volume_at_a_live_target_is_refused() {
    let bench = Bench::new();
    bench.publish(bench.request()).await.expect("published");
    for change in [
        |it: &mut NodePublishVolumeRequest| it.readonly = true,
        |it: &mut NodePublishVolumeRequest| _ = it.volume_context.insert("source".into(), "other".into()),
    ] {
        let mut request = bench.request();
        change(&mut request);
        assert_eq!(bench.publish(request).await.expect_err("refused").code(), Code::AlreadyExists);
    }
}

#[tokio::test]
async fn a_secret_in_an_error_is_blotted_out() {
    let bench = Bench::new();
    let mut request = bench.request();
    request.volume_context.insert("wrong".into(), "yes".into());
    let status = bench.publish(request).await.expect_err("refused");
    assert_eq!(status.message(), "the store quotes [redacted]");
}

#[tokio::test]
async fn a_volume_in_progress_is_aborted_and_a_caller_that_leaves_changes_nothing() {
    let bench = Bench::new();
    let held = Arc::clone(&bench.gate).acquire_many_owned(8).await.expect("open");
    let leaving =
        tokio::time::timeout(std::time::Duration::from_millis(50), bench.publish(bench.request())).await;
    assert!(leaving.is_err(), "the caller gave up");
    let status = bench.publish(bench.request()).await.expect_err("in progress");
    assert_eq!(status.code(), Code::Aborted);
    assert!(status.message().contains("already an operation"), "{status}");
    let mut other_id = bench.request();
    other_id.volume_id = "pv-2".into();
    let waiting = bench.publish(other_id);
    drop(held);
    waiting.await.expect("waits for the first, and finds its mount");
    assert_eq!(bench.notes.take().iter().filter(|step| *step == "mount").count(), 1);
    assert_eq!(bench.service.unmount_all().await, Vec::<PathBuf>::new());
    assert!(bench.notes.mounted.lock().expect("unpoisoned").is_empty());
}
