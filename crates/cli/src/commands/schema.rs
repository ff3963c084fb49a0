//! `mountlab schema`: the JSON Schema of scenario files, for editors.

use std::io::Write as _;

use crate::exit::Status;

/// Prints the schema.
pub(crate) fn run() -> anyhow::Result<Status> {
    let text = serde_json::to_string_pretty(&scenario::schema())?;
    writeln!(std::io::stdout(), "{text}")?;
    Ok(Status::Held)
}
