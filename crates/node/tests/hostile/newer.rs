//! A member of a newer version: what it says that this version does not know is kept and handed on.

use ayni::{ErrorKind, MessageKind, MessageQuery, Role};
use ayni_core::chat::Chat;
use ayni_core::event::{CheckedRun, Event};
use ayni_core::room::{Control, RULES};

use crate::support::member::{Member, now, raws};
use crate::support::raw::entropy;
use crate::support::{Home, Stage, until};

/// States something of a kind that nobody knows yet.
fn states_unknown(member: &mut Member) -> Event {
    let (mut twin, key) = (member.room.clone(), &member.raw.device);
    let known = twin.author_control(key, &Control::Profile("x".into()), now()).expect("a member");
    let header = known.events.last().expect("one").header().clone();
    // A choice of index 9,999 without fields.
    let event = Event::sign(header, vec![0x82, 0x19, 0x27, 0x0f, 0x80], key);
    let run = CheckedRun::new(member.room.id(), vec![event.clone()]).expect("authentic");
    assert_eq!(member.room.accept(run, now()).expect("in order").events.len(), 1);
    event
}

/// Hands events to a node.
async fn gives(member: &Member, events: &[Event]) {
    let mut stream = member.sync().await;
    assert!(member.offers(&mut stream, &raws(events), events.len()).await, "asked for, and taken");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_and_a_new_node_share_a_room() {
    let stage = Stage::new().await;
    let (room, a) = (stage.room, &stage.a.node);
    let mut newer = Member::join(a, &stage.ticket).await;
    let account = newer.raw.cert.claim.account;
    a.set_role(room, account, Role::Founder).await.expect("a founder makes a founder");
    newer.pull().await;
    // Kinds that this version does not know, between such that it does.
    let mut events = vec![states_unknown(&mut newer)];
    let key = newer.raw.device.clone();
    let profile = Control::Profile("of the future".into());
    events.extend(newer.room.author_control(&key, &profile, now()).expect("a member").events);
    for chat in [Chat::Unknown(77), Chat::message("and plain words").expect("short")] {
        let said = newer.room.author_chat(&key, &chat, now(), &entropy());
        events.extend(said.expect("a member").events);
    }
    gives(&newer, &events).await;
    let kinds = async |home: &Home| -> Vec<MessageKind> {
        let page = home.node.messages(room, MessageQuery { limit: 500, before: None }).await;
        page.expect("reads").messages.iter().map(|message| message.kind).collect()
    };
    let names = |home: &Home| -> Vec<String> {
        home.node.members(room).expect("here").into_iter().map(|member| member.name).collect()
    };
    for home in [&stage.a, &stage.b] {
        home.shows(room, "and plain words").await;
        until("shown as from a newer version", async || {
            kinds(home).await.contains(&MessageKind::Unknown)
        })
        .await;
        until("what follows the unknown counts", async || {
            names(home).contains(&"of the future".to_owned())
        })
        .await;
    }
    stage.talks().await;

    // New rules: kept, served and shown; nothing is written.
    let upgraded = newer.room.author_upgrade(&key, RULES + 1, now()).expect("a founder").events;
    gives(&newer, &upgraded).await;
    for home in [&stage.a, &stage.b] {
        until("the new rules are heard of", async || home.node.say(room, "mine").await.is_err())
            .await;
        let refused = home.node.say(room, "mine").await.expect_err("of other rules");
        assert_eq!(refused.kind(), ErrorKind::Denied);
        assert!(refused.to_string().contains("newer version"), "{refused}");
        assert!(home.node.set_name("another").await.is_ok(), "elsewhere one goes on");
    }
    // What the newer one says, as far as it could be authored here, still arrives everywhere.
    let before_last = kinds(&stage.a).await.len();
    let before = events.last().expect("some").header().clone();
    let last = newer.forge(events.last().expect("some"), |header| {
        header.seq = before.seq + 1;
        header.prev = events.last().map(Event::id);
        header.time.0 += 1;
    });
    gives(&newer, &[last]).await;
    let count = async |home: &Home| kinds(home).await.len();
    for home in [&stage.a, &stage.b] {
        until("it is handed on", async || count(home).await == before_last + 1).await;
    }
    assert_eq!(kinds(&stage.a).await, kinds(&stage.b).await);
    stage.stop().await;
}
