//! How a cluster comes up, on standard error: a line for every step, and on a terminal a spinner for those under way.

use std::collections::HashMap;
use std::io::IsTerminal as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget};
use lab_kind::{Event, Observer};

/// Shows steps.
pub(crate) struct Steps {
    bars: MultiProgress,
    running: Mutex<HashMap<String, ProgressBar>>,
    terminal: bool,
}

impl Steps {
    /// Spinners are shown when standard error is a terminal.
    pub(crate) fn new() -> Self {
        let terminal = std::io::stderr().is_terminal();
        let target = if terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Self { bars: MultiProgress::with_draw_target(target), running: Mutex::default(), terminal }
    }

    fn say(&self, line: &str) {
        self.bars.suspend(|| eprintln!("{line}"));
    }

    fn with_running<T>(&self, act: impl FnOnce(&mut HashMap<String, ProgressBar>) -> T) -> T {
        act(&mut self.running.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Observer for Steps {
    fn notify(&self, event: Event<'_>) {
        match event {
            Event::Chosen(sentence) => self.say(sentence),
            Event::Started { step } => {
                if !self.terminal {
                    self.say(&format!("{step} …"));
                    return;
                }
                let bar = self.bars.add(ProgressBar::new_spinner().with_message(step.to_owned()));
                bar.enable_steady_tick(Duration::from_millis(200));
                self.with_running(|running| running.insert(step.to_owned(), bar));
            }
            Event::Progress { step, detail } => self.with_running(|running| {
                if let Some(bar) = running.get(step) {
                    let detail: String = detail.chars().take(80).collect();
                    bar.set_message(format!("{step}: {detail}"));
                }
            }),
            Event::Done { step, elapsed } => {
                if let Some(bar) = self.with_running(|running| running.remove(step)) {
                    bar.finish_and_clear();
                }
                self.say(&format!("{step}: {:.1} s", elapsed.as_secs_f64()));
            }
            _ => {}
        }
    }
}
