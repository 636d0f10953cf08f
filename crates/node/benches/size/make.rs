//! Makes a room with many authors and messages in a data folder, as if they had talked for days.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;

use anyhow::{Context, Result};
use ayni::bench::Plant;
use ayni_core::chat::Chat;
use ayni_core::clock::Hlc;
use ayni_core::epoch::EpochSecret;
use ayni_core::event::{CheckedRun, Event, Header, VERSION};
use ayni_core::id::{EpochId, EventId, RoomId};
use ayni_core::keys::{AccountKey, Bytes32, DeviceKey, InviteSecret};
use ayni_core::limits::MAX_CHAT_DEPS;
use ayni_core::log::Lane;
use ayni_core::proto::JoinClaim;
use ayni_core::room::{Accepted, Admit, Control, Genesis, Invite, Role, Room};

/// Messages that are stored together.
const BATCH: u64 = 8192;
/// Milliseconds between two messages: a million of them are eleven days.
const PAUSE_MS: u64 = 1000;
/// Words that people know here.
const VOCABULARY: u64 = 20_000;
/// Bytes of a text, about.
const TEXT: usize = 60;

/// How large a room is.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    /// Members who write.
    pub(crate) authors: u64,
    /// Members besides the founder.
    pub(crate) members: u64,
    /// Messages.
    pub(crate) events: u64,
}

impl Shape {
    /// Returns a name for its folder.
    pub(crate) fn name(&self) -> String {
        format!("{}-by-{}-of-{}", self.events, self.authors, self.members)
    }

    /// Returns how many events a newcomer holds when it has everything: messages; what the founder
    /// states at first (genesis, its name, the room's name, the epoch, the invite); for each member
    /// an admission and a name.
    pub(crate) fn all_events(&self) -> u64 {
        self.events + 5 + 2 * self.members
    }
}

/// One who writes.
struct Author {
    key: DeviceKey,
    seq: u64,
    prev: Option<EventId>,
}

/// Chance that is the same each time (Marsaglia's xorshift).
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    /// Some words, of which some are much more common than others.
    fn text(&mut self) -> String {
        let mut text = String::new();
        while text.len() < TEXT {
            let rare = self.below(VOCABULARY) + 1;
            let word = self.below(rare);
            for digit in [word % 20, word / 20 % 20, word / 400] {
                text.push(char::from(b'a' + u8::try_from(digit % 20).unwrap_or(0)));
                text.push(['a', 'e', 'i', 'o', 'u'][usize::try_from(digit % 5).unwrap_or(0)]);
            }
            text.push(' ');
        }
        text.trim_end().to_owned()
    }
}

/// Makes it.
pub(crate) async fn make(folder: &Path, shape: Shape) -> Result<()> {
    let mut plant = Plant::open(folder).await?;
    let (key, cert) = (plant.device().0.clone(), plant.device().1.clone());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis();
    let start = u64::try_from(now)? - (shape.events + 10_000) * PAUSE_MS;
    let secret = EpochSecret::new([42; 32]);
    let genesis = Genesis::group(cert.claim.account, [7; 32]);
    let names = ("founder", Some("large"));
    let (mut room, founded) = Room::found(&genesis, &key, &cert, names, secret.clone(), start);
    let epoch = secret.id(room.id());
    plant.found(&room, &founded, vec![(epoch, secret.clone())]).await?;
    let mut authors = admit(&mut plant, &mut room, &key, shape, start).await?;
    authors.truncate(usize::try_from(shape.authors)?);

    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    let mut recent: VecDeque<(usize, EventId)> = VecDeque::new();
    let first = start + 10_000 * PAUSE_MS;
    for from in (0..shape.events).step_by(usize::try_from(BATCH)?) {
        let mut said: BTreeMap<usize, Vec<Event>> = BTreeMap::new();
        for nth in from..shape.events.min(from + BATCH) {
            let who = usize::try_from(chance.below(shape.authors))?;
            let heard = recent.iter().take_while(|(by, _)| *by != who);
            let deps = heard.take(MAX_CHAT_DEPS).map(|(_, id)| *id).collect();
            let author = authors.get_mut(who).context("an author")?;
            let text = chance.text();
            let time = first + nth * PAUSE_MS;
            let event = author.say(room.id(), (epoch, &secret), deps, time, &text, nth);
            recent.push_front((who, event.id()));
            recent.truncate(2 * MAX_CHAT_DEPS);
            said.entry(who).or_default().push(event);
        }
        let mut accepted = Accepted::default();
        for events in said.into_values() {
            accepted = accepted.and(take(&mut room, events, start)?);
        }
        plant.keep(&room, &accepted).await?;
    }
    plant.close().await;
    Ok(())
}

fn take(room: &mut Room, events: Vec<Event>, now: u64) -> Result<Accepted> {
    Ok(room.accept(CheckedRun::new(room.id(), events)?, now)?)
}

/// Lets members in, one after the other; each says its name.
async fn admit(
    plant: &mut Plant,
    room: &mut Room,
    founder: &DeviceKey,
    shape: Shape,
    start: u64,
) -> Result<Vec<Author>> {
    let invite = InviteSecret::from_seed(&[9; 32]);
    let stated = Invite { key: invite.key(), uses: None, expires_ms: u64::MAX, role: Role::Member };
    let mut accepted = room.author_invite(founder, stated, start)?;
    let mut authors = Vec::new();
    for nth in 0..shape.members {
        let seed = |what: u8| {
            let mut seed = [what; 32];
            seed[..8].copy_from_slice(&nth.to_be_bytes());
            seed
        };
        let key = DeviceKey::from_secrets(&seed(1), &seed(2));
        let account = AccountKey::from_entropy(&seed(3));
        let cert = account.certify(key.id(), key.hpke_public(), start);
        let claim =
            JoinClaim { room: room.id(), cert, admitter: founder.id(), invite: invite.key() };
        let request = claim.sign(&invite, &key);
        let admission = Control::Admit(Box::new(Admit::new(request, 0)));
        let time = start + 2 * nth + 1;
        accepted = accepted.and(room.author_control(founder, &admission, time)?);
        let deps = accepted.events.last().map(Event::id).into_iter().collect();
        let name = Control::Profile(format!("member {nth}")).to_bytes();
        let header = header(room.id(), &key, Lane::Control, deps, time + 1);
        accepted = accepted.and(take(room, vec![Event::sign(header, name, &key)], start)?);
        authors.push(Author { key, seq: 0, prev: None });
    }
    plant.keep(room, &accepted).await?;
    Ok(authors)
}

impl Author {
    fn say(
        &mut self,
        room: RoomId,
        (epoch, secret): (EpochId, &EpochSecret),
        deps: Vec<EventId>,
        time: u64,
        text: &str,
        nth: u64,
    ) -> Event {
        let header = Header {
            seq: self.seq,
            prev: self.prev,
            epoch: Some(epoch),
            ..header(room, &self.key, Lane::Chat, deps, time)
        };
        let mut nonce = [0; 32];
        nonce[..8].copy_from_slice(&nth.to_be_bytes());
        let plain = Chat::Message(text.to_owned()).to_bytes();
        let sealed = secret.seal(room, &header.associated_data(), &plain, &nonce);
        let event = Event::sign(header, sealed, &self.key);
        (self.seq, self.prev) = (self.seq + 1, Some(event.id()));
        event
    }
}

fn header(room: RoomId, key: &DeviceKey, lane: Lane, deps: Vec<EventId>, time: u64) -> Header {
    Header {
        v: VERSION,
        room,
        device: key.id(),
        term: 0,
        lane,
        seq: 0,
        prev: None,
        deps,
        time: Hlc::from_millis(time),
        epoch: None,
        body_len: 0,
        body_hash: Bytes32([0; 32]),
    }
}
