//! A server on a port of its own, and the client of the `nfs3_client` crate with short words for its calls.

use std::net::SocketAddr;
use std::time::Duration;

use clock::SystemClock;
use journal::Journal;
use nas_sim::{ExportOptions, NasOptions, NasSim};
use nfs3_client::io::{AsyncRead, AsyncWrite};
use nfs3_client::net::Connector;
use nfs3_client::nfs3_types::nfs3::*;
use nfs3_client::nfs3_types::rpc::{auth_unix, opaque_auth};
use nfs3_client::nfs3_types::xdr_codec::Opaque;
use nfs3_client::{ConnectError, MountError, Nfs3Connection, Nfs3ConnectionBuilder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub(crate) type Connection = Nfs3Connection<Stream>;
pub(crate) type Outcome<T> = Result<T, nfsstat3>;

/// How long one call may take in a test.
const LIMIT: Duration = Duration::from_secs(60);

/// A connection whose end is an error: the crate's own wrapper for tokio reads on for ever there (version 0.9.1).
pub(crate) struct Stream(TcpStream);

impl AsyncRead for Stream {
    async fn async_read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        match self.0.read(buf).await? {
            0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
            read => Ok(read),
        }
    }
}

impl AsyncWrite for Stream {
    async fn async_write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        self.0.write(buf).await
    }
}

/// Connects from any port.
pub(crate) struct Dial;

impl Connector for Dial {
    type Connection = Stream;

    async fn connect(&self, address: SocketAddr) -> std::io::Result<Stream> {
        TcpStream::connect(address).await.map(Stream)
    }

    async fn connect_with_port(&self, address: SocketAddr, _port: u16) -> std::io::Result<Stream> {
        self.connect(address).await
    }
}

pub(crate) struct Server {
    pub(crate) sim: NasSim,
    pub(crate) journal: Journal,
    pub(crate) address: SocketAddr,
    pub(crate) directory: tempfile::TempDir,
}

impl Server {
    /// A server with the export `/share`, open to everybody.
    pub(crate) async fn start() -> Self {
        Self::start_with(ExportOptions::default()).await
    }

    pub(crate) async fn start_with(options: ExportOptions) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let journal = Journal::new(SystemClock::shared());
        let sim = server(&journal, directory.path(), options);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        sim.serve(listener);
        Self { sim, journal, address, directory }
    }

    /// Ends the server and starts another one over the same directory.
    pub(crate) async fn restart(&mut self) {
        self.sim.shutdown().await;
        self.sim = server(&self.journal, self.directory.path(), ExportOptions::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        self.address = listener.local_addr().expect("an address");
        self.sim.serve(listener);
    }

    /// The path of a file of the export on this machine.
    pub(crate) fn real(&self, path: &str) -> std::path::PathBuf {
        self.directory.path().join("share").join(path)
    }

    pub(crate) async fn mount(&self, path: &str) -> Client {
        self.mount_as(path, 0, 0, &[]).await
    }

    pub(crate) async fn mount_as(&self, path: &str, uid: u32, gid: u32, groups: &[u32]) -> Client {
        self.try_mount(path, uid, gid, groups).await.expect("a mount")
    }

    pub(crate) async fn try_mount(
        &self,
        path: &str,
        uid: u32,
        gid: u32,
        groups: &[u32],
    ) -> Result<Client, ConnectError> {
        let machinename = Opaque::borrowed(b"test");
        let unix = auth_unix { stamp: 0, machinename, uid, gid, gids: groups.to_vec() };
        let mounting = Nfs3ConnectionBuilder::new(Dial, self.address.ip().to_string(), path)
            .portmapper_port(self.address.port())
            .connect_from_privileged_port(false)
            .credential(opaque_auth::auth_unix(&unix))
            .mount();
        let connection = tokio::time::timeout(LIMIT, mounting).await.expect("an answer to MNT")?;
        let root = connection.root_nfs_fh3();
        Ok(Client { connection, root })
    }

    /// The status of a refused mount.
    pub(crate) async fn refused_mount(&self, path: &str) -> String {
        match self.try_mount(path, 0, 0, &[]).await {
            Ok(_) => "mounted".to_owned(),
            Err(ConnectError::Mount(MountError::Denied(status))) => status.to_string(),
            Err(other) => other.to_string(),
        }
    }

    /// Entries of the journal's source `nas`, as kind, subject and error or status.
    pub(crate) fn told(&self, kind: &str) -> Vec<(String, String)> {
        let entries = self.journal.entries();
        let mine = entries.iter().filter(|entry| entry.source == "nas" && entry.kind == kind);
        let word = |body: &serde_json::Value| {
            let word = body.get("error").or_else(|| body.get("status"));
            word.and_then(|word| word.as_str()).unwrap_or_default().to_owned()
        };
        mine.map(|entry| (entry.subject.clone(), word(&entry.body))).collect()
    }
}

fn server(journal: &Journal, directory: &std::path::Path, options: ExportOptions) -> NasSim {
    let sim = NasSim::new(NasOptions {
        clock: SystemClock::shared(),
        journal: Some(journal.clone()),
        directory: directory.to_owned(),
    });
    sim.add_export("/share", options).expect("an export");
    sim
}

/// A connection with a root, and calls that say what went wrong.
pub(crate) struct Client {
    pub(crate) connection: Connection,
    pub(crate) root: nfs_fh3,
}

fn outcome<T, E>(result: Nfs3Result<T, E>) -> Outcome<T> {
    match result {
        Nfs3Result::Ok(value) => Ok(value),
        Nfs3Result::Err((status, _)) => Err(status),
    }
}

fn at(directory: &nfs_fh3, name: &str) -> diropargs3<'static> {
    diropargs3 { dir: directory.clone(), name: name.as_bytes().to_vec().into() }
}

/// A call of the client with a deadline.
macro_rules! call {
    ($self:ident . $method:ident ( $arguments:expr )) => {{
        let arguments = $arguments;
        let answering = $self.connection.$method(&arguments);
        let answer = tokio::time::timeout(LIMIT, answering).await;
        outcome(answer.expect("an answer in time").expect("an answer"))
    }};
}

pub(crate) fn mode(mode: u32) -> sattr3 {
    sattr3 { mode: Nfs3Option::Some(mode), ..sattr3::default() }
}

pub(crate) fn size(size: u64) -> sattr3 {
    sattr3 { size: Nfs3Option::Some(size), ..sattr3::default() }
}

fn handle(obj: Nfs3Option<nfs_fh3>) -> nfs_fh3 {
    obj.unwrap()
}

impl Client {
    pub(crate) async fn lookup(&mut self, directory: &nfs_fh3, name: &str) -> Outcome<nfs_fh3> {
        call!(self.lookup(LOOKUP3args { what: at(directory, name) })).map(|found| found.object)
    }

    /// Goes down a path from the root.
    pub(crate) async fn walk(&mut self, path: &str) -> Outcome<nfs_fh3> {
        let mut found = self.root.clone();
        for name in path.split('/') {
            found = self.lookup(&found, name).await?;
        }
        Ok(found)
    }

    pub(crate) async fn attributes(&mut self, object: &nfs_fh3) -> Outcome<fattr3> {
        call!(self.getattr(GETATTR3args { object: object.clone() })).map(|found| found.obj_attributes)
    }

    pub(crate) async fn set(&mut self, object: &nfs_fh3, new: sattr3) -> Outcome<()> {
        self.set_guarded(object, new, Nfs3Option::None).await
    }

    pub(crate) async fn set_guarded(
        &mut self,
        object: &nfs_fh3,
        new_attributes: sattr3,
        guard: sattrguard3,
    ) -> Outcome<()> {
        call!(self.setattr(SETATTR3args { object: object.clone(), new_attributes, guard })).map(drop)
    }

    pub(crate) async fn create_with(
        &mut self,
        directory: &nfs_fh3,
        name: &str,
        how: createhow3,
    ) -> Outcome<nfs_fh3> {
        let made = call!(self.create(CREATE3args { where_: at(directory, name), how }));
        made.map(|made| handle(made.obj))
    }

    pub(crate) async fn create(&mut self, directory: &nfs_fh3, name: &str) -> Outcome<nfs_fh3> {
        self.create_with(directory, name, createhow3::UNCHECKED(mode(0o644))).await
    }

    pub(crate) async fn mkdir(&mut self, directory: &nfs_fh3, name: &str) -> Outcome<nfs_fh3> {
        let attributes = mode(0o755);
        call!(self.mkdir(MKDIR3args { where_: at(directory, name), attributes })).map(|made| handle(made.obj))
    }

    pub(crate) async fn symlink(&mut self, directory: &nfs_fh3, name: &str, to: &str) -> Outcome<nfs_fh3> {
        let symlink = symlinkdata3 {
            symlink_attributes: sattr3::default(),
            symlink_data: to.as_bytes().to_vec().into(),
        };
        call!(self.symlink(SYMLINK3args { where_: at(directory, name), symlink }))
            .map(|made| handle(made.obj))
    }

    pub(crate) async fn readlink(&mut self, symlink: &nfs_fh3) -> Outcome<String> {
        let read = call!(self.readlink(READLINK3args { symlink: symlink.clone() }))?;
        Ok(String::from_utf8(read.data.0.to_vec()).expect("a text"))
    }

    pub(crate) async fn write(&mut self, file: &nfs_fh3, offset: u64, data: &[u8]) -> Outcome<WRITE3resok> {
        self.write_with(file, offset, data, stable_how::UNSTABLE).await
    }

    pub(crate) async fn write_with(
        &mut self,
        file: &nfs_fh3,
        offset: u64,
        data: &[u8],
        stable: stable_how,
    ) -> Outcome<WRITE3resok> {
        let count = u32::try_from(data.len()).expect("a short text");
        let data = Opaque::borrowed(data);
        call!(self.write(WRITE3args { file: file.clone(), offset, count, stable, data }))
    }

    pub(crate) async fn commit(&mut self, file: &nfs_fh3) -> Outcome<writeverf3> {
        call!(self.commit(COMMIT3args { file: file.clone(), offset: 0, count: 0 })).map(|done| done.verf)
    }

    /// The bytes, and whether they reach the end.
    pub(crate) async fn read(&mut self, file: &nfs_fh3, offset: u64, count: u32) -> Outcome<(Vec<u8>, bool)> {
        let read = call!(self.read(READ3args { file: file.clone(), offset, count }))?;
        Ok((read.data.to_vec(), read.eof))
    }

    pub(crate) async fn text(&mut self, path: &str) -> Outcome<String> {
        let file = self.walk(path).await?;
        let (bytes, _) = self.read(&file, 0, 65536).await?;
        Ok(String::from_utf8(bytes).expect("a text"))
    }

    pub(crate) async fn remove(&mut self, directory: &nfs_fh3, name: &str) -> Outcome<()> {
        call!(self.remove(REMOVE3args { object: at(directory, name) })).map(drop)
    }

    pub(crate) async fn rmdir(&mut self, directory: &nfs_fh3, name: &str) -> Outcome<()> {
        call!(self.rmdir(RMDIR3args { object: at(directory, name) })).map(drop)
    }

    pub(crate) async fn rename(
        &mut self,
        from: (&nfs_fh3, &str),
        to: (&nfs_fh3, &str),
    ) -> Outcome<RENAME3resok> {
        call!(self.rename(RENAME3args { from: at(from.0, from.1), to: at(to.0, to.1) }))
    }

    pub(crate) async fn link(&mut self, file: &nfs_fh3, directory: &nfs_fh3, name: &str) -> Outcome<()> {
        call!(self.link(LINK3args { file: file.clone(), link: at(directory, name) })).map(drop)
    }

    pub(crate) async fn mknod(&mut self, directory: &nfs_fh3, name: &str) -> Outcome<()> {
        let what = mknoddata3::NF3FIFO(sattr3::default());
        call!(self.mknod(MKNOD3args { where_: at(directory, name), what })).map(drop)
    }

    pub(crate) async fn access(&mut self, object: &nfs_fh3, access: u32) -> Outcome<u32> {
        call!(self.access(ACCESS3args { object: object.clone(), access })).map(|granted| granted.access)
    }

    pub(crate) async fn space(&mut self) -> Outcome<FSSTAT3resok> {
        call!(self.fsstat(FSSTAT3args { fsroot: self.root.clone() }))
    }

    pub(crate) async fn info(&mut self) -> Outcome<FSINFO3resok> {
        call!(self.fsinfo(FSINFO3args { fsroot: self.root.clone() }))
    }

    pub(crate) async fn limits(&mut self) -> Outcome<PATHCONF3resok> {
        call!(self.pathconf(PATHCONF3args { object: self.root.clone() }))
    }

    /// One page of names with their cookies, and whether it is the last.
    pub(crate) async fn page(
        &mut self,
        dir: &nfs_fh3,
        cookie: u64,
        count: u32,
    ) -> Outcome<(Vec<(String, u64)>, bool)> {
        let cookieverf = cookieverf3::default();
        let page = call!(self.readdir(READDIR3args { dir: dir.clone(), cookie, cookieverf, count }))?;
        let name =
            |entry: &entry3<'_>| (String::from_utf8(entry.name.0.to_vec()).expect("a text"), entry.cookie);
        Ok((page.reply.entries.0.iter().map(name).collect(), page.reply.eof))
    }

    pub(crate) async fn page_plus(
        &mut self,
        dir: &nfs_fh3,
        cookie: u64,
        maxcount: u32,
    ) -> Outcome<(Vec<entryplus3<'static>>, bool)> {
        let cookieverf = cookieverf3::default();
        let dircount = maxcount;
        let arguments = READDIRPLUS3args { dir: dir.clone(), cookie, cookieverf, dircount, maxcount };
        let page = call!(self.readdirplus(arguments))?;
        Ok((page.reply.entries.0, page.reply.eof))
    }
}
