//! JavaScript with the official SDK, run by Node.

use std::path::Path;

use crate::packages::{Command, Packages, PackagesError};

const PACKAGES: Packages = Packages {
    language: "JavaScript",
    folder: "javascript/e2b-2.51.0",
    pinned: &["@e2b/code-interpreter@2.8.0", "e2b@2.51.0"],
    // A project of its own: without one npm uses what it finds in the folders above.
    files: &[("package.json", "{}\n"), (RESOLVER, include_str!("javascript/resolver.mjs"))],
    install,
    settings: &["NPM_CONFIG_", "NODE_EXTRA_CA_CERTS"],
};

/// What lets a program import the SDK from wherever it is.
const RESOLVER: &str = "resolver.mjs";

/// The command that runs an ES module given on standard input, or the one in the file `script`.
pub(crate) async fn command(cache: &Path, script: Option<&Path>) -> Result<Vec<String>, PackagesError> {
    let folder = PACKAGES.installed(cache).await?;
    let resolver = folder.join(RESOLVER).display().to_string();
    let mut command = ["node", "--import", &resolver].map(str::to_owned).to_vec();
    match script {
        Some(script) => command.push(script.display().to_string()),
        None => command.extend(["--input-type=module", "-"].map(str::to_owned)),
    }
    Ok(command)
}

fn install(folder: &Path, pinned: &[&str]) -> Vec<Command> {
    let path = folder.display().to_string();
    let mut npm: Vec<String> =
        ["npm", "install", "--no-audit", "--no-fund", "--no-progress", "--prefix", &path]
            .map(str::to_owned)
            .to_vec();
    npm.extend(pinned.iter().map(|&package| package.to_owned()));
    vec![Command { name: "npm install", arguments: npm }]
}
