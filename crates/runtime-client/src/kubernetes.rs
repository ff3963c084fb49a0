//! Failures of Kubernetes calls, told to users without internal particulars.

use contract::errors::{Code, Problem};

/// The failure of a Kubernetes call while doing `action`. Its particulars go to the log only.
pub fn kubernetes_problem(action: &str, error: &kube::Error) -> Problem {
    tracing::warn!(%error, "kubernetes call failed: {action}");
    if is_transient(error) {
        Problem::new(
            Code::ClusterUnavailable,
            format!("failed to {action}: the Kubernetes API is out of reach, try again later"),
        )
    } else {
        Problem::new(
            Code::Internal,
            format!("failed to {action}: the Kubernetes API refused with {}", reason(error)),
        )
    }
}

/// Whether a call may succeed later without anybody changing the request: no answer at all, or one of the statuses
/// with which an API server says "not now". A missing permission counts: an operator mends it, not the caller.
pub fn is_transient(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => matches!(status.code, 401 | 403 | 429 | 500..=599),
        _ => true,
    }
}

/// Whether the API server says that the object isn't there.
pub fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// Whether the write was made on an outdated version of the object.
pub fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

fn reason(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => format!("{} {}", status.code, status.reason),
        _ => "no answer".to_owned(),
    }
}
