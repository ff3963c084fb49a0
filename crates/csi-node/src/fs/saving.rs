//! Brings what was written to the store, with the attributes that belong to it.

use std::sync::Arc;

use tokio::time::Instant;

use super::failure::{Outcome, errno};
use super::file::{Content, File, Writing};
use super::stream::Destination;
use super::volume::Volume;

impl Volume {
    /// Saves `file` if anything of it isn't on the store.
    pub(super) async fn save(&self, file: &Arc<File>) -> Outcome<()> {
        let _tree = self.tree.read().await;
        let mut content = file.content.lock().await;
        self.save_content(file.ino, &mut content).await
    }

    /// As [`Volume::save`], for who holds the locks.
    pub(super) async fn save_content(&self, ino: u64, content: &mut Content) -> Outcome<()> {
        content.check()?;
        if content.detached || !(content.dirty || content.attributes_dirty) {
            return Ok(());
        }
        let path = self.path(ino)?;
        let stat = self.stat(ino)?;
        let destination = self.destination(&path, &stat);
        let saved = self.save_to(&destination, content).await;
        content.save_failed = saved.is_err();
        let (etag, exact_time) = match saved {
            Ok(saved) => saved,
            Err(error) => {
                if matches!(&content.writing, Writing::Stream(stream) if stream.length() != stat.size) {
                    // Parts that had gone out are lost.
                    content.failed = Some(error);
                }
                return Err(error);
            }
        };
        content.dirty = false;
        content.attributes_dirty = false;
        content.times_set = false;
        if let Some(node) = self.nodes().get_mut(ino) {
            self.ahead.changed(node.parent);
            node.cached_pages.clone_from(&etag);
            node.stat.etag = etag;
            node.checked = exact_time.then(Instant::now);
            node.changes += 1;
        }
        Ok(())
    }

    /// Saves the content; answers the version tag and whether the object has the attributes of `destination`
    /// exactly.
    async fn save_to(&self, destination: &Destination, content: &mut Content) -> Outcome<(String, bool)> {
        let attributes = Some((destination.content_type.as_str(), &destination.metadata));
        match &mut content.writing {
            Writing::Unchanged => {
                let etag = self.bucket.copy(&destination.key, &destination.key, attributes).await;
                etag.map(|etag| (etag, true)).map_err(|error| errno(&error))
            }
            Writing::Scratch(scratch) => {
                scratch.save(&self.bucket, &self.parts, destination).await.map(|etag| (etag, true))
            }
            Writing::Stream(stream) => {
                let begun_with = stream.destination().map(|begun| begun.metadata.clone());
                let mut etag = stream.finish(&self.bucket, &self.parts, destination).await?;
                content.writing = Writing::Unchanged;
                let Some(begun_with) = begun_with else { return Ok((etag, true)) };
                let differs = ["mode", "uid", "gid"]
                    .iter()
                    .any(|name| begun_with.get(*name) != destination.metadata.get(*name));
                if !(differs || content.times_set) {
                    return Ok((etag, false));
                }
                let copied = self.bucket.copy(&destination.key, &destination.key, attributes).await;
                etag = copied.map_err(|error| errno(&error))?;
                Ok((etag, true))
            }
        }
    }
}
