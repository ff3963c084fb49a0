//! A Docker daemon of our own.
//!
//! It shares nothing with another daemon of the machine: data, sockets and process files are its own, it makes no
//! bridge, and it writes no packet filter, whose chains every daemon would flush for the others. Containers reach each
//! other and the machine through the networks they are in; what they publish is forwarded by `docker-proxy`.
//!
//! It is a process group of its own and outlives us, so that a second run finds it warm. [`OwnDaemon::stop`] ends it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Docker;
use super::capabilities::can_raise_limits;
use crate::command::{Run, find};
use crate::observer::{Observer, Step};
use crate::oci_runtime::OCI_RUNTIME;
use crate::{Folders, KindError};

/// How long the daemon may take to answer.
const START_DEADLINE: Duration = Duration::from_secs(120);
/// How long it may take to end: it stops its containers first.
const STOP_DEADLINE: Duration = Duration::from_secs(120);
/// How often it is asked meanwhile.
const INTERVAL: Duration = Duration::from_millis(100);

/// Where our daemon lives.
#[derive(Clone, Debug)]
pub(crate) struct OwnDaemon {
    /// Images, containers, the log.
    data: PathBuf,
    /// Sockets and process files: gone after a reboot, as the daemon is. Short, for a socket's path has 108 bytes.
    run: PathBuf,
}

impl OwnDaemon {
    /// The daemon of these folders.
    pub(crate) fn of(folders: &Folders) -> Self {
        Self {
            data: folders.root().join("docker"),
            run: PathBuf::from(format!("/run/mountlab-{}", folders.id())),
        }
    }

    /// Its address, as in `DOCKER_HOST`.
    pub(crate) fn host(&self) -> String {
        format!("unix://{}", self.run.join("docker.sock").display())
    }

    fn pid_file(&self) -> PathBuf {
        self.run.join("docker.pid")
    }

    /// Starts it, or finds it running.
    pub(crate) async fn start(
        &self,
        program: &Path,
        executable: &Path,
        observer: &dyn Observer,
    ) -> Result<Docker, KindError> {
        let docker = Docker::new(program.to_owned(), Some(self.host()), true);
        if self.process().is_some() && answers(&docker).await.is_ok() {
            return Ok(docker);
        }
        let step = Step::begin(observer, "starting a Docker daemon of our own");
        let mut child = self.spawn(executable)?;
        let started = Instant::now();
        loop {
            let last = match answers(&docker).await {
                Ok(()) => break,
                Err(error) => error.to_string(),
            };
            let ended = child.try_wait().map_err(KindError::io("waiting for", Path::new("dockerd")))?;
            if let Some(status) = ended {
                let log = self.log();
                let said = fs::read_to_string(&log).unwrap_or_default();
                return Err(KindError::program(
                    "starting a Docker daemon of our own",
                    format!(
                        "{status}\n{}\n(all of it is in {})",
                        crate::command::last_lines(&said),
                        log.display()
                    ),
                ));
            }
            if started.elapsed() > START_DEADLINE {
                self.stop().await?;
                return Err(KindError::Deadline {
                    deadline: "deadline of the Docker daemon's start",
                    limit: START_DEADLINE,
                    last,
                });
            }
            tokio::time::sleep(INTERVAL).await;
        }
        step.done();
        Ok(docker)
    }

    fn log(&self) -> PathBuf {
        self.data.join("dockerd.log")
    }

    fn spawn(&self, executable: &Path) -> Result<std::process::Child, KindError> {
        for folder in [&self.data, &self.run] {
            fs::create_dir_all(folder).map_err(KindError::io("making", folder))?;
            fs::set_permissions(folder, fs::Permissions::from_mode(0o700))
                .map_err(KindError::io("closing", folder))?;
        }
        let log = fs::File::create(self.log()).map_err(KindError::io("making", &self.log()))?;
        let errors = log.try_clone().map_err(KindError::io("opening", &self.log()))?;
        let daemon = find("dockerd")
            .ok_or_else(|| KindError::machine("dockerd is not installed", "apt-get install docker.io"))?;
        let mut command = Command::new(daemon);
        command
            .arg("--config-file")
            .arg(self.configuration(executable)?)
            .env_remove("DOCKER_HOST")
            // Helpers such as containerd and docker-proxy are where administrators' programs are.
            .env("PATH", search_path())
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .process_group(0);
        command.spawn().map_err(KindError::io("starting", Path::new("dockerd")))
    }

    /// Writes the daemon's settings and returns where they are.
    fn configuration(&self, executable: &Path) -> Result<PathBuf, KindError> {
        let mut settings = serde_json::json!({
            "data-root": self.data.join("data"),
            "exec-root": self.run.join("exec"),
            "pidfile": self.pid_file(),
            "hosts": [self.host()],
            "bridge": "none",
            "iptables": false,
            "ip6tables": false,
            "labels": ["mountlab.dev/daemon=own"],
            "log-level": "warn",
        });
        if !can_raise_limits() {
            // A copy: the daemon outlives this executable, which may be rebuilt meanwhile.
            let runtime = self.data.join(OCI_RUNTIME);
            let fresh = self.data.join(format!("{OCI_RUNTIME}.new"));
            fs::copy(executable, &fresh).map_err(KindError::io("copying", executable))?;
            fs::rename(&fresh, &runtime).map_err(KindError::io("renaming", &fresh))?;
            settings["runtimes"] = serde_json::json!({OCI_RUNTIME: {"path": runtime}});
            settings["default-runtime"] = OCI_RUNTIME.into();
        }
        let path = self.data.join("daemon.json");
        fs::write(&path, settings.to_string()).map_err(KindError::io("writing", &path))?;
        Ok(path)
    }

    /// The daemon's process, if it runs and is a daemon of these folders.
    pub(crate) fn process(&self) -> Option<Pid> {
        let pid: i32 = fs::read_to_string(self.pid_file()).ok()?.trim().parse().ok()?;
        // The number may be another process's by now.
        let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let configuration = self.data.join("daemon.json");
        let ours =
            line.split(|byte| *byte == 0).any(|word| word == configuration.as_os_str().as_encoded_bytes());
        ours.then(|| Pid::from_raw(pid))
    }

    /// Ends it and returns once it is gone. Its images stay for the next one.
    pub(crate) async fn stop(&self) -> Result<(), KindError> {
        let Some(process) = self.process() else { return self.clear() };
        let failed = |error: nix::Error| KindError::Io {
            action: format!("ending Docker daemon {process}"),
            source: error.into(),
        };
        match kill(process, Signal::SIGTERM) {
            Ok(()) | Err(nix::Error::ESRCH) => {}
            Err(error) => return Err(failed(error)),
        }
        let started = Instant::now();
        while self.process().is_some_and(|alive| alive == process) && !is_zombie(process) {
            if started.elapsed() > STOP_DEADLINE {
                return Err(KindError::Deadline {
                    deadline: "deadline of the Docker daemon's end",
                    limit: STOP_DEADLINE,
                    last: format!("process {process} is still there; its log is {}", self.log().display()),
                });
            }
            tokio::time::sleep(INTERVAL).await;
        }
        self.clear()
    }

    /// Removes what a daemon that is gone left: a namespace of the machine's network stays mounted when a container
    /// was in it.
    fn clear(&self) -> Result<(), KindError> {
        for folder in [&self.run, &self.data] {
            unmount_below(folder)?;
        }
        match fs::remove_dir_all(&self.run) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(KindError::io("removing", &self.run)(error))
            }
            _ => Ok(()),
        }
    }
}

/// Takes off whatever is mounted in a folder of ours.
fn unmount_below(folder: &Path) -> Result<(), KindError> {
    let table = Path::new("/proc/self/mounts");
    let text = fs::read_to_string(table).map_err(KindError::io("reading", table))?;
    for place in mounted_below(&text, folder) {
        match umount2(&place, MntFlags::MNT_DETACH) {
            Ok(()) | Err(nix::Error::EINVAL | nix::Error::ENOENT) => {}
            Err(error) => return Err(KindError::io("unmounting", &place)(error.into())),
        }
    }
    Ok(())
}

/// The mount points in a folder and below, innermost first.
fn mounted_below(table: &str, folder: &Path) -> Vec<PathBuf> {
    let places = table.lines().filter_map(|line| line.split(' ').nth(1)).map(PathBuf::from);
    let mut found: Vec<PathBuf> = places.filter(|place| place.starts_with(folder)).collect();
    found.reverse();
    found
}

/// A daemon that was our own child ends as one that nobody has asked for its status yet.
fn is_zombie(process: Pid) -> bool {
    fs::read_to_string(format!("/proc/{process}/stat"))
        .is_ok_and(|stat| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z')))
}

async fn answers(docker: &Docker) -> Result<(), KindError> {
    let run: Run = docker.command("asking our Docker daemon for its version");
    run.args(["version", "--format", "{{.Server.Version}}"]).output().await.map(drop)
}

fn search_path() -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{path}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn daemon(folder: &Path) -> OwnDaemon {
        OwnDaemon { data: folder.join("data"), run: folder.join("run") }
    }

    #[tokio::test]
    async fn a_process_file_of_before_is_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let daemon = daemon(folder.path());
        fs::create_dir_all(&daemon.run).unwrap();
        fs::write(daemon.pid_file(), std::process::id().to_string()).unwrap();
        assert_eq!(daemon.process(), None, "this test is no Docker daemon");
        daemon.stop().await.unwrap();
        assert!(!daemon.run.exists());
    }

    #[test]
    fn only_mounts_of_ours_are_taken_off() {
        let table = "proc /proc proc rw 0 0\n/dev/a /run/lab/data ext4 rw 0 0\nnsfs /run/lab/data/ns nsfs rw 0 0\n\
                     nsfs /run/lab-2/ns nsfs rw 0 0\n";
        let found = mounted_below(table, Path::new("/run/lab"));
        assert_eq!(found, [PathBuf::from("/run/lab/data/ns"), PathBuf::from("/run/lab/data")]);
    }

    #[test]
    fn the_daemon_shares_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let daemon = daemon(folder.path());
        fs::create_dir_all(&daemon.data).unwrap();
        let path = daemon.configuration(&std::env::current_exe().unwrap()).unwrap();
        let settings: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        let root = folder.path().to_str().unwrap();
        for key in ["data-root", "exec-root", "pidfile"] {
            assert!(settings[key].as_str().unwrap().starts_with(root), "{key}: {settings}");
        }
        assert_eq!(settings["bridge"], "none");
        assert_eq!(settings["iptables"], false);
    }

    #[cfg(feature = "e2e")]
    #[tokio::test]
    async fn a_daemon_is_started_found_and_gone_with_its_mounts() {
        use crate::observer::Silent;

        let executable =
            std::path::PathBuf::from(std::env::var_os("MOUNTLAB").expect("MOUNTLAB names the executable"));
        let folder = tempfile::tempdir().unwrap();
        let daemon = daemon(&folder.path().canonicalize().unwrap());
        let program = find("docker").expect("the docker program");
        let docker = daemon.start(&program, &executable, &Silent).await.unwrap();
        let process = daemon.process().expect("a process");
        daemon.start(&program, &executable, &Silent).await.unwrap();
        assert_eq!(daemon.process(), Some(process), "it was found, not started again");
        assert_eq!(docker.inspect("network", "bridge").await.unwrap(), None, "it makes no bridge");
        // As a daemon leaves it that had a container in the machine's network.
        let place = daemon.run.join("left");
        fs::write(&place, "").unwrap();
        nix::mount::mount(
            Some("/proc/self/ns/net"),
            &place,
            None::<&str>,
            nix::mount::MsFlags::MS_BIND,
            None::<&str>,
        )
        .unwrap();
        daemon.stop().await.unwrap();
        assert_eq!(daemon.process(), None);
        let table = fs::read_to_string("/proc/self/mounts").unwrap();
        let root = folder.path().canonicalize().unwrap();
        assert_eq!(mounted_below(&table, &root), Vec::<PathBuf>::new());
        assert!(!daemon.run.exists());
    }
}
