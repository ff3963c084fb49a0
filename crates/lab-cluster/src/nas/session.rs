//! A conversation with an NFS server in version 3 (RFC 1813), by the client of the crate `nfs3_client`: what sandboxes did
//! is not looked at through the client that did it.

use std::io;
use std::net::SocketAddr;

use nfs3_client::io::{AsyncRead, AsyncWrite};
use nfs3_client::nfs3_types::mount::{self, dirpath, mountstat3};
use nfs3_client::nfs3_types::nfs3::{
    CREATE3args, GETATTR3args, LOOKUP3args, MKDIR3args, Nfs3Option, Nfs3Result, READ3args, READDIR3args,
    READLINK3args, REMOVE3args, RMDIR3args, SETATTR3args, SYMLINK3args, WRITE3args, cookieverf3, createhow3,
    diropargs3, fattr3, filename3, nfs_fh3, nfspath3, nfsstat3, sattr3, stable_how, symlinkdata3,
};
use nfs3_client::nfs3_types::portmap::{IPPROTO_TCP, PMAP_PORT};
use nfs3_client::nfs3_types::rpc::{auth_unix, opaque_auth};
use nfs3_client::nfs3_types::xdr_codec::Opaque;
use nfs3_client::{MountClient, MountError, Nfs3Client, PortmapError, PortmapperClient, RpcError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The most that is read or written by one call, in bytes; every server takes that much.
const CHUNK: usize = 32 * 1024;
/// How much of a listing one answer may hold, in bytes.
const LISTING: u32 = 32 * 1024;
/// The name that a call gives for the machine that makes it.
const MACHINE: &[u8] = b"mountlab";

/// Why a call has no result.
#[derive(Debug, thiserror::Error)]
pub enum NfsError {
    /// Nobody is there.
    #[error("{place} can't be connected to")]
    Connect {
        /// Host and port.
        place: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// No answer, or none that makes sense.
    #[error("the NFS server gave no answer")]
    Call(#[from] RpcError),
    /// The port mapper doesn't know MOUNT.
    #[error("the port mapper doesn't say where MOUNT is")]
    PortMapper(#[from] PortmapError),
    /// The path can't be mounted.
    #[error("mounting {path} was refused with {status}")]
    Mount {
        /// The path.
        path: String,
        /// The server's word.
        status: mountstat3,
    },
    /// The server refuses the call itself.
    #[error("the server answered {0}")]
    Status(nfsstat3),
}

type Outcome<T> = Result<T, NfsError>;

/// Where a server's programs are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) nfs: SocketAddr,
    pub(crate) mount: SocketAddr,
}

impl Place {
    /// The server at `host` with NFS on `port`; MOUNT is asked for there as well, else at the port mapper.
    pub(crate) async fn find(host: &str, port: u16) -> Outcome<Self> {
        let failed = |source| NfsError::Connect { place: format!("{host}, port {port},"), source };
        let found = TcpStream::connect((host.trim_matches(['[', ']']), port)).await.map_err(failed)?;
        let nfs = found.peer_addr().map_err(failed)?;
        let there = MountClient::new(Stream(found)).null().await;
        let mount = match there {
            Ok(()) => nfs,
            Err(RpcError::ProgUnavail | RpcError::ProgMismatch { .. } | RpcError::ProcUnavail) => {
                let mapper = dial(SocketAddr::new(nfs.ip(), PMAP_PORT)).await?;
                let mut mapper = PortmapperClient::new(mapper);
                let port = mapper.getport(mount::PROGRAM, mount::VERSION, IPPROTO_TCP).await?;
                SocketAddr::new(nfs.ip(), port)
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Self { nfs, mount })
    }
}

/// The paths that a server offers to whoever asks, as MOUNT at `address` lists them.
///
/// # Errors
/// [`NfsError`] when it gives no answer.
pub async fn offered_paths(address: SocketAddr) -> Result<Vec<String>, NfsError> {
    let listed = MountClient::new(dial(address).await?).export().await?;
    let paths = listed.into_inner().into_iter();
    Ok(paths.map(|export| String::from_utf8_lossy(&export.ex_dir.0).into_owned()).collect())
}

/// A mounted path, at which calls are made as root.
pub(crate) struct Session {
    nfs: Nfs3Client<Stream>,
    root: nfs_fh3,
}

/// A file that was looked up.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) handle: nfs_fh3,
    pub(crate) attributes: fattr3,
}

impl Session {
    /// Mounts `path`.
    pub(crate) async fn open(place: Place, path: &str) -> Outcome<Self> {
        let mut mount = MountClient::new_with_auth(dial(place.mount).await?, root(), opaque_auth::default());
        let mounted = mount.mnt(dirpath(Opaque::borrowed(path.as_bytes()))).await;
        let mounted = mounted.map_err(|error| match error {
            MountError::Rpc(error) => NfsError::Call(error),
            MountError::Denied(status) => NfsError::Mount { path: path.to_owned(), status },
        })?;
        let nfs = Nfs3Client::new_with_auth(dial(place.nfs).await?, root(), opaque_auth::default());
        Ok(Self { nfs, root: nfs_fh3 { data: mounted.fhandle.0 } })
    }

    /// What was mounted.
    pub(crate) async fn top(&mut self) -> Outcome<Found> {
        let handle = self.root.clone();
        let attributes = self.attributes(&handle).await?;
        Ok(Found { handle, attributes })
    }

    async fn attributes(&mut self, file: &nfs_fh3) -> Outcome<fattr3> {
        Ok(done(self.nfs.getattr(&GETATTR3args { object: file.clone() }).await?)?.obj_attributes)
    }

    /// The entry of a directory; a link is found itself.
    pub(crate) async fn look_up(&mut self, directory: &nfs_fh3, name: &[u8]) -> Outcome<Found> {
        let found = done(self.nfs.lookup(&LOOKUP3args { what: entry(directory, name) }).await?)?;
        let attributes = match found.obj_attributes {
            Nfs3Option::Some(attributes) => attributes,
            Nfs3Option::None => self.attributes(&found.object).await?,
        };
        Ok(Found { handle: found.object, attributes })
    }

    pub(crate) async fn set(&mut self, file: &nfs_fh3, new_attributes: sattr3) -> Outcome<()> {
        let arguments = SETATTR3args { object: file.clone(), new_attributes, guard: Nfs3Option::None };
        done(self.nfs.setattr(&arguments).await?).map(drop)
    }

    pub(crate) async fn make_directory(&mut self, directory: &nfs_fh3, name: &[u8]) -> Outcome<()> {
        let arguments = MKDIR3args { where_: entry(directory, name), attributes: mode(0o777) };
        done(self.nfs.mkdir(&arguments).await?).map(drop)
    }

    /// Makes an empty file; one that is there stays.
    pub(crate) async fn make_file(&mut self, directory: &nfs_fh3, name: &[u8]) -> Outcome<()> {
        let how = createhow3::UNCHECKED(mode(0o666));
        done(self.nfs.create(&CREATE3args { where_: entry(directory, name), how }).await?).map(drop)
    }

    pub(crate) async fn make_link(&mut self, directory: &nfs_fh3, name: &[u8], to: &[u8]) -> Outcome<()> {
        let symlink = symlinkdata3 {
            symlink_attributes: sattr3::default(),
            symlink_data: nfspath3(Opaque::borrowed(to)),
        };
        done(self.nfs.symlink(&SYMLINK3args { where_: entry(directory, name), symlink }).await?).map(drop)
    }

    /// Where a link leads.
    pub(crate) async fn read_link(&mut self, link: &nfs_fh3) -> Outcome<Vec<u8>> {
        let found = done(self.nfs.readlink(&READLINK3args { symlink: link.clone() }).await?)?;
        Ok(found.data.0.into_owned())
    }

    /// All of a file.
    pub(crate) async fn read(&mut self, file: &nfs_fh3) -> Outcome<Vec<u8>> {
        let count = u32::try_from(CHUNK).unwrap_or(u32::MAX);
        let mut content = Vec::new();
        loop {
            let arguments = READ3args { file: file.clone(), offset: content.len() as u64, count };
            let read = done(self.nfs.read(&arguments).await?)?;
            content.extend_from_slice(&read.data);
            if read.eof || read.data.is_empty() {
                return Ok(content);
            }
        }
    }

    /// Writes from a file's beginning, onto the server's disk.
    pub(crate) async fn write(&mut self, file: &nfs_fh3, content: &[u8]) -> Outcome<()> {
        let mut offset = 0;
        while offset < content.len() {
            let chunk = &content[offset..content.len().min(offset + CHUNK)];
            let arguments = WRITE3args {
                file: file.clone(),
                offset: offset as u64,
                count: u32::try_from(chunk.len()).unwrap_or(u32::MAX),
                stable: stable_how::FILE_SYNC,
                data: Opaque::borrowed(chunk),
            };
            let written = done(self.nfs.write(&arguments).await?)?.count;
            if written == 0 {
                return Err(NfsError::Status(nfsstat3::NFS3ERR_IO));
            }
            offset += usize::try_from(written).unwrap_or(chunk.len()).min(chunk.len());
        }
        Ok(())
    }

    /// The names in a directory, without `.` and `..`.
    pub(crate) async fn names(&mut self, directory: &nfs_fh3) -> Outcome<Vec<Vec<u8>>> {
        let mut names = Vec::new();
        let (mut cookie, mut cookieverf) = (0, cookieverf3::default());
        loop {
            let arguments = READDIR3args { dir: directory.clone(), cookie, cookieverf, count: LISTING };
            let page = done(self.nfs.readdir(&arguments).await?)?;
            cookieverf = page.cookieverf;
            let entries = page.reply.entries.into_inner();
            let is_last = page.reply.eof || entries.is_empty();
            for entry in entries {
                cookie = entry.cookie;
                let name = entry.name.0.into_owned();
                if name != b"." && name != b".." {
                    names.push(name);
                }
            }
            if is_last {
                return Ok(names);
            }
        }
    }

    pub(crate) async fn remove(&mut self, directory: &nfs_fh3, name: &[u8]) -> Outcome<()> {
        done(self.nfs.remove(&REMOVE3args { object: entry(directory, name) }).await?).map(drop)
    }

    pub(crate) async fn remove_directory(&mut self, directory: &nfs_fh3, name: &[u8]) -> Outcome<()> {
        done(self.nfs.rmdir(&RMDIR3args { object: entry(directory, name) }).await?).map(drop)
    }
}

/// A change of the mode alone.
pub(crate) fn mode(mode: u32) -> sattr3 {
    sattr3 { mode: Nfs3Option::Some(mode), ..sattr3::default() }
}

fn entry<'a>(directory: &nfs_fh3, name: &'a [u8]) -> diropargs3<'a> {
    diropargs3 { dir: directory.clone(), name: filename3(Opaque::borrowed(name)) }
}

fn done<T, E>(result: Nfs3Result<T, E>) -> Outcome<T> {
    match result {
        Nfs3Result::Ok(value) => Ok(value),
        Nfs3Result::Err((status, _)) => Err(NfsError::Status(status)),
    }
}

/// The credential of a server's administrator.
fn root() -> opaque_auth<'static> {
    let machinename = Opaque::borrowed(MACHINE);
    opaque_auth::auth_unix(&auth_unix { stamp: 0, machinename, uid: 0, gid: 0, gids: Vec::new() })
}

async fn dial(address: SocketAddr) -> Outcome<Stream> {
    let connected = TcpStream::connect(address).await;
    connected.map(Stream).map_err(|source| NfsError::Connect { place: address.to_string(), source })
}

/// A connection whose end is an error: the crate's own wrapper for tokio reads on for ever there (version 0.9.1).
struct Stream(TcpStream);

impl AsyncRead for Stream {
    async fn async_read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            read => Ok(read),
        }
    }
}

impl AsyncWrite for Stream {
    async fn async_write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.0.write(buffer).await
    }
}
