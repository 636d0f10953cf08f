//! A real node without a network, its API, and HTTP requests written by hand.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(unreachable_pub, reason = "a module of each test file")]

pub mod png;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use ayni::{Network, Node};
use ayni_web::{Client, ServeOptions, Server, serve};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longest wait for anything that is to happen.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Every route that needs a token, with a body or query that it accepts.
pub const ROUTES: [(&str, &str, &str); 55] = [
    ("GET", "/api/v1/status", ""),
    ("GET", "/api/v1/doctor", ""),
    ("GET", "/api/v1/id", ""),
    ("PUT", "/api/v1/name", r#"{"name":"Rosa"}"#),
    ("GET", "/api/v1/rooms", ""),
    ("POST", "/api/v1/rooms", r#"{"name":"den"}"#),
    ("GET", "/api/v1/rooms/x", ""),
    ("POST", "/api/v1/rooms/x/settings", r#"{"topic":"bread"}"#),
    ("GET", "/api/v1/rooms/x/invites", ""),
    ("POST", "/api/v1/rooms/x/invites", "{}"),
    ("POST", "/api/v1/rooms/x/revoke", r#"{"invite":"0123"}"#),
    ("POST", "/api/v1/rooms/x/leave", "{}"),
    ("GET", "/api/v1/rooms/x/messages", ""),
    ("POST", "/api/v1/rooms/x/messages", r#"{"text":"hello"}"#),
    ("GET", "/api/v1/rooms/x/members", ""),
    ("GET", "/api/v1/rooms/x/person?who=Rosa", ""),
    ("POST", "/api/v1/rooms/x/role", r#"{"who":"Rosa","role":"admin"}"#),
    ("POST", "/api/v1/rooms/x/remove", r#"{"who":"Rosa"}"#),
    ("POST", "/api/v1/rooms/x/attach", r#"{"path":"/a"}"#),
    ("GET", "/api/v1/rooms/x/files", ""),
    ("POST", "/api/v1/rooms/x/fetch", r#"{"event":"0123"}"#),
    ("POST", "/api/v1/rooms/x/pin", r#"{"event":"0123"}"#),
    ("POST", "/api/v1/rooms/x/unpin", r#"{"event":"0123"}"#),
    ("GET", "/api/v1/rooms/x/pictures", ""),
    ("PUT", "/api/v1/rooms/x/pictures", r#"{"bytes":1}"#),
    ("GET", "/api/v1/transfers", ""),
    ("POST", "/api/v1/transfers/1/pause", "{}"),
    ("POST", "/api/v1/transfers/1/resume", "{}"),
    ("POST", "/api/v1/transfers/1/cancel", "{}"),
    ("POST", "/api/v1/transfers/1/priority", r#"{"priority":"high"}"#),
    ("POST", "/api/v1/transfers/1/limit", r#"{"down":1}"#),
    ("GET", "/api/v1/transfers/1/content", ""),
    ("GET", "/api/v1/limits", ""),
    ("PUT", "/api/v1/limits", r#"{"up":1}"#),
    ("GET", "/api/v1/storage", ""),
    ("PUT", "/api/v1/storage/quota", r#"{"bytes":1}"#),
    ("POST", "/api/v1/storage/discard", r#"{"blob":"0123"}"#),
    ("PUT", "/api/v1/storage/replication", r#"{"agrees":true,"copies":3,"room_bytes":1}"#),
    ("GET", "/api/v1/progress", ""),
    ("GET", "/api/v1/shares", ""),
    ("POST", "/api/v1/shares", r#"{"paths":["/a"]}"#),
    ("POST", "/api/v1/shares/bytes?name=a", "data"),
    ("POST", "/api/v1/unshare", r#"{"share":"0123"}"#),
    ("POST", "/api/v1/get", r#"{"ticket":"blob"}"#),
    ("GET", "/api/v1/search?text=hello", ""),
    ("POST", "/api/v1/look", r#"{"ticket":"ayni"}"#),
    ("POST", "/api/v1/join", r#"{"ticket":"ayni"}"#),
    ("POST", "/api/v1/dm", r#"{"who":"x","text":"hello"}"#),
    ("POST", "/api/v1/broadcast", r#"{"text":"hello"}"#),
    ("GET", "/api/v1/peers", ""),
    ("GET", "/api/v1/services", ""),
    ("POST", "/api/v1/request?peer=x&service=echo", "data"),
    ("GET", "/api/v1/events", ""),
    ("GET", "/api/v1/provide?name=echo", ""),
    ("GET", "/api/v1/forward?peer=x&service=echo", ""),
];

/// The routes that are WebSockets.
pub const SOCKETS: [&str; 4] = [
    "/api/v1/events",
    "/api/v1/progress",
    "/api/v1/provide?name=echo",
    "/api/v1/forward?peer=x&service=echo",
];

/// A node that serves its API.
pub struct Api {
    pub node: Node,
    pub server: Server,
    pub client: Client,
    pub token: String,
    pub folder: TempDir,
}

impl Api {
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let node = Node::builder()
            .data(folder.path())
            .network(Network::Loopback)
            .offline(true)
            .start()
            .await
            .expect("an offline node starts");
        let server = serve(node.clone(), ServeOptions::default()).await.expect("a free port");
        let token = std::fs::read_to_string(folder.path().join("token")).expect("the token file");
        let client = server.client();
        Self { node, server, client, token, folder }
    }

    pub async fn stop(self) {
        self.server.shutdown().await;
        self.node.shutdown().await;
    }

    /// Returns a request as the command line makes it: own host, token, no origin.
    pub fn ask(&self, method: &str, path: &str) -> Ask {
        Ask {
            addr: self.server.addr,
            method: method.into(),
            path: path.into(),
            host: Some(self.server.addr.to_string()),
            token: Some(self.token.clone()),
            headers: Vec::new(),
            body: String::new(),
        }
    }
}

/// A request, to be changed and sent.
#[derive(Clone)]
pub struct Ask {
    addr: SocketAddr,
    method: String,
    path: String,
    host: Option<String>,
    token: Option<String>,
    headers: Vec<(String, String)>,
    body: String,
}

impl Ask {
    pub fn host(mut self, host: Option<&str>) -> Self {
        self.host = host.map(str::to_owned);
        self
    }

    pub fn token(mut self, token: Option<&str>) -> Self {
        self.token = token.map(str::to_owned);
        self
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub fn body(mut self, body: impl Into<String>) -> Self {
        self.body = body.into();
        self
    }

    /// Asks for an upgrade to a WebSocket, as a browser does.
    pub fn socket(self) -> Self {
        self.header("Connection", "Upgrade")
            .header("Upgrade", "websocket")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
    }

    /// Sends it and returns the connection.
    pub async fn begin(&self) -> TcpStream {
        let mut tcp = TcpStream::connect(self.addr).await.expect("the server listens");
        tcp.write_all(&self.bytes()).await.expect("the server reads");
        tcp
    }

    pub async fn send(&self) -> Answer {
        let mut tcp = self.begin().await;
        tokio::time::timeout(DEADLINE, read(&mut tcp)).await.expect("an answer in time")
    }

    /// Returns the connection after an upgrade.
    pub async fn open(&self) -> TcpStream {
        let mut tcp = self.begin().await;
        let answer = tokio::time::timeout(DEADLINE, read(&mut tcp)).await.expect("in time");
        assert_eq!(answer.status, 101, "{}", answer.body);
        tcp
    }

    fn bytes(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.path);
        if let Some(host) = &self.host {
            let _ = write!(head, "Host: {host}\r\n");
        }
        if let Some(token) = &self.token {
            let _ = write!(head, "Authorization: Bearer {token}\r\n");
        }
        for (name, value) in &self.headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        let has = |name: &str| self.headers.iter().any(|(header, _)| header == name);
        if !has("Connection") {
            head.push_str("Connection: close\r\n");
        }
        if !has("Content-Length") && !has("Transfer-Encoding") && !self.body.is_empty() {
            let _ = write!(head, "Content-Length: {}\r\n", self.body.len());
        }
        head.push_str("\r\n");
        head.push_str(&self.body);
        head.into_bytes()
    }
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut named = self.headers.iter().filter(|(header, _)| header == name);
        named.next().map(|(_, value)| value.as_str())
    }

    /// Returns the `code` of a failure, which must have the API's form.
    pub fn code(&self) -> String {
        let failure: serde_json::Value =
            serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"));
        let error = failure["error"].as_object().unwrap_or_else(|| panic!("no error: {self:?}"));
        let message = error["message"].as_str().expect("a sentence");
        assert!(!message.is_empty() && !message.contains('\n'), "one sentence: {message:?}");
        assert_eq!((failure.as_object().map(serde_json::Map::len), error.len()), (Some(1), 2));
        error["code"].as_str().expect("a code").to_owned()
    }
}

/// Reads an answer to the end of the connection, or to the head of an upgrade.
async fn read(tcp: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|end| end == b"\r\n\r\n") {
            break end;
        }
        let byte = tcp.read_u8().await.expect("a whole head");
        bytes.push(byte);
    };
    let head = String::from_utf8(bytes[..end].to_vec()).expect("an ASCII head");
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).expect("a status line");
    let status = status.parse().expect("a status");
    let headers = lines.filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
    let mut answer = Answer { status, headers, body: String::new() };
    let length = answer.header("content-length").and_then(|length| length.parse().ok());
    let mut body = Vec::new();
    match length {
        _ if status == 101 => {}
        // A refused upgrade leaves the connection open.
        Some(length) if answer.header("connection") != Some("close") => {
            body.resize(length, 0);
            tcp.read_exact(&mut body).await.expect("a whole body");
        }
        // A reset after the answer, because the request was not read, is an end as well.
        _ => drop(tcp.read_to_end(&mut body).await),
    }
    answer.body = String::from_utf8_lossy(&body).into_owned();
    answer
}
