//! Members who keep to the frames and lie in what they say.

use std::time::Duration;

use ayni::InviteOptions;
use ayni_core::clock::Hlc;
use ayni_core::event::Event;
use ayni_core::sync::frame::SyncFrame;
use ayni_core::ticket::{Addr, PeerAddr};

use crate::support::member::{Member, now, raws};
use crate::support::{DEADLINE, Home, Stage, hears, until, within_time};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

#[tokio::test(flavor = "multi_thread")]
async fn hazard_13_the_future_is_stored_and_neither_shown_nor_followed() {
    let stage = Stage::new().await;
    let mut member = Member::join(&stage.a.node, &stage.ticket).await;
    let stored = stage.a.node.status().await.expect("reads").events;
    // More than a newcomer asks for at first, so that nothing else would fit.
    let mut future: Vec<Event> = Vec::new();
    for event in member.says("from tomorrow", 250) {
        let prev = future.last().map(Event::id);
        future.push(member.forge(&event, |header| {
            header.time = Hlc::from_millis(now() + DAY_MS);
            header.prev = prev;
        }));
    }
    let count = future.len();
    let mut stream = member.sync().await;
    assert!(member.offers(&mut stream, &raws(&future), count).await);
    until("they are stored", async || {
        stage.a.node.status().await.expect("reads").events >= stored + count as u64
    })
    .await;
    stage.talks().await;
    let newcomer = stage.newcomer().await;
    let shown = newcomer.texts(stage.room).await;
    assert!(shown.iter().any(|text| text.starts_with("heard")), "{shown:?}");
    for home in [&stage.a, &stage.b, &newcomer] {
        let query = ayni::MessageQuery { limit: 500, before: None };
        let page = home.node.messages(stage.room, query).await.expect("reads");
        assert!(page.messages.iter().all(|message| message.text != "from tomorrow"));
        let latest = page.messages.last().expect("some").time_ms;
        assert!(latest < now() + 60_000, "nobody's clock follows");
    }
    // Nor after a restart.
    let a = stage.a.restart().await;
    let stage = Stage { a, ..stage };
    stage.talks().await;
    let query = ayni::MessageQuery { limit: 1, before: None };
    let page = stage.a.node.messages(stage.room, query).await.expect("reads");
    assert!(page.messages.last().expect("some").time_ms < now() + 60_000);
    newcomer.stop().await;
    stage.stop().await;
}

/// Processor time that this process used so far.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let ticks =
        after_name.split(' ').skip(11).take(2).filter_map(|field| field.parse::<u64>().ok());
    // Linux counts in hundredths of a second wherever it tells user space.
    Duration::from_millis(ticks.sum::<u64>() * 10)
}

#[tokio::test(flavor = "multi_thread")]
async fn hazard_1_a_fork_is_proved_to_all_and_its_branches_are_void() {
    let stage = Stage::new().await;
    let mut member = Member::join(&stage.a.node, &stage.ticket).await;
    let to_b = member.raw.link(&stage.b.node).await;
    until("b knows the member", async || {
        stage.b.node.members(stage.room).expect("reads").len() == 3
    })
    .await;
    // Two branches from one position, each to one node.
    let common = member.says("before the fork", 3);
    let one = member.says("one branch", 4);
    let mut other: Vec<Event> = Vec::new();
    for event in &one {
        let prev = other.last().or(common.last()).map(Event::id);
        other.push(member.forge(event, |header| {
            header.time = Hlc(header.time.0 + 1);
            header.prev = prev;
        }));
    }
    let branch = |branch: &[Event]| raws(&[&common[..], branch].concat());
    let (mut to_a, mut to_b) = (member.sync().await, member.sync_over(&to_b).await);
    let (one, other) = (branch(&one), branch(&other));
    let (a, b) = tokio::join!(
        member.offers(&mut to_a, &one, one.len()),
        member.offers(&mut to_b, &other, other.len()),
    );
    assert!(a && b, "both take what they hear first, or refuse the other's");
    stage.a.shows(stage.room, "before the fork").await;
    stage.b.shows(stage.room, "before the fork").await;
    for _ in 0..3 {
        stage.talks().await;
    }
    let of_honest = async |home: &Home| -> Vec<String> {
        let texts = home.texts(stage.room).await;
        texts.into_iter().filter(|text| text.starts_with("heard")).collect()
    };
    let a = of_honest(&stage.a).await;
    assert_eq!(a, of_honest(&stage.b).await, "everything else is the same, in the same order");
    // Both branches are as long as each other, and are found all the same.
    let frozen = async |home: &Home| {
        let members = home.node.members(stage.room).expect("reads");
        members.iter().any(|it| it.frozen == [member.raw.id()])
    };
    for home in [&stage.a, &stage.b] {
        until("the fork is proved", async || frozen(home).await).await;
        until("neither branch is shown", async || {
            let texts = home.texts(stage.room).await;
            texts.iter().all(|text| !text.ends_with("branch"))
        })
        .await;
        let texts = home.texts(stage.room).await;
        let common = texts.iter().filter(|text| *text == "before the fork");
        assert_eq!(common.count(), 3, "what comes before it counts");
    }
    stage.talks().await;
    // And then they do not go round and round about it.
    let (before, quiet) = (processor_time(), Duration::from_secs(2));
    tokio::time::sleep(quiet).await;
    let busy = processor_time().saturating_sub(before);
    assert!(busy < quiet / 2, "{busy:?} of processor time in {quiet:?} without anything to do");
    let newcomer = stage.newcomer().await;
    hears(&stage.b, &newcomer, stage.room).await;
    newcomer.stop().await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_can_silence_another_by_leaving_out_a_body() {
    let stage = Stage::new().await;
    let mut member = Member::join(&stage.a.node, &stage.ticket).await;
    let said = member.says("the body counts", 1);
    let mut bare = raws(&said);
    bare[0].body = None;
    let mut stream = member.sync().await;
    assert!(member.offers(&mut stream, &bare, 1).await, "asked for, and not taken");
    drop(stream);
    // The whole event still finds its place free.
    let mut stream = member.sync().await;
    assert!(member.offers(&mut stream, &raws(&said), 1).await);
    stage.a.shows(stage.room, "the body counts").await;
    stage.b.shows(stage.room, "the body counts").await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn spoilt_signatures_inside_a_log_do_not_keep_it_from_others() {
    // As many as a peer that has brought nothing yet is asked for at once.
    const COUNT: usize = 64;
    let stage = Stage::new().await;
    let mut member = Member::join(&stage.a.node, &stage.ticket).await;
    let said = member.says("spoilt", COUNT);
    // Whoever hands a log on can spoil all signatures but the last of each run.
    let mut spoilt = raws(&said);
    for event in &mut spoilt[..COUNT - 1] {
        event.signature = ayni_core::keys::Sig([7; 64]);
    }
    let mut stream = member.sync().await;
    assert!(member.offers(&mut stream, &spoilt, COUNT).await);
    let all = async |home: &Home| {
        home.texts(stage.room).await.iter().filter(|text| *text == "spoilt").count()
    };
    until("a has them", async || all(&stage.a).await >= COUNT - 20).await;
    drop(stream);
    member.link.connection.close(0u32.into(), b"gone");
    // The rest have them from a, as far as the newest page of messages shows.
    until("b has them", async || all(&stage.b).await == all(&stage.a).await).await;
    let newcomer = stage.newcomer().await;
    until("a newcomer has them", async || all(&newcomer).await >= COUNT - 20).await;
    let events = async |home: &Home| home.node.status().await.expect("reads").events;
    until("all are here", async || events(&newcomer).await == events(&stage.a).await).await;
    newcomer.stop().await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn false_addresses_do_not_displace_true_ones() {
    let stage = Stage::new().await;
    let member = Member::join(&stage.a.node, &stage.ticket).await;
    let b = stage.b.node.identity().peer;
    let mut stream = member.sync().await;
    for nth in 0..20u16 {
        let direct = (0..8).map(|k| Addr(([127, 0, 0, 1], 1 + nth * 8 + k).into())).collect();
        stream.send(&SyncFrame::Peers(vec![PeerAddr { peer: b, direct, relays: vec![] }])).await;
    }
    // The frames before this one were read when it is answered.
    stream.send(&SyncFrame::Done(9)).await;
    stream.ends("an end of what nobody asked for").await;
    // b comes back to where it was, and a finds it there although it is a who dials.
    let folder = stage.b.stop().await;
    let a = stage.a.restart().await;
    let b = Home::start_in(folder).await;
    let stage = Stage { a, b, ..stage };
    within_time("they meet again", DEADLINE, stage.talks()).await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_who_admits_and_gives_nothing_does_not_keep_a_newcomer_out() {
    let stage = Stage::new().await;
    let liar = Member::join(&stage.a.node, &stage.ticket).await;
    let ticket = stage.a.node.invite(stage.room, InviteOptions::default()).await.expect("invites");
    let direct = liar.raw.addr().ip_addrs().map(|addr| Addr(*addr)).collect();
    let mut members = ticket.members.clone();
    members.insert(0, PeerAddr { peer: liar.raw.id(), direct, relays: vec![] });
    let ticket = ayni::Ticket { members, ..ticket };
    let newcomer = Home::start().await;
    let lying = tokio::spawn(crate::slow::admit_and_give_nothing(liar));
    let wait = Duration::from_secs(45);
    newcomer.node.join(&ticket, wait).await.expect("joins");
    lying.abort();
    hears(&stage.a, &newcomer, stage.room).await;
    newcomer.stop().await;
    stage.stop().await;
}
