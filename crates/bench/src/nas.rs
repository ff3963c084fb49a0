//! The NAS mounter beside `nfs-cp`, turn by turn on one export of one server.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use contract::names::drivers;
use lab::{ExportCall, ExportOptions, ExportReply, Lab};

use crate::agent::{Agent, Volume};
use crate::error::io;
use crate::files::{self, Times};
use crate::mounts::blocking;
use crate::nfs_cp::NfsCp;
use crate::{BenchError, Figure, Options, Unit};

/// The export that both use.
const EXPORT: &str = "/bench";
/// What share of the speed of `nfs-cp` the large file is to have: data takes one more way, through FUSE.
const LARGE_LIMIT: f64 = 0.7;
/// The same for small files.
const SMALL_LIMIT: f64 = 1.0;

/// One round's figures of one client, in seconds.
#[derive(Clone, Copy, Debug)]
struct Round {
    times: Times,
    read: f64,
}

/// The NAS part of `bench mounts`.
pub(crate) async fn beside_nfs_cp(
    lab: &dyn Lab,
    options: &Options,
    progress: &(dyn Fn(&str) + Sync),
) -> Result<Vec<Figure>, BenchError> {
    let server = lab.access().network_file_system.as_ref().ok_or(BenchError::NoNetworkFileSystem)?;
    let server = server.outside_address;
    let call = ExportCall::Export { path: EXPORT.to_owned(), options: ExportOptions::default() };
    if let ExportReply::Refused { code, message } = lab.at_exports(call).await? {
        return Err(BenchError::Export { path: EXPORT, code, message });
    }
    let nfs_cp = Arc::new(NfsCp::find(server)?);
    let port = server.port().to_string();
    let arguments = ["--nas-mounter", "user-space", "--nas-port", &port];
    let agent = Agent::start(&options.program, drivers::NAS, &arguments).await?;
    let volume = Volume::export(server.ip(), EXPORT);
    let (mut mounts, mut ours, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    // A round moves a gibibyte: a few of them tell enough.
    let rounds = options.rounds.div_ceil(5);
    for number in 0..=rounds {
        progress(&format!("NAS beside nfs-cp, round {number} of {rounds}"));
        let (mount, our, their) = round(&agent, &volume, &nfs_cp, number).await?;
        if number > 0 {
            mounts.push(mount);
            ours.push(our);
            theirs.push(their);
        }
    }
    Ok(figures(mounts, &ours, &theirs))
}

/// Ours: mount, fill, mount anew, read. Then theirs, which has no mount. Afterwards everything is deleted: the server
/// keeps it in the lab's directory. Answers the milliseconds of the first mount, too.
async fn round(
    agent: &Agent,
    volume: &Volume,
    nfs_cp: &Arc<NfsCp>,
    number: usize,
) -> Result<(f64, Round, Round), BenchError> {
    let (target, mount) = agent.mount(volume, "first").await?;
    let times = blocking(&agent.outside(&target).join(format!("ours-{number}")), files::fill).await?;
    agent.unmount(&target).await?;
    // The kernel's pages went with the mount: what is read now comes from the server.
    let (target, _) = agent.mount(volume, "second").await?;
    let folder = agent.outside(&target).join(format!("ours-{number}"));
    let read = blocking(&folder, files::read_large).await?;
    blocking(&folder, delete).await?;
    let ours = Round { times, read };

    let name = format!("nfs-cp-{number}");
    let folder = agent.outside(&target).join(&name);
    blocking(&folder, make).await?;
    let (times, read) = {
        let nfs_cp = Arc::clone(nfs_cp);
        blocking(Path::new(EXPORT), move |export| nfs_cp.round(&format!("{}/{name}", export.display())))
            .await?
    };
    blocking(&folder, delete).await?;
    agent.unmount(&target).await?;
    Ok((mount, ours, Round { times, read }))
}

fn make(folder: &Path) -> Result<(), BenchError> {
    fs::create_dir(folder).map_err(io(format!("make {}", folder.display())))
}

fn delete(folder: &Path) -> Result<(), BenchError> {
    fs::remove_dir_all(folder).map_err(io(format!("delete {}", folder.display())))
}

fn figures(mounts: Vec<f64>, ours: &[Round], theirs: &[Round]) -> Vec<Figure> {
    let mut figures = vec![Figure::new("NAS mount", Unit::Milliseconds, mounts)];
    let mut compare = |name: &str, limit: f64, seconds: fn(&Round) -> f64| {
        let milliseconds = |rounds: &[Round]| rounds.iter().map(|it| seconds(it) * 1000.0).collect();
        let ratios = ours.iter().zip(theirs).map(|(our, their)| seconds(their) / seconds(our)).collect();
        figures.push(Figure::new(name, Unit::Milliseconds, milliseconds(ours)));
        figures.push(Figure::new("· nfs-cp", Unit::Milliseconds, milliseconds(theirs)));
        figures.push(Figure::new("· times as fast", Unit::Ratio, ratios).at_least(limit));
    };
    compare("NAS write 256 MiB", LARGE_LIMIT, |it| it.times.write);
    compare("NAS read 256 MiB, cold", LARGE_LIMIT, |it| it.read);
    compare("NAS 200 small files", SMALL_LIMIT, |it| it.times.small);
    figures
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    /// A client that needs `seconds` for everything.
    fn all(seconds: f64) -> Round {
        Round { times: Times { write: seconds, small: seconds }, read: seconds }
    }

    #[rstest]
    #[case::as_fast(1.0, [true, true, true])]
    #[case::three_quarters_as_fast(0.75, [true, true, false])]
    #[case::half_as_fast(0.5, [false, false, false])]
    fn a_slower_mount_misses_its_limits(#[case] theirs: f64, #[case] holds: [bool; 3]) {
        let figures = figures(vec![1.0], &[all(1.0)], &[all(theirs)]);
        let held: Vec<_> =
            figures.iter().filter(|figure| figure.limit.is_some()).map(Figure::holds).collect();
        assert_eq!(held, holds);
    }
}
