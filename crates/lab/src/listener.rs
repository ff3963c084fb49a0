//! A listening socket that can be shut and opened again.

use std::io;
use std::net::{SocketAddr, TcpListener};

use rustix::net::{Shutdown, bind, listen, shutdown};

/// How many connections may wait to be accepted, as the standard library has it.
const BACKLOG: i32 = 128;

/// A listening socket whose address stays taken while nobody listens: who connects then is refused, as by a Service
/// without endpoints. It is the same socket all the time, so that it may also come from another network namespace.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Takes a socket that listens.
    ///
    /// # Errors
    /// When the socket has no address or can't be made to wait for nobody.
    pub fn new(socket: TcpListener) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        Ok(Self { socket, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The socket, to accept connections with. After [`Self::close`] and [`Self::open`] a new handle is needed: whoever
    /// waits for events of the old one has been told for good that it is shut.
    ///
    /// # Errors
    /// When the process has no free descriptor.
    pub fn handle(&self) -> io::Result<TcpListener> {
        self.socket.try_clone()
    }

    /// Refuses connections from now on. Those that nobody had accepted are reset.
    ///
    /// # Errors
    /// When somebody else has taken the address: possible in the moment of closing, and only where the system had chosen the
    /// port.
    pub fn close(&self) -> io::Result<()> {
        // For a listening socket of Linux this is the way back to one that is merely bound.
        shutdown(&self.socket, Shutdown::Read)?;
        match bind(&self.socket, &self.address) {
            // It has kept its port.
            Err(rustix::io::Errno::INVAL) | Ok(()) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Listens again.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn open(&self) -> io::Result<()> {
        Ok(listen(&self.socket, BACKLOG)?)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn a_shut_listener_refuses_and_comes_back_at_the_same_address() {
        let listener = Listener::new(TcpListener::bind("127.0.0.1:0").unwrap()).unwrap();
        let address = listener.address();
        for _ in 0..3 {
            let mut waiting = TcpStream::connect(address).unwrap();
            listener.close().unwrap();
            let reset = waiting.read(&mut [0]).expect_err("a connection that nobody accepted ends");
            assert_eq!(reset.kind(), io::ErrorKind::ConnectionReset);
            let refused = TcpStream::connect(address).expect_err("nobody listens");
            assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
            listener.open().unwrap();
            let connected = TcpStream::connect(address).unwrap();
            listener.socket.set_nonblocking(false).unwrap();
            let (_, peer) = listener.handle().unwrap().accept().unwrap();
            assert_eq!(peer, connected.local_addr().unwrap());
        }
    }
}
