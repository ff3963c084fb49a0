//! A recipe with everything that goes into it, and its name.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::KindError;

/// A file of a recipe.
#[derive(Clone, Copy, Debug)]
pub(crate) struct File {
    pub(crate) path: &'static str,
    pub(crate) text: &'static str,
    pub(crate) executable: bool,
}

/// What an image is built from.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    name: &'static str,
    files: &'static [File],
    /// Files that are made for the occasion: path, text.
    texts: Vec<(String, String)>,
    /// Programs: name in the folder `programs`, where it is, what its content is named.
    programs: Vec<(String, PathBuf, String)>,
    arguments: Vec<(String, String)>,
}

impl Context {
    pub(crate) fn new(name: &'static str, files: &'static [File]) -> Self {
        Self { name, files, texts: Vec::new(), programs: Vec::new(), arguments: Vec::new() }
    }

    /// Adds an argument of the recipe.
    pub(crate) fn argument(mut self, name: &str, value: &str) -> Self {
        self.arguments.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds a file made for the occasion.
    pub(crate) fn text(mut self, path: &str, text: String) -> Self {
        self.texts.push((path.to_owned(), text));
        self
    }

    /// Adds a program, whose content `key` names.
    pub(crate) fn program(mut self, name: &str, place: PathBuf, key: &str) -> Self {
        self.programs.push((name.to_owned(), place, key.to_owned()));
        self
    }

    pub(crate) fn arguments(&self) -> &[(String, String)] {
        &self.arguments
    }

    /// The image's name: it changes with whatever the image is made of.
    pub(crate) fn image(&self, target: Option<&str>) -> String {
        let mut digest = Sha256::new();
        let mut add = |part: &str| {
            digest.update(part.len().to_le_bytes());
            digest.update(part.as_bytes());
        };
        for file in self.files {
            add(file.path);
            add(file.text);
            add(if file.executable { "755" } else { "644" });
        }
        for (path, text) in &self.texts {
            add(path);
            add(text);
        }
        for (name, _, key) in &self.programs {
            add(name);
            add(key);
        }
        for (name, value) in &self.arguments {
            add(name);
            add(value);
        }
        let key = hex::encode(digest.finalize());
        format!("mountlab.dev/{}:{}", target.unwrap_or(self.name), &key[..16])
    }

    /// Lays the recipe out in a folder.
    pub(crate) fn write(&self, folder: &Path) -> Result<(), KindError> {
        for file in self.files {
            place(folder, file.path, file.text, file.executable)?;
        }
        for (path, text) in &self.texts {
            place(folder, path, text, false)?;
        }
        let programs = folder.join("programs");
        fs::create_dir_all(&programs).map_err(KindError::io("making", &programs))?;
        for (name, from, _) in &self.programs {
            let to = programs.join(name);
            copy(from, &to).map_err(KindError::io("copying", from))?;
        }
        Ok(())
    }
}

fn place(folder: &Path, path: &str, text: &str, executable: bool) -> Result<(), KindError> {
    let path = folder.join(path);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(KindError::io("making", parent))?;
    }
    fs::write(&path, text).map_err(KindError::io("writing", &path))?;
    let mode = if executable { 0o755 } else { 0o644 };
    fs::set_permissions(&path, fs::Permissions::from_mode(mode))
        .map_err(KindError::io("setting the mode of", &path))
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::copy(from, to)?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o755))
}

/// A name for a file's content.
pub(crate) fn content_key(path: &Path) -> Result<String, KindError> {
    let mut file = fs::File::open(path).map_err(KindError::io("reading", path))?;
    let mut digest = Sha256::new();
    io::copy(&mut file, &mut digest).map_err(KindError::io("reading", path))?;
    Ok(hex::encode(digest.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: &[File] = &[
        File { path: "Dockerfile", text: "FROM x\n", executable: false },
        File { path: "files/usr/bin/run", text: "#!/bin/sh\n", executable: true },
    ];
    const OTHER: &[File] = &[
        File { path: "Dockerfile", text: "FROM x\n", executable: false },
        File { path: "files/usr/bin/run", text: "#!/bin/sh\n", executable: false },
    ];

    #[test]
    fn the_name_changes_with_everything_that_goes_in() {
        let base = Context::new("node", FILES);
        let variants = [
            base.clone(),
            Context::new("node", OTHER),
            base.clone().argument("BASE", "a"),
            base.clone().argument("BASE", "b"),
            base.clone().text("files/kind/version", "1".into()),
            base.clone().program("kubelet", "/a".into(), "1"),
            base.clone().program("kubelet", "/a".into(), "2"),
        ];
        let names: std::collections::BTreeSet<_> =
            variants.iter().map(|context| context.image(None)).collect();
        assert_eq!(names.len(), variants.len(), "{names:?}");
        let elsewhere = base.clone().program("kubelet", "/b".into(), "1");
        assert_eq!(
            elsewhere.image(None),
            variants[5].image(None),
            "where a program lies makes no difference"
        );
        assert!(base.image(Some("pause")).starts_with("mountlab.dev/pause:"));
    }

    #[test]
    fn a_recipe_is_laid_out_with_its_modes() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("built");
        fs::write(&program, "elf").unwrap();
        let context = folder.path().join("context");
        Context::new("node", FILES)
            .text("files/kind/version", "v1\n".into())
            .program("kubelet", program, "k")
            .write(&context)
            .unwrap();
        let mode = |path: &str| fs::metadata(context.join(path)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode("Dockerfile"), 0o644);
        assert_eq!(mode("files/usr/bin/run"), 0o755);
        assert_eq!(mode("programs/kubelet"), 0o755);
        assert_eq!(fs::read_to_string(context.join("files/kind/version")).unwrap(), "v1\n");
    }
}
