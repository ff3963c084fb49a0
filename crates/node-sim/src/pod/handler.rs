//! The actions that hooks and probes share: a command in the container, an HTTP request, a TCP connection.

use std::fmt::Write as _;
use std::time::Duration;

use k8s_openapi::api::core::v1::{
    Container, ExecAction, HTTPGetAction, LifecycleHandler, Probe, TCPSocketAction,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::exec::{Running, run_command};
use crate::logs::Sink;
use crate::runtime::Runtime;

/// What is done to a container from outside.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    /// Run a command in it.
    Command(ExecAction),
    /// Ask it over HTTP.
    Http(HTTPGetAction),
    /// Connect to it.
    Tcp(TCPSocketAction),
    /// Wait.
    Sleep(Duration),
}

impl Action {
    /// The action of a hook; `None` for a hook without one.
    pub(crate) fn of_hook(hook: &LifecycleHandler) -> Option<Self> {
        let command = hook.exec.clone().map(Self::Command);
        let http = || hook.http_get.clone().map(Self::Http);
        let tcp = || hook.tcp_socket.clone().map(Self::Tcp);
        let sleep = || {
            let seconds = hook.sleep.as_ref().map(|sleep| u64::try_from(sleep.seconds).unwrap_or(0));
            seconds.map(|seconds| Self::Sleep(Duration::from_secs(seconds)))
        };
        command.or_else(http).or_else(tcp).or_else(sleep)
    }

    /// The action of a probe; `None` for a probe without one that this node knows.
    pub(crate) fn of_probe(probe: &Probe) -> Option<Self> {
        let command = probe.exec.clone().map(Self::Command);
        let http = || probe.http_get.clone().map(Self::Http);
        let tcp = || probe.tcp_socket.clone().map(Self::Tcp);
        command.or_else(http).or_else(tcp)
    }
}

/// Where an action is aimed at.
pub(crate) struct Target<'a> {
    pub(crate) runtime: &'a Runtime,
    pub(crate) running: &'a Running,
    pub(crate) container: &'a Container,
    pub(crate) address: &'a str,
    /// The node's own address, from which it asks.
    pub(crate) node: std::net::Ipv4Addr,
    pub(crate) sink: Sink,
    pub(crate) clock: &'a clock::SharedClock,
}

impl Target<'_> {
    /// Carries the action out; the error says what a person would want to know. `limit` is real time.
    pub(crate) async fn perform(&self, action: &Action, limit: Option<Duration>) -> Result<(), String> {
        let attempt = async {
            match action {
                Action::Command(exec) => self.command(exec, limit).await,
                Action::Http(get) => self.http(get).await,
                Action::Tcp(socket) => self.tcp(socket).await,
                Action::Sleep(duration) => {
                    self.clock.sleep(*duration).await;
                    Ok(())
                }
            }
        };
        match (action, limit) {
            // A command is killed by its own limit, which names it.
            (Action::Command(_) | Action::Sleep(_), _) | (_, None) => attempt.await,
            (_, Some(limit)) => tokio::time::timeout(limit, attempt)
                .await
                .unwrap_or_else(|_| Err(format!("context deadline exceeded: no answer within {limit:?}"))),
        }
    }

    async fn command(&self, exec: &ExecAction, limit: Option<Duration>) -> Result<(), String> {
        let command = exec.command.clone().unwrap_or_default();
        let ended = run_command(self.runtime, self.running, &command, self.sink.clone(), limit)
            .await
            .map_err(|error| error.to_string())?;
        if ended.code == 0 {
            return Ok(());
        }
        let name = command.first().cloned().unwrap_or_default();
        Err(format!("command {name:?} exited with {}: {}", ended.code, ended.output))
    }

    async fn connect(&self, host: Option<&str>, port: &IntOrString) -> Result<TcpStream, String> {
        let host = host.unwrap_or(self.address);
        let port = self.port(port)?;
        let failed = |error: std::io::Error| format!("dial tcp {host}:{port}: {error}");
        if host != self.address {
            return TcpStream::connect((host, port)).await.map_err(failed);
        }
        // A pod's network policies are no matter of its node's probes: they know them by where they come from.
        let target = std::net::SocketAddr::new(
            self.address.parse().map_err(|error| format!("{host}: {error}"))?,
            port,
        );
        let socket = tokio::net::TcpSocket::new_v4().map_err(failed)?;
        socket.bind((self.node, 0).into()).map_err(failed)?;
        socket.connect(target).await.map_err(failed)
    }

    async fn tcp(&self, socket: &TCPSocketAction) -> Result<(), String> {
        self.connect(socket.host.as_deref(), &socket.port).await.map(drop)
    }

    async fn http(&self, get: &HTTPGetAction) -> Result<(), String> {
        if get.scheme.as_deref().is_some_and(|scheme| scheme != "HTTP") {
            return Err("this node asks over HTTP only".to_owned());
        }
        let mut stream = self.connect(get.host.as_deref(), &get.port).await?;
        let path = get.path.as_deref().filter(|path| path.starts_with('/')).unwrap_or("/");
        let mut headers = String::new();
        for header in get.http_headers.iter().flatten() {
            let clean = |text: &str| text.replace(['\r', '\n'], " ");
            let _ = write!(headers, "{}: {}\r\n", clean(&header.name), clean(&header.value));
        }
        let host = get.host.as_deref().unwrap_or(self.address);
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: kube-probe/1.34\r\n{headers}Connection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.map_err(|error| format!("asking {path}: {error}"))?;
        let mut answer = Vec::new();
        stream
            .take(4096)
            .read_to_end(&mut answer)
            .await
            .map_err(|error| format!("reading {path}: {error}"))?;
        match status_code(&answer) {
            Some(200..400) => Ok(()),
            Some(code) => Err(format!("HTTP probe failed with statuscode: {code}")),
            None => Err(format!("the answer to {path} is no HTTP")),
        }
    }

    fn port(&self, port: &IntOrString) -> Result<u16, String> {
        let number = match port {
            IntOrString::Int(number) => *number,
            IntOrString::String(name) => {
                let named = || {
                    let mut ports = self.container.ports.iter().flatten();
                    ports.find(|port| port.name.as_deref() == Some(name)).map(|port| port.container_port)
                };
                let number = name.parse().ok().or_else(named);
                number.ok_or_else(|| format!("the container has no port called {name:?}"))?
            }
        };
        u16::try_from(number).map_err(|_| format!("{number} is no port"))
    }
}

/// The status code of an HTTP/1 answer.
fn status_code(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|byte| *byte == b'\r').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split(' ');
    words.next().filter(|version| version.starts_with("HTTP/1."))?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(b"HTTP/1.1 204 No Content\r\n\r\n", Some(204))]
    #[case(b"HTTP/1.0 500\r\n", Some(500))]
    #[case(b"SSH-2.0-x\r\n", None)]
    #[case(b"", None)]
    fn status_codes(#[case] answer: &[u8], #[case] expected: Option<u16>) {
        assert_eq!(status_code(answer), expected);
    }
}
