//! `mountlab explain`: what running a scenario would do.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::exit::Status;

/// Prints the plan of the scenarios in `path`.
pub(crate) fn run(path: &Path) -> anyhow::Result<Status> {
    match scenario::load(&[PathBuf::from(path)]) {
        Ok(plan) => {
            write!(std::io::stdout(), "{}", scenario::explain(&plan))?;
            Ok(Status::Held)
        }
        Err(problems) => {
            super::show(&problems);
            Ok(Status::Usage)
        }
    }
}
