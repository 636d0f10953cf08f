//! Copies among thousands of devices, each of which decides alone: enough are made, few too many, evenly;
//! and whoever drops theirs at the same moment, one is left.

use std::collections::{BTreeMap, BTreeSet};

use ayni_core::id::{BlobId, PeerId};
use ayni_core::swarm::{COPIES, Copies};
use proptest::prelude::*;

fn device(n: usize) -> PeerId {
    PeerId(*blake3::hash(&n.to_be_bytes()).as_bytes())
}

fn content(n: u64) -> BlobId {
    BlobId(*blake3::hash(&n.to_be_bytes()).as_bytes())
}

/// What a device sees of the others that it is connected with.
fn seen(me: PeerId, connected: &[PeerId], holders: &BTreeSet<PeerId>) -> Vec<(PeerId, bool)> {
    let others = connected.iter().filter(|other| **other != me);
    others.map(|other| (*other, holders.contains(other))).collect()
}

/// Rounds until nobody feels called any more; each round all decide by what they saw before it. Returns
/// who has a copy then.
fn replicate(
    blob: BlobId,
    connected: &BTreeMap<PeerId, Vec<PeerId>>,
    agrees: &BTreeSet<PeerId>,
    mut holders: BTreeSet<PeerId>,
    copies: usize,
) -> BTreeSet<PeerId> {
    let mut rounds: BTreeMap<PeerId, u32> = BTreeMap::new();
    for _ in 0..40 {
        let before = holders.clone();
        for me in agrees.iter().filter(|me| !before.contains(me)) {
            let others = seen(*me, &connected[me], &before);
            let copies_of = Copies { content: blob, me: *me, others: &others };
            let rounds = rounds.entry(*me).or_default();
            if copies_of.calls_me(copies, *rounds) {
                holders.insert(*me);
            }
            *rounds = if copies_of.held() < copies { *rounds + 1 } else { 0 };
        }
    }
    holders
}

fn all_connected(devices: &[PeerId]) -> BTreeMap<PeerId, Vec<PeerId>> {
    devices.iter().map(|me| (*me, devices.to_vec())).collect()
}

#[test]
fn thousands_that_all_see_each_other_make_just_as_many_copies_as_lack() {
    let devices: Vec<PeerId> = (0..3000).map(device).collect();
    let sender = devices[17];
    for n in 0..5 {
        let mut called = BTreeSet::from([sender]);
        for me in devices.iter().filter(|me| **me != sender) {
            let others = seen(*me, &devices, &BTreeSet::from([sender]));
            if (Copies { content: content(n), me: *me, others: &others }).calls_me(COPIES, 0) {
                called.insert(*me);
            }
        }
        assert_eq!(called.len(), COPIES, "content {n}");
    }
}

#[test]
fn copies_fall_to_all_alike() {
    let devices: Vec<PeerId> = (0..50).map(device).collect();
    let mut load: BTreeMap<PeerId, u32> = BTreeMap::new();
    for n in 0..2000 {
        for me in &devices {
            let others = seen(*me, &devices, &BTreeSet::new());
            if (Copies { content: content(n), me: *me, others: &others }).calls_me(COPIES, 0) {
                *load.entry(*me).or_default() += 1;
            }
        }
    }
    assert_eq!(load.values().sum::<u32>(), 2000 * 3);
    // 120 each on average, with a spread of about 11.
    let (least, most) = (load.values().min(), load.values().max());
    assert!(load.len() == 50 && least > Some(&70) && most < Some(&170), "{least:?} {most:?}");
}

#[test]
fn a_device_that_goes_calls_one_other_and_no_more() {
    let devices: Vec<PeerId> = (0..500).map(device).collect();
    let blob = content(1);
    let connected = all_connected(&devices);
    let all: BTreeSet<PeerId> = devices.iter().copied().collect();
    let sender = BTreeSet::from([devices[0]]);
    let before = replicate(blob, &connected, &all, sender, COPIES);
    assert_eq!(before.len(), COPIES);
    let gone = *before.iter().next().expect("some");
    let left: Vec<PeerId> = devices.iter().filter(|it| **it != gone).copied().collect();
    let holders: BTreeSet<PeerId> = before.iter().filter(|it| **it != gone).copied().collect();
    let agree: BTreeSet<PeerId> = left.iter().copied().collect();
    let after = replicate(blob, &all_connected(&left), &agree, holders.clone(), COPIES);
    assert_eq!((after.len(), after.difference(&holders).count()), (COPIES, 1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// Whoever does not agree, and whoever does not see whom: where enough agree there are enough copies,
    /// as those that are in touch with each other see it.
    #[test]
    fn enough_copies_are_made_though_many_do_not_agree(
        count in 2usize..200,
        refuses in prop::collection::vec(any::<bool>(), 200),
        copies in 1usize..6,
        which in 0u64..1000,
    ) {
        let devices: Vec<PeerId> = (0..count).map(device).collect();
        let agree: BTreeSet<PeerId> = devices
            .iter()
            .zip(&refuses)
            .filter(|(_, refuses)| !**refuses)
            .map(|(device, _)| *device)
            .collect();
        let sender = BTreeSet::from([devices[0]]);
        let possible: BTreeSet<PeerId> = agree.union(&sender).copied().collect();
        let connected = all_connected(&devices);
        let held = replicate(content(which), &connected, &agree, sender, copies);
        prop_assert!(held.len() >= copies.min(possible.len()), "{} of {copies}", held.len());
        // In a round at most twice as many are called as in the one before, of which half may refuse.
        prop_assert!(held.len() <= copies * 4, "{} of {copies}", held.len());
    }

    /// Of those that have a copy any may drop it at the same moment, by what it sees: one is left.
    #[test]
    fn the_last_copy_is_never_dropped(
        count in 1usize..60,
        has in prop::collection::vec(any::<bool>(), 60),
        links in prop::collection::vec(0u8..4, 3600),
        which in 0u64..1000,
    ) {
        let devices: Vec<PeerId> = (0..count).map(device).collect();
        let mut holders: BTreeSet<PeerId> =
            devices.iter().zip(&has).filter(|(_, has)| **has).map(|(it, _)| *it).collect();
        holders.insert(devices[0]);
        for _ in 0..4 {
            let before = holders.clone();
            for (n, me) in devices.iter().enumerate().filter(|(_, me)| before.contains(me)) {
                let connected: Vec<PeerId> = devices
                    .iter()
                    .enumerate()
                    .filter(|(other, _)| links[n.min(*other) * 60 + n.max(*other)] != 0)
                    .map(|(_, it)| *it)
                    .collect();
                let others = seen(*me, &connected, &before);
                let copies = Copies { content: content(which), me: *me, others: &others };
                if copies.lets_me_go() {
                    holders.remove(me);
                }
            }
            prop_assert!(!holders.is_empty());
        }
    }
}
