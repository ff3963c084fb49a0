//! One file a verb.

mod bench;
mod check;
mod compare;
mod doctor;
mod explain;
mod kind;
mod run;
mod schema;
mod up;

use std::process::ExitCode;

use crate::arguments::{Arguments, Verb};
use crate::exit::Status;

/// Does what was asked. What went wrong is said on standard error.
pub(crate) fn run(arguments: Arguments) -> ExitCode {
    let outcome = match arguments.verb {
        Verb::Run(arguments) => run::run(&arguments),
        Verb::Check(paths) => check::run(&paths),
        Verb::Up(arguments) => up::run(&arguments),
        Verb::Doctor(output) => doctor::run(output),
        Verb::Schema => schema::run(),
        Verb::Explain { path } => explain::run(&path),
        Verb::Compare(arguments) => compare::run(&arguments),
        Verb::Bench(arguments) => bench::run(&arguments),
        Verb::Kind(arguments) => kind::run(&arguments),
    };
    match outcome {
        Ok(status) => status.into(),
        Err(error) => {
            eprintln!("mountlab: {error:#}");
            status_of(&error).into()
        }
    }
}

/// Prints what is wrong with scenario files, with the lines it stands on.
fn show(problems: &scenario::Problems) {
    let mut text = String::new();
    for problem in &problems.problems {
        let drawn = miette::GraphicalReportHandler::new().render_report(&mut text, problem);
        if drawn.is_err() {
            text += &problem.to_string();
        }
    }
    eprint!("{text}");
}

/// The exit status that an error stands for: a machine that lacks something is 3, anything else that kept a verb
/// from doing its work is 2.
fn status_of(error: &anyhow::Error) -> Status {
    match error.downcast_ref::<lab::LabError>() {
        Some(_) => Status::Machine,
        None => Status::Usage,
    }
}
