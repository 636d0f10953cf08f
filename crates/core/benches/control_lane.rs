//! How long the control lane of a large room takes: event by event, in runs as a peer sends them, and
//! from storage. Signatures are checked before, apart.
#![allow(
    missing_docs,
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    reason = "measures, and tells"
)]

#[path = "../tests/kit/mod.rs"]
mod kit;

use std::time::{Duration, Instant};

use ayni_core::room::{Control, Room, Setting};
use kit::START;
use kit::crowd::{Crowd, take_all};

/// 1,000 members of whom 20 become admins, each with a name; 40 removals, 50 epochs, 100 settings.
fn large() -> Crowd {
    let mut crowd = Crowd::new(1000);
    let founder = crowd.founder.clone();
    let people = crowd.people.clone();
    let mut lifts = vec![];
    for admin in &people[..20] {
        crowd.admit(&founder, admin);
        lifts.push(crowd.lift(&founder, None, admin));
        crowd.say_next(admin, &Control::Profile("admin".into()));
    }
    for (nth, person) in people[20..].iter().enumerate() {
        let by = nth % 20;
        crowd.admit(&people[by], person);
        crowd.say_next(person, &Control::Profile(format!("member {nth}")));
        if nth % 20 == 7 {
            crowd.mint(&people[by], u8::try_from(nth / 20).expect("49"));
        }
        if nth % 25 == 3 {
            crowd.remove(&people[by], Some(lifts[by]), person);
        }
    }
    crowd
}

/// Time that this thread had a processor, where the system tells: others may be at work as well.
fn busy(begun: Instant) -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = told.and_then(|text| text.split(' ').next()?.parse().ok());
    nanos.map_or_else(|| begun.elapsed(), Duration::from_nanos)
}

/// Memory of this process, where the system tells.
fn resident_kib() -> usize {
    let told = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    told.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4
}

fn timed<T>(what: &str, events: u32, act: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let before = busy(begun);
    let out = act();
    let took = busy(begun).saturating_sub(before);
    println!(
        "{what}: {:.0} ms, {:.1} µs an event",
        took.as_secs_f64() * 1e3,
        took.as_secs_f64() * 1e6 / f64::from(events)
    );
    out
}

fn main() {
    let crowd = timed("signing", 1, large);
    let count = crowd.events.len();
    println!("{count} events");
    let each = u32::try_from(count).expect("thousands");
    let singles = timed("checking signatures", each, || crowd.singles());
    let mut room = crowd.empty();
    timed("event by event", each, || assert_eq!(take_all(&mut room, &singles), count));
    let runs = crowd.runs();
    let mut other = crowd.empty();
    timed("in runs", each, || assert_eq!(take_all(&mut other, &runs), count));
    let mut again = crowd.empty();
    timed("from storage", each, || again.restore_control(crowd.events.clone()));
    assert!(room.members() == other.members() && room.members() == again.members());
    println!("{} members", room.members().current().count());
    timed("a copy", 1, || drop(room.clone()));
    let before = resident_kib();
    let copies: Vec<Room> = (0..10).map(|_| room.clone()).collect();
    println!("{} KiB in memory each", resident_kib().saturating_sub(before) / copies.len());
    let permitted = |room: &Room| {
        let epochs = room.members().epochs().map(|(id, _)| *id);
        epochs.filter(|id| room.members().permits(id)).count()
    };
    timed("which epochs are permitted, first", 50, || permitted(&room));
    timed("which epochs are permitted, again", 50, || permitted(&room));
    let founder = crowd.founder.clone();
    let mut mine = Room::new(room.id(), founder.id());
    mine.restore_control(crowd.events.clone());
    let whom = crowd.people[900].account();
    timed("a removal", 1, || drop(mine.author_remove(&founder.key, whom, START).expect("may")));
    let name = Setting::Name("large".into());
    timed("a setting", 1, || drop(mine.author_setting(&founder.key, &name, START).expect("may")));
}
