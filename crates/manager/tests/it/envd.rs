//! A double for the runtime in a pod: it listens on a loopback address of its own and answers as told. Its port is any
//! free one, told to the manager by annotation `runtime-url`: envd's own port may be taken on the machine that tests.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use futures::StreamExt as _;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// How a mount is answered.
#[derive(Clone, Debug)]
pub(crate) enum Mount {
    Succeeds,
    /// 200 with `success: false` and this message.
    Fails(String),
    /// 200 with `success: false`, because the driver's limit passed.
    DriverTimesOut,
    /// Another status, with this message.
    Refuses(u16, String),
    /// No answer, ever.
    Hangs,
    /// A 200 whose body breaks off.
    Truncated,
}

/// One request that arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub path: String,
    pub token: Option<String>,
    pub body: Value,
}

#[derive(Default)]
struct Script {
    /// Statuses of the next handshakes; 204 when it is empty.
    inits: VecDeque<u16>,
    /// Answers to the next mounts; success when it is empty.
    mounts: VecDeque<Mount>,
    seen: Vec<Seen>,
}

#[derive(Clone)]
pub(crate) struct Envd {
    pub ip: String,
    pub port: u16,
    script: Arc<Mutex<Script>>,
}

static NEXT: AtomicU32 = AtomicU32::new(0);

impl Envd {
    pub(crate) async fn start() -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed) + 1;
        let ip = format!("127.0.{}.{}", number / 250 + 1, number % 250 + 1);
        let listener = TcpListener::bind((ip.as_str(), 0)).await.expect("a port on a loopback address");
        let port = listener.local_addr().expect("bound").port();
        let envd = Self { ip, port, script: Arc::default() };
        let router = Router::new().fallback(serve).with_state(envd.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        envd
    }

    /// Where the manager finds it.
    pub(crate) fn url(&self) -> String {
        format!("http://{}:{}", self.ip, self.port)
    }

    pub(crate) fn answers_init(self, statuses: &[u16]) -> Self {
        self.script.lock().expect("no panic").inits.extend(statuses);
        self
    }

    pub(crate) fn answers_mounts(self, mounts: &[Mount]) -> Self {
        self.script.lock().expect("no panic").mounts.extend(mounts.iter().cloned());
        self
    }

    /// The requests for `path` so far.
    pub(crate) fn seen(&self, path: &str) -> Vec<Seen> {
        let script = self.script.lock().expect("no panic");
        script.seen.iter().filter(|seen| seen.path == path).cloned().collect()
    }

    fn note(&self, seen: Seen) {
        self.script.lock().expect("no panic").seen.push(seen);
    }

    fn next_init(&self) -> u16 {
        self.script.lock().expect("no panic").inits.pop_front().unwrap_or(204)
    }

    fn next_mount(&self) -> Mount {
        self.script.lock().expect("no panic").mounts.pop_front().unwrap_or(Mount::Succeeds)
    }
}

async fn serve(State(envd): State<Envd>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    match path.as_str() {
        "/init" | "/v1/storage/mounts" | "/v1/storage/unmounts" => {
            let token =
                request.headers().get("x-access-token").and_then(|it| it.to_str().ok()).map(str::to_owned);
            let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.expect("a body");
            envd.note(Seen {
                path: path.clone(),
                token,
                body: serde_json::from_slice(&body).unwrap_or_default(),
            });
            match path.as_str() {
                "/init" => status(envd.next_init(), json!({})),
                "/v1/storage/mounts" => mount(envd.next_mount()).await,
                _ => axum::Json(json!({"success": true})).into_response(),
            }
        }
        "/health" => http::StatusCode::NO_CONTENT.into_response(),
        "/metrics" => axum::Json(json!({
            "ts": 1_795_479_178, "cpu_count": 2, "cpu_used_pct": 12.5, "mem_total": 1024, "mem_used": 512,
            "mem_cache": 7, "disk_used": 1, "disk_total": 2,
        }))
        .into_response(),
        // sends back what comes, chunk by chunk
        "/echo" => {
            let host = request.headers().get("host").cloned();
            let uri = request.uri().to_string();
            let mut response = Response::new(Body::from_stream(request.into_body().into_data_stream()));
            if let Some(host) = host {
                response.headers_mut().insert("seen-host", host);
            }
            response.headers_mut().insert("seen-uri", uri.parse().expect("a header"));
            response
        }
        _ => (http::StatusCode::NOT_FOUND, axum::Json(json!({"code": 404, "message": path}))).into_response(),
    }
}

async fn mount(how: Mount) -> Response {
    match how {
        Mount::Succeeds => {
            axum::Json(json!({"success": true, "mountPath": "/run/csi/mount-root/oss/x"})).into_response()
        }
        Mount::Fails(message) => {
            axum::Json(json!({"success": false, "message": message, "code": "Internal"})).into_response()
        }
        Mount::DriverTimesOut => {
            axum::Json(json!({"success": false, "message": "no answer", "code": "DeadlineExceeded"}))
                .into_response()
        }
        Mount::Refuses(code, message) => status(code, json!({"success": false, "message": message})),
        Mount::Hangs => std::future::pending().await,
        Mount::Truncated => {
            let begun = futures::stream::once(async { Ok(Bytes::from_static(b"{\"succ")) });
            let broken = futures::stream::once(async { Err(std::io::Error::other("cut")) });
            Response::new(Body::from_stream(begun.chain(broken)))
        }
    }
}

fn status(code: u16, body: Value) -> Response {
    (http::StatusCode::from_u16(code).expect("a status"), axum::Json(body)).into_response()
}
