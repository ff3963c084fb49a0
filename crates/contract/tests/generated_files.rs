//! Files in the repository that are generated from this crate. They fail when stale; `BLESS=1` writes them.
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails hard, with a message")]

use std::fs;
use std::path::{Path, PathBuf};

fn project_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Compares `path` with `expected`, or writes it when BLESS is set.
fn check(path: &Path, expected: &str) {
    if std::env::var_os("BLESS").is_some() {
        fs::create_dir_all(path.parent().expect("a file in a folder")).expect("make the folder");
        fs::write(path, expected).expect("write the generated file");
    }
    let found = fs::read_to_string(path).unwrap_or_default();
    assert!(found == expected, "{} is stale: run `BLESS=1 cargo test -p contract`", path.display());
}

#[test]
fn crd_manifests_are_up_to_date() {
    let folder = project_root().join("kind/manifests");
    let manifests = contract::crd::manifests().expect("written as YAML");
    for manifest in &manifests {
        check(&folder.join(&manifest.file_name), &manifest.yaml);
    }
    let files =
        fs::read_dir(&folder).expect("the folder is there").map(|entry| entry.expect("an entry").file_name());
    let definitions = files.filter(|name| name.to_string_lossy().starts_with("10-"));
    let strangers: Vec<_> =
        definitions.filter(|name| !manifests.iter().any(|manifest| *manifest.file_name == **name)).collect();
    assert!(strangers.is_empty(), "files that nothing generates: {strangers:?}");
}

#[test]
fn the_injection_config_is_up_to_date() {
    let path = project_root().join("kind/manifests/30-sandbox-injection-config.yaml");
    check(&path, &contract::injection::manifest().expect("written as YAML"));
}

#[test]
fn the_deployments_run_this_version() {
    let image = format!("image: mountlab/mountlab:v{}\n", env!("CARGO_PKG_VERSION"));
    for file in ["40-controller.yaml", "50-manager.yaml"] {
        let text = fs::read_to_string(project_root().join("kind/manifests").join(file)).expect("a manifest");
        assert!(text.contains(&image), "{file} doesn't run {image}");
    }
}

#[test]
fn the_error_document_is_up_to_date() {
    check(&project_root().join("docs/errors.md"), &contract::errors::document());
}

#[test]
fn the_page_of_metrics_is_up_to_date() {
    check(&project_root().join("docs/metrics.md"), &contract::metrics::document());
}
