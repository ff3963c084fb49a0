//! The program `kind`.

use std::path::PathBuf;

use crate::KindError;
use crate::command::{Run, find};
use crate::docker::Docker;
use crate::images::GoBuilds;
use crate::versions::{GO_PROGRAMS, KIND_OLDEST};

/// kind, from the path if it is new enough, else built.
#[derive(Clone, Debug)]
pub(crate) struct KindProgram {
    place: PathBuf,
}

impl KindProgram {
    /// The one on the path, with its version, if it is new enough.
    pub(crate) async fn on_path() -> Result<Option<(Self, String)>, KindError> {
        let Some(place) = find("kind") else { return Ok(None) };
        let said =
            Run::new("asking kind for its version", &place).args(["version", "--quiet"]).output().await?;
        let version = said.trim().to_owned();
        Ok(is_new_enough(&version).then_some((Self { place }, version)))
    }

    /// The pinned one, if it was built before.
    pub(crate) fn built(builds: &GoBuilds<'_>) -> Option<Self> {
        let [program, ..] = &GO_PROGRAMS;
        let place = builds.place(program.name, &GoBuilds::key(program));
        place.is_file().then_some(Self { place })
    }

    /// The one on the path, or the pinned one, built if need be.
    pub(crate) async fn ensure(builds: &GoBuilds<'_>) -> Result<Self, KindError> {
        let [program, ..] = &GO_PROGRAMS;
        if let Some(built) = Self::built(builds) {
            return Ok(built);
        }
        if let Some((found, _)) = Self::on_path().await? {
            return Ok(found);
        }
        let place = builds.by_name(program.name).await.map_err(|error| match error {
            KindError::Machine { missing, remedy } => KindError::machine(
                format!("there is no kind program, and it can't be built: {missing}"),
                format!("install kind {} or newer, or {remedy}", program.version),
            ),
            other => other,
        })?;
        Ok(Self { place })
    }

    /// A command of it on this daemon.
    pub(crate) fn command(&self, docker: &Docker, action: &str) -> Run {
        docker.point(Run::new(action, &self.place)).env("KIND_EXPERIMENTAL_PROVIDER", "docker")
    }
}

fn is_new_enough(version: &str) -> bool {
    let mut parts = version.trim_start_matches('v').split('.').map(str::parse::<u32>);
    match (parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= KIND_OLDEST,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("0.30.0", true)]
    #[case("v0.27.1", true)]
    #[case("1.0.0", true)]
    #[case("0.26.0", false)]
    #[case("unknown", false)]
    fn old_ones_are_not_used(#[case] version: &str, #[case] expected: bool) {
        assert_eq!(is_new_enough(version), expected);
    }
}
