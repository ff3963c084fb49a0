//! `mountlab run`: replay scenarios and say which held.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;

use clock::SystemClock;
use scenario::{Options, Plan, RunError, Style, Summary};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::arguments::{BackendName, Format, Run};
use crate::backends;
use crate::exit::Status;
use crate::progress::Progress;

/// Runs the scenarios that the arguments name.
pub(crate) fn run(arguments: &Run) -> anyhow::Result<Status> {
    let plan = match scenario::load(&arguments.paths.paths) {
        Ok(plan) => plan,
        Err(problems) => {
            super::show(&problems);
            return Ok(Status::Usage);
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let outcome = runtime.block_on(replay(&plan, arguments));
    runtime.shutdown_background();
    let Replayed { summary, problems } = outcome?;
    print(&summary, arguments.output.format)?;
    for problem in &problems {
        eprintln!("mountlab: {problem:#}");
    }
    Ok(match summary.exit_status() {
        0 if !problems.is_empty() => Status::Machine,
        0 => Status::Held,
        3 => Status::Machine,
        _ => Status::Failed,
    })
}

/// The verdicts, and what went wrong beside them.
struct Replayed {
    summary: Summary,
    problems: Vec<anyhow::Error>,
}

async fn replay(plan: &Plan, arguments: &Run) -> anyhow::Result<Replayed> {
    let stop = CancellationToken::new();
    stop_at_signals(&stop)?;
    let backend =
        backends::get(arguments.backend, &arguments.cluster, arguments.keep, arguments.oss_mounter)?;
    let checked = tokio::select! {
        biased;
        () = stop.cancelled() => None,
        checked = backend.check() => Some(checked),
    };
    let Some(checked) = checked else {
        backend.finish().await?;
        anyhow::bail!("interrupted before the first scenario");
    };
    checked?;
    let options = Options {
        jobs: arguments.jobs.unwrap_or_else(|| backend.jobs(processors())),
        seed: arguments.seed.unwrap_or_else(rand::random),
        report: arguments.report.clone(),
        // There it is the cluster that is kept.
        keep: arguments.keep && arguments.backend != BackendName::Kind,
        pause_on_failure: arguments.pause_on_failure,
        filter: arguments.filter.clone(),
        cache: cache(),
        clock: SystemClock::shared(),
    };
    let progress = Arc::new(Progress::new());
    let outcome = scenario::run(plan, backend.as_ref(), &options, progress, stop).await;
    let finished = backend.finish().await;
    let mut problems = Vec::new();
    let summary = match outcome {
        Ok(summary) => summary,
        Err(error) => match &error {
            RunError::Unreported { summary, .. } => {
                let summary = Summary::clone(summary);
                problems.push(error.into());
                summary
            }
            _ => return Err(error.into()),
        },
    };
    problems.extend(finished.err().map(anyhow::Error::from));
    Ok(Replayed { summary, problems })
}

/// The first Ctrl-C (or SIGTERM) ends the run with a report; the second ends the program at once, and the labs with it.
fn stop_at_signals(stop: &CancellationToken) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let stop = stop.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if stop.is_cancelled() {
                std::process::exit(130);
            }
            stop.cancel();
        }
    });
    Ok(())
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Where the official SDKs of Python and JavaScript are kept between runs.
fn cache() -> PathBuf {
    std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))
        .unwrap_or_else(std::env::temp_dir)
        .join("mountlab")
}

fn print(summary: &Summary, format: Format) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    match format {
        Format::Json => writeln!(out, "{}", serde_json::to_string_pretty(summary)?)?,
        Format::Text => {
            let style = if out.is_terminal() { Style::Colour } else { Style::Plain };
            write!(out, "{}", scenario::render_table(summary, style))?;
            out.flush()?;
            eprint!("{}", scenario::render_failures(summary, style));
        }
    }
    Ok(())
}
