//! Exports at a real NFS server that others use too.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use clock::SystemClock;
use lab::{
    Capability, ExportAccess, ExportCall, ExportEntry, ExportOptions, ExportReply, LabError, Outage,
    StorageServer,
};
use nas_sim::{NasOptions as ServerOptions, NasSim};
use rstest::rstest;
use tokio::net::TcpListener;

use super::Exports;
use crate::access::NasOptions;
use crate::names::Names;
use crate::powers::Powers;

/// A server that offers `/export`, in which somebody else has a folder, and a lab's exports there.
struct Bench {
    exports: Exports,
    /// The folder behind `/export`.
    folder: PathBuf,
    _directory: tempfile::TempDir,
    _server: NasSim,
}

impl Bench {
    async fn new(powers: Option<Arc<dyn Powers>>) -> Self {
        let directory = tempfile::tempdir().expect("a folder");
        let clock = SystemClock::shared();
        let server =
            NasSim::new(ServerOptions { clock, journal: None, directory: directory.path().to_owned() });
        server.add_export("/export", ExportOptions::default()).expect("an export");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        server.serve(listener);
        let folder = directory.path().join("export");
        fs::create_dir_all(folder.join("mlother-share/data")).expect("a folder");
        let options = NasOptions {
            inside_server: "nas.example".to_owned(),
            folder: "/export".to_owned(),
            outside_host: "127.0.0.1".to_owned(),
            outside_port: port,
            outside_folder: "/export".to_owned(),
        };
        let names = Names::new("mltag12").with_nas("nas.example", "/export");
        let exports = Exports::find(&options, &names, powers).await.expect("a server");
        Self { exports, folder, _directory: directory, _server: server }
    }

    /// With the export `/share` and some files in it.
    async fn filled() -> Self {
        let bench = Self::new(None).await;
        bench.done(export("/share", ExportOptions::default())).await;
        bench.done(put("/share/data/file", "content\n")).await;
        bench.done(ExportCall::Symlink { path: "/share/link".into(), to: "../up".into() }).await;
        bench.done(ExportCall::MakeDirectory { path: "/share/made/deep".into() }).await;
        bench
    }

    async fn answer(&self, call: ExportCall) -> ExportReply {
        self.exports.answer(&call).await.expect("an answer")
    }

    async fn done(&self, call: ExportCall) {
        assert_eq!(self.answer(call).await, ExportReply::Done);
    }

    async fn entries(&self, call: ExportCall) -> Vec<ExportEntry> {
        match self.answer(call).await {
            ExportReply::Entries(entries) => entries,
            other => panic!("{other:?}"),
        }
    }

    async fn paths(&self, path: &str) -> Vec<String> {
        let entries = self.entries(ExportCall::List { path: path.into() }).await;
        entries.into_iter().map(|entry| entry.path).collect()
    }
}

fn export(path: &str, options: ExportOptions) -> ExportCall {
    ExportCall::Export { path: path.into(), options }
}

fn put(path: &str, content: &str) -> ExportCall {
    ExportCall::Put { path: path.into(), content: content.into() }
}

#[tokio::test]
async fn what_a_scenario_does_is_below_the_labs_own_name() {
    let bench = Bench::filled().await;
    let real = bench.folder.join("mltag12-share");
    assert_eq!(fs::read_to_string(real.join("data/file")).expect("a file"), "content\n");
    for (path, mode) in [("", 0o777), ("data", 0o777), ("made/deep", 0o777), ("data/file", 0o666)] {
        let found = fs::metadata(real.join(path)).expect(path).permissions().mode() & 0o7777;
        assert_eq!(found, mode, "{path}: open to everybody");
    }
    let expected = ["/share/data", "/share/data/file", "/share/link", "/share/made", "/share/made/deep"];
    assert_eq!(bench.paths("/share").await, expected);
    let looked = bench.entries(ExportCall::Look { path: "/share/data/file".into() }).await;
    let ExportEntry { path, kind, size, mode, .. } = &looked[0];
    assert_eq!((path.as_str(), kind.as_str(), *size, mode.as_str()), ("/share/data/file", "file", 8, "0666"));
    let link = bench.entries(ExportCall::Look { path: "/share/link".into() }).await;
    assert_eq!((link[0].kind.as_str(), link[0].target.as_deref()), ("symlink", Some("../up")));

    // Longer than one call carries, and then shorter.
    let long = "0123456789abcdef".repeat(10_000);
    for content in [long.as_str(), "short"] {
        bench.done(put("/share/data/file", content)).await;
        let got = bench.answer(ExportCall::Get { path: "/share/data/file".into() }).await;
        assert_eq!(got, ExportReply::Content(content.to_owned()));
    }

    bench.done(ExportCall::Delete { path: "/share/made".into() }).await;
    bench.done(ExportCall::Delete { path: "/share/link".into() }).await;
    assert_eq!(bench.paths("/share/").await, ["/share/data", "/share/data/file"]);
}

#[tokio::test]
async fn many_files_are_listed_and_removed_in_pages() {
    let bench = Bench::filled().await;
    let folder = bench.folder.join("mltag12-share/many");
    fs::create_dir(&folder).expect("a folder");
    for number in 0..2000 {
        let name = format!("{number:04}-{}", "x".repeat(60));
        fs::write(folder.join(name), "").expect("a file");
    }
    assert_eq!(bench.paths("/share/many").await.len(), 2000);
    bench.exports.remove().await.expect("all is gone");
    let left: Vec<_> =
        fs::read_dir(&bench.folder).expect("a folder").flatten().map(|it| it.file_name()).collect();
    assert_eq!(left, ["mlother-share"], "what is somebody else's stays");
    assert!(bench.folder.join("mlother-share/data").is_dir());
    bench.exports.remove().await.expect("nothing is left to do");
}

/// The codes are those of the embedded lab.
#[rstest]
#[case::nothing_there(ExportCall::Get { path: "/share/none".into() }, "ENOENT", "/share/none")]
#[case::nothing_to_remove(ExportCall::Delete { path: "/share/none/deep".into() }, "ENOENT", "/share/none/deep")]
#[case::no_export(put("/elsewhere/file", ""), "EINVAL", "no export is at or above /elsewhere/file")]
#[case::somebody_elses(ExportCall::List { path: "/mlother-share".into() }, "EINVAL", "no export")]
#[case::relative(ExportCall::Look { path: "share/data".into() }, "EINVAL", "no export")]
#[case::upwards(ExportCall::Get { path: "/share/../mlother-share".into() }, "EINVAL", "no path of a file")]
#[case::the_export_itself(ExportCall::Delete { path: "/share".into() }, "EINVAL", "no path of a file")]
#[case::a_directory(ExportCall::Get { path: "/share/data".into() }, "EINVAL", "reading /share/data")]
#[case::onto_a_directory(put("/share/data", ""), "EISDIR", "writing /share/data")]
#[case::onto_a_link(put("/share/link", ""), "ELOOP", "writing /share/link")]
#[case::through_a_link(put("/share/link/file", ""), "ENOTDIR", "/share/link/file")]
#[case::below_a_file(ExportCall::MakeDirectory { path: "/share/data/file/x".into() }, "ENOTDIR", "/share/data/file/x")]
#[case::a_file_as_a_list(ExportCall::List { path: "/share/data/file".into() }, "ENOTDIR", "/share/data/file")]
#[case::a_second_link(ExportCall::Symlink { path: "/share/link".into(), to: "x".into() }, "EEXIST", "/share/link")]
#[case::within_an_export(
    export("/share/data", ExportOptions::default()),
    "EINVAL",
    "overlaps with export /share"
)]
#[case::no_export_path(export("share", ExportOptions::default()), "EINVAL", "absolute path")]
#[case::the_root(export("/", ExportOptions::default()), "EINVAL", "absolute path")]
#[tokio::test]
async fn what_cannot_be_done_is_refused(#[case] call: ExportCall, #[case] code: &str, #[case] words: &str) {
    let bench = Bench::filled().await;
    let before = bench.paths("/share").await;
    match bench.answer(call).await {
        ExportReply::Refused { code: found, message } => {
            assert_eq!(found, code, "{message}");
            assert!(message.contains(words) && !message.contains("mltag12"), "{message}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(bench.paths("/share").await, before);
}

#[rstest]
#[case(ExportOptions { access: ExportAccess::ReadOnly, ..ExportOptions::default() }, "rules of access")]
#[case(ExportOptions { capacity_bytes: Some(1000), ..ExportOptions::default() }, "limited capacity")]
#[tokio::test]
async fn options_take_an_administrator(#[case] options: ExportOptions, #[case] words: &str) {
    let bench = Bench::new(None).await;
    let error = bench.exports.answer(&export("/share", options)).await.expect_err("nobody can");
    assert!(matches!(&error, LabError::Unsupported { what, .. } if what.contains(words)), "{error}");
    assert!(!bench.folder.join("mltag12-share").exists(), "nothing was made");
}

/// Notes what it is asked for.
#[derive(Default)]
struct Administrator(Mutex<Vec<String>>);

impl Administrator {
    fn note(&self, what: String) {
        self.0.lock().expect("nobody panicked").push(what);
    }
}

#[async_trait]
impl Powers for Administrator {
    fn capabilities(&self) -> Vec<Capability> {
        vec![Capability::NetworkFileSystem, Capability::ExportRules]
    }

    async fn kill(&self, _container_id: &str) -> Result<(), LabError> {
        Ok(())
    }

    async fn begin_outage(&self, _server: StorageServer, _outage: Outage) -> Result<(), LabError> {
        Ok(())
    }

    async fn end_outage(&self, _server: StorageServer, _outage: Outage) -> Result<(), LabError> {
        Ok(())
    }

    async fn export(&self, path: &str, options: ExportOptions) -> Result<(), LabError> {
        self.note(format!("{path} {:?}", options.access));
        Ok(())
    }

    async fn withdraw(&self, prefix: &str) -> Result<(), LabError> {
        self.note(format!("withdraw {prefix}"));
        Ok(())
    }
}

#[tokio::test]
async fn an_administrator_offers_every_export_and_takes_all_back_before_they_are_removed() {
    let administrator = Arc::new(Administrator::default());
    let bench = Bench::new(Some(administrator.clone())).await;
    bench.done(export("/share", ExportOptions::default())).await;
    let refused = ExportOptions { access: ExportAccess::Refused, ..ExportOptions::default() };
    bench.done(export("/share", refused)).await;
    let small = ExportOptions { capacity_bytes: Some(1), ..ExportOptions::default() };
    let error = bench.exports.answer(&export("/share", small)).await.expect_err("it has no quota");
    assert!(error.to_string().contains("limited capacity"), "{error}");
    bench.exports.remove().await.expect("all is gone");
    let asked = administrator.0.lock().expect("nobody panicked").clone();
    let expected =
        ["/export/mltag12-share ReadWrite", "/export/mltag12-share Refused", "withdraw /export/mltag12-"];
    assert_eq!(asked, expected);
    assert!(!bench.folder.join("mltag12-share").exists());
}

#[tokio::test]
async fn a_server_without_the_folder_is_told() {
    let bench = Bench::new(None).await;
    let options = NasOptions { outside_folder: "/none".to_owned(), ..bench.exports.options.clone() };
    let names = Names::new("mltag12").with_nas("nas.example", "/none");
    let reason = Exports::find(&options, &names, None).await.expect("a server").check().await;
    assert_eq!(reason.expect_err("there is none"), "mounting /none was refused with MNT3ERR_NOENT");
}
