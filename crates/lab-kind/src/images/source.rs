//! Where images come from.

use std::fmt;
use std::time::Duration;

use crate::KindError;
use crate::docker::Docker;
use crate::versions::DEBIAN;

/// How long the registry may take to say whether it has an image.
const ANSWER_DEADLINE: Duration = Duration::from_secs(20);

/// Where images may come from.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ImagePolicy {
    /// From the public registry if it answers, else built.
    #[default]
    Auto,
    /// From the public registry.
    Registry,
    /// Built from Debian packages and Go modules.
    Build,
}

/// Where they do come from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Source {
    Registry,
    Build,
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Registry => "images come from the public registry",
            Self::Build => "images are built from Debian packages and Go modules",
        })
    }
}

/// The base image of a Debian release as the registry has it.
pub(crate) fn public_base(release: &str) -> String {
    format!("debian:{release}-slim")
}

/// Whether the registry answers, and what it said if it doesn't.
///
/// Asked is the smallest image that is needed anyway, and first whether it is there already: an answer without the
/// network.
pub(crate) async fn reachable(docker: &Docker) -> Result<Result<(), String>, KindError> {
    let base = public_base(DEBIAN);
    if docker.has_image(&base).await? {
        return Ok(Ok(()));
    }
    described(docker).await
}

/// Whether the registry describes the image; no daemon is needed for that.
pub(crate) async fn described(docker: &Docker) -> Result<Result<(), String>, KindError> {
    let base = public_base(DEBIAN);
    let run = docker
        .command(format!("asking the registry for {base}"))
        // Only the description of the image is fetched.
        .args(["manifest", "inspect", base.as_str()])
        .env("DOCKER_CLI_EXPERIMENTAL", "enabled")
        .within("deadline of the registry's answer", ANSWER_DEADLINE);
    match run.finish().await {
        Ok(output) if output.success => Ok(Ok(())),
        Ok(output) => Ok(Err(output.error.lines().last().unwrap_or("it said nothing").trim().to_owned())),
        Err(error @ KindError::Deadline { .. }) => Ok(Err(error.to_string())),
        Err(error) => Err(error),
    }
}

impl Source {
    /// Decides, and says why.
    pub(crate) async fn choose(policy: ImagePolicy, docker: &Docker) -> Result<(Self, String), KindError> {
        match policy {
            ImagePolicy::Registry => Ok((Self::Registry, format!("{}: that was asked for", Self::Registry))),
            ImagePolicy::Build => Ok((Self::Build, format!("{}: that was asked for", Self::Build))),
            ImagePolicy::Auto => Ok(match reachable(docker).await? {
                Ok(()) => (Self::Registry, Self::Registry.to_string()),
                Err(words) => (Self::Build, format!("{}, since no registry answers ({words})", Self::Build)),
            }),
        }
    }
}
