//! Python environments with the official SDKs, made once and kept in a cache folder.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::model::SdkGeneration;
use crate::programs::{self, Finished, Program, ProgramError};

/// Making an environment fetches packages.
const LIMIT: Duration = Duration::from_secs(300);

/// An environment that could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PythonError {
    /// The cache folder can't be used.
    #[error("{action} {path} failed")]
    Cache {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// A program couldn't be run.
    #[error("a Python environment with {packages} could not be made")]
    Program {
        packages: String,
        #[source]
        source: ProgramError,
    },
    /// A program failed.
    #[error("a Python environment with {packages} could not be made, {step} ended with {exit_code}: {said}")]
    Failed { packages: String, step: &'static str, exit_code: i32, said: String },
}

impl SdkGeneration {
    /// The packages, pinned.
    fn packages(self) -> &'static [&'static str] {
        match self {
            Self::Current => &["e2b-code-interpreter==2.11.5", "e2b==2.63.0"],
            Self::BetaCreate => &["e2b-code-interpreter==2.4.1", "e2b==2.20.0"],
        }
    }

    fn folder(self) -> &'static str {
        match self {
            Self::Current => "e2b-2.63.0",
            Self::BetaCreate => "e2b-2.20.0",
        }
    }
}

/// The interpreter of an environment that has the SDK.
pub(crate) async fn interpreter(cache: &Path, sdk: SdkGeneration) -> Result<PathBuf, PythonError> {
    let folder = cache.join("python").join(sdk.folder());
    let ready = folder.join("ready");
    let interpreter = folder.join("bin/python");
    if ready.is_file() {
        return Ok(interpreter);
    }
    let _lock = lock(&folder).await?;
    if !ready.is_file() {
        make(&folder, sdk).await?;
        std::fs::write(&ready, sdk.packages().join("\n")).map_err(|source| PythonError::Cache {
            action: "write",
            path: ready,
            source,
        })?;
    }
    Ok(interpreter)
}

/// Keeps two runs from making the same environment at once; released when the file is closed.
async fn lock(folder: &Path) -> Result<File, PythonError> {
    let failed = |action: &'static str, path: &Path| {
        let path = path.to_owned();
        move |source| PythonError::Cache { action, path, source }
    };
    let parent = folder.parent().unwrap_or(folder).to_owned();
    std::fs::create_dir_all(&parent).map_err(failed("make folder", &parent))?;
    let path = folder.with_extension("lock");
    let file = File::create(&path).map_err(failed("open", &path))?;
    let waiting = tokio::task::spawn_blocking(move || file.lock().map(|()| file));
    match waiting.await {
        Ok(locked) => locked.map_err(failed("lock", &path)),
        Err(error) => Err(failed("lock", &path)(std::io::Error::other(error))),
    }
}

async fn make(folder: &Path, sdk: SdkGeneration) -> Result<(), PythonError> {
    let path = folder.display().to_string();
    let pip = folder.join("bin/python").display().to_string();
    let venv = ["python3", "-m", "venv", "--clear", &path].map(str::to_owned).to_vec();
    let mut install: Vec<String> =
        [&pip, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"].map(str::to_owned).to_vec();
    install.extend(sdk.packages().iter().map(|&package| package.to_owned()));
    for (step, arguments) in [("python3 -m venv", venv), ("pip install", install)] {
        let packages = sdk.packages().join(" and ");
        let program = Program { arguments, environment: proxies(), stdin: None, limit: LIMIT };
        let Finished { exit_code, stderr, .. } = programs::run(&program)
            .await
            .map_err(|source| PythonError::Program { packages: packages.clone(), source })?;
        if exit_code != 0 {
            let said = stderr.trim_end().to_owned();
            return Err(PythonError::Failed { packages, step, exit_code, said });
        }
    }
    Ok(())
}

/// How this machine reaches its package index: pip's own settings and proxies.
fn proxies() -> Vec<(String, String)> {
    let reaches_out = |name: &str| {
        let name = name.to_ascii_uppercase();
        name.starts_with("PIP_") || name.ends_with("_PROXY")
    };
    std::env::vars().filter(|(name, _)| reaches_out(name)).collect()
}
