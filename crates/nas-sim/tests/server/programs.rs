//! The programs of libnfs, a client that has nothing in common with us (Debian: `libnfs-utils`; `make test` installs
//! it).

use tokio::process::Command;

use crate::client::Server;

/// Runs one of the programs; an argument `nfs:PATH` becomes the address of a path on the server.
async fn run(server: &Server, program: &str, arguments: &[&str]) -> String {
    let port = server.address.port();
    let argument = |argument: &&str| match argument.strip_prefix("nfs:") {
        Some(path) => format!("nfs://127.0.0.1{path}?nfsport={port}&mountport={port}"),
        None => (*argument).to_owned(),
    };
    let done = Command::new(program).args(arguments.iter().map(argument)).output().await;
    let done = done.unwrap_or_else(|error| panic!("{program} of libnfs-utils: {error}"));
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{program} {arguments:?}: {said}");
    String::from_utf8_lossy(&done.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn libnfs_lists_reads_and_copies() {
    let server = Server::start().await;
    let content = (0..300_000).map(|number: u32| number.to_string()).collect::<Vec<_>>().join("\n");
    let source = server.directory.path().join("source");
    std::fs::write(&source, &content).expect("a file");
    server.sim.make_directory("/share/folder").expect("a directory");
    run(&server, "nfs-cp", &[source.to_str().expect("a path"), "nfs:/share/folder/copy"]).await;
    assert!(std::fs::read_to_string(server.real("folder/copy")).expect("the copy") == content);
    let listed = run(&server, "nfs-ls", &["nfs:/share/folder"]).await;
    assert!(listed.contains("copy") && listed.contains(&content.len().to_string()), "{listed}");
    let read = run(&server, "nfs-cat", &["nfs:/share/folder/copy"]).await;
    assert!(read == content, "{} bytes instead of {}", read.len(), content.len());
}
