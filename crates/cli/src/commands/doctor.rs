//! `mountlab doctor`: what each backend needs of this machine.

use std::io::Write as _;

use lab::{Backend, Kept, Requirement};
use serde::Serialize;

use crate::arguments::{Format, Output};
use crate::backends;
use crate::exit::Status;

#[derive(Serialize)]
struct Diagnosis {
    backend: &'static str,
    ready: bool,
    /// What a paused sandbox keeps there.
    kept: Kept,
    requirements: Vec<Requirement>,
}

/// Prints the tables; the status is 3 when the default backend can't run here. The others are for machines that have
/// what they need.
pub(crate) fn run(output: Output) -> anyhow::Result<Status> {
    let diagnoses = vec![diagnose(&backends::embedded()?), diagnose_kind()?];
    let mut out = std::io::stdout().lock();
    match output.format {
        Format::Json => writeln!(out, "{}", serde_json::to_string_pretty(&diagnoses)?)?,
        Format::Text => {
            for diagnosis in &diagnoses {
                write!(out, "{}", table(diagnosis))?;
            }
        }
    }
    let ready = diagnoses.first().is_some_and(|diagnosis| diagnosis.ready);
    Ok(if ready { Status::Held } else { Status::Machine })
}

fn diagnose(backend: &dyn Backend) -> Diagnosis {
    judge(backend.name(), backend.kept(), backend.requirements())
}

fn diagnose_kind() -> anyhow::Result<Diagnosis> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let folders = lab_kind::Folders::of_user();
    let requirements = match folders {
        Ok(folders) => runtime.block_on(lab_kind::requirements(&folders)),
        Err(error) => vec![lab_kind::no_folder(&error)],
    };
    Ok(judge(lab_kind::NAME, lab_kind::kept(), requirements))
}

fn judge(backend: &'static str, kept: Kept, requirements: Vec<Requirement>) -> Diagnosis {
    let ready = requirements.iter().all(|requirement| requirement.met || requirement.optional);
    Diagnosis { backend, ready, kept, requirements }
}

fn table(diagnosis: &Diagnosis) -> String {
    let verdict = if diagnosis.ready { "ready" } else { "can't run here" };
    let width = diagnosis.requirements.iter().map(|requirement| requirement.name.len()).max().unwrap_or(0);
    let rows = diagnosis.requirements.iter().map(|requirement| row(requirement, width));
    let Diagnosis { backend, kept, .. } = diagnosis;
    format!("{backend} backend: {verdict}\n{}  a paused sandbox keeps {kept}\n", rows.collect::<String>())
}

fn row(requirement: &Requirement, width: usize) -> String {
    let Requirement { name, purpose, met, optional, found, remedy } = requirement;
    let mark = match (met, optional) {
        (true, _) => "ok     ",
        (false, true) => "absent ",
        (false, false) => "MISSING",
    };
    let head = format!("  {mark}  {name:width$}  {found}\n");
    if *met {
        return head;
    }
    let indent = " ".repeat(width + 13);
    format!("{head}{indent}what for: {purpose}\n{indent}to get it: {remedy}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requirement(met: bool, optional: bool) -> Requirement {
        Requirement {
            name: "/dev/fuse",
            purpose: "of mounts",
            met,
            optional,
            found: "seen".into(),
            remedy: "chmod 0666 /dev/fuse".into(),
        }
    }

    #[test]
    fn what_is_missing_comes_with_its_reason_and_remedy() {
        let diagnosis = Diagnosis {
            backend: "embedded",
            ready: false,
            kept: Kept::MemoryAndFiles,
            requirements: vec![requirement(false, false)],
        };
        let text = table(&diagnosis);
        assert!(text.starts_with("embedded backend: can't run here\n"), "{text}");
        for part in ["MISSING", "/dev/fuse", "what for: of mounts", "to get it: chmod 0666 /dev/fuse"] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }

    #[test]
    fn what_is_there_needs_no_remedy() {
        let text = table(&Diagnosis {
            backend: "embedded",
            ready: true,
            kept: Kept::NothingElse,
            requirements: vec![requirement(true, false)],
        });
        assert_eq!(
            text,
            "embedded backend: ready\n  ok       /dev/fuse  seen\n  a paused sandbox keeps neither processes nor its own files: it wakes up in \
             a new pod\n"
        );
    }
}
