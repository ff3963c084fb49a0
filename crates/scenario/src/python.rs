//! Python with the official SDK.

use std::path::{Path, PathBuf};

use crate::model::SdkGeneration;
use crate::packages::{Command, Packages, PackagesError};

impl SdkGeneration {
    fn packages(self) -> Packages {
        let (folder, pinned): (_, &[&str]) = match self {
            Self::Current => ("python/e2b-2.63.0", &["e2b-code-interpreter==2.11.5", "e2b==2.63.0"]),
            Self::BetaCreate => ("python/e2b-2.20.0", &["e2b-code-interpreter==2.4.1", "e2b==2.20.0"]),
        };
        Packages { language: "Python", folder, pinned, files: &[], install, settings: &["PIP_"] }
    }
}

/// The command that runs a program given on standard input, or the one in the file `script`.
pub(crate) async fn command(
    cache: &Path,
    sdk: SdkGeneration,
    script: Option<&Path>,
) -> Result<Vec<String>, PackagesError> {
    let folder = sdk.packages().installed(cache).await?;
    let script = script.map_or_else(|| "-".to_owned(), |script| script.display().to_string());
    Ok(vec![interpreter(&folder).display().to_string(), script])
}

fn interpreter(folder: &Path) -> PathBuf {
    folder.join("bin/python")
}

fn install(folder: &Path, pinned: &[&str]) -> Vec<Command> {
    let path = folder.display().to_string();
    let python = interpreter(folder).display().to_string();
    let venv = ["python3", "-m", "venv", "--clear", &path].map(str::to_owned).to_vec();
    let mut pip: Vec<String> = [&python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        .map(str::to_owned)
        .to_vec();
    pip.extend(pinned.iter().map(|&package| package.to_owned()));
    vec![
        Command { name: "python3 -m venv", arguments: venv },
        Command { name: "pip install", arguments: pip },
    ]
}
