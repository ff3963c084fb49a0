//! A lab for one measurement.

use std::time::Duration;

use lab::{Backend, Lab, Sharing, UpOptions};

use crate::BenchError;
use crate::error::io;

/// How long the lab may take to come up.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// Brings a lab up, does `work` in it and takes it down, whatever came of it.
pub(crate) async fn in_lab<T>(
    backend: &dyn Backend,
    work: impl AsyncFnOnce(&dyn Lab) -> Result<T, BenchError>,
) -> Result<T, BenchError> {
    let folder = tempfile::tempdir().map_err(io("make a folder for the lab"))?;
    let up = UpOptions {
        name: "bench".to_owned(),
        seed: 1,
        directory: folder.path().to_path_buf(),
        deadline: START_DEADLINE,
        needed: Vec::new(),
        sharing: Sharing::of_everything(),
    };
    let lab = backend.up(up).await?;
    let outcome = work(lab.as_ref()).await;
    lab.down().await?;
    outcome
}
