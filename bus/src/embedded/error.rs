//! Why the file could not be opened, and what a failed write means.

use std::path::PathBuf;

/// Why the embedded bus could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(
        "another tributary process uses {0}: stop it, or give this one a `data.dir` of its own"
    )]
    InUse(PathBuf),
    #[error("there is no embedded bus at {0}: start `tributary up` first, or check `data.dir`")]
    Missing(PathBuf),
    #[error("embedded bus {path}: {reason}")]
    File { path: PathBuf, reason: String },
}
