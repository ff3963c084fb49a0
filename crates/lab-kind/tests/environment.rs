//! The environment on real Docker. Needs the executable in `MOUNTLAB`, as `make e2e` gives it.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests fail by panicking")]

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use lab::{ExportAccess, ExportOptions};
use lab_kind::{DaemonPolicy, Environment, Event, Folders, ImagePolicy, NfsExport, Observer, Settings};

/// Shows how it goes in the test's output.
struct Shown;

impl Observer for Shown {
    fn notify(&self, event: Event<'_>) {
        match event {
            Event::Chosen(sentence) => eprintln!("{sentence}"),
            Event::Done { step, elapsed } => eprintln!("{step}: {elapsed:.1?}"),
            _ => {}
        }
    }
}

fn settings(name: &str) -> Settings {
    let executable = PathBuf::from(std::env::var_os("MOUNTLAB").expect("MOUNTLAB names the executable"));
    Settings {
        name: name.to_owned(),
        folders: Folders::of_user().expect("a cache folder"),
        oci_runtime: executable.clone(),
        executable,
        daemon: DaemonPolicy::Auto,
        images: ImagePolicy::Auto,
    }
}

fn docker(environment: &Environment, words: &[&str]) -> (bool, String) {
    let mut command = Command::new("docker");
    if let Some(host) = environment.docker().host() {
        command.env("DOCKER_HOST", host);
    }
    let output = command.args(words).output().expect("docker runs");
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success(), text)
}

fn kubectl(environment: &Environment, words: &[&str]) -> String {
    let output = Command::new("kubectl")
        .arg("--kubeconfig")
        .arg(environment.cluster().kubeconfig())
        .args(words)
        .output()
        .expect("kubectl runs");
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "kubectl {words:?}: {text}");
    text
}

/// Our images say which version is in them.
fn say_their_version(environment: &Environment) {
    let label = r#"{{index .Config.Labels "org.opencontainers.image.version"}}"#;
    for image in [&environment.images().mountlab, &environment.images().csi_agent] {
        let (found, version) = docker(environment, &["image", "inspect", "--format", label, image]);
        assert!(found && version.trim() == env!("CARGO_PKG_VERSION"), "{image}: {version}");
    }
}

/// A pod of the sandbox image that does `script` and is gone; what it said.
fn in_pod(environment: &Environment, name: &str, script: &str) -> String {
    let image = &environment.images().sandbox;
    let overrides = r#"{"spec":{"terminationGracePeriodSeconds":0}}"#;
    kubectl(
        environment,
        &[
            "run",
            name,
            "--image",
            image,
            "--image-pull-policy",
            "Never",
            "--restart",
            "Never",
            "--overrides",
            overrides,
            "--",
            "bash",
            "-c",
            script,
        ],
    );
    kubectl(
        environment,
        &["wait", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=180s", &format!("pod/{name}")],
    );
    let said = kubectl(environment, &["logs", name]);
    kubectl(environment, &["delete", "pod", name, "--wait=true"]);
    said
}

/// Is told of the moment when a cluster is half made.
struct HalfWay(tokio::sync::Notify);

impl Observer for HalfWay {
    fn notify(&self, event: Event<'_>) {
        if matches!(event, Event::Progress { detail, .. } if detail.contains("Starting control-plane")) {
            self.0.notify_one();
        }
    }
}

/// Gives up in the middle of making the cluster, without a chance to tidy up: kind is killed.
async fn killed_half_way(name: &str) {
    let half_way = HalfWay(tokio::sync::Notify::new());
    tokio::select! {
        outcome = Environment::up(settings(name), &half_way) => panic!("it was not interrupted: {:?}", outcome.err()),
        () = half_way.0.notified() => {}
    }
}

fn mountlab_socket(host: Option<&str>) -> Option<PathBuf> {
    host?.strip_prefix("unix://").map(PathBuf::from)
}

/// The bridge of the environment's network, as this machine shows it.
async fn bridge(environment: &Environment) -> PathBuf {
    let network = environment.docker().inspect("network", &environment.cluster().network()).await;
    let network = network.expect("an answer").expect("a network");
    let id = network["Id"].as_str().expect("an identifier");
    PathBuf::from(format!("/sys/class/net/br-{}", &id[..12]))
}

fn mounts_of(folders: &Folders) -> Vec<String> {
    let root = folders.root().display().to_string();
    let run = format!("/run/mountlab-{}", folders.id());
    let table = std::fs::read_to_string("/proc/self/mounts").expect("a mount table");
    table.lines().filter(|line| line.contains(&root) || line.contains(&run)).map(str::to_owned).collect()
}

fn user_kubeconfig() -> Option<Vec<u8>> {
    std::fs::read(PathBuf::from(std::env::var_os("HOME")?).join(".kube/config")).ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_environment_comes_up_serves_pods_is_reused_and_leaves_nothing() {
    let name = "mountlab-test";
    let kubeconfig = user_kubeconfig();
    Environment::remove(&settings(name), &Shown).await.expect("nothing of before is in the way");
    // Given up half way, nothing is left; killed half way, what is left is recognised.
    killed_half_way(name).await;
    Environment::abandon(&settings(name), &Shown).await.expect("half a cluster is removed");
    assert!(!settings(name).folders.root().join("clusters").join(name).exists(), "its files are gone");
    killed_half_way(name).await;
    let environment =
        Environment::up(settings(name), &Shown).await.expect("an environment, in place of half of one");

    say_their_version(&environment);

    // Pods reach both servers, and the name service says no when there is no such name.
    let store = environment.minio();
    let said = in_pod(
        &environment,
        "looks-around",
        &format!(
            "curl -sS -o /dev/null -w '%{{http_code}}' {}/minio/health/ready; echo; \
             getent hosts kubernetes.default.svc.cluster.local || echo no-name",
            store.inside_endpoint()
        ),
    );
    assert!(said.starts_with("200\n"), "{said}");
    assert!(said.contains("kubernetes.default.svc.cluster.local"), "{said}");

    // A frozen server answers nothing, a thawed one does.
    store.container().pause().await.expect("it freezes");
    let (_, state) =
        docker(&environment, &["inspect", "--format", "{{.State.Status}}", store.container().name()]);
    assert_eq!(state.trim(), "paused");
    store.container().unpause().await.expect("it thaws");
    store.container().unpause().await.expect("it is thawed already");
    store.until_healthy().await.expect("it is well again");

    // Exports come and go without a restart.
    let nfs = environment.nfs();
    let export = |path: &str| NfsExport { path: path.to_owned(), options: ExportOptions::default() };
    nfs.offer(export("/share")).await.expect("an export");
    nfs.container()
        .exec_with_input(&["tee", "/exports/share/in.txt"], "from the server\n")
        .await
        .expect("a file");
    let address = nfs.address().to_owned();
    let read = || {
        let url = format!("nfs://{address}/share/in.txt");
        let output = Command::new("nfs-cat").arg(&url).output().expect("nfs-cat runs");
        (output.stdout, String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (content, said) = read();
    assert_eq!(content, b"from the server\n", "{said}");
    let refused = ExportOptions { access: ExportAccess::Refused, ..ExportOptions::default() };
    nfs.offer(NfsExport { options: refused, ..export("/share") }).await.expect("the rule");
    let (content, said) = read();
    assert!(content.is_empty() && said.contains("MNT3ERR_ACCES"), "{said}");
    nfs.offer(export("/share")).await.expect("the rule");
    assert_eq!(read().0, b"from the server\n");
    nfs.withdraw("/sh").await.expect("it goes");
    assert!(read().0.is_empty());

    // Names for an image that the node has.
    let image = environment.images().sandbox.clone();
    environment.cluster().name_image(&image, &["another:v1"]).await.expect("another name");

    // In use is in use; and another cluster's name is not ours to take.
    let error = Environment::up(settings(name), &Shown).await.expect_err("it is in use").to_string();
    assert!(error.contains("in use by another mountlab"), "{error}");
    drop(environment);

    // Left up, it is found again, at once.
    let started = Instant::now();
    let environment = Environment::up(settings(name), &Shown).await.expect("the same environment");
    eprintln!("found again after {:.1?}", started.elapsed());
    let node = environment.cluster().node();
    let stranger = "mountlab-stranger-control-plane";
    let (made, words) = docker(&environment, &["create", "--name", stranger, &environment.images().sandbox]);
    assert!(made, "{words}");
    let error =
        Environment::up(settings("mountlab-stranger"), &Shown).await.expect_err("it is not ours").to_string();
    assert!(error.contains("not ours"), "{error}");
    let (_, left) = docker(&environment, &["ps", "--all", "--format", "{{.Names}}"]);
    assert!(left.contains(stranger) && left.contains(&node), "both are still there: {left}");
    docker(&environment, &["rm", stranger]);

    let (docker, host) = (environment.docker().clone(), environment.docker().host().map(str::to_owned));
    let bridge = bridge(&environment).await;
    assert!(bridge.exists(), "{} is there", bridge.display());
    environment.down(&Shown).await.expect("it goes down");
    // A daemon of ours ends with its last container, and takes its mounts along; another cluster of ours may be up.
    let ended = docker.is_own() && !mountlab_socket(host.as_deref()).is_some_and(|socket| socket.exists());
    if ended {
        assert_eq!(mounts_of(&settings(name).folders), Vec::<String>::new());
    } else {
        for kind in ["container", "network"] {
            for part in ["control-plane", "minio", "nfs", "network"] {
                let left = docker.inspect(kind, &format!("{name}-{part}")).await.expect("an answer");
                assert!(left.is_none(), "{kind} {name}-{part} is left");
            }
        }
    }
    if docker.is_own() {
        let rules = Command::new("iptables")
            .args(["--table", "nat", "--list-rules"])
            .output()
            .expect("iptables runs");
        assert!(
            !String::from_utf8_lossy(&rules.stdout).contains(&format!("{name}-network")),
            "a rule is left"
        );
    }
    assert!(!bridge.exists(), "{} is left", bridge.display());
    assert_eq!(user_kubeconfig(), kubeconfig, "the user's own kubeconfig is untouched");
}
