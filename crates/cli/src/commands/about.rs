//! What this node is and whom it reaches: `id`, `name`, `status`, `peers`, `doctor`.

use std::fmt::Write as _;
use std::time::Duration;

use ayni_web::api::{Finding, Id, Peer, PeerPath, Status};

use crate::output::{clean, count, duration, short};
use crate::session::{Need, Session};

/// Shows who this node is.
pub(crate) async fn id(session: &mut Session) -> anyhow::Result<()> {
    session
        .with_node(Need::Folder, async |node, out| {
            let id = node.client.id().await?;
            Ok(out.result(&id, &id_lines(&id))?)
        })
        .await
}

/// Changes the name shown to others.
pub(crate) async fn name(session: &mut Session, new_name: &str) -> anyhow::Result<()> {
    session
        .with_node(Need::Folder, async |node, out| {
            let id = node.client.set_name(new_name).await?;
            Ok(out.result(&id, &format!("you are {} now", clean(&id.name)))?)
        })
        .await
}

/// Shows how the node is.
pub(crate) async fn status(session: &mut Session) -> anyhow::Result<()> {
    session
        .with_node(Need::Folder, async |node, out| {
            let status = node.client.status().await?;
            Ok(out.result(&status, &status_lines(&status, node.is_local()))?)
        })
        .await
}

/// Shows the peers that are known.
pub(crate) async fn peers(session: &mut Session) -> anyhow::Result<()> {
    session
        .with_node(Need::Folder, async |node, out| {
            for peer in node.client.peers().await? {
                out.result(&peer, &peer_line(&peer))?;
            }
            Ok(())
        })
        .await
}

/// Shows what is reachable and why not. Bad news is a result as well, so the exit code is 0.
pub(crate) async fn doctor(session: &mut Session) -> anyhow::Result<()> {
    session
        .with_node(Need::Network, async |node, out| {
            for finding in node.client.doctor().await? {
                out.result(&finding, &finding_line(&finding))?;
            }
            Ok(())
        })
        .await
}

fn id_lines(id: &Id) -> String {
    format!("name     {}\npeer     {}\naccount  {}", clean(&id.name), id.peer_id, id.account_id)
}

fn status_lines(status: &Status, is_local: bool) -> String {
    let addresses: Vec<String> = status.addresses.iter().map(ToString::to_string).collect();
    let running = if is_local {
        "no; `ayni` starts it".to_owned()
    } else {
        let uptime = duration(Duration::from_secs(status.uptime_s));
        format!("for {uptime}, process {}, {}", status.pid, status.http)
    };
    let addresses = if addresses.is_empty() { "none".to_owned() } else { addresses.join(", ") };
    [
        ("name", clean(&status.name).into_owned()),
        ("peer", status.peer_id.to_string()),
        ("account", status.account_id.to_string()),
        ("running", running),
        ("version", clean(&status.version).into_owned()),
        ("folder", clean(&status.data).into_owned()),
        ("network", clean(&status.network).into_owned()),
        ("addresses", addresses),
        ("connected", count(status.connected as u64, "peer")),
        ("rooms", status.rooms.to_string()),
        ("joining", status.joining.to_string()),
        ("events", status.events.to_string()),
    ]
    .map(|(what, value)| format!("{what:<10} {value}"))
    .join("\n")
}

fn peer_line(peer: &Peer) -> String {
    let path = match peer.path {
        PeerPath::Direct => "direct",
        PeerPath::Relay => "relay",
        PeerPath::None => "not connected",
    };
    let mut line = format!("{}  {path}", short(&peer.peer_id));
    if let Some(rtt_ms) = peer.rtt_ms {
        let _ = write!(line, ", {rtt_ms:.1} ms");
    }
    if peer.lan {
        line.push_str(", on this network");
    }
    if let Some(name) = &peer.name {
        let _ = write!(line, "  {}", clean(name));
    }
    line
}

fn finding_line(finding: &Finding) -> String {
    let mark = match finding.ok {
        Some(true) => '✓',
        Some(false) => '✗',
        None => '·',
    };
    format!("{mark} {}: {}", clean(&finding.what), clean(&finding.detail))
}

#[cfg(test)]
mod tests {
    use ayni::PeerId;

    use super::*;

    #[test]
    fn a_peer_is_one_line_whatever_it_calls_itself() {
        let peer = Peer {
            peer_id: PeerId([0xab; 32]),
            name: Some("Ana\n\x1b[2J".to_owned()),
            path: PeerPath::Direct,
            lan: true,
            rtt_ms: Some(1.25),
        };
        let line = peer_line(&peer);
        assert_eq!(line, "abababababababab  direct, 1.2 ms, on this network  Ana␊␛[2J");
        let unknown = Peer { name: None, path: PeerPath::None, lan: false, rtt_ms: None, ..peer };
        assert_eq!(peer_line(&unknown), "abababababababab  not connected");
    }
}
