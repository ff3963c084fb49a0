//! The link from the user's path to the staging directory (`storage.md` §4.4).
//!
//! | At the user's path | Result |
//! |---|---|
//! | nothing | parents made, link made |
//! | a link to the staging directory | kept |
//! | a link to elsewhere below mount-root | replaced |
//! | any other link | refused: it belongs to the image |
//! | an empty directory | replaced, unless something is mounted there |
//! | anything else | refused |
//!
//! Links on the way there are followed, but not into reserved trees, nor below mount-root: such a link would be written
//! into another volume.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, symlink};
use std::path::{Path, PathBuf};

use contract::intents::RESERVED_TREES;

use super::mount_root::MountTable;
use super::problem::Problem;

/// A link that is wanted.
#[derive(Clone, Debug)]
pub(super) struct Link {
    /// The user's path.
    pub(super) path: PathBuf,
    /// The staging directory.
    pub(super) target: PathBuf,
}

/// What has to be done for the link.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Step {
    /// It is there.
    Keep,
    /// Nothing is there.
    Create,
    /// Another of our links is there.
    ReplaceLink,
    /// An empty directory is there.
    ReplaceDirectory,
}

impl Link {
    /// What has to be done, or why it can't be done. Changes nothing.
    pub(super) fn plan(&self, table: &MountTable) -> Result<Step, Problem> {
        let path = &self.path;
        if path.file_name().is_none() {
            return Err(refuse("link path cannot be empty"));
        }
        self.check_way(&table.root)?;
        match fs::symlink_metadata(path) {
            Err(problem) if problem.kind() == io::ErrorKind::NotFound => Ok(Step::Create),
            Err(problem) => Err(refuse(format!("cannot look at {}: {problem}", path.display()))),
            Ok(metadata) if metadata.is_symlink() => self.plan_for_link(&table.root),
            Ok(metadata) if metadata.is_dir() => self.plan_for_directory(&table.mount_points),
            Ok(_) => Err(refuse(format!("{} exists as a non-directory", path.display()))),
        }
    }

    /// Refuses a path whose parents lead to where no link of ours may be.
    fn check_way(&self, root: &Path) -> Result<(), Problem> {
        for above in self.path.ancestors().skip(1) {
            let real = match fs::canonicalize(above) {
                Ok(real) => real,
                Err(problem)
                    if matches!(problem.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
                {
                    continue;
                }
                Err(problem) => {
                    return Err(refuse(format!("cannot look at {}: {problem}", above.display())));
                }
            };
            if real.starts_with(root) || RESERVED_TREES.iter().any(|tree| real.starts_with(tree)) {
                let (path, real) = (self.path.display(), real.display());
                return Err(refuse(format!("{path} leads to {real}, which is reserved")));
            }
            return Ok(());
        }
        Ok(())
    }

    fn plan_for_link(&self, root: &Path) -> Result<Step, Problem> {
        let shown = self.path.display();
        let present = fs::read_link(&self.path)
            .map_err(|problem| refuse(format!("cannot read link {shown}: {problem}")))?;
        if present == self.target {
            return Ok(Step::Keep);
        }
        let ours = present.starts_with(root)
            && present != root
            && !present.components().any(|part| part == std::path::Component::ParentDir);
        if ours {
            return Ok(Step::ReplaceLink);
        }
        Err(refuse(format!("{shown} is a symbolic link of the image and is not replaced")))
    }

    fn plan_for_directory(&self, mount_points: &[PathBuf]) -> Result<Step, Problem> {
        let shown = self.path.display();
        if mount_points.contains(&self.path) {
            return Err(refuse(format!("{shown} is a mount point and can't be replaced")));
        }
        let mut entries =
            fs::read_dir(&self.path).map_err(|problem| refuse(format!("cannot read {shown}: {problem}")))?;
        if entries.next().is_some() {
            return Err(refuse(format!("{shown}: directory is not empty")));
        }
        Ok(Step::ReplaceDirectory)
    }

    /// Looks again, then makes the link. The staging directory must be there by now.
    pub(super) fn make(&self, table: &MountTable) -> Result<(), Problem> {
        let target = self.target.display();
        match fs::metadata(&self.target) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => return Err(refuse(format!("target {target} is not a directory"))),
            Err(problem) if problem.kind() == io::ErrorKind::NotFound => {
                return Err(refuse(format!("target does not exist: {target}")));
            }
            Err(problem) => return Err(refuse(format!("target {target} cannot be used: {problem}"))),
        }
        let step = self.plan(table)?;
        self.take(step).map_err(|problem| refuse(format!("{}: {problem}", self.path.display())))
    }

    fn take(&self, step: Step) -> io::Result<()> {
        match step {
            Step::Keep => Ok(()),
            Step::Create => {
                if let Some(parent) = self.path.parent() {
                    DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
                }
                symlink(&self.target, &self.path)
            }
            Step::ReplaceDirectory => {
                fs::remove_dir(&self.path)?;
                symlink(&self.target, &self.path)
            }
            Step::ReplaceLink => {
                let draft =
                    self.path.with_file_name(format!(".mountlab-link-{}", uuid::Uuid::new_v4().simple()));
                symlink(&self.target, &draft)?;
                fs::rename(&draft, &self.path).inspect_err(|_| drop(fs::remove_file(&draft)))
            }
        }
    }

    /// Removes the link, if it is ours. Anything else stays: a rolled back mount may have been refused because of it.
    pub(super) fn remove(&self) -> io::Result<()> {
        match fs::symlink_metadata(&self.path) {
            Ok(metadata) if !metadata.is_symlink() => Err(io::Error::other("it is no symbolic link")),
            Ok(_) if fs::read_link(&self.path)? == self.target => fs::remove_file(&self.path),
            Ok(_) => Err(io::Error::other("it leads elsewhere")),
            Err(problem) if problem.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(problem) => Err(problem),
        }
    }
}

fn refuse(text: impl std::fmt::Display) -> Problem {
    Problem::precondition(format!("failed to create symlink: {text}"))
}

#[cfg(test)]
mod tests {
    use rstest::{fixture, rstest};

    use super::*;

    struct Place {
        directory: tempfile::TempDir,
        table: MountTable,
        target: PathBuf,
    }

    #[fixture]
    fn place() -> Place {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path().join("mount-root");
        let target = root.join("oss/abc");
        fs::create_dir_all(&target).expect("made");
        Place { directory, table: MountTable { root, mount_points: vec![] }, target }
    }

    impl Place {
        fn link(&self, path: &str) -> Link {
            Link { path: self.directory.path().join(path), target: self.target.clone() }
        }

        fn assert_made(&self, link: &Link) {
            link.make(&self.table).expect("made");
            assert_eq!(fs::read_link(&link.path).expect("a link"), self.target);
            assert_eq!(link.plan(&self.table).expect("possible"), Step::Keep);
        }

        fn assert_refused(&self, link: &Link, phrase: &str) {
            for problem in [link.plan(&self.table).map(drop), link.make(&self.table)] {
                let text = problem.expect_err("refused").to_string();
                assert!(text.contains("failed to create symlink") && text.contains(phrase), "{text}");
            }
        }
    }

    #[rstest]
    fn nothing_there_makes_parents_and_the_link(place: Place) {
        let link = place.link("data/deep/oss");
        assert_eq!(link.plan(&place.table).expect("possible"), Step::Create);
        place.assert_made(&link);
        place.assert_made(&link);
    }

    #[rstest]
    fn another_link_of_ours_is_replaced(place: Place) {
        let link = place.link("data");
        symlink(place.table.root.join("nas/other"), &link.path).expect("made");
        assert_eq!(link.plan(&place.table).expect("possible"), Step::ReplaceLink);
        place.assert_made(&link);
        let names = fs::read_dir(place.directory.path()).expect("readable").count();
        assert_eq!(names, 2, "no draft is left");
    }

    #[rstest]
    #[case("/usr/lib")]
    #[case("relative")]
    #[case("ROOT")]
    #[case("ROOT/../secret")]
    fn a_link_of_the_image_is_kept(place: Place, #[case] present: &str) {
        let link = place.link("lib");
        let present = present.replace("ROOT", &place.table.root.to_string_lossy());
        symlink(&present, &link.path).expect("made");
        place.assert_refused(&link, "symbolic link of the image");
        assert_eq!(fs::read_link(&link.path).expect("a link"), Path::new(&present));
    }

    #[rstest]
    fn an_empty_directory_gives_way(place: Place) {
        let link = place.link("data");
        fs::create_dir(&link.path).expect("made");
        place.assert_made(&link);
    }

    #[rstest]
    fn a_directory_with_content_stays(place: Place) {
        let link = place.link("data");
        fs::create_dir_all(link.path.join("content")).expect("made");
        place.assert_refused(&link, "directory is not empty");
        assert!(link.path.join("content").is_dir());
    }

    #[rstest]
    fn a_file_stays(place: Place) {
        let link = place.link("data");
        fs::write(&link.path, "text").expect("written");
        place.assert_refused(&link, "exists as a non-directory");
        let below = place.link("data/below");
        place.assert_refused(&below, "Not a directory");
        assert_eq!(fs::read_to_string(&link.path).expect("readable"), "text");
    }

    #[rstest]
    fn a_mount_point_stays(mut place: Place) {
        let link = place.link("volume");
        fs::create_dir(&link.path).expect("made");
        place.table.mount_points.push(link.path.clone());
        place.assert_refused(&link, "is a mount point");
    }

    #[rstest]
    fn the_root_is_no_place_for_a_link(place: Place) {
        let link = Link { path: "/".into(), target: place.target.clone() };
        place.assert_refused(&link, "link path cannot be empty");
    }

    #[rstest]
    fn a_parent_that_is_a_link_is_followed(place: Place) {
        let elsewhere = place.directory.path().join("elsewhere");
        fs::create_dir(&elsewhere).expect("made");
        symlink(&elsewhere, place.directory.path().join("alias")).expect("made");
        place.assert_made(&place.link("alias/data"));
        assert!(elsewhere.join("data").is_symlink());
    }

    #[rstest]
    fn a_target_must_be_a_directory(place: Place) {
        let link = Link { target: place.table.root.join("oss/missing"), ..place.link("data") };
        assert!(link.make(&place.table).unwrap_err().to_string().contains("target does not exist"));
        fs::write(&link.target, "").expect("written");
        assert!(link.make(&place.table).unwrap_err().to_string().contains("is not a directory"));
        assert!(!link.path.is_symlink());
    }

    #[rstest]
    fn only_links_are_removed(place: Place) {
        let link = place.link("data");
        link.remove().expect("nothing to do");
        place.assert_made(&link);
        link.remove().expect("removed");
        assert!(!link.path.is_symlink() && place.target.is_dir());
        fs::create_dir(&link.path).expect("made");
        link.remove().expect_err("a directory");
        assert!(link.path.is_dir());
        let of_the_image = place.link("lib");
        symlink("/usr/lib", &of_the_image.path).expect("made");
        of_the_image.remove().expect_err("somebody else's");
        assert_eq!(fs::read_link(&of_the_image.path).expect("still there"), Path::new("/usr/lib"));
    }

    #[rstest]
    #[case("ROOT/oss")]
    #[case("ROOT/oss/abc")]
    #[case("/proc")]
    #[case("/dev/shm")]
    fn a_way_into_another_volume_or_the_machinery_is_refused(place: Place, #[case] leads_to: &str) {
        let leads_to = leads_to.replace("ROOT", &place.table.root.to_string_lossy());
        symlink(&leads_to, place.directory.path().join("alias")).expect("made");
        place.assert_refused(&place.link("alias/data"), "which is reserved");
        place.assert_refused(&place.link("alias/not/there/yet"), "which is reserved");
        assert_eq!(fs::read_dir(&place.target).expect("readable").count(), 0, "nothing was written there");
    }
}
