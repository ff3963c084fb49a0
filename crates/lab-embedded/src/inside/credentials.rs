//! Keys made anew for each lab.

use rand::distr::{Alphanumeric, SampleString as _};

/// The region that signatures name.
pub(crate) const REGION: &str = "oss-mountlab";

/// Credentials of one lab, valid while it is up. No `Debug`: they are secrets.
pub(crate) struct Credentials {
    /// Key of the E2B API.
    pub(crate) e2b_key: String,
    /// AccessKey ID of the key that may do everything in the object store.
    pub(crate) access_key_id: String,
    /// Its secret.
    pub(crate) access_key_secret: String,
}

impl Credentials {
    /// New ones, drawn from the machine's random source and not from the scenario's seed: a report names the seed.
    pub(crate) fn draw() -> Self {
        let mut random = rand::rng();
        let mut text = |length| Alphanumeric.sample_string(&mut random, length);
        Self {
            e2b_key: format!("mountlab-{}", text(32)),
            access_key_id: format!("LTAI{}", text(20)),
            access_key_secret: text(30),
        }
    }
}
