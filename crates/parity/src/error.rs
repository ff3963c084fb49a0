//! Why two reports can't be compared.

use std::path::PathBuf;

/// Why two reports can't be compared.
#[derive(Debug, thiserror::Error)]
pub enum ParityError {
    /// A file of a report folder can't be read.
    #[error("can't read {}: {source}; is it the folder that `mountlab run --report` wrote?", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// A file of a report folder, or the file of reasons, is not what it should be.
    #[error("{} is not valid: {problem}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        problem: String,
    },
}
