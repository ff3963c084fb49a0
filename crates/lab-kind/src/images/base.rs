//! The base of every image that is built: a minimal Debian.

use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::Source;
use super::source::public_base;
use crate::command::{Run, find};
use crate::docker::Docker;
use crate::observer::{Observer, Step};
use crate::versions::{DEBIAN, DEBIAN_RELEASES};
use crate::{Folders, KindError};

/// How long putting the packages together may take.
const DEADLINE: Duration = Duration::from_secs(1200);

/// What isn't needed in a container, as dpkg is told it.
const LEFT_OUT: [&str; 3] = ["/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/man/*"];

/// Makes sure of the base of a Debian release and returns its name.
pub(crate) async fn ensure(
    source: Source,
    release: &str,
    docker: &Docker,
    folders: &Folders,
    observer: &dyn Observer,
) -> Result<String, KindError> {
    match source {
        Source::Registry => pull(&public_base(release), docker, folders, observer).await,
        Source::Build => build(release, docker, folders, observer).await,
    }
}

/// Makes sure of an image of the registry.
pub(crate) async fn pull(
    image: &str,
    docker: &Docker,
    folders: &Folders,
    observer: &dyn Observer,
) -> Result<String, KindError> {
    if !docker.has_image(image).await? {
        let step = Step::begin(observer, format!("pulling {image}"));
        docker.pull(&step, image, &folders.log(step.name())?).await.map_err(|error| {
            let remedy = "try again later, or have images built: mountlab kind up --images build";
            KindError::machine(format!("the image {image} can't be had ({error})"), remedy)
        })?;
        step.done();
    }
    Ok(image.to_owned())
}

async fn build(
    release: &str,
    docker: &Docker,
    folders: &Folders,
    observer: &dyn Observer,
) -> Result<String, KindError> {
    let name = name(release);
    if docker.has_image(&name).await? {
        return Ok(name);
    }
    let step = Step::begin(observer, format!("putting Debian {release} together"));
    let program = find("mmdebstrap").ok_or_else(|| {
        KindError::machine(
            "there is no mmdebstrap program",
            "install it (Debian, Ubuntu: apt-get install mmdebstrap)",
        )
    })?;
    let folder =
        tempfile::tempdir_in(folders.root()).map_err(KindError::io("making a folder in", folders.root()))?;
    let archive = folder.path().join("root.tar");
    Run::enclosed(format!("putting Debian {release} together"), program)
        .env("TMPDIR", folder.path())
        .args(["--variant=minbase", "--include=ca-certificates"])
        .args(LEFT_OUT.map(|path| format!("--dpkgopt=path-exclude={path}")))
        .args([release.as_ref(), archive.as_os_str()])
        .within("deadline of putting Debian together", DEADLINE)
        .follow(&step, &folders.log(step.name())?)
        .await?;
    docker.import(&archive, &name).await?;
    step.done();
    Ok(name)
}

fn name(release: &str) -> String {
    let key = hex::encode(Sha256::digest(format!("{release} {LEFT_OUT:?}")));
    format!("mountlab.dev/debian:{release}-{}", &key[..16])
}

/// The oldest Debian whose C library runs programs that were linked on this machine: our executables are.
pub(crate) async fn release_for_executables() -> Result<&'static str, KindError> {
    let run = Run::new("asking for the version of the C library", "getconf").args(["GNU_LIBC_VERSION"]);
    release_of(&run.output().await?)
}

fn release_of(said: &str) -> Result<&'static str, KindError> {
    // A system without the GNU library runs static programs only, which run anywhere.
    let Some(version) = said.trim().strip_prefix("glibc ").and_then(parse) else { return Ok(DEBIAN) };
    DEBIAN_RELEASES.iter().find(|(_, library)| *library >= version).map(|(release, _)| *release).ok_or_else(
        || {
            KindError::machine(
                format!("programs built here need {}, which no image has yet", said.trim()),
                "build mountlab on an older system",
            )
        },
    )
}

fn parse(version: &str) -> Option<(u32, u32)> {
    let (major, minor) = version.split_once('.')?;
    Some((major.parse().ok()?, minor.split('.').next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("glibc 2.31\n", Some("bookworm"))]
    #[case("glibc 2.36\n", Some("bookworm"))]
    #[case("glibc 2.39\n", Some("trixie"))]
    #[case("glibc 2.41\n", Some("trixie"))]
    #[case("undefined\n", Some("bookworm"))]
    #[case("glibc 2.99\n", None)]
    fn the_base_runs_what_was_linked_here(#[case] said: &str, #[case] expected: Option<&str>) {
        assert_eq!(release_of(said).ok(), expected);
    }

    #[test]
    fn a_base_is_named_after_its_recipe() {
        assert!(name("bookworm").starts_with("mountlab.dev/debian:bookworm-"));
        assert_ne!(name("bookworm"), name("trixie"));
    }
}
