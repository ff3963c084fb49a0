//! The log of a component, and its part of the journal.

use clap::ValueEnum;
use clock::SharedClock;
use journal::Journal;

/// How a component writes its log.
#[derive(clap::Args, Clone, Copy, Debug)]
pub struct LogOptions {
    /// Form of the log on standard error
    #[arg(long, value_enum, default_value_t = LogFormat::Json)]
    pub log_format: LogFormat,
    /// What becomes of journal entries: a line of JSON each on standard output, for a lab that reads the pod's log, or
    /// nothing
    #[arg(long, value_enum, default_value_t = JournalFormat::Off, env = "MOUNTLAB_JOURNAL")]
    pub journal: JournalFormat,
}

/// Forms of a log.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum LogFormat {
    /// One JSON document a line.
    Json,
    /// For people.
    Text,
}

/// What becomes of journal entries.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum JournalFormat {
    /// Nothing.
    Off,
    /// Lines that begin with `{"mountlab.journal":`.
    Lines,
}

impl LogOptions {
    /// Begins the log. A host program may have set up its own subscriber; that one stays.
    pub fn begin(self) {
        let log = tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false);
        let _ = match self.log_format {
            LogFormat::Json => log.json().try_init(),
            LogFormat::Text => log.try_init(),
        };
    }

    /// The journal that the component writes to, if it shall write one.
    pub fn journal(self, clock: SharedClock) -> Option<Journal> {
        (self.journal == JournalFormat::Lines).then(|| Journal::printing(clock))
    }
}
