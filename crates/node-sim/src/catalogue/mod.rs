//! Images: which root file system and program a name stands for.
//!
//! Nothing is pulled. Every image is made from the machine's own program folders ([`base`]), and the names differ in
//! what is added: an image whose last path component is `agent-runtime` or `csi-agent` also has the product's own
//! executable at `/usr/local/bin/mountlab`, whatever registry and tag it is asked for with. Whoever starts a node says
//! what else its images have ([`Addition`]).

mod base;
mod reference;

use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

pub(crate) use base::Base;
pub use base::BaseError;
pub(crate) use reference::Reference;

/// Where images of the lab's own components keep the product's executable.
pub const EXECUTABLE_IN_IMAGE: &str = "/usr/local/bin/mountlab";

/// The name, beside either executable, of the one that holds the in-sandbox agent alone.
const AGENT: &str = "agent-runtime";

/// Last path components of the images that have the executable.
const COMPONENT_IMAGES: [&str; 2] = ["agent-runtime", "csi-agent"];

/// Where programs are found in every image.
const IMAGE_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What the node knows about images.
#[derive(Clone, Debug)]
pub struct Catalogue {
    /// The product's executable on the machine; it appears in the images of the product's own components.
    pub mountlab_executable: PathBuf,
    /// The executable of the in-sandbox agent alone, if it was built: images have it beside the other one.
    pub agent_executable: Option<PathBuf>,
    /// What some images have besides.
    pub additions: Vec<Addition>,
}

/// What some images have besides.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Addition {
    /// The images whose last path component this is, in any registry.
    pub image: String,
    /// Only those with this tag; absent means every one.
    pub tag: Option<String>,
    /// Environment below the container's own.
    pub environment: Vec<(String, String)>,
    /// Folders of the machine that are in the image, for writing: from, to.
    pub folders: Vec<(PathBuf, PathBuf)>,
}

impl Addition {
    fn is_for(&self, reference: &Reference) -> bool {
        self.image == reference.last_component()
            && self.tag.as_deref().is_none_or(|tag| reference.tag() == Some(tag))
    }
}

/// What an image name stands for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Image {
    /// The name in full, with its tag.
    pub(crate) name: String,
    /// A name that changes with the content.
    pub(crate) id: String,
    /// Program and arguments of a container that names none; empty for the idle process.
    pub(crate) entry_point: Vec<String>,
    /// Environment below the container's own.
    pub(crate) environment: Vec<(String, String)>,
    /// Files of the machine that appear in the image: from, to.
    pub(crate) files: Vec<(PathBuf, PathBuf)>,
    /// Folders of the machine that appear in the image, for writing: from, to.
    pub(crate) folders: Vec<(PathBuf, PathBuf)>,
}

/// Why there is no such image.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum ImageError {
    /// The name is no image reference. Waiting reason `InvalidImageName`.
    #[error("couldn't parse image name {0:?}: invalid reference format")]
    Invalid(String),
    /// The name is one that can never be pulled. Waiting reason `ErrImagePull`.
    #[error("failed to pull image {image:?}: no registry answers at {registry:?}")]
    Unreachable {
        /// The image.
        image: String,
        /// Host name of its registry.
        registry: String,
    },
}

impl Catalogue {
    /// The catalogue of `executable`, and of the agent's own executable if that is in the same folder.
    pub fn new(executable: PathBuf) -> Self {
        let agent = Some(executable.with_file_name(AGENT)).filter(|path| path.is_file());
        Self { mountlab_executable: executable, agent_executable: agent, additions: Vec::new() }
    }

    /// Looks an image up.
    pub(crate) fn resolve(&self, image: &str) -> Result<Image, ImageError> {
        let reference = Reference::parse(image).ok_or_else(|| ImageError::Invalid(image.to_owned()))?;
        if reference.registry_is_unreachable() {
            return Err(ImageError::Unreachable { image: image.to_owned(), registry: reference.registry });
        }
        let name = reference.to_string();
        let digest = hex::encode(Sha256::digest(name.as_bytes()));
        let mut files = Vec::new();
        if COMPONENT_IMAGES.contains(&reference.last_component()) {
            let place = Path::new(EXECUTABLE_IN_IMAGE);
            files.push((self.mountlab_executable.clone(), place.to_owned()));
            files.extend(self.agent_executable.clone().map(|agent| (agent, place.with_file_name(AGENT))));
        }
        let mut environment = vec![("PATH".to_owned(), IMAGE_PATH.to_owned())];
        let mut folders = Vec::new();
        for addition in self.additions.iter().filter(|addition| addition.is_for(&reference)) {
            environment.extend(addition.environment.iter().cloned());
            folders.extend(addition.folders.iter().cloned());
        }
        Ok(Image {
            id: format!("{}@sha256:{digest}", reference.repository()),
            name,
            entry_point: Vec::new(),
            environment,
            files,
            folders,
        })
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn catalogue() -> Catalogue {
        let broken = Addition {
            image: "csi-agent".into(),
            tag: Some("v1-broken".into()),
            environment: vec![("DEFECT".into(), "yes".into())],
            folders: vec![("/faults".into(), "/run/faults".into())],
        };
        Catalogue {
            mountlab_executable: "/opt/mountlab".into(),
            agent_executable: None,
            additions: vec![broken],
        }
    }

    #[rstest]
    #[case("registry.example/acs/agent-runtime:v1", true)]
    #[case("csi-agent", true)]
    #[case("csi-agent:v1.35.3-cgroupv1", true)]
    #[case("registry.example/agent-runtime/python:3", false)]
    #[case("code-interpreter:v1.6", false)]
    fn component_images_hold_the_executable(#[case] image: &str, #[case] expected: bool) {
        let image = catalogue().resolve(image).expect("an image");
        assert_eq!(!image.files.is_empty(), expected);
    }

    #[rstest]
    #[case("registry.example/acs/csi-agent:v1-broken", true)]
    #[case("csi-agent:v1-broken", true)]
    #[case("csi-agent:v1", false)]
    #[case("csi-agent", false)]
    #[case("registry.example/csi-agent/python:v1-broken", false)]
    fn additions_follow_name_and_tag(#[case] image: &str, #[case] expected: bool) {
        let image = catalogue().resolve(image).expect("an image");
        assert_eq!(image.environment.iter().any(|(name, _)| name == "DEFECT"), expected);
        assert_eq!(!image.folders.is_empty(), expected);
    }

    #[rstest]
    #[case("Upper/Case")]
    #[case("")]
    #[case("a//b")]
    #[case("name:bad tag")]
    fn invalid_names(#[case] image: &str) {
        assert_eq!(catalogue().resolve(image), Err(ImageError::Invalid(image.to_owned())));
    }

    #[test]
    fn a_registry_below_invalid_never_answers() {
        let error = catalogue().resolve("registry.invalid/python:3").expect_err("unpullable");
        assert!(matches!(error, ImageError::Unreachable { registry, .. } if registry == "registry.invalid"));
    }

    #[test]
    fn another_tag_is_another_image() {
        let id = |image| catalogue().resolve(image).expect("an image").id;
        assert_ne!(id("python:3"), id("python:4"));
        assert_eq!(id("python"), id("docker.io/library/python:latest"));
    }
}
