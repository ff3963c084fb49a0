//! `/files`.

use std::fmt::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::sync::Arc;
use std::time::Duration;

use clock::SimulatedClock;
use flate2::Compression;
use flate2::write::GzEncoder;
use reqwest::{Method, Response};
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{Sandbox, body};

async fn get(sandbox: &Sandbox, query: &[(&str, &str)]) -> Response {
    sandbox.request(Method::GET, "/files").query(query).send().await.expect("sent")
}

fn multipart(parts: &[(&str, &str, &str)]) -> (String, String) {
    let mut text = String::new();
    for (name, file, content) in parts {
        write!(text, "--b0\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{file}\"\r\n\r\n{content}\r\n").expect("written");
    }
    ("multipart/form-data; boundary=b0".to_owned(), text + "--b0--\r\n")
}

async fn post(sandbox: &Sandbox, query: &[(&str, &str)], (kind, text): (String, String)) -> Response {
    let request = sandbox.request(Method::POST, "/files").query(query).header("Content-Type", kind);
    request.body(text).send().await.expect("sent")
}

fn octets(content: &str) -> (String, String) {
    ("application/octet-stream".to_owned(), content.to_owned())
}

#[tokio::test]
async fn a_nested_path_is_made_for_the_user() {
    let sandbox = Sandbox::start().await;
    let path = sandbox.path("a/b c/ä.txt");
    let answer = post(&sandbox, &[("path", &path)], multipart(&[("file", "ignored", "hello")])).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(body(answer).await, json!([{ "path": path, "name": "ä.txt", "type": "file" }]));
    assert_eq!(std::fs::read_to_string(&path).expect("readable"), "hello");
    for below in ["a", "a/b c", "a/b c/ä.txt"] {
        let metadata = std::fs::metadata(sandbox.path(below)).expect("there");
        assert_eq!((metadata.uid(), metadata.gid()), (1000, 1000), "{below}");
    }
    let parent = std::fs::metadata(sandbox.path("a")).expect("there").permissions().mode();
    assert_eq!(parent & 0o777, 0o755);
}

#[tokio::test]
async fn several_files_keep_their_directories() {
    let sandbox = Sandbox::start().await;
    let parts = [("file", "x/one.txt", "1"), ("note", "ignored", "-"), ("file", "%22two%22", "2")];
    let answer = body(post(&sandbox, &[], multipart(&parts)).await).await;
    let paths =
        answer.as_array().expect("a list").iter().map(|entry| entry["path"].clone()).collect::<Vec<_>>();
    assert_eq!(paths, [json!(sandbox.path("x/one.txt")), json!(sandbox.path("\"two\""))]);
    assert_eq!(std::fs::read_to_string(sandbox.path("x/one.txt")).expect("readable"), "1");
}

#[tokio::test]
async fn the_same_path_twice_is_refused() {
    let sandbox = Sandbox::start().await;
    let answer = post(&sandbox, &[], multipart(&[("file", "a", "1"), ("file", "./a", "2")])).await;
    assert_eq!(answer.status(), 400);
}

#[tokio::test]
async fn octets_replace_what_was_there() {
    let sandbox = Sandbox::start().await;
    for content in ["a longer text", "short", ""] {
        let answer = post(&sandbox, &[("path", "f")], octets(content)).await;
        assert_eq!(answer.status(), 200);
        let answer = get(&sandbox, &[("path", "f")]).await;
        assert_eq!(answer.headers()["content-length"], content.len().to_string().as_str());
        assert_eq!(answer.text().await.expect("text"), content);
    }
}

#[rstest]
#[case::gzip(true)]
#[case::plain(false)]
#[tokio::test]
async fn a_large_file_goes_both_ways(#[case] gzip: bool) {
    let sandbox = Sandbox::start().await;
    let content = "0123456789abcdef".repeat(1 << 16);
    let mut request = sandbox.request(Method::POST, "/files").query(&[("path", "large")]);
    request = request.header("Content-Type", "application/octet-stream");
    request = if gzip {
        let mut coder = GzEncoder::new(Vec::new(), Compression::fast());
        std::io::Write::write_all(&mut coder, content.as_bytes()).expect("compressed");
        request.header("Content-Encoding", "gzip").body(coder.finish().expect("compressed"))
    } else {
        request.body(content.clone())
    };
    assert_eq!(request.send().await.expect("sent").status(), 200);
    assert_eq!(std::fs::read_to_string(sandbox.path("large")).expect("readable"), content);
    let mut request = sandbox.request(Method::GET, "/files").query(&[("path", "large")]);
    if gzip {
        request = request.header("Accept-Encoding", "gzip");
    }
    let answer = request.send().await.expect("sent");
    assert_eq!(answer.headers()["vary"], "Accept-Encoding");
    assert_eq!(answer.headers().contains_key("content-encoding"), gzip);
    assert_eq!(answer.headers()["content-disposition"], "inline; filename=\"large\"");
    let bytes = answer.bytes().await.expect("read");
    let text = if gzip {
        std::io::read_to_string(flate2::read::GzDecoder::new(&bytes[..])).expect("gzip")
    } else {
        String::from_utf8(bytes.to_vec()).expect("text")
    };
    assert!(text == content, "{} bytes came back", text.len());
}

#[tokio::test]
async fn a_part_of_a_file_can_be_had() {
    let sandbox = Sandbox::start().await;
    std::fs::write(sandbox.path("f"), "0123456789").expect("written");
    for (range, status, text) in
        [("bytes=2-4", 206, Some("234")), ("bytes=-2", 206, Some("89")), ("bytes=50-", 416, None)]
    {
        let request = sandbox.request(Method::GET, "/files").query(&[("path", "f")]).header("Range", range);
        let answer = request.send().await.expect("sent");
        assert_eq!(answer.status(), status, "{range}");
        if let Some(text) = text {
            assert_eq!(answer.text().await.expect("text"), text);
        }
    }
}

#[tokio::test]
async fn files_of_the_kernel_have_content_without_a_size() {
    let sandbox = Sandbox::start().await;
    let answer = get(&sandbox, &[("path", "/proc/version")]).await;
    assert!(answer.text().await.expect("text").starts_with("Linux"));
}

#[tokio::test]
async fn metadata_is_replaced_with_every_write() {
    let sandbox = Sandbox::start().await;
    for (name, value) in [("one", "1"), ("two", "2")] {
        let request = sandbox.request(Method::POST, "/files").query(&[("path", "f")]);
        let request = request.header("Content-Type", "application/octet-stream").body("x");
        let answer = request.header(format!("X-Metadata-{name}"), value).send().await.expect("sent");
        assert_eq!(body(answer).await[0]["metadata"], json!({ name: value }));
    }
    let mut names = [0; 256];
    if let Ok(length) = rustix::fs::listxattr(sandbox.path("f").as_str(), &mut names[..]) {
        let kept = sandbox.ask("/filesystem.Filesystem/Stat", json!({ "path": "f" })).await;
        let expected = if length == 0 { Value::Null } else { json!({ "two": "2" }) };
        assert_eq!(kept["entry"]["metadata"], expected);
    }
}

#[rstest]
#[case::missing("nothing", 404)]
#[case::a_directory(".", 400)]
#[case::a_device("/dev/null", 400)]
#[case::below_a_file("/etc/hostname/x", 400)]
#[case::another_home("~root/x", 400)]
#[tokio::test]
async fn what_cant_be_read(#[case] path: &str, #[case] status: u16) {
    let sandbox = Sandbox::start().await;
    let answer = get(&sandbox, &[("path", path)]).await;
    assert_eq!(answer.status(), status);
    assert_eq!(body(answer).await["code"], status);
}

#[rstest]
#[case::a_directory(Some("."), octets("x"), 400)]
#[case::no_path(None, octets("x"), 400)]
#[case::below_a_file(Some("/etc/hostname/x"), octets("x"), 400)]
#[case::another_kind(Some("f"), ("text/plain".to_owned(), "x".to_owned()), 400)]
#[case::no_boundary(Some("f"), ("multipart/form-data".to_owned(), "x".to_owned()), 400)]
#[case::a_torn_body(Some("f"), ("multipart/form-data; boundary=b0".to_owned(), "--b0\r\n".to_owned()), 400)]
#[tokio::test]
async fn what_cant_be_written(
    #[case] path: Option<&str>,
    #[case] upload: (String, String),
    #[case] status: u16,
) {
    let sandbox = Sandbox::start().await;
    let query = path.map(|path| ("path", path)).into_iter().collect::<Vec<_>>();
    let answer = post(&sandbox, &query, upload).await;
    assert_eq!(answer.status(), status);
    assert_eq!(body(answer).await["code"], status);
}

#[tokio::test]
async fn a_full_disk_is_507() {
    let sandbox = Sandbox::start().await;
    let answer = post(&sandbox, &[("path", "/dev/full")], octets("x")).await;
    assert_eq!(answer.status(), 507);
}

#[tokio::test]
async fn an_encoding_that_isnt_offered_is_406() {
    let sandbox = Sandbox::start().await;
    std::fs::write(sandbox.path("f"), "text").expect("written");
    let request = sandbox.request(Method::GET, "/files").query(&[("path", "f")]);
    let answer = request.header("Accept-Encoding", "br, identity;q=0").send().await.expect("sent");
    assert_eq!(answer.status(), 406);
}

#[tokio::test]
async fn another_user_owns_what_it_writes() {
    let sandbox = Sandbox::start().await;
    let answer = post(&sandbox, &[("path", "~/by-root"), ("username", "root")], octets("x")).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(std::fs::metadata(sandbox.place.path().join("by-root")).expect("in root's home").uid(), 0);
    for method in [Method::GET, Method::POST] {
        let request = sandbox.request(method, "/files").query(&[("path", "f"), ("username", "nobody-here")]);
        assert_eq!(request.send().await.expect("sent").status(), 401);
    }
}

#[tokio::test]
async fn files_are_put_together() {
    let sandbox = Sandbox::start().await;
    std::fs::write(sandbox.path("1"), "one ").expect("written");
    std::fs::write(sandbox.path("2"), "two").expect("written");
    let compose = |sources: Value| {
        let message = json!({ "source_paths": sources, "destination": "new/both" });
        sandbox.request(Method::POST, "/files/compose").json(&message).send()
    };
    let answer = compose(json!(["1", "2"])).await.expect("sent");
    assert_eq!(body(answer).await["path"], sandbox.path("new/both"));
    assert_eq!(std::fs::read_to_string(sandbox.path("new/both")).expect("readable"), "one two");
    assert_eq!(compose(json!([])).await.expect("sent").status(), 400);
    assert_eq!(compose(json!(["1", "nothing"])).await.expect("sent").status(), 404);
    assert_eq!(compose(json!(["new/both"])).await.expect("sent").status(), 400);
}

/// The signatures in this test were made by the SDKs (`e2b-api.md` §9.4).
#[tokio::test]
async fn a_signature_opens_one_path_for_one_operation() {
    let sandbox = Sandbox::start_with_token("tok-1").await;
    let signed = async |method: Method, query: &[(&str, &str)]| {
        let request = sandbox
            .anonymous(method, "/files")
            .query(query)
            .header("Content-Type", "application/octet-stream");
        request.body("x").send().await.expect("sent").status().as_u16()
    };
    let read = "v1_kSmQGYgIwTjbfxsjNa4MB3HkX7cZrsrQXvX2GjizDfo";
    assert_eq!(
        signed(Method::GET, &[("path", "/x"), ("signature", read)]).await,
        404,
        "allowed, but not there"
    );
    assert_eq!(signed(Method::POST, &[("path", "/x"), ("signature", read)]).await, 401, "another operation");
    assert_eq!(signed(Method::GET, &[("path", "/y"), ("signature", read)]).await, 401, "another path");
    assert_eq!(signed(Method::GET, &[("path", "/x")]).await, 401, "no signature");
    let header = sandbox.request(Method::GET, "/files").query(&[("path", "/x"), ("signature", "v1_wrong")]);
    assert_eq!(header.send().await.expect("sent").status(), 404, "the header overrides");
    let wrong = sandbox.anonymous(Method::GET, "/files").query(&[("path", "/x"), ("signature", read)]);
    assert_eq!(wrong.header("X-Access-Token", "tok-2").send().await.expect("sent").status(), 401);
}

#[tokio::test]
async fn a_signature_expires_by_envds_clock() {
    let clock = SimulatedClock::default();
    clock.advance(Duration::from_secs(3600 * 24 * 365));
    let mut sandbox = Sandbox::start_with(|options| options.clock = Arc::new(clock)).await;
    sandbox.set_token("tok-1").await;
    let query = [
        ("path", "/x y"),
        ("username", "root"),
        ("signature", "v1_PVUhBuIGnXduexKdRWVLSlXh4ae6noAxrETdavo8GQ8"),
        ("signature_expiration", "1795479178"),
    ];
    let answer = sandbox.anonymous(Method::GET, "/files").query(&query).send().await.expect("sent");
    assert_eq!(answer.status(), 401);
    assert_eq!(body(answer).await["message"], "the signature has expired");
}
