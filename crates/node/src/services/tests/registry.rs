//! Who may call what, without a network.

use ayni_core::id::AccountId;
use ayni_core::proto::ServiceDescriptor;

use super::super::registry::{MAX_CONCURRENCY, MAX_PROVIDED, MAX_TIMEOUT};
use super::*;
use crate::error::ErrorKind;

fn caller(n: u8) -> Caller {
    Caller { peer: PeerId([n; 32]), account: Some(AccountId([n + 100; 32])) }
}

/// The members of [`ROOM`] are callers 1 and 2.
fn members(room: RoomId, peer: &PeerId) -> bool {
    room == ROOM && peer.0[0] <= 2
}

fn may_call(registry: &Registry, name: &str) -> Vec<u8> {
    (1..=4).filter(|n| registry.admit(name, &caller(*n), &members).is_ok()).collect()
}

#[tokio::test]
async fn a_service_is_callable_by_nobody_unless_allowed() {
    let registry = Registry::default();
    let cases: [(&str, Vec<Allow>, Vec<u8>); 5] = [
        ("nobody", vec![], vec![]),
        ("peer", vec![Allow::Peer(PeerId([3; 32]))], vec![3]),
        ("account", vec![Allow::Account(AccountId([104; 32]))], vec![4]),
        ("room", vec![Allow::Room(ROOM), Allow::Room(RoomId([8; 32]))], vec![1, 2]),
        ("anyone", vec![Allow::Anyone], vec![1, 2, 3, 4]),
    ];
    let mut provided = vec![];
    for (name, allow, _) in &cases {
        let offer = Offer { allow: allow.clone(), ..echo(name) };
        provided.push(registry.provide(offer).expect("provided"));
    }
    for (name, _, expected) in &cases {
        assert_eq!(&may_call(&registry, &format!("{name}/1")), expected, "{name}");
    }
    // What a hello lists is what may be called.
    let offered = |n| {
        let offers = registry.offers_to(&caller(n), &members);
        offers.into_iter().map(|offer| offer.name).collect::<Vec<_>>()
    };
    assert_eq!(offered(1), ["anyone/1", "room/1"]);
    assert_eq!(offered(3), ["anyone/1", "peer/1"]);
    let unknown = Caller { peer: PeerId([9; 32]), account: None };
    let anyone = ServiceDescriptor { name: "anyone/1".into(), stream: false };
    assert_eq!(registry.offers_to(&unknown, &members), [anyone]);
    assert_eq!(registry.list().len(), 5);
}

#[tokio::test]
async fn what_cannot_be_provided_is_refused_with_a_sentence() {
    let registry = Registry::default();
    let tcp = |target: &str| offer_of("web", Provider::Tcp(target.into()));
    let limited = |limits: ServiceLimits| Offer { limits, ..echo("x") };
    let standard = ServiceLimits::default();
    let _taken = registry.provide(echo("taken")).expect("provided");
    let cases = [
        (echo("Not A Name"), ErrorKind::Invalid),
        (echo("x/01"), ErrorKind::Invalid),
        (echo("ping"), ErrorKind::Denied),
        (echo("sync/1"), ErrorKind::Denied),
        (echo("taken/1"), ErrorKind::Denied),
        (tcp("localhost"), ErrorKind::Invalid),
        (tcp(":80"), ErrorKind::Invalid),
        (tcp("localhost:0"), ErrorKind::Invalid),
        (tcp("localhost:65536"), ErrorKind::Invalid),
        (limited(ServiceLimits { concurrency: 0, ..standard }), ErrorKind::Invalid),
        (
            limited(ServiceLimits { concurrency: MAX_CONCURRENCY + 1, ..standard }),
            ErrorKind::Invalid,
        ),
        (limited(ServiceLimits { timeout: Duration::ZERO, ..standard }), ErrorKind::Invalid),
        (limited(ServiceLimits { timeout: MAX_TIMEOUT * 2, ..standard }), ErrorKind::Invalid),
    ];
    for (offer, kind) in cases {
        let name = offer.name.clone();
        let error = registry.provide(offer).expect_err("refused");
        assert_eq!(error.kind(), kind, "{name}: {error}");
        assert!(!error.to_string().contains('\n'));
    }
    let _other_version = registry.provide(echo("taken/2")).expect("another service");
    let _ipv6 = registry.provide(tcp("[::1]:80")).expect("an address");
}

#[tokio::test]
async fn a_hello_can_always_list_what_is_provided() {
    let registry = Registry::default();
    let provide = |n: usize| registry.provide(echo(&format!("service-{n}")));
    let mut provided: Vec<_> = (0..MAX_PROVIDED).map(|n| provide(n).expect("provided")).collect();
    assert_eq!(provide(MAX_PROVIDED).expect_err("one too many").kind(), ErrorKind::Denied);
    let builtin =
        proto::service::BUILT_IN.map(|name| ServiceDescriptor { name: name.into(), stream: false });
    let offers = [builtin.to_vec(), registry.offers_to(&caller(1), &members)].concat();
    assert_eq!(hello_of(offers).check(), Ok(()));
    drop(provided.pop());
    let _again = provide(MAX_PROVIDED).expect("there is room again");
}

#[tokio::test]
async fn withdrawing_takes_effect_at_once_and_is_told() {
    let registry = Registry::default();
    let mut changed = registry.changed();
    let provided = registry.provide(echo("x")).expect("provided");
    soon(changed.changed()).await.expect("open");
    drop(provided);
    // Before any task had a chance to run.
    assert!(may_call(&registry, "x/1").is_empty());
    assert!(registry.list().is_empty());
    let _successor = registry.provide(echo("x")).expect("the name is free");
    changed.mark_unchanged();
    soon(changed.changed()).await.expect("open");
    // The withdrawal of the first left the second alone.
    assert_eq!(may_call(&registry, "x/1"), [1, 2, 3, 4]);
}

#[tokio::test]
async fn hazard_23_a_flood_from_one_caller_leaves_calls_for_others() {
    let registry = Registry::default();
    let limits = ServiceLimits { concurrency: 8, ..ServiceLimits::default() };
    let _provided = registry.provide(Offer { limits, ..echo("x") }).expect("provided");
    let admit = |n| registry.admit("x/1", &caller(n), &members);
    let mut calls: Vec<_> = (0..6).map(|_| admit(1).expect("admitted")).collect();
    assert_eq!(admit(1).expect_err("its share"), Refusal::Busy);
    calls.extend((0..2).map(|_| admit(2).expect("admitted")));
    assert_eq!(admit(2).expect_err("all of them"), Refusal::Busy);
    assert_eq!(admit(3).expect_err("all of them"), Refusal::Busy);
    drop(calls);
    assert_eq!(may_call(&registry, "x/1"), [1, 2, 3, 4]);
}

#[tokio::test]
async fn only_who_may_call_learns_that_a_service_is_busy() {
    let registry = Registry::default();
    let limits = ServiceLimits { concurrency: 1, ..ServiceLimits::default() };
    let allow = vec![Allow::Peer(PeerId([1; 32]))];
    let _provided = registry.provide(Offer { allow, limits, ..echo("x") }).expect("provided");
    let _running = registry.admit("x/1", &caller(1), &members).expect("admitted");
    assert_eq!(registry.admit("x/1", &caller(1), &members).expect_err("busy"), Refusal::Busy);
    assert_eq!(registry.admit("x/1", &caller(2), &members).expect_err("no"), Refusal::Refused);
    assert_eq!(registry.admit("y/1", &caller(1), &members).expect_err("no"), Refusal::Refused);
}
