//! The node itself: `ayni up`, and `ayni` alone.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Stdio;

use anyhow::Context as _;
use ayni::Node;
use ayni_web::{ServeOptions, Server};
use serde::Serialize;

use crate::args::Up;
use crate::exit::{Code, failure};
use crate::output::clean;
use crate::session::{Claim, Session};

/// The ports among which a folder's own is chosen: outside the ranges from which operating systems
/// lend ports to outgoing connections, so that it is free again at the next start.
const PORTS: std::ops::Range<u16> = 20_000..30_000;
/// Ports that are tried before any free one is taken.
const PORTS_TRIED: u16 = 32;

/// What scripts read when the node is ready.
#[derive(Debug, Serialize)]
struct Ready {
    peer_id: String,
    account_id: String,
    http: String,
    data: String,
}

/// Starts the node and serves until stopped.
pub(crate) async fn up(session: &mut Session, options: Up) -> anyhow::Result<()> {
    match claim(session).await? {
        None => Ok(()),
        Some(Claim::Ours(node)) => run(session, &node, &options).await,
        Some(Claim::Served(running)) => {
            let told = format!("a node serves this folder already, at {}", running.http());
            Err(failure(Code::Denied, told))
        }
    }
}

/// Opens the page of the node that runs, or starts it.
pub(crate) async fn bare(session: &mut Session, options: Up) -> anyhow::Result<()> {
    match claim(session).await? {
        None => Ok(()),
        Some(Claim::Ours(node)) => run(session, &node, &options).await,
        Some(Claim::Served(running)) => {
            let status = running.status().await?;
            let ready = Ready {
                peer_id: status.peer_id.to_string(),
                account_id: status.account_id.to_string(),
                http: status.http.clone(),
                data: status.data.clone(),
            };
            let words = format!("ayni runs already: {}", clean(&status.http));
            session.out.result(&ready, &words)?;
            session.out.flush()?;
            show_page(session, &options, &status.http);
            Ok(())
        }
    }
}

/// Claims the folder; none when asked to stop meanwhile.
async fn claim(session: &Session) -> anyhow::Result<Option<Claim>> {
    session.stop().run_until_cancelled(session.claim()).await.transpose()
}

async fn run(session: &mut Session, node: &Node, options: &Up) -> anyhow::Result<()> {
    let served = serve(session, node, options).await;
    node.shutdown().await;
    served
}

async fn serve(session: &mut Session, node: &Node, options: &Up) -> anyhow::Result<()> {
    let server = listen(node, options.http).await?;
    let announced = announce(session, node, &server);
    if announced.is_ok() {
        show_page(session, options, &server.http());
        session.stop().cancelled().await;
    }
    server.shutdown().await;
    announced
}

/// Serves where it was asked to, else on the folder's own port, which is chosen at the first start.
async fn listen(node: &Node, asked: Option<SocketAddr>) -> anyhow::Result<Server> {
    let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let options = |http| ServeOptions { http, ..ServeOptions::default() };
    if let Some(http) = asked.or(node.http_port().map(at)) {
        return Ok(ayni_web::serve(node.clone(), options(http)).await?);
    }
    let own = own_port(node.identity().peer.as_bytes());
    let tried = (0..PORTS_TRIED).map(|step| PORTS.start + (own + step) % (PORTS.end - PORTS.start));
    let mut chosen = None;
    for port in tried.chain([0]) {
        match ayni_web::serve(node.clone(), options(at(port))).await {
            Ok(server) => {
                chosen = Some(server);
                break;
            }
            Err(error) if port == 0 => return Err(error.into()),
            Err(_) => {}
        }
    }
    let server = chosen.context("no port on 127.0.0.1 is free")?;
    node.set_http_port(server.addr.port()).await?;
    Ok(server)
}

/// Where in [`PORTS`] the search begins: different for each node of one machine, without chance.
fn own_port(peer: &[u8; 32]) -> u16 {
    let [a, b, ..] = *peer;
    u16::from_be_bytes([a, b]) % (PORTS.end - PORTS.start)
}

fn announce(session: &mut Session, node: &Node, server: &Server) -> anyhow::Result<()> {
    let id = node.identity();
    let data = std::path::absolute(node.data()).unwrap_or_else(|_| node.data().to_owned());
    let words = banner(&id.name, &server.http(), &data);
    let ready = Ready {
        peer_id: id.peer.to_string(),
        account_id: id.account.to_string(),
        http: server.http(),
        data: data.to_string_lossy().into_owned(),
    };
    session.out.result(&ready, &words)?;
    Ok(session.out.flush()?)
}

fn banner(name: &str, http: &str, data: &Path) -> String {
    format!(
        "Ayni runs, and you are {}. There is no server: other people's nodes reach yours directly.\n\
         \n\
         page     {http}\n\
         folder   {}\n\
         \n\
         In another terminal: `ayni room create NAME`, `ayni room invite NAME`, `ayni chat NAME`.\n\
         Ctrl-C stops it. What others say until it runs again arrives then.",
        clean(name),
        clean(&data.to_string_lossy()),
    )
}

/// Opens the page in a browser, where there is one to see it.
fn show_page(session: &Session, options: &Up, http: &str) {
    if options.no_open || session.out.is_json() {
        return;
    }
    let Some((program, arguments)) = opener() else { return };
    let mut command = tokio::process::Command::new(program);
    command.args(arguments).arg(http);
    // Whatever it has to say is not about us, and if it cannot, the address is on the screen.
    let _ = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
}

/// The platform's way to open an address.
fn opener() -> Option<(&'static str, &'static [&'static str])> {
    if cfg!(target_os = "macos") {
        return Some(("open", &[]));
    }
    if cfg!(windows) {
        return Some(("cmd", &["/C", "start", ""]));
    }
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    (is_set("DISPLAY") || is_set("WAYLAND_DISPLAY")).then_some(("xdg-open", &[]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folders_port_depends_on_its_node() {
        assert_ne!(own_port(&[1; 32]), own_port(&[2; 32]));
        for byte in 0..=255 {
            assert!(PORTS.contains(&(PORTS.start + own_port(&[byte; 32]))));
        }
    }

    #[test]
    fn the_banner_says_how_to_stop() {
        let banner = banner("Ana\x1b[2J", "http://127.0.0.1:1", Path::new("/home/ana/.ayni"));
        assert!(banner.contains("Ctrl-C") && banner.contains("http://127.0.0.1:1"));
        assert!(!banner.contains('\x1b'));
    }
}
