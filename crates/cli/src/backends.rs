//! Which backends this program has.

use std::io;

use clock::SystemClock;
use lab::Backend;
use lab_embedded::Embedded;

use crate::arguments::BackendName;

/// The backend of that name.
///
/// # Errors
/// When the path of this very executable can't be read: labs are started from it.
pub(crate) fn get(name: BackendName) -> io::Result<Box<dyn Backend>> {
    match name {
        BackendName::Embedded => Ok(Box::new(Embedded::new(std::env::current_exe()?, SystemClock::shared()))),
    }
}
