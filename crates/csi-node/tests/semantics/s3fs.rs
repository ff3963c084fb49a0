//! The mounted bucket beside Debian's `s3fs`, the ancestor of ossfs, over the same server: every answer that differs
//! stands in `docs/oss-semantics.md` with its reason, and whatever stands there is met.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use clock::SystemClock;
use csi_node::s3::{Bucket, BucketOptions, Credentials, Endpoint, Limits};

use crate::cases::{self, Case, NAMES, ten_thousand};
use crate::common::{Agent, BUCKET, KEY_ID, KEY_SECRET, LIMIT, Store, blocking, in_namespaces, mount_line};
use crate::listed::{self, Difference, GENERATED};
use crate::notes::Notes;
use crate::steps::{Step, Tree, contents, digest, in_bucket, sequences};

/// Operations that are generated, unless `CSI_NODE_S3FS_OPERATIONS` says otherwise.
const OPERATIONS: usize = 2400;
/// Operations in a sequence: short, because what follows a difference can't be compared.
const SEQUENCE: usize = 20;
/// What names begin with that libfuse gives to removed files that are still open.
const HIDDEN: &str = ".fuse_hidden";

/// Both mounts of one bucket.
struct Mounts {
    store: Store,
    agent: Agent,
    ours: PathBuf,
    theirs: PathBuf,
    _directory: tempfile::TempDir,
}

impl Mounts {
    async fn start() -> Self {
        let store = Store::start().await;
        let agent = Agent::start().await;
        let ours = agent.mount(&store, "ours", &[("path", "/ours"), ("otherOpts", "-o allow_other")]).await;
        let directory = tempfile::tempdir().expect("a directory");
        let theirs = directory.path().join("theirs");
        store.put("s3fs/", "").await;
        mount_s3fs(&store, directory.path(), &theirs).await;
        Self { store, agent, ours, theirs, _directory: directory }
    }
}

/// Mounts the bucket's folder `s3fs` without a cache of contents: every close reaches the store.
async fn mount_s3fs(store: &Store, directory: &Path, target: &Path) {
    let password = directory.join("passwd");
    fs::write(&password, format!("{KEY_ID}:{KEY_SECRET}")).expect("written");
    fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).expect("protected");
    fs::create_dir(target).expect("made");
    let status = Command::new("s3fs")
        .arg(format!("{BUCKET}:/s3fs"))
        .arg(target)
        .args(["-o", &format!("passwd_file={},url={}", password.display(), store.url)])
        .args(["-o", "use_path_request_style,allow_other,use_cache="])
        .status()
        .expect("s3fs is installed: tools/install s3fs=s3fs");
    assert!(status.success(), "s3fs mounts: {status}");
    let mounted = async {
        while mount_line(target).is_none() {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(LIMIT, mounted).await.expect("mounted in time");
}

/// libfuse gives a removed file that is open a name with a random number.
fn without_random(text: &str) -> String {
    let Some((before, after)) = text.split_once(HIDDEN) else { return text.to_owned() };
    let after = after.trim_start_matches(|digit: char| digit.is_ascii_hexdigit());
    format!("{before}{HIDDEN}{}", without_random(after))
}

/// The answers of `case` in the folder `root`.
fn answers(case: &str, run: fn(&mut Notes, &Path), root: &Path, make: bool) -> Vec<(String, String)> {
    let folder = root.join(case.replace(' ', "-"));
    if make {
        fs::create_dir(&folder).expect("made");
    }
    let mut notes = Notes::default();
    run(&mut notes, &folder);
    notes.into_answers()
}

async fn both(
    mounts: &Mounts,
    case: &'static str,
    run: fn(&mut Notes, &Path),
    make: bool,
) -> BTreeSet<Difference> {
    let (ours, theirs) = (mounts.ours.clone(), mounts.theirs.clone());
    let (ours, theirs) = tokio::join!(
        blocking(move || answers(case, run, &ours, make)),
        blocking(move || answers(case, run, &theirs, make)),
    );
    let mut met = BTreeSet::new();
    for ((step, ours), (their_step, theirs)) in pairs(&ours, &theirs) {
        assert_eq!(step, their_step, "{case}");
        let (ours, theirs) = (without_random(&ours), without_random(&theirs));
        if ours != theirs {
            let (ours, theirs) = without_digests(&ours, &theirs);
            met.insert(Difference { case: case.into(), step, theirs, ours });
        }
    }
    met
}

type Answer = (String, String);

/// The answers side by side. A step that one side could not get to is "not reached" there.
fn pairs(ours: &[Answer], theirs: &[Answer]) -> Vec<(Answer, Answer)> {
    let reached = |answers: &[Answer], step: &str| answers.iter().any(|(name, _)| name == step);
    let missing = |step: &str| (step.to_owned(), "not reached".to_owned());
    let (mut left, mut right) = (ours.iter().peekable(), theirs.iter().peekable());
    let mut paired = Vec::new();
    loop {
        match (left.peek(), right.peek()) {
            (None, None) => return paired,
            (Some(our), Some(their)) if our.0 == their.0 => {
                paired.push(((*our).clone(), (*their).clone()));
                left.next();
                right.next();
            }
            (Some(our), _) if !reached(theirs, &our.0) => {
                paired.push(((*our).clone(), missing(&our.0)));
                left.next();
            }
            (_, Some(their)) => {
                paired.push((missing(&their.0), (*their).clone()));
                right.next();
            }
            (Some(our), None) => {
                paired.push(((*our).clone(), missing(&our.0)));
                left.next();
            }
        }
    }
}

/// What is known of an object: its content, type, mode and owner.
type Known = BTreeMap<&'static str, String>;

/// What the bucket holds of a folder, by the rest of the key.
async fn objects(store: &Store, bucket: &Bucket, prefix: &str) -> BTreeMap<String, Known> {
    let mut found = BTreeMap::new();
    for object in store.sim.list_objects(BUCKET, prefix).expect("listed") {
        let name = without_random(&object.key[prefix.len()..]);
        let info = bucket.head(&object.key).await.expect("asked").expect("there");
        let metadata = |name: &str| info.metadata.get(name).map_or("none", String::as_str).to_owned();
        let mut mode = metadata("mode");
        if let (true, Ok(bits)) = (object.key.ends_with('/'), mode.parse::<u32>()) {
            // s3fs stores a folder's mode without saying that it is one: the key says that already.
            mode = (bits & 0o7777).to_string();
        }
        let known = Known::from([
            ("object", digest(&store.get(&object.key).await)),
            ("type of", info.content_type.clone()),
            ("mode and owner of", format!("{mode} {}:{}", metadata("uid"), metadata("gid"))),
        ]);
        found.insert(name, known);
    }
    found
}

/// Waits until libfuse has removed the files that were removed while they were open: it does so after the last close
/// has returned.
async fn settled(store: &Store) {
    let settled = async {
        while store.keys().iter().any(|key| key.contains(HIDDEN)) {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LIMIT, settled).await.expect("s3fs removes what was removed while it was open");
}

async fn bucket_differences(mounts: &Mounts, bucket: &Bucket, case: &str) -> BTreeSet<Difference> {
    let folder = case.replace(' ', "-");
    let ours = objects(&mounts.store, bucket, &format!("ours/{folder}/")).await;
    let theirs = objects(&mounts.store, bucket, &format!("s3fs/{folder}/")).await;
    let mut met = BTreeSet::new();
    let mut add = |step: &str, theirs: Option<&String>, ours: Option<&String>| {
        let text = |side: Option<&String>| side.map_or_else(|| "none".to_owned(), Clone::clone);
        let (ours, theirs) = without_digests(&text(ours), &text(theirs));
        met.insert(Difference { case: case.to_owned(), step: step.to_owned(), theirs, ours });
    };
    for name in ours.keys().chain(theirs.keys()).collect::<BTreeSet<_>>() {
        match (ours.get(name), theirs.get(name)) {
            (Some(our), Some(their)) => {
                for (what, their) in their.iter().filter(|(what, their)| our.get(*what) != Some(their)) {
                    add(&format!("{what} {name:?}"), Some(their), our.get(what));
                }
            }
            (our, their) => {
                let content =
                    |side: Option<&'_ BTreeMap<&str, String>>| side.and_then(|it| it.get("object")).cloned();
                add(&format!("object {name:?}"), content(their).as_ref(), content(our).as_ref());
            }
        }
    }
    met
}

fn client(store: &Store) -> Bucket {
    Bucket::new(BucketOptions {
        endpoint: Endpoint::new(&store.url, BUCKET, None).expect("an endpoint"),
        credentials: Credentials::new(KEY_ID, KEY_SECRET),
        object_headers: Vec::new(),
        limits: Limits::default(),
        clock: SystemClock::shared(),
    })
    .expect("a client")
}

async fn known_cases(mounts: &Mounts) -> BTreeSet<Difference> {
    let bucket = client(&mounts.store);
    let mut met = BTreeSet::new();
    for Case { name, objects, run } in cases::all() {
        for (key, content) in objects {
            for side in ["ours", "s3fs"] {
                mounts.store.put(&format!("{side}/{}/{key}", name.replace(' ', "-")), *content).await;
            }
        }
        met.extend(both(mounts, name, run, objects.is_empty()).await);
        settled(&mounts.store).await;
        met.extend(bucket_differences(mounts, &bucket, name).await);
    }
    let case = "ten thousand names";
    for number in 0..NAMES {
        for side in ["ours", "s3fs"] {
            mounts.store.put(&format!("{side}/ten-thousand-names/{number:05} ü"), "x").await;
        }
    }
    met.extend(both(mounts, case, ten_thousand, false).await);
    met
}

fn run_all(root: &Path, sequences: &[(usize, Vec<Step>)]) -> Vec<Vec<String>> {
    let run = |(number, steps): &(usize, Vec<Step>)| {
        let folder = root.join(format!("s{number}"));
        fs::create_dir(&folder).expect("made");
        let mut tree = Tree::new(folder);
        steps.iter().map(|step| tree.run(step)).collect()
    };
    sequences.iter().map(run).collect()
}

/// Runs generated sequences on both mounts and in a local directory. Ours has to answer as the directory does; where
/// s3fs doesn't, that is a difference, and the rest of its sequence says nothing more.
async fn generated(mounts: &Mounts, count: usize) -> BTreeSet<Difference> {
    let all: Arc<Vec<_>> = Arc::new(sequences(count, SEQUENCE).into_iter().enumerate().collect());
    let local = tempfile::tempdir().expect("a directory");
    let side = |root: &Path| {
        let (root, all) = (root.to_owned(), Arc::clone(&all));
        // Two at once: the mounts serve many programs, and it takes half the time.
        let half = |range: std::ops::Range<usize>| {
            let (root, all) = (root.clone(), Arc::clone(&all));
            blocking(move || run_all(&root, &all[range]))
        };
        let (first, second) = (half(0..count / 2), half(count / 2..count));
        async move {
            let (mut first, second) = tokio::join!(first, second);
            first.extend(second);
            first
        }
    };
    let (ours, theirs, right) = tokio::join!(side(&mounts.ours), side(&mounts.theirs), side(local.path()));
    settled(&mounts.store).await;
    let mut met = BTreeSet::new();
    let mut compared = 0;
    for (number, steps) in all.iter() {
        for (index, answer) in ours[*number].iter().enumerate() {
            let steps = &steps[..=index];
            assert_eq!(*answer, right[*number][index], "sequence {number}, step {index}: {steps:#?}");
        }
        let differs = theirs[*number].iter().zip(&ours[*number]).position(|(theirs, ours)| theirs != ours);
        compared += differs.unwrap_or(steps.len());
        let prefix = format!("s{number}/");
        let files = contents(&local.path().join(&prefix));
        let our_objects = in_bucket(&mounts.store, &format!("ours/{prefix}")).await;
        assert_eq!(our_objects, files, "sequence {number}: what the bucket holds of ours");
        if let Some(index) = differs {
            println!("sequence {number}: the last of {:#?} differs", &steps[..=index]);
            let (ours, theirs) = without_digests(&ours[*number][index], &theirs[*number][index]);
            met.insert(Difference { case: GENERATED.into(), step: steps[index].verb().into(), theirs, ours });
        } else if let theirs = in_bucket(&mounts.store, &format!("s3fs/{prefix}")).await
            && theirs != files
        {
            println!("sequence {number}: s3fs leaves {theirs:#?} and not {files:#?} after {steps:#?}");
            met.insert(Difference {
                case: GENERATED.into(),
                step: "in the bucket afterwards".into(),
                theirs: "other objects".into(),
                ours: "the objects of a local directory".into(),
            });
        }
    }
    let total = count * SEQUENCE;
    println!("{compared} of {total} generated operations compared");
    assert!(
        compared * 10 >= total * 6,
        "differences cut too much off: {compared} of {total} operations compared"
    );
    met
}

/// Two answers that differ, without what comes out differently in each sequence or version of Rust.
fn without_digests(ours: &str, theirs: &str) -> (String, String) {
    let length = |text: &str| text.split_once(" bytes, ").map(|(length, _)| format!("{length} bytes"));
    match (length(ours), length(theirs)) {
        (Some(our), Some(their)) if our == their => ("what was written".into(), "other bytes".into()),
        (our, their) => (our.unwrap_or_else(|| ours.into()), their.unwrap_or_else(|| theirs.into())),
    }
}

#[test]
fn what_differs_from_s3fs_is_listed_with_its_reason() {
    in_namespaces("s3fs::what_differs_from_s3fs_is_listed_with_its_reason", || async {
        nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
        listed::listed(); // what is wrong with the page shows at once
        let mounts = Mounts::start().await;
        let operations = std::env::var("CSI_NODE_S3FS_OPERATIONS")
            .map_or(OPERATIONS, |count| count.parse().expect("CSI_NODE_S3FS_OPERATIONS is a number"));
        let begun = std::time::Instant::now();
        let mut met = known_cases(&mounts).await;
        println!("known cases took {:?}", begun.elapsed());
        met.extend(generated(&mounts, operations.div_ceil(SEQUENCE)).await);
        println!("all took {:?}", begun.elapsed());
        assert!(!mounts.agent.stderr().contains("panicked"), "{}", mounts.agent.stderr());
        listed::check(met);
    });
}
