//! The embedded object store and the clients that people really use: boto3 and s3fs.

#![allow(clippy::expect_used, reason = "helpers of tests fail the test")]

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use clock::SystemClock;
use oss_sim::{Access, OssOptions, OssSim};
use serde_json::json;
use system_tests::{environment, run, wait_until};

const ID: &str = "LTAIsystemtest000001";
const SECRET: &str = "systemtest-secret-000001";
const BUCKET: &str = "demo-bucket";

/// How long a client may take for everything that it does.
const CLIENT_LIMIT: Duration = Duration::from_mins(2);

/// How long s3fs may take to mount or to end.
const MOUNT_LIMIT: Duration = Duration::from_secs(30);

struct Server {
    sim: OssSim,
    endpoint: String,
    directory: tempfile::TempDir,
}

async fn start() -> Server {
    let directory = tempfile::tempdir().expect("a directory");
    let options =
        OssOptions { clock: SystemClock::shared(), journal: None, directory: directory.path().to_owned() };
    let sim = OssSim::new(options);
    sim.add_key(ID, SECRET, Access::Full);
    sim.create_bucket(BUCKET).expect("a new bucket");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    sim.serve(listener);
    Server { sim, endpoint, directory }
}

#[tokio::test(flavor = "multi_thread")]
async fn boto3_finds_what_it_knows_from_s3() {
    let server = start().await;
    let mut command = environment::python(&["boto3"], "s3_client.py");
    command.env("OSS_ENDPOINT", &server.endpoint).env("OSS_BUCKET", BUCKET).env("OSS_REGION", "lab");
    command.env("OSS_ACCESS_KEY_ID", ID).env("OSS_ACCESS_KEY_SECRET", SECRET);
    let seen =
        tokio::task::spawn_blocking(move || run(&mut command, CLIENT_LIMIT).json()).await.expect("no panic");
    let expected = json!({
        "plain": "hello from OSS\n",
        "metadata": {"mode": "33188"},
        "range": "from",
        "wrong checksum": [400, "BadDigest"],
        "large is intact": true,
        "parts": "3",
        "part 2 is intact": true,
        "open uploads": ["open"],
        "open parts": [3],
        "uploads after abort": 0,
        "deleted": 6,
        "left": 0,
        "unknown id": [403, "InvalidAccessKeyId"],
        "wrong secret": [403, "SignatureDoesNotMatch"],
        "missing bucket": [404, "NoSuchBucket"],
        "missing key": [404, "NoSuchKey"],
        "signature version 2": 15,
        "presigned": "hello from OSS\n",
    });
    assert_eq!(seen, expected);
}

/// s3fs with the bucket mounted; dropping it unmounts.
struct Mounted {
    child: Child,
    point: std::path::PathBuf,
}

impl Mounted {
    fn new(server: &Server) -> Self {
        let point = server.directory.path().join("mount");
        std::fs::create_dir(&point).expect("a mount point");
        let child = Command::new("s3fs")
            .args([BUCKET, "-f", "-o", "use_path_request_style", "-o"])
            .arg(format!("url={}", server.endpoint))
            .arg(&point)
            .env("AWSACCESSKEYID", ID)
            .env("AWSSECRETACCESSKEY", SECRET)
            .stdout(Stdio::null())
            .spawn()
            .expect("s3fs is there; `make test` installs it");
        let mounted = Self { child, point };
        wait_until("s3fs mount deadline", MOUNT_LIMIT, || {
            let table = std::fs::read_to_string("/proc/self/mounts").expect("the mount table");
            let point = mounted.point.display().to_string();
            if table.contains(&point) { Ok(()) } else { Err(format!("{point} is not mounted")) }
        });
        mounted
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(&self.point).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            let _ = Command::new("umount").arg("-l").arg(&self.point).status();
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s3fs_mounts_a_bucket() {
    let server = start().await;
    server.sim.put_object(BUCKET, "data-subPath/hello.txt", "hello from OSS\n").await.expect("stored");
    let bytes: Vec<u8> = (0..12_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let (server, bytes) = tokio::task::spawn_blocking(move || {
        let mounted = Mounted::new(&server);
        let read = std::fs::read_to_string(mounted.point.join("data-subPath/hello.txt")).expect("a file");
        assert_eq!(read, "hello from OSS\n");
        std::fs::write(mounted.point.join("large"), &bytes).expect("written");
        std::fs::rename(mounted.point.join("large"), mounted.point.join("renamed")).expect("renamed");
        std::fs::write(mounted.point.join("small"), "x").expect("written");
        std::fs::remove_file(mounted.point.join("small")).expect("removed");
        drop(mounted);
        (server, bytes)
    })
    .await
    .expect("no panic");
    assert!(
        server.sim.get_object(BUCKET, "renamed").await.expect("stored") == bytes,
        "the large file differs"
    );
    let keys: Vec<_> =
        server.sim.list_objects(BUCKET, "").expect("a bucket").into_iter().map(|object| object.key).collect();
    assert_eq!(keys, ["data-subPath/hello.txt", "renamed"]);
}
