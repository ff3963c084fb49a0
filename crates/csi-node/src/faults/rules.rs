//! Which rules are in force, and which of them strikes a call.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use contract::paths::staging_directory;
use lab::{CsiCall, CsiFault};
use thiserror::Error;

use super::strike::Strike;

/// Where an agent's faults come from.
#[derive(Clone, Debug, Default)]
pub struct FaultOptions {
    /// The folder of the rules in force: `ID.json` holds a [`CsiFault`], and is removed when the fault is healed.
    /// Beside it agents keep `ID.calls`, the number of calls that matched. Agents look for none without it.
    pub directory: Option<PathBuf>,
    /// A JSON list of faults that this agent always has.
    pub defects: Option<String>,
    /// The pod's name, which is its sandbox's.
    pub pod: String,
}

/// Faults that can't be read.
#[derive(Debug, Error)]
#[error("the agent's own faults are not understood: {0}")]
pub struct FaultOptionsError(#[source] serde_json::Error);

/// The faults of one agent.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    directory: Option<PathBuf>,
    /// With the number of calls that matched.
    defects: Vec<(CsiFault, AtomicU32)>,
    pod: String,
}

/// A call, as far as rules look at it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call<'a> {
    pub(super) method: CsiCall,
    pub(super) driver: &'a str,
    pub(super) target: &'a str,
}

impl Faults {
    /// The faults that `options` name.
    ///
    /// # Errors
    /// When the agent's own ones are no list of faults.
    pub fn new(options: FaultOptions) -> Result<Self, FaultOptionsError> {
        let FaultOptions { directory, defects, pod } = options;
        let defects: Vec<CsiFault> =
            defects.map_or(Ok(Vec::new()), |text| serde_json::from_str(&text)).map_err(FaultOptionsError)?;
        let defects = defects.into_iter().map(|fault| (fault, AtomicU32::new(0))).collect();
        Ok(Self { shared: Arc::new(Shared { directory, defects, pod }) })
    }

    /// The rule that strikes this call, if one does: the first in the order of injection, an image's own before.
    pub(super) async fn strike(&self, call: Call<'_>) -> Option<Strike> {
        for (number, (fault, calls)) in self.shared.defects.iter().enumerate() {
            if !self.matches(fault, call) {
                continue;
            }
            let which = calls.fetch_add(1, Ordering::Relaxed).saturating_add(1);
            if strikes(fault, which) {
                return Some(Strike::new(format!("csi/image/{}", number + 1), fault.clone(), None));
            }
        }
        let directory = self.shared.directory.clone()?;
        let (faults, driver, target) = (self.clone(), call.driver.to_owned(), call.target.to_owned());
        let looked = tokio::task::spawn_blocking(move || {
            faults.look(&directory, Call { method: call.method, driver: &driver, target: &target })
        });
        match looked.await.map_err(io::Error::other).flatten() {
            Ok(strike) => strike,
            Err(error) => {
                tracing::error!(%error, "faults can't be read, the call goes on without");
                None
            }
        }
    }

    fn look(&self, directory: &Path, call: Call<'_>) -> io::Result<Option<Strike>> {
        for (number, path) in rules(directory)? {
            // One that has been healed since is not there.
            let Some(text) = found(fs::read_to_string(&path))? else { continue };
            let fault: CsiFault = serde_json::from_str(&text).map_err(io::Error::other)?;
            if self.matches(&fault, call) && strikes(&fault, count(&path.with_extension("calls"))?) {
                return Ok(Some(Strike::new(format!("csi/{number}"), fault, Some(path))));
            }
        }
        Ok(None)
    }

    fn matches(&self, fault: &CsiFault, call: Call<'_>) -> bool {
        let at_path =
            |path: &String| call.target.ends_with(&format!("/{}", staging_directory(call.driver, path)));
        fault.call == call.method
            && fault.driver.as_ref().is_none_or(|driver| driver == call.driver)
            && fault.sandbox.as_ref().is_none_or(|sandbox| *sandbox == self.shared.pod)
            && fault.mount_path.as_ref().is_none_or(at_path)
    }
}

/// Whether the matching call of that number, counted from 1, is struck.
fn strikes(fault: &CsiFault, number: u32) -> bool {
    let first = fault.nth.unwrap_or(1);
    let struck_before = number.checked_sub(first);
    struck_before.is_some_and(|before| fault.times.is_none_or(|times| before < times))
}

/// The rules in a folder, in the order of their numbers. A folder that isn't there has none.
fn rules(directory: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let Some(entries) = found(fs::read_dir(directory))? else { return Ok(Vec::new()) };
    let mut rules = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let number = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
        if let Some(number) = number.filter(|_| path.extension().is_some_and(|extension| extension == "json"))
        {
            rules.push((number, path));
        }
    }
    rules.sort();
    Ok(rules)
}

/// Counts one more call in `path`, which agents of other pods use too.
fn count(path: &Path) -> io::Result<u32> {
    let mut file: File = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    file.lock()?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    let number = text.trim().parse::<u32>().unwrap_or(0).saturating_add(1);
    file.rewind()?;
    write!(file, "{number}")?;
    Ok(number)
}

fn found<T>(outcome: io::Result<T>) -> io::Result<Option<T>> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use contract::names::drivers::{NAS, OSS};
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    fn call(target: &'static str) -> Call<'static> {
        Call { method: CsiCall::NodePublishVolume, driver: OSS, target }
    }

    fn faults(directory: &Path, pod: &str) -> Faults {
        let options =
            FaultOptions { directory: Some(directory.to_owned()), defects: None, pod: pod.to_owned() };
        Faults::new(options).expect("no defects")
    }

    fn rule(directory: &Path, number: u32, rule: &Value) {
        fs::write(directory.join(format!("{number}.json")), rule.to_string()).expect("written");
    }

    #[rstest]
    #[case(json!({}), &[1, 2, 3, 4])]
    #[case(json!({"nth": 2}), &[2, 3, 4])]
    #[case(json!({"times": 1}), &[1])]
    #[case(json!({"nth": 2, "times": 2}), &[2, 3])]
    fn which_calls_are_struck(#[case] more: Value, #[case] expected: &[u32]) {
        let mut rule = json!({"call": "NodePublishVolume", "code": "Internal"});
        rule.as_object_mut().expect("an object").extend(more.as_object().cloned().expect("an object"));
        let fault = serde_json::from_value(rule).expect("a fault");
        let struck: Vec<_> = (1..=4).filter(|number| strikes(&fault, *number)).collect();
        assert_eq!(struck, expected);
    }

    #[rstest]
    #[case(json!({}), true)]
    #[case(json!({"driver": OSS, "sandbox": "pod-1", "mountPath": "/data-oss"}), true)]
    #[case(json!({"driver": NAS}), false)]
    #[case(json!({"sandbox": "pod-2"}), false)]
    #[case(json!({"mountPath": "/data"}), false)]
    #[case(json!({"call": "NodeUnpublishVolume"}), false)]
    #[tokio::test]
    async fn whom_a_rule_is_for(#[case] more: Value, #[case] expected: bool) {
        let directory = tempfile::tempdir().expect("a directory");
        let mut whole = json!({"call": "NodePublishVolume", "code": "Internal"});
        whole.as_object_mut().expect("an object").extend(more.as_object().cloned().expect("an object"));
        rule(directory.path(), 1, &whole);
        let target = "/run/csi/mount-root/oss/f69ed0682da4107631b80bf6fe851d69";
        let strike = faults(directory.path(), "pod-1").strike(call(target)).await;
        assert_eq!(strike.is_some(), expected);
    }

    #[tokio::test]
    async fn calls_are_counted_over_all_agents_and_healing_is_removing_the_file() {
        let directory = tempfile::tempdir().expect("a directory");
        rule(directory.path(), 1, &json!({"call": "NodePublishVolume", "code": "Internal", "nth": 2}));
        let agents = ["one", "two"].map(|pod| faults(directory.path(), pod));
        assert!(agents[0].strike(call("/x")).await.is_none());
        assert!(agents[1].strike(call("/x")).await.is_some(), "the second call, of another pod");
        fs::remove_file(directory.path().join("1.json")).expect("removed");
        assert!(agents[0].strike(call("/x")).await.is_none());
    }

    #[tokio::test]
    async fn rules_come_in_the_order_of_their_numbers_and_one_strikes() {
        let directory = tempfile::tempdir().expect("a directory");
        rule(directory.path(), 10, &json!({"call": "NodePublishVolume", "code": "Internal"}));
        rule(directory.path(), 9, &json!({"call": "NodePublishVolume", "code": "Aborted", "times": 1}));
        fs::write(directory.path().join("notes.txt"), "no rule").expect("written");
        let agent = faults(directory.path(), "pod");
        let mut subjects = Vec::new();
        for _ in 0..2 {
            subjects.push(agent.strike(call("/x")).await.expect("struck").subject);
        }
        assert_eq!(subjects, ["csi/9", "csi/10"]);
    }

    #[tokio::test]
    async fn an_image_has_its_own() {
        let defects = Some(r#"[{"call": "NodePublishVolume", "hang": true}]"#.to_owned());
        let agent = Faults::new(FaultOptions { defects, ..FaultOptions::default() }).expect("a list");
        assert_eq!(agent.strike(call("/x")).await.expect("struck").subject, "csi/image/1");
        let misspelt = Some(r#"[{"call": "NodePublishVolume", "hangs": true}]"#.to_owned());
        let error = Faults::new(FaultOptions { defects: misspelt, ..FaultOptions::default() });
        assert!(error.expect_err("refused").to_string().contains("hangs"));
    }
}
