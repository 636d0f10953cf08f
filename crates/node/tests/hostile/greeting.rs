//! What comes before the first hello, instead of it, and in it.

use ayni_core::limits::MAX_SERVICES;
use ayni_core::proto::{ALPN, Hello, PROTOCOL, ServiceDescriptor};
use futures_util::future::join_all;
use iroh::endpoint::Connection;

use crate::support::raw::{Raw, hello, send};
use crate::support::{Stage, assert_flat, resident, until, within};

/// A list of services as long as one may be.
fn names(count: usize) -> Vec<String> {
    (0..count).map(|nth| format!("{}{nth}/1", "x".repeat(60))).collect()
}

fn framed(hello: &Hello) -> Vec<u8> {
    ayni_core::frame::encode(hello).expect("fits")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_a_hello_ends_the_connection() {
    let stage = Stage::new().await;
    let garbage: Vec<u8> = (0..4096u32).map(|n| (n * 31 % 251) as u8).collect();
    let named = |name: &str| {
        let offers = vec![ServiceDescriptor { name: name.into(), stream: false }];
        framed(&Hello { offers, ..hello(1) })
    };
    let whole = framed(&hello(1));
    let cases = [
        ("garbage", garbage.clone()),
        ("framed garbage", [&16u32.to_be_bytes()[..], &garbage[..16]].concat()),
        ("a length of 4 GiB", vec![0xff; 4]),
        ("too many names", framed(&Hello { asks: names(MAX_SERVICES + 1), ..hello(1) })),
        ("a name with capitals", named("Echo/1")),
        ("a name without a version", named("echo")),
        ("a name too long", named(&format!("{}/1", "x".repeat(65)))),
        ("another protocol", framed(&Hello { protocol: PROTOCOL + 1, ..hello(1) })),
        ("half a hello", whole[..whole.len() / 2].to_vec()),
        ("no frame at all", vec![]),
    ];
    let attempts = cases.into_iter().map(async |(what, bytes)| {
        let raw = Raw::new().await;
        let connection = raw.dial(&stage.a.node).await;
        let mut stream = connection.open_uni().await.expect("opens");
        let _ = stream.write_all(&bytes).await;
        let _ = stream.finish();
        within(what, connection.closed()).await;
        assert!(!stage.a.has_link(raw.id()), "{what}");
    });
    join_all(attempts).await;
    stage.talks().await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hazard_23_updates_of_hellos_do_not_pile_up() {
    let stage = Stage::new().await;
    let raw = Raw::new().await;
    let mut link = raw.link(&stage.a.node).await;
    let before = resident();
    let lists = [names(MAX_SERVICES), names(MAX_SERVICES - 1)];
    // Far more than the windows hold; the node takes them at its own pace.
    let flood = async {
        let mut nth = 0;
        loop {
            let update = Hello { asks: lists[nth % 2].clone(), ..hello(1) };
            let frame = framed(&update);
            if link.hello.write_all(&frame).await.is_err() {
                return;
            }
            nth += 1;
        }
    };
    tokio::select! {
        () = flood => {}
        () = async { for _ in 0..5 { stage.talks().await } } => {}
    }
    assert_flat(before);
    // Another instance is another node: not on this connection.
    drop(link);
    let mut link = raw.link_as(&stage.a.node, 2).await;
    send(&mut link.hello, &hello(3)).await;
    within("a changed instance is dropped", link.connection.closed()).await;
    stage.talks().await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hazard_23_many_callers_do_not_shut_others_out() {
    let stage = Stage::new().await;
    let callers = join_all((0..80).map(|_| Raw::with_window(64 * 1024))).await;

    // Each completes QUIC's handshake several times, and says no hello.
    let silent = join_all(callers.iter().map(async |raw| {
        let addr = crate::support::addr(&stage.a.node).await;
        let mut connections = Vec::new();
        for _ in 0..3 {
            connections.extend(raw.endpoint.connect(addr.clone(), ALPN).await.ok());
        }
        connections
    }));
    let silent = within("each is taken or not", silent).await;
    let newcomer = stage.newcomer().await;
    until("of each caller and of all few are left", async || {
        let open = |connection: &&Connection| connection.close_reason().is_none();
        let left: Vec<_> = silent.iter().map(|of_one| of_one.iter().filter(open).count()).collect();
        left.iter().all(|of_one| *of_one <= 1) && left.iter().sum::<usize>() <= 64
    })
    .await;
    drop(silent);

    // Each says hello, and stays.
    let links = join_all(callers.iter().map(|raw| raw.try_link(&stage.a.node)));
    let links = within("each is taken or not", links).await;
    let links: Vec<_> = links.into_iter().flatten().collect();
    until("strangers have few places", async || {
        let kept = links.iter().filter(|link| link.connection.close_reason().is_none()).count();
        kept <= 64
    })
    .await;
    // Members come back all the same, whoever dials, and so do newcomers.
    let b = stage.b.restart().await;
    let stage = Stage { b, ..stage };
    stage.talks().await;
    let another = stage.newcomer().await;
    tokio::join!(newcomer.stop(), another.stop());
    stage.stop().await;
}
