//! A progress bar on standard error while scenarios run, on a terminal only.

use std::io::IsTerminal as _;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use scenario::{Event, Observer, PauseInfo};
use tokio::io::AsyncBufReadExt as _;

/// Shows how a run goes.
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// A bar, hidden when standard error is no terminal.
    pub(crate) fn new() -> Self {
        let target = if std::io::stderr().is_terminal() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        if let Ok(style) = ProgressStyle::with_template("{bar:24} {pos}/{len}  {elapsed}  {msg}") {
            bar.set_style(style);
        }
        Self { bar }
    }
}

impl Observer for Progress {
    fn notify(&self, event: &Event<'_>) {
        match event {
            Event::RunStarted { scenarios, .. } => {
                self.bar.set_length(u64::try_from(*scenarios).unwrap_or(u64::MAX));
            }
            Event::ScenarioStarted { name } => self.bar.set_message((*name).to_owned()),
            Event::Phase { name, phase } => self.bar.set_message(format!("{name}: {phase}")),
            Event::ScenarioEnded { result } => {
                self.bar.inc(1);
                if self.bar.is_hidden() {
                    return;
                }
                let seconds = result.elapsed.as_secs_f64();
                self.bar.println(format!("{:<10}  {}  {seconds:.2} s", result.verdict.word(), result.name));
            }
        }
    }

    fn pause(&self, info: PauseInfo) -> BoxFuture<'_, ()> {
        self.bar.suspend(|| {
            eprintln!("\n{} failed: {}\nits lab is still up; to look around:", info.scenario, info.failure);
            for (name, value) in &info.environment {
                eprintln!("export {name}={value}");
            }
            eprintln!(
                "{}",
                if info.keep { "Ctrl-C takes it down" } else { "Enter goes on, Ctrl-C ends the run" }
            );
        });
        async move {
            if info.keep {
                std::future::pending::<()>().await;
            }
            let mut line = String::new();
            let mut input = tokio::io::BufReader::new(tokio::io::stdin());
            if let Err(error) = input.read_line(&mut line).await {
                eprintln!("mountlab: standard input can't be read ({error}); going on");
            }
        }
        .boxed()
    }
}
