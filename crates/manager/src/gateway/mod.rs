//! The gateway: requests for a port of a sandbox go to its pod and stream both ways (`e2b-api.md` §8).
//!
//! ```text
//! request ──► recognise ──► Routes::address(id) ──► forward ──► http://<pod IP>:<port>
//!                 │               └ unknown, paused, not ready for 15 s ──► 502 "was not found"
//!                 └ control plane                     └ nobody listens ──► 502 "port is not open"
//! ```

pub(crate) mod admission;
pub(crate) mod answers;
pub(crate) mod forward;
pub(crate) mod recognise;
pub(crate) mod severing;
