//! Threads that take the kernel's requests and hand them to a file system.

use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use nix::errno::Errno;
use nix::sys::uio::writev;
use nix::unistd::read;

use super::interrupt::Interrupt;
use super::operation::{Operation, Request};
use super::reply::{HEADER, Reply};
use crate::fs::Service;

/// Version of the protocol that is spoken.
const VERSION: (u32, u32) = (7, 31);
/// Longest read or write in one request, in bytes.
const LONGEST_REQUEST: u32 = 1 << 20;
/// Room for the longest write and its header, in bytes.
const BUFFER: usize = (1 << 20) + 4096;
/// A message up to this size is copied out of the buffer, in bytes; a longer one takes the buffer along.
const SMALL: usize = 512 << 10;
/// Requests that the kernel may send without a process that waits, such as reads ahead.
const BACKGROUND: u16 = 64;
/// Failures of the device one after the other, until it is given up.
const MOST_FAILURES: u32 = 20;
/// Pause after each of them.
const FAILURE_PAUSE: Duration = Duration::from_millis(100);
/// Threads of one session.
const THREADS: usize = 2;

/// Capabilities of `FUSE_INIT`: asynchronous reads, truncation as part of opening, large writes, content dropped
/// when times change, directory operations in parallel, asynchronous direct I/O, the number of pages.
const WANTED: u32 = 1 << 0 | 1 << 3 | 1 << 5 | 1 << 12 | 1 << 15 | 1 << 18 | 1 << 22;

/// A file system that answers requests.
pub(crate) trait FileSystem: Send + Sync + 'static {
    /// Works on `request` and answers it, now or later. It doesn't block. `interrupt` is raised when whoever waits
    /// for the answer gets a signal.
    fn handle(self: Arc<Self>, request: Request, interrupt: Arc<Interrupt>, reply: Reply);

    /// The kernel no longer needs `nodes`: numbers, and how many times they were handed out.
    fn forget(&self, nodes: &[(u64, u64)]);
}

/// The device of one mount, and who waits for what.
#[derive(Debug)]
pub(super) struct Channel {
    device: OwnedFd,
    waiting: Mutex<HashMap<u64, Arc<Interrupt>>>,
}

impl Channel {
    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, Arc<Interrupt>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers request `unique`. One that nobody waits for any more is no error.
    pub(super) fn answer(&self, unique: u64, error: Option<Errno>, body: &[&[u8]]) {
        self.waiting().remove(&unique);
        let number = error.map_or(0, |error| -(error as i32));
        if let Err(error) = self.send(unique, number, body)
            && error != Errno::ENOENT
        {
            tracing::debug!(%error, unique, "the kernel does not take an answer");
        }
    }

    fn send(&self, unique: u64, number: i32, body: &[&[u8]]) -> nix::Result<()> {
        let length = HEADER + body.iter().map(|part| part.len()).sum::<usize>();
        let mut header = BytesMut::with_capacity(HEADER);
        header.put_u32_ne(u32::try_from(length).map_err(|_| Errno::EINVAL)?);
        header.put_i32_ne(number);
        header.put_u64_ne(unique);
        let parts: Vec<IoSlice<'_>> =
            std::iter::once(header.as_ref()).chain(body.iter().copied()).map(IoSlice::new).collect();
        writev(&self.device, &parts).map(drop)
    }

    /// The next message, or nothing when the mount has ended.
    fn receive(&self, buffer: &mut BytesMut) -> Option<Bytes> {
        let mut failures = 0;
        loop {
            if buffer.len() < BUFFER {
                *buffer = BytesMut::zeroed(BUFFER);
            }
            match read(&self.device, buffer) {
                Ok(length) if length <= SMALL => return Some(Bytes::copy_from_slice(&buffer[..length])),
                Ok(length) => return Some(buffer.split_to(length).freeze()),
                // A request that was taken back before it could be read.
                Err(Errno::ENOENT | Errno::EINTR | Errno::EAGAIN) => {}
                // Unmounted, or ended by force.
                Err(Errno::ENODEV | Errno::ECONNABORTED) => return None,
                // Whoever waits for an answer would do so for good if this thread ended: short of memory, say, a
                // request that couldn't be read comes again.
                Err(error) if failures < MOST_FAILURES => {
                    failures += 1;
                    tracing::warn!(%error, "the FUSE device fails");
                    std::thread::park_timeout(FAILURE_PAUSE);
                }
                Err(error) => {
                    tracing::error!(%error, "the FUSE device failed for good");
                    return None;
                }
            }
        }
    }

    /// The first exchange: what both sides can do.
    fn greet(&self) -> io::Result<()> {
        let mut buffer = BytesMut::new();
        let broken = || io::Error::new(io::ErrorKind::NotConnected, "the kernel ended the mount at once");
        loop {
            let message = self.receive(&mut buffer).ok_or_else(broken)?;
            let Some(Request {
                unique, operation: Operation::Init { major, minor, read_ahead, flags }, ..
            }) = Request::read(message)
            else {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the kernel did not begin with INIT"));
            };
            let mut body = BytesMut::with_capacity(64);
            body.put_u32_ne(VERSION.0);
            body.put_u32_ne(VERSION.1);
            if major > VERSION.0 {
                // It asks again with our version.
                self.send(unique, 0, &[&body])?;
                continue;
            }
            if (major, minor) < VERSION {
                return Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    format!("the kernel speaks FUSE {major}.{minor}; 7.31 is needed (Linux 5.4)"),
                ));
            }
            body.put_u32_ne(read_ahead.max(LONGEST_REQUEST));
            body.put_u32_ne(flags & WANTED);
            body.put_u16_ne(BACKGROUND);
            body.put_u16_ne(BACKGROUND / 4 * 3);
            body.put_u32_ne(LONGEST_REQUEST);
            body.put_u32_ne(1);
            body.put_u16_ne(u16::try_from(LONGEST_REQUEST >> 12).unwrap_or(u16::MAX));
            body.put_bytes(0, 64 - 30);
            return Ok(self.send(unique, 0, &[&body])?);
        }
    }

    fn interrupt(&self, own: u64, unique: u64) {
        let waiting = self.waiting().get(&unique).cloned();
        if let Some(waiting) = waiting {
            waiting.raise();
        } else {
            // Another thread has just read the request, or has just answered it; the kernel knows which, and asks
            // again or forgets it.
            let _ = self.send(own, -(Errno::EAGAIN as i32), &[]);
        }
    }
}

/// Tells the kernel what it should no longer believe.
#[derive(Clone, Debug)]
pub(crate) struct Notices {
    channel: Arc<Channel>,
}

impl Notices {
    /// The attributes of `node` have changed.
    pub(crate) fn attributes_changed(&self, node: u64) {
        let mut body = BytesMut::with_capacity(24);
        body.put_u64_ne(node);
        // No content, the attributes only.
        body.put_i64_ne(-1);
        body.put_i64_ne(0);
        // A node that the kernel doesn't know is fine. The number of a notice stands where errors stand.
        let _ = self.channel.send(0, 2, &[&body]);
    }
}

/// A served mount.
#[derive(Debug)]
pub(crate) struct Session {
    channel: Arc<Channel>,
    threads: Vec<JoinHandle<()>>,
}

impl Session {
    /// Begins to talk to the kernel over `device`.
    ///
    /// # Errors
    /// When the two don't come to terms.
    pub(crate) fn begin(device: OwnedFd) -> io::Result<Self> {
        let channel = Channel { device, waiting: Mutex::default() };
        channel.greet()?;
        Ok(Self { channel: Arc::new(channel), threads: Vec::new() })
    }

    /// The way to tell the kernel something unasked.
    pub(crate) fn notices(&self) -> Notices {
        Notices { channel: Arc::clone(&self.channel) }
    }

    /// Has `file_system` answer, until the mount ends.
    ///
    /// # Errors
    /// When a thread can't be started.
    pub(crate) fn serve<F: FileSystem>(&mut self, file_system: &Arc<F>) -> io::Result<()> {
        for _ in 0..THREADS {
            let (channel, file_system) = (Arc::clone(&self.channel), Arc::clone(file_system));
            let thread = std::thread::Builder::new().name("nfs-fuse".to_owned());
            self.threads.push(thread.spawn(move || answer_all(&channel, &file_system))?);
        }
        Ok(())
    }
}

impl Service for Session {
    fn has_ended(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    fn join(self) -> io::Result<()> {
        for thread in self.threads {
            if thread.join().is_err() {
                return Err(io::Error::other("a thread that served a mount ended with a panic"));
            }
        }
        Ok(())
    }
}

fn answer_all<F: FileSystem>(channel: &Arc<Channel>, file_system: &Arc<F>) {
    let mut buffer = BytesMut::new();
    while let Some(message) = channel.receive(&mut buffer) {
        let unique = message.get(8..16).and_then(|bytes| bytes.try_into().ok()).map(u64::from_ne_bytes);
        let Some(request) = Request::read(message) else {
            if let Some(unique) = unique {
                channel.answer(unique, Some(Errno::EINVAL), &[]);
            }
            continue;
        };
        match request.operation {
            Operation::Interrupt { unique } => channel.interrupt(request.unique, unique),
            Operation::Forget { nodes } => file_system.forget(&nodes),
            Operation::Destroy => channel.answer(request.unique, None, &[]),
            _ => {
                let interrupt = Arc::new(Interrupt::default());
                channel.waiting().insert(request.unique, Arc::clone(&interrupt));
                let reply = Reply::new(Arc::clone(channel), request.unique);
                Arc::clone(file_system).handle(request, interrupt, reply);
            }
        }
    }
}
