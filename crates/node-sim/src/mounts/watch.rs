//! Watching the mount table of a running container.
//!
//! The kernel says that a table changed, and the watch compares what it was with what it is. Mount ids are given out
//! again at once, so an unmount and a mount that both happen before the watch has run may look like nothing.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::sync::Arc;

use journal::{Journal, source};
use lab::{MountLine as Line, parse_mount_table};
use serde_json::json;
use tokio::io::Interest;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::pod::PodContext;

/// A watch that is going on.
pub(crate) struct Watch {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Watch {
    /// Ends the watch: what was still mounted is gone with the container.
    pub(crate) async fn end(self) {
        let _ = self.stop.send(());
        let _ = self.task.await;
    }
}

/// Watches the mount table of `process`, the first one of `container`, and tells the journal of its changes.
pub(crate) fn watch(context: &Arc<PodContext>, container: &str, process: i32) -> Watch {
    let (stop, stopped) = oneshot::channel();
    let teller = Teller {
        journal: context.node.journal.clone(),
        subject: context.subject(container),
        pod: context.full_name(),
        container: container.to_owned(),
        told: BTreeMap::new(),
    };
    let task = tokio::spawn(async move {
        let mut teller = teller;
        tokio::select! {
            _ = stopped => {}
            ended = follow(process, &mut teller) => if let Err(error) = ended {
                tracing::debug!(subject = teller.subject, %error, "the mount table can't be watched any more");
                // Only the container's end ends the watch.
            }
        }
        teller.tell(&BTreeMap::new());
    });
    Watch { stop, task }
}

async fn follow(process: i32, teller: &mut Teller) -> io::Result<()> {
    let file = File::open(format!("/proc/{process}/mountinfo"))?;
    let interest = Interest::PRIORITY | Interest::ERROR;
    let file = crate::readiness::watch(file, interest)?;
    let mut known = read(file.get_ref())?;
    // What the container began with is no news, except for storage that was mounted before it was restarted.
    let storage: BTreeMap<_, _> = known.clone().into_iter().filter(|(_, line)| is_storage(line)).collect();
    let ordinary: Vec<u64> = known.keys().filter(|id| !storage.contains_key(id)).copied().collect();
    teller.tell(&storage);
    loop {
        let mut ready = file.ready(interest).await?;
        ready.clear_ready();
        known = read(file.get_ref())?;
        known.retain(|id, _| !ordinary.contains(id));
        teller.tell(&known);
    }
}

fn is_storage(line: &Line) -> bool {
    line.file_system.starts_with("fuse") || line.file_system.starts_with("nfs")
}

fn read(mut file: &File) -> io::Result<BTreeMap<u64, Line>> {
    let mut text = String::new();
    file.rewind()?;
    file.read_to_string(&mut text)?;
    Ok(parse_mount_table(&text).into_iter().map(|line| (line.id, line)).collect())
}

/// Knows which mounts the journal was told of.
struct Teller {
    journal: Journal,
    subject: String,
    pod: String,
    container: String,
    told: BTreeMap<u64, Line>,
}

impl Teller {
    /// Tells the difference between what was told and what is there now.
    fn tell(&mut self, now: &BTreeMap<u64, Line>) {
        let told = std::mem::take(&mut self.told);
        for line in told.iter().filter(|(id, _)| !now.contains_key(id)).map(|(_, line)| line) {
            self.record("unmounted", line);
        }
        for line in now.iter().filter(|(id, _)| !told.contains_key(id)).map(|(_, line)| line) {
            self.record("mounted", line);
        }
        now.clone_into(&mut self.told);
    }

    fn record(&self, kind: &str, line: &Line) {
        let body = json!({
            "pod": self.pod,
            "container": self.container,
            "path": line.mount_point,
            "fileSystem": line.file_system,
            "source": line.source,
            "options": line.options,
        });
        self.journal.record(source::MOUNTS, kind, &format!("{}:{}", self.subject, line.mount_point), body);
    }
}
