//! A history of many hands, delivered in any order, is one room.
//!
//! The history is grown from a script of small steps by replicas that hear of one another only now
//! and then, so that it has concurrent names, invites, admissions, leavings and epochs.

mod kit;

use ayni_core::epoch::EpochSecret;
use ayni_core::event::Event;
use ayni_core::id::PeerId;
use ayni_core::keys::InviteSecret;
use ayni_core::room::{Control, Role, Room, Setting};
use kit::{Person, START, admission, deliver, invite, room_name};
use proptest::prelude::*;

/// One step: who does what, and with whom it speaks before.
#[derive(Debug, Clone, Copy)]
struct Step {
    who: usize,
    hears: usize,
    what: u8,
}

/// Two accounts on two devices each, and four on one.
fn people() -> Vec<Person> {
    let devices = [(1, 1), (2, 2), (2, 12), (3, 3), (3, 13), (4, 4), (5, 5), (6, 6)];
    devices.into_iter().map(|(account, device)| Person::device(account, device)).collect()
}

struct History {
    people: Vec<Person>,
    replicas: Vec<Room>,
    invites: Vec<InviteSecret>,
    events: Vec<Event>,
}

impl History {
    fn grow(script: &[Step]) -> Self {
        let people = people();
        let (founded, events) = people[0].found();
        let replicas = people
            .iter()
            .map(|person| {
                let mut room = Room::new(founded.id(), person.id());
                for (_, secret) in founded.secrets() {
                    room.learn_secret(secret.clone());
                }
                deliver(&mut room, &events);
                room
            })
            .collect();
        let mut history = Self { people, replicas, invites: vec![], events };
        for (at, step) in script.iter().enumerate() {
            history.step(*step, START + at as u64);
        }
        history
    }

    fn step(&mut self, step: Step, now: u64) {
        let heard = self.replicas[step.hears % self.people.len()].clone();
        let who = step.who % self.people.len();
        let (person, room) = (self.people[who].clone(), &mut self.replicas[who]);
        // What the other holds, and nothing else, becomes known.
        let known: Vec<_> =
            self.events.iter().filter(|event| holds(&heard, event)).cloned().collect();
        deliver(room, &known);
        let seed = u8::try_from(now % 200).expect("small");
        let other = self.people[usize::from(step.what / 13) % self.people.len()].account();
        let said = match step.what % 13 {
            0 => room.author_control(&person.key, &room_name(&format!("room {now}")), now),
            1 => room.author_control(&person.key, &Control::Profile(format!("name {now}")), now),
            2 => {
                let (secret, control) = invite(seed);
                self.invites.push(secret);
                room.author_control(&person.key, &control, now)
            }
            3 | 4 => {
                let newcomer = &self.people[usize::from(step.what / 13) % self.people.len()];
                let standing = self.invites.iter().rev();
                let mut standing = standing.filter(|it| room.members().invite(&it.key()).is_some());
                let Some(invite) = standing.next() else { return };
                let claim = newcomer.claim(room, invite, person.id());
                let term = room.members().next_term(&newcomer.account());
                room.author_control(&person.key, &admission(claim, term), now)
            }
            5 => room.author_epoch(&person.key, EpochSecret::new([seed; 32]), now),
            6 if step.what > 200 => room.author_leave(&person.key, now),
            7 => room.author_role(&person.key, other, Role::Admin, now),
            8 => room.author_role(&person.key, other, Role::Reader, now),
            9 | 10 => room.author_remove(&person.key, other, now),
            11 => {
                let Some(invite) = self.invites.last() else { return };
                room.author_revoke(&person.key, invite.key(), now)
            }
            12 => room.author_setting(&person.key, &Setting::Topic(format!("topic {now}")), now),
            _ => {
                let chat = ayni_core::chat::Chat::Message(format!("words {now}"));
                room.author_chat(&person.key, &chat, now, &[seed; 32])
            }
        };
        if let Ok(accepted) = said {
            self.events.extend(accepted.events);
        }
    }
}

fn holds(room: &Room, event: &Event) -> bool {
    room.frontier().contains(&event.log(), event.seq())
}

fn script() -> impl Strategy<Value = Vec<Step>> {
    let step = (0usize..8, 0usize..8, any::<u8>());
    // The first devices come in early, so that there is someone to act.
    let early = [(0, 0, 2), (0, 0, 16), (0, 0, 29), (0, 0, 42), (0, 0, 55), (0, 0, 68), (0, 0, 20)];
    proptest::collection::vec(step, 0..60).prop_map(move |rest| {
        let all = early.into_iter().chain(rest);
        all.map(|(who, hears, what)| Step { who, hears, what }).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]
    #[test]
    fn hazard_21_every_order_of_arrival_gives_the_same_room(
        script in script(), seed in any::<u64>(),
    ) {
        let history = History::grow(&script);
        let observer = PeerId([9; 32]);
        let id = history.replicas[0].id();
        let mut in_order = Room::new(id, observer);
        deliver(&mut in_order, &history.events);
        deliver(&mut in_order, &history.events);

        let mut shuffled = history.events.clone();
        shuffle(&mut shuffled, seed);
        let mut at_random = Room::new(id, observer);
        deliver(&mut at_random, &shuffled);
        deliver(&mut at_random, &shuffled);
        prop_assert_eq!(in_order.state_hash(), at_random.state_hash());
        prop_assert_eq!(in_order.members(), at_random.members());

        // And the replicas that took part agree, once they hear of everything, in any order.
        for mut replica in history.replicas {
            shuffle(&mut shuffled, seed ^ 1);
            deliver(&mut replica, &shuffled);
            // What a later statement made count after all is asked for once more.
            deliver(&mut replica, &shuffled);
            prop_assert_eq!(replica.state_hash(), in_order.state_hash());
            prop_assert_eq!(replica.members(), in_order.members());
        }
    }
}

/// Fisher and Yates, with a small generator of its own.
fn shuffle<T>(items: &mut [T], seed: u64) {
    let mut state = seed | 1;
    for at in (1..items.len()).rev() {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let other = usize::try_from(state >> 33).expect("31 bits") % (at + 1);
        items.swap(at, other);
    }
}
