//! People, their devices and their replicas, for tests of rooms.
#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod crowd;
pub(crate) mod stage;

use std::cell::RefCell;
use std::collections::BTreeMap;

use ayni_core::chat::Chat;
use ayni_core::clock::Millis;
use ayni_core::epoch::EpochSecret;
use ayni_core::event::{CheckedRun, Event, Header, VERSION};
use ayni_core::id::{AccountId, EventId, PeerId};
use ayni_core::keys::{AccountKey, Bytes32, DeviceCert, DeviceKey, InviteSecret};
use ayni_core::log::{Lane, LogId};
use ayni_core::proto::{JoinClaim, JoinRequest};
use ayni_core::room::{
    Accepted, Admit, Control, Genesis, Invite, Reject, Role, Room, Set, Setting,
};

/// The time at which tests begin, Unix milliseconds.
pub(crate) const START: Millis = 1_750_000_000_000;
/// A day.
pub(crate) const DAY: Millis = 24 * 60 * 60 * 1000;

/// An account on one device.
#[derive(Debug, Clone)]
pub(crate) struct Person {
    pub(crate) account: AccountKey,
    pub(crate) key: DeviceKey,
    pub(crate) cert: DeviceCert,
}

impl Person {
    /// The person of this number: the same keys every time.
    pub(crate) fn new(n: u8) -> Self {
        Self::device(n, n)
    }

    /// A device of the account of this number.
    pub(crate) fn device(account: u8, device: u8) -> Self {
        let account = AccountKey::from_entropy(&[account; 32]);
        let key = DeviceKey::from_secrets(&[device; 32], &[device.wrapping_add(100); 32]);
        let cert = account.certify(key.id(), key.hpke_public(), START);
        Self { account, key, cert }
    }

    pub(crate) fn id(&self) -> PeerId {
        self.key.id()
    }

    pub(crate) fn account(&self) -> AccountId {
        self.account.id()
    }

    pub(crate) fn log(&self, lane: Lane, term: u32) -> LogId {
        LogId { lane, device: self.id(), term }
    }

    /// Founds a group.
    pub(crate) fn found(&self) -> (Room, Vec<Event>) {
        let genesis = Genesis::group(self.account(), [7; 32]);
        let names = ("founder", Some("room"));
        let secret = EpochSecret::new([9; 32]);
        let (room, accepted) = Room::found(&genesis, &self.key, &self.cert, names, secret, START);
        (room, accepted.events)
    }

    /// Signs a claim on `invite`, made to `admitter`.
    pub(crate) fn claim(
        &self,
        room: &Room,
        invite: &InviteSecret,
        admitter: PeerId,
    ) -> JoinRequest {
        let cert = self.cert.clone();
        JoinClaim { room: room.id(), cert, admitter, invite: invite.key() }.sign(invite, &self.key)
    }

    /// Says something.
    pub(crate) fn say(&self, room: &mut Room, text: &str, now: Millis) -> Event {
        let chat = Chat::message(text).expect("a short text");
        let entropy = [u8::try_from(now % 251).expect("small"); 32];
        let accepted = room.author_chat(&self.key, &chat, now, &entropy).expect("a member");
        only(accepted)
    }

    /// States something.
    pub(crate) fn state(&self, room: &mut Room, control: &Control, now: Millis) -> Event {
        only(room.author_control(&self.key, control, now).expect("a member"))
    }

    /// Signs an event that its replica would not author: at `seq` of a log, with these fields.
    pub(crate) fn forge(&self, room: &Room, control: &Control, at: Forged) -> Event {
        let header = Header {
            v: VERSION,
            room: room.id(),
            device: self.id(),
            term: at.term,
            lane: Lane::Control,
            seq: at.seq,
            prev: at.prev,
            deps: at.deps,
            time: ayni_core::clock::Hlc::from_millis(at.time),
            epoch: None,
            body_len: 0,
            body_hash: Bytes32([0; 32]),
        };
        Event::sign(header, control.to_bytes(), &self.key)
    }
}

/// The fields that a test chooses.
#[derive(Debug, Clone, Default)]
pub(crate) struct Forged {
    pub(crate) term: u32,
    pub(crate) seq: u64,
    pub(crate) prev: Option<EventId>,
    pub(crate) deps: Vec<EventId>,
    pub(crate) time: Millis,
}

impl Forged {
    /// The position after the last control event of `person` in `room`.
    pub(crate) fn next(room: &Room, person: &Person, term: u32) -> Self {
        let log = person.log(Lane::Control, term);
        let tip = room.logs().log(&log).and_then(|state| state.tip()).copied();
        Self {
            term,
            seq: tip.map_or(0, |run| run.end),
            prev: tip.map(|run| run.last),
            deps: vec![],
            time: START,
        }
    }
}

/// An invite for any number, for a week.
pub(crate) fn invite(n: u8) -> (InviteSecret, Control) {
    let secret = InviteSecret::from_seed(&[n; 32]);
    let (key, role) = (secret.key(), Role::Member);
    let invite = Invite { key, uses: None, expires_ms: START + 7 * DAY, role };
    (secret, Control::Invite(invite))
}

/// A name for the room, by a founder.
pub(crate) fn room_name(name: &str) -> Control {
    Control::Set(Set { cites: None, setting: Setting::Name(name.to_owned()) })
}

/// An admission that cites a signed claim.
pub(crate) fn admission(request: JoinRequest, term: u32) -> Control {
    Control::Admit(Box::new(Admit::new(request, term)))
}

thread_local! {
    /// Events whose signature was checked before: most tests offer the same ones many times.
    static CHECKED: RefCell<BTreeMap<EventId, CheckedRun>> = const { RefCell::new(BTreeMap::new()) };
}

/// Offers one event.
pub(crate) fn offer(room: &mut Room, event: &Event) -> Result<Accepted, Reject> {
    let run = CHECKED.with_borrow_mut(|checked| {
        let known = checked.get(&event.id());
        let known = known.filter(|run| run.events() == std::slice::from_ref(event)).cloned();
        known.unwrap_or_else(|| {
            let run = CheckedRun::new(event.header().room, vec![event.clone()]).expect("signed");
            checked.insert(event.id(), run.clone());
            run
        })
    });
    room.accept(run, START + DAY)
}

/// Offers one event that fits.
pub(crate) fn take(room: &mut Room, event: &Event) {
    let _ = offer(room, event).expect("it fits");
}

/// Offers a run.
pub(crate) fn offer_run(room: &mut Room, events: &[Event]) -> Result<Accepted, Reject> {
    let run = CheckedRun::new(room.id(), events.to_vec()).expect("a run");
    room.accept(run, START + DAY)
}

/// Offers events, each in a run of its own, again and again while any is accepted. Returns those
/// that were refused to the end.
pub(crate) fn deliver(room: &mut Room, events: &[Event]) -> Vec<Event> {
    let mut open = events.to_vec();
    // Once more than seems useful: a refused proof of a fork lets others in.
    let mut idle = 0;
    while idle < 2 {
        let before = open.len();
        open.retain(|event| offer(room, event).is_err());
        idle = if open.len() == before { idle + 1 } else { 0 };
    }
    open
}

/// A replica on `person`'s device that holds `events`.
pub(crate) fn replica(person: &Person, room: &Room, events: &[Event]) -> Room {
    let mut replica = Room::new(room.id(), person.id());
    for secret in room.secrets() {
        replica.learn_secret(secret.1.clone());
    }
    let refused = deliver(&mut replica, events);
    assert_eq!(refused, vec![], "all accepted");
    replica
}

/// The one event that was authored.
pub(crate) fn only(accepted: Accepted) -> Event {
    let [event] = accepted.events.try_into().expect("one event");
    event
}
