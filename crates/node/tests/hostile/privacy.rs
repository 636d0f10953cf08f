//! What a node writes to its log.

use std::io::Write;
use std::sync::{Arc, Mutex};

use ayni::InviteOptions;
use tracing_subscriber::EnvFilter;

use crate::support::member::{Member, raws};
use crate::support::{Home, Stage, hears, take_port};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Whether a text has something that looks like an address of the internet protocol.
fn has_address(text: &str) -> bool {
    let part = |c: char| !(c.is_ascii_hexdigit() || c == '.' || c == ':');
    text.split(part).any(|word| {
        let word = word.trim_matches(['.', ':']);
        word.parse::<std::net::IpAddr>().is_ok() || word.parse::<std::net::SocketAddr>().is_ok()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn hazard_33_the_log_names_no_text_key_ticket_or_address() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new("ayni=info,ayni_core=info"))
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .init();

    let mut stage = Stage::new().await;
    let secret = "the treasure lies under the oak";
    stage.a.node.say(stage.room, secret).await.expect("says");
    stage.b.shows(stage.room, secret).await;
    stage.a.node.set_name("Captain Flint").await.expect("named");
    let account = stage.a.node.identity().account;
    let direct = stage.b.node.direct_room(ayni::Who::Account(account)).await.expect("opens").room;
    hears(&stage.b, &stage.a, direct).await;
    let once = InviteOptions { uses: Some(1), ..InviteOptions::default() };
    let once = stage.a.node.invite(stage.room, once).await.expect("invites");
    let newcomer = Home::start().await;
    newcomer.node.join(&once, crate::support::DEADLINE).await.expect("joins");

    // What is worth a warning: a fork, a taken port, a used ticket.
    let mut member = Member::join(&stage.a.node, &stage.ticket).await;
    let said = member.says(secret, 2);
    let other = member.forge(&said[0], |header| header.time.0 += 1);
    let after = member.forge(&said[1], |header| header.prev = Some(other.id()));
    let mut stream = member.sync().await;
    assert!(member.offers(&mut stream, &raws(&said[..1]), 1).await);
    assert!(member.offers(&mut stream, &raws(&[other, after]), 1).await);

    let refused = Home::start().await;
    let wait = crate::support::DEADLINE;
    let error = refused.node.join(&once, wait).await.expect_err("used up");
    assert_eq!(error.kind(), ayni::ErrorKind::Denied);
    let port = stage.b.port().await;
    let folder = stage.b.stop().await;
    let taken = take_port(port).await;
    stage.b = Home::start_in(folder).await;
    drop(taken);
    stage.talks().await;

    let keys = |home: &Home| {
        let folder = home.folder.path().join("keys");
        ["account.key", "device.key"].map(|name| {
            std::fs::read_to_string(folder.join(name)).expect("reads").trim().to_owned()
        })
    };
    let mut hidden = vec![secret.to_owned(), "Captain Flint".to_owned(), stage.room.to_string()];
    hidden.extend([stage.ticket.to_string(), once.to_string(), "127.0.0.1".to_owned()]);
    for home in [&stage.a, &stage.b, &newcomer, &refused] {
        hidden.extend(keys(home));
        let identity = home.node.identity();
        hidden.extend([identity.peer.to_string(), identity.account.to_string()]);
    }
    tokio::join!(newcomer.stop(), refused.stop());
    stage.stop().await;

    let text = String::from_utf8(log.0.lock().expect("no panic").clone()).expect("text");
    assert!(text.contains("cannot be used again"), "the log was listened to:\n{text}");
    for hidden in hidden {
        assert!(!text.contains(&hidden), "{hidden} is in the log:\n{text}");
    }
    let told = text.lines().find(|line| has_address(without_time(line)));
    assert_eq!(told, None, "an address is in the log");
    assert!(has_address("from 10.0.0.1:9 to") && has_address("[fe80::1] said"));
}

/// A line after its time of day, which has colons too.
fn without_time(line: &str) -> &str {
    line.split_once(' ').map_or("", |(_, rest)| rest)
}
