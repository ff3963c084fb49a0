//! The outside: opens the sockets, starts the enclosure, and is the [`Lab`] that the engine sees.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use clock::SharedClock;
use contract::names::csi_agent::OssMounter;
use journal::{Journal, source};
use lab::{
    Access, Backend, Capability, ExportCall, ExportReply, Fault, FaultHandle, Lab, LabError, Leftover, Mount,
    NetworkFileSystem, ObjectStore, Requirement, UpOptions,
};
use node_sim::enclosure::{self, Enclosure, EnclosureOptions};
use rustix::net::sockopt::set_socket_reuseaddr;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::protocol::{Addresses, Hello, Request, Up};
use crate::remote::Remote;
use crate::{channel, machine};

/// The backend's name.
pub(crate) const NAME: &str = "embedded";

/// How many connections may wait to be accepted, as the standard library has it.
const BACKLOG: i32 = 128;

/// How long the kernel may take to end every process of a lab.
const END_DEADLINE: Duration = Duration::from_secs(10);

/// What a lab learns of its caller's environment; everything else stays outside.
const PASSED_ON: [&str; 3] = ["PATH", "RUST_LOG", "RUST_BACKTRACE"];

/// The backend that needs nothing but Linux with FUSE.
#[derive(Clone, Debug)]
pub struct Embedded {
    program: PathBuf,
    oss_mounter: OssMounter,
    clock: SharedClock,
}

impl Embedded {
    /// A backend whose labs run `program` (which must dispatch `lab-init` to [`crate::init_main`]); `clock` stamps
    /// what the outside writes into the journal.
    pub fn new(program: PathBuf, clock: SharedClock) -> Self {
        Self { program, oss_mounter: OssMounter::default(), clock }
    }

    /// The same, with OSS volumes mounted by `mounter`. Images are made from the machine's program folders, so that `s3fs` is in
    /// them if it is on the machine; a lab doesn't come up without.
    #[must_use]
    pub fn with_oss_mounter(self, mounter: OssMounter) -> Self {
        Self { oss_mounter: mounter, ..self }
    }
}

#[async_trait]
impl Backend for Embedded {
    fn name(&self) -> &'static str {
        NAME
    }

    fn missing(&self, _needed: &[Capability]) -> Vec<Capability> {
        Vec::new()
    }

    fn requirements(&self) -> Vec<Requirement> {
        machine::requirements()
    }

    async fn check(&self) -> Result<(), LabError> {
        match self.oss_mounter {
            // Each lab finds out for itself.
            OssMounter::BuiltIn => Ok(()),
            OssMounter::S3fs => machine::check(self.oss_mounter),
        }
    }

    async fn up(&self, options: UpOptions) -> Result<Box<dyn Lab>, LabError> {
        machine::check(self.oss_mounter)?;
        let lab = EmbeddedLab::up(self, options).await?;
        Ok(Box::new(lab))
    }
}

struct EmbeddedLab {
    name: String,
    access: Access,
    journal: Journal,
    remote: Remote,
    enclosure: Enclosure,
}

impl EmbeddedLab {
    async fn up(backend: &Embedded, options: UpOptions) -> Result<Self, LabError> {
        let journal = Journal::new(backend.clock.clone());
        journal.record(source::LAB, "phase", &options.name, json!({"phase": "start", "seed": options.seed}));
        std::fs::create_dir_all(&options.directory)
            .map_err(io_error(&format!("make {}", options.directory.display())))?;
        let sockets = Sockets::open()?;
        let addresses = sockets.addresses;
        let (outside, inside) = UnixStream::pair().map_err(io_error("open the lab's control channel"))?;
        let enclosure = sockets.enclose(&backend.program, inside, &options).await?;
        let (reader, mut writer) =
            channel::split(outside).map_err(io_error("serve the lab's control channel"))?;
        let hello = Hello {
            name: options.name.clone(),
            seed: options.seed,
            listeners: addresses,
            oss_mounter: backend.oss_mounter,
        };
        writer.send(&hello).await.map_err(io_error("greet the lab"))?;
        let (remote, up) = Remote::start(options.name.clone(), reader, writer, journal.clone());
        let up = match tokio::time::timeout(options.deadline, up).await {
            Ok(Ok(up)) => up?,
            Ok(Err(_)) => return Err(ended(&options.name)),
            Err(_) => return Err(late(&options, &journal)),
        };
        let access = access(up, addresses, &options.directory)?;
        journal.record(source::LAB, "phase", &options.name, json!({"phase": "up"}));
        Ok(Self { name: options.name, access, journal, remote, enclosure })
    }

    async fn ask<T: DeserializeOwned>(&self, request: Request) -> Result<T, LabError> {
        let value: Value = self.remote.call(request).await?;
        serde_json::from_value(value).map_err(|error| LabError::Part {
            lab: self.name.clone(),
            part: "control channel".to_owned(),
            reason: format!("unexpected answer: {error}"),
        })
    }
}

#[async_trait]
impl Lab for EmbeddedLab {
    fn access(&self) -> &Access {
        &self.access
    }

    fn journal(&self) -> &Journal {
        &self.journal
    }

    async fn catch_up(&self) -> Result<(), LabError> {
        let entries = self.ask(Request::Entries).await?;
        self.remote.adopted(entries).await
    }

    async fn mounts(&self, namespace: &str, sandbox: &str) -> Result<Vec<Mount>, LabError> {
        self.ask(Request::Mounts { namespace: namespace.to_owned(), sandbox: sandbox.to_owned() }).await
    }

    async fn advance(&self, duration: Duration) -> Result<(), LabError> {
        let milliseconds = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        self.ask(Request::Advance(milliseconds)).await
    }

    async fn inject(&self, fault: Fault) -> Result<FaultHandle, LabError> {
        self.ask(Request::Inject(fault)).await
    }

    async fn heal(&self, fault: FaultHandle) -> Result<(), LabError> {
        self.ask(Request::Heal(fault)).await
    }

    async fn at_exports(&self, call: ExportCall) -> Result<ExportReply, LabError> {
        self.ask(Request::Exports(call)).await
    }

    async fn leftovers(&self) -> Result<Vec<Leftover>, LabError> {
        self.ask(Request::Leftovers).await
    }

    async fn memory(&self) -> Result<u64, LabError> {
        self.ask(Request::Memory).await
    }

    async fn down(self: Box<Self>) -> Result<(), LabError> {
        let Self { name, access, journal, remote, mut enclosure } = *self;
        // The inside ends when the control channel closes; its first process outlives all others, and the process
        // waited for here outlives that one.
        drop(remote);
        let ended = tokio::time::timeout(END_DEADLINE, enclosure.wait()).await;
        std::fs::remove_file(&access.kubeconfig)
            .or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
            .map_err(io_error(&format!("remove {}", access.kubeconfig.display())))?;
        match ended {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(part_error(&name, "namespaces", &error)),
            Err(_) => {
                return Err(LabError::Deadline {
                    deadline: "lab end deadline",
                    limit: END_DEADLINE,
                    last: format!("the first process of lab {name} is still there"),
                });
            }
        }
        journal.record(source::LAB, "phase", &name, json!({"phase": "down"}));
        Ok(())
    }
}

/// The listeners that people use from outside, opened before the lab's own network exists.
struct Sockets {
    listeners: [TcpListener; 4],
    addresses: Addresses,
}

impl Sockets {
    fn open() -> Result<Self, LabError> {
        let listeners = [listener(), listener(), listener(), listener()]
            .into_iter()
            .collect::<io::Result<Vec<_>>>()
            .map_err(io_error("open a listening socket on 127.0.0.1"))?;
        let [e2b, kubernetes, object_store, network_file_system] =
            <[TcpListener; 4]>::try_from(listeners).map_err(|_| ended("sockets"))?;
        let address =
            |listener: &TcpListener| listener.local_addr().map_err(io_error("read a socket's address"));
        let addresses = Addresses {
            e2b: address(&e2b)?,
            kubernetes: address(&kubernetes)?,
            object_store: address(&object_store)?,
            network_file_system: address(&network_file_system)?,
        };
        Ok(Self { listeners: [e2b, kubernetes, object_store, network_file_system], addresses })
    }

    /// Starts the lab's first process with the control channel, the listeners and the log as its descriptors, in the
    /// order that [`crate::inside`] expects.
    async fn enclose(
        self,
        program: &Path,
        control: UnixStream,
        options: &UpOptions,
    ) -> Result<Enclosure, LabError> {
        let log = options.directory.join("lab.log");
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .map_err(io_error(&format!("open {}", log.display())))?;
        let mut file_descriptors = vec![OwnedFd::from(control)];
        file_descriptors.extend(self.listeners.into_iter().map(OwnedFd::from));
        file_descriptors.push(OwnedFd::from(log));
        let environment = PASSED_ON
            .iter()
            .filter_map(|name| std::env::var_os(name).map(|value| (name.into(), value)))
            .collect();
        enclosure::spawn(EnclosureOptions {
            program: program.to_path_buf(),
            args: vec!["lab-init".into()],
            environment,
            file_descriptors,
        })
        .await
        .map_err(|error| part_error(&options.name, "namespaces", &error))
    }
}

/// A listening socket of this machine that keeps its port when it is shut for a while, as the port was asked for and not
/// chosen by the system. Chosen it was before, for a socket that holds it meanwhile: nobody can come in between.
fn listener() -> io::Result<TcpListener> {
    let socket = || {
        let socket = rustix::net::socket_with(
            AddressFamily::INET,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            Some(rustix::net::ipproto::TCP),
        )?;
        set_socket_reuseaddr(&socket, true)?;
        Ok::<_, io::Error>(socket)
    };
    let (chosen, asked) = (socket()?, socket()?);
    bind(&chosen, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))?;
    bind(&asked, &TcpListener::from(chosen.try_clone()?).local_addr()?)?;
    drop(chosen);
    let listener = TcpListener::from(asked);
    listen(&listener, BACKLOG)?;
    Ok(listener)
}

fn access(up: Up, addresses: Addresses, directory: &Path) -> Result<Access, LabError> {
    let kubeconfig = directory.join("kubeconfig");
    let attempt = (|| {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&kubeconfig)?;
        file.write_all(up.kubeconfig.as_bytes())
    })();
    attempt.map_err(io_error(&format!("write {}", kubeconfig.display())))?;
    Ok(Access {
        e2b_url: format!("http://{}", addresses.e2b),
        e2b_key: up.e2b_key,
        e2b_domain: addresses.e2b.to_string(),
        kubeconfig,
        object_store: Some(ObjectStore {
            outside_endpoint: format!("http://{}", addresses.object_store),
            inside_endpoint: up.object_store_inside,
            region: up.region,
            access_key_id: up.access_key_id,
            access_key_secret: up.access_key_secret,
            bucket_prefix: String::new(),
        }),
        network_file_system: Some(NetworkFileSystem {
            inside_server: up.network_file_system_inside,
            outside_address: addresses.network_file_system,
            outside_mount_port: addresses.network_file_system.port(),
            path_prefix: "/".to_owned(),
        }),
    })
}

fn late(options: &UpOptions, journal: &Journal) -> LabError {
    let last =
        journal.entries().iter().rev().find(|entry| entry.source == source::LAB).map_or_else(
            || "nothing came up".to_owned(),
            |entry| format!("last phase {}", entry.body["phase"]),
        );
    LabError::Deadline { deadline: "lab start deadline", limit: options.deadline, last }
}

fn ended(name: &str) -> LabError {
    LabError::Part {
        lab: name.to_owned(),
        part: "lab".to_owned(),
        reason: "its first process ended before it was up; see lab.log in its folder".to_owned(),
    }
}

/// A failure of `part`, with its causes.
fn part_error(lab: &str, part: &str, error: &dyn std::error::Error) -> LabError {
    LabError::Part { lab: lab.to_owned(), part: part.to_owned(), reason: crate::chain(error) }
}

fn io_error(action: &str) -> impl FnOnce(io::Error) -> LabError {
    let action = action.to_owned();
    move |source| LabError::Io { action, source }
}
