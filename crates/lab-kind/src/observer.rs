//! How the work goes, for whoever shows it.

use std::time::{Duration, Instant};

/// What happens on the way to a cluster. Steps overlap: each event names its own.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A choice that was made, and why: a sentence.
    Chosen(&'a str),
    /// A step began.
    Started {
        /// Its name.
        step: &'a str,
    },
    /// A step goes on.
    Progress {
        /// Its name.
        step: &'a str,
        /// The last line of whatever is doing the work.
        detail: &'a str,
    },
    /// A step is done.
    Done {
        /// Its name.
        step: &'a str,
        /// How long it took.
        elapsed: Duration,
    },
}

/// Is told how the work goes.
pub trait Observer: Send + Sync {
    /// Something happened. Called often; must not block.
    fn notify(&self, event: Event<'_>);
}

/// Tells nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {
    fn notify(&self, _event: Event<'_>) {}
}

/// A step that is under way. Without [`Step::done`] it failed, and the error says more.
pub(crate) struct Step<'a> {
    observer: &'a dyn Observer,
    name: String,
    started: Instant,
}

impl<'a> Step<'a> {
    /// Begins a step.
    pub(crate) fn begin(observer: &'a dyn Observer, name: impl Into<String>) -> Self {
        let name = name.into();
        observer.notify(Event::Started { step: &name });
        Self { observer, name, started: Instant::now() }
    }

    /// The step's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Says how it goes.
    pub(crate) fn progress(&self, detail: &str) {
        self.observer.notify(Event::Progress { step: &self.name, detail });
    }

    /// Ends it well.
    pub(crate) fn done(self) {
        self.observer.notify(Event::Done { step: &self.name, elapsed: self.started.elapsed() });
    }
}
