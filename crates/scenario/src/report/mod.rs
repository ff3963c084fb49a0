//! The report folder (`interface.md`): `report.json`, `junit.xml`, `report.html`, and per scenario `journal.jsonl`,
//! `objects.yaml`, `failure.txt`.

mod html;
mod junit;
mod objects;
mod table;
mod timeline;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clock::SharedClock;
use journal::{Entry, Journal};

pub use table::{Style, render_failures, render_table};

use crate::engine::{RunError, ScenarioResult, Summary};

/// Makes the report's folder and takes the last run's report out of it.
pub(crate) fn prepare(folder: &Path) -> Result<(), RunError> {
    fs::create_dir_all(folder).map_err(failed("make folder", folder))?;
    for name in ["report.json", "junit.xml", "report.html"] {
        let path = folder.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(failed("remove", &path)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Writes what concerns the whole run.
pub(crate) fn write(folder: &Path, summary: &Summary, clock: &SharedClock) -> Result<(), RunError> {
    let json = serde_json::to_string_pretty(summary).map_err(invalid(&folder.join("report.json")))?;
    write_file(&folder.join("report.json"), json.as_bytes())?;
    let junit = junit::render(summary).map_err(invalid(&folder.join("junit.xml")))?;
    write_file(&folder.join("junit.xml"), junit.as_bytes())?;
    let page = html::render(summary, clock.now()).map_err(invalid(&folder.join("report.html")))?;
    write_file(&folder.join("report.html"), page.as_bytes())
}

/// Writes one scenario's folder.
pub(crate) fn write_scenario(result: &ScenarioResult, journal: &Journal) -> Result<(), RunError> {
    let folder = &result.folder;
    fs::create_dir_all(folder).map_err(failed("make folder", folder))?;
    let entries = journal.entries();
    let path = folder.join("journal.jsonl");
    let file = fs::File::create(&path).map_err(failed("write", &path))?;
    let mut writer = std::io::BufWriter::new(file);
    for entry in &entries {
        serde_json::to_writer(&mut writer, &**entry).map_err(invalid(&path))?;
        writer.write_all(b"\n").map_err(failed("write", &path))?;
    }
    writer.flush().map_err(failed("write", &path))?;
    let path = folder.join("objects.yaml");
    write_file(&path, objects::render(&entries).map_err(invalid(&path))?.as_bytes())?;
    let path = folder.join("failure.txt");
    if result.failures.is_empty() {
        // What an earlier run left would be taken for this one's.
        return match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed("remove", &path)(error)),
            _ => Ok(()),
        };
    }
    let text: Vec<String> = result.failures.iter().map(crate::engine::Failure::render).collect();
    write_file(&path, text.join("\n").as_bytes())
}

/// Reads a scenario's journal back.
pub(crate) fn read_journal(folder: &Path) -> Vec<Entry> {
    let text = fs::read_to_string(folder.join("journal.jsonl")).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn write_file(path: &Path, content: &[u8]) -> Result<(), RunError> {
    fs::write(path, content).map_err(failed("write", path))
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> RunError {
    let path: PathBuf = path.to_owned();
    move |source| RunError::Report { action, path, source }
}

fn invalid<E: Into<Box<dyn std::error::Error + Send + Sync>>>(path: &Path) -> impl FnOnce(E) -> RunError {
    let failed = failed("write", path);
    move |error| failed(std::io::Error::other(error))
}
