//! From failures of the surroundings to errors of a call.

use std::io;

use super::accounts::Account;
use super::connect::{Call, Code, RpcError};
use super::paths::PathError;
use super::state::{AccountError, Envd};

/// The account that `call` acts as.
pub(crate) fn account_of(envd: &Envd, call: &Call) -> Result<Account, RpcError> {
    envd.account(call.user.as_deref()).map_err(|problem| {
        let code = match problem {
            AccountError::Unknown(_) => Code::Unauthenticated,
            AccountError::Unreadable(_) => Code::Internal,
        };
        RpcError::new(code, problem.to_string())
    })
}

impl From<PathError> for RpcError {
    fn from(problem: PathError) -> Self {
        Self::new(Code::InvalidArgument, problem.to_string())
    }
}

impl RpcError {
    /// A failed operation on the file system; `what` says which, on what.
    pub(crate) fn from_io(what: &str, problem: &io::Error) -> Self {
        let code = match problem.kind() {
            io::ErrorKind::NotFound => Code::NotFound,
            io::ErrorKind::PermissionDenied => Code::PermissionDenied,
            io::ErrorKind::InvalidFilename | io::ErrorKind::NotADirectory => Code::InvalidArgument,
            _ if problem.raw_os_error() == Some(nix::libc::ELOOP) => Code::FailedPrecondition,
            _ => Code::Internal,
        };
        Self::new(code, format!("{what}: {problem}"))
    }
}
