//! How the end of a process is told.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use super::messages::End;

/// Go's words for signals, which the SDKs' users know from envd.
const SIGNALS: [(i32, &str); 15] = [
    (1, "hangup"),
    (2, "interrupt"),
    (3, "quit"),
    (4, "illegal instruction"),
    (5, "trace/breakpoint trap"),
    (6, "aborted"),
    (7, "bus error"),
    (8, "floating point exception"),
    (9, "killed"),
    (10, "user defined signal 1"),
    (11, "segmentation fault"),
    (12, "user defined signal 2"),
    (13, "broken pipe"),
    (14, "alarm clock"),
    (15, "terminated"),
];

impl End {
    /// The end that `status` describes.
    pub(crate) fn from_status(status: ExitStatus) -> Self {
        let (exit_code, text) = match (status.code(), status.signal()) {
            (Some(code), _) => (code, format!("exit status {code}")),
            (None, signal) => (-1, format!("signal: {}", signal_name(signal.unwrap_or_default()))),
        };
        Self {
            exit_code,
            exited: status.code().is_some(),
            error: (exit_code != 0).then(|| text.clone()),
            status: text,
        }
    }

    /// The end of a process whose status can't be had.
    pub(crate) fn unknown(problem: &std::io::Error) -> Self {
        let text = format!("cannot wait for the process: {problem}");
        Self { exit_code: -1, exited: false, status: text.clone(), error: Some(text) }
    }
}

fn signal_name(number: i32) -> String {
    let known = SIGNALS.iter().find(|(signal, _)| *signal == number);
    known.map_or_else(|| format!("signal {number}"), |(_, name)| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::success(0, 0, true, "exit status 0", None)]
    #[case::failure(3 << 8, 3, true, "exit status 3", Some("exit status 3"))]
    #[case::killed(9, -1, false, "signal: killed", Some("signal: killed"))]
    #[case::crashed(0x8b, -1, false, "signal: segmentation fault", Some("signal: segmentation fault"))]
    #[case::rare(34, -1, false, "signal: signal 34", Some("signal: signal 34"))]
    fn told(
        #[case] raw: i32,
        #[case] exit_code: i32,
        #[case] exited: bool,
        #[case] status: &str,
        #[case] error: Option<&str>,
    ) {
        let expected = End { exit_code, exited, status: status.into(), error: error.map(ToOwned::to_owned) };
        assert_eq!(End::from_status(ExitStatus::from_raw(raw)), expected);
    }
}
