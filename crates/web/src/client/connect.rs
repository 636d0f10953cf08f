//! Finding the node that serves a data folder.

use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use super::http::Http;
use super::{Client, ClientError, Result};
use crate::api::{Address, ErrorCode};

/// Where the node says that it serves, in its data folder.
pub(crate) const ADDRESS_FILE: &str = "api.json";
/// Longest time for the first answer, of a machine that is busy with other things.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

impl Client {
    /// Returns a client of the API at `addr`, which is to be on 127.0.0.1.
    pub fn new(addr: SocketAddr, token: &str) -> Self {
        Self { addr, token: token.into(), http: Http::new(), thumbnails: false, passing: false }
    }

    /// Finds the node that serves the folder `data`; none when no node does.
    ///
    /// What a killed node left behind counts as none: a process that is gone or is another user's, or
    /// a port where nobody answers or somebody who does not know the folder's token. The token is
    /// sent only after the process was checked.
    ///
    /// # Errors
    /// `Unreachable` when the process is there but does not answer; `Internal` when the folder's
    /// files cannot be read.
    pub async fn connect(data: &Path) -> Result<Option<Self>> {
        let Some(text) = read(&data.join(ADDRESS_FILE))? else { return Ok(None) };
        // A half-written file is impossible (it is renamed into place), so this is not ours to use.
        let Ok(address) = serde_json::from_str::<Address>(&text) else { return Ok(None) };
        let Some(addr) = loopback(&address.http) else { return Ok(None) };
        if !may_serve(address.pid, &data.join(ADDRESS_FILE)) {
            return Ok(None);
        }
        let Some(token) = read(&data.join(&address.token_file))? else { return Ok(None) };
        let client = Self { passing: address.passing, ..Self::new(addr, token.trim()) };
        client.probe(data, address.pid).await
    }

    async fn probe(self, data: &Path, pid: u32) -> Result<Option<Self>> {
        if tokio::net::TcpStream::connect(self.addr).await.is_err() {
            return Ok(None);
        }
        match tokio::time::timeout(PROBE_TIMEOUT, self.id()).await {
            Ok(Ok(_)) => Ok(Some(self)),
            // Not this folder's node, or one that is stopping.
            Ok(Err(error)) if matches!(error.code, ErrorCode::Denied | ErrorCode::Unreachable) => {
                Ok(None)
            }
            Ok(Err(error)) => Err(error),
            Err(_) => Err(ClientError::unreachable(format!(
                "the node that serves {} (process {pid}) does not answer",
                data.display()
            ))),
        }
    }

    /// Returns where the API is.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Returns the address of the API and of the node's page: `http://127.0.0.1:PORT`.
    pub fn http(&self) -> String {
        format!("http://{}", self.addr)
    }
}

/// Returns the file's text; none when there is no such file.
fn read(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(ClientError::internal(format!(
            "the file {} could not be read: {error}",
            path.display()
        ))),
    }
}

/// Reads `http://127.0.0.1:PORT`, and nothing else: the token goes to no other machine.
fn loopback(http: &str) -> Option<SocketAddr> {
    let addr: SocketAddr = http.strip_prefix("http://")?.parse().ok()?;
    (addr.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST) && addr.port() != 0).then_some(addr)
}

/// Whether the process is alive and its user is the one who wrote the file. After a kill another
/// user's process could listen on the port that the file still names, and must not get the token.
#[cfg(target_os = "linux")]
fn may_serve(pid: u32, file: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let process = fs::metadata(format!("/proc/{pid}"));
    let file = fs::metadata(file);
    matches!((process, file), (Ok(process), Ok(file)) if process.uid() == file.uid())
}

/// Elsewhere the process table is not read: the port alone decides.
#[cfg(not(target_os = "linux"))]
fn may_serve(_pid: u32, _file: &Path) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_addresses_are_spoken_to() {
        assert_eq!(loopback("http://127.0.0.1:8"), Some(SocketAddr::from(([127, 0, 0, 1], 8))));
        for other in [
            "http://10.0.0.1:8",
            "http://127.0.0.1",
            "http://127.0.0.1:0",
            "https://127.0.0.1:8",
            "http://localhost:8",
            "http://127.0.0.1:8@example.org",
            "http://127.0.0.1:8/x",
        ] {
            assert_eq!(loopback(other), None, "{other}");
        }
    }

    #[tokio::test]
    async fn a_folder_without_a_node_has_no_client() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        assert!(Client::connect(folder.path()).await.expect("no file is no error").is_none());
    }

    #[tokio::test]
    async fn what_a_killed_node_left_is_no_node() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let http = format!("http://{}", closed.local_addr().expect("bound"));
        drop(closed);
        fs::write(folder.path().join("token"), "0".repeat(64)).expect("writable");
        // Our own process is alive, but nobody listens.
        let (pid, token_file) = (std::process::id(), "token".into());
        let address = Address { http, pid, token_file, passing: false };
        let json = serde_json::to_string(&address).expect("plain data");
        fs::write(folder.path().join(ADDRESS_FILE), json).expect("writable");
        assert!(Client::connect(folder.path()).await.expect("stale is no error").is_none());
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn the_token_is_not_sent_when_the_process_is_gone() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let trap = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let http = format!("http://{}", trap.local_addr().expect("bound"));
        fs::write(folder.path().join("token"), "0".repeat(64)).expect("writable");
        // Linux never gives a process this id.
        let token_file = "token".into();
        let address = Address { http, pid: u32::MAX, token_file, passing: false };
        let json = serde_json::to_string(&address).expect("plain data");
        fs::write(folder.path().join(ADDRESS_FILE), json).expect("writable");
        assert!(Client::connect(folder.path()).await.expect("stale is no error").is_none());
        let knock = tokio::time::timeout(Duration::from_millis(50), trap.accept()).await;
        assert!(knock.is_err(), "nobody may have connected");
    }
}
