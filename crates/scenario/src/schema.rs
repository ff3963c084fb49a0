//! The JSON Schema of scenario files, and the reference page that is made from it.

use schemars::Schema;

use crate::model::Scenario;

/// The JSON Schema of one scenario document, draft 2020-12.
pub fn schema() -> Schema {
    let mut schema = schemars::schema_for!(Scenario);
    schema.insert("title".to_owned(), "Mountlab scenario".into());
    schema
}
