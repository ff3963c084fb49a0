//! `mountlab check`: are these scenario files right?

use std::io::Write as _;

use crate::arguments::Paths;
use crate::exit::Status;

/// Reads and checks the files without running anything.
pub(crate) fn run(paths: &Paths) -> anyhow::Result<Status> {
    match scenario::check(&paths.paths) {
        Ok(count) => {
            writeln!(std::io::stdout(), "{count} scenarios, nothing wrong")?;
            Ok(Status::Held)
        }
        Err(problems) => {
            super::show(&problems);
            Ok(Status::Usage)
        }
    }
}
