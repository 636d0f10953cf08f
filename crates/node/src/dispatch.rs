//! What the node does with links and with the streams that peers open on them.

use std::sync::Weak;

use ayni_core::id::{PeerId, RoomId};
use ayni_core::proto::{Hello, Open, Opened, PROTOCOL, ServiceDescriptor, service};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use iroh::endpoint::Connection;

use crate::content;
use crate::event::Event;
use crate::inner::Inner;
use crate::rooms::{contact, farewell, invite, keys, look, sync};
use crate::service::Caller;
use crate::services::{builtin, serve};
use crate::transport::links::Handler;
use crate::transport::{Link, Stream};

/// The node, as its links see it. Weak: links end with the node, not the other way round.
pub(crate) struct Dispatch(pub(crate) Weak<Inner>);

impl Handler for Dispatch {
    fn hello(&self, peer: &PeerId) -> Hello {
        self.0.upgrade().map_or_else(
            || Hello { protocol: PROTOCOL, instance: 0, offers: vec![], asks: vec![] },
            |inner| inner.hello(peer),
        )
    }

    fn up(&self, link: Link) {
        let Some(inner) = self.0.upgrade() else { return };
        inner.tell(Event::PeerUp(link.peer()));
        inner.mesh.connected(link.peer());
        let task = inner.clone().greet(link);
        inner.tasks.spawn(inner.cancel.clone().run_until_cancelled_owned(task));
    }

    fn down(&self, link: Link) {
        let Some(inner) = self.0.upgrade() else { return };
        inner.tell(Event::PeerDown(link.peer()));
        inner.mesh.poke();
    }

    fn keeps(&self, peer: &PeerId) -> bool {
        let Some(inner) = self.0.upgrade() else { return false };
        inner.rooms().iter().any(|room| room.is_shared_with(&inner, peer))
    }

    fn content(&self, connection: Connection) -> BoxFuture<'static, ()> {
        let Some(inner) = self.0.upgrade() else { return futures_util::future::ready(()).boxed() };
        content::serve(inner, connection).boxed()
    }

    fn open(&self, link: Link, open: Open, stream: Stream) -> BoxFuture<'static, ()> {
        let Some(inner) = self.0.upgrade() else { return futures_util::future::ready(()).boxed() };
        async move { inner.serve(link, open, stream).await }.boxed()
    }
}

impl Inner {
    /// Returns our hello for a peer: what it may call here.
    pub(crate) fn hello(&self, peer: &PeerId) -> Hello {
        let built_in = service::BUILT_IN.iter().filter(|name| self.offers(name, peer));
        let mut offers: Vec<_> = built_in
            .map(|name| ServiceDescriptor {
                name: (*name).to_owned(),
                stream: *name == service::SYNC,
            })
            .collect();
        offers.extend(
            self.registry
                .offers_to(&self.caller(peer), &|room, peer| self.is_member_of(room, peer)),
        );
        Hello { protocol: PROTOCOL, instance: self.instance, offers, asks: vec![] }
    }

    /// Whether a built-in service is for this peer: those of rooms are for peers that share one.
    fn offers(&self, name: &str, peer: &PeerId) -> bool {
        let of_rooms = matches!(name, service::SYNC | service::KEYS | service::HELD);
        !of_rooms || self.rooms().iter().any(|room| room.is_shared_with(self, peer))
    }

    pub(crate) fn caller(&self, peer: &PeerId) -> Caller {
        Caller { peer: *peer, account: self.account_of(peer) }
    }

    pub(crate) fn is_member_of(&self, room: RoomId, peer: &PeerId) -> bool {
        self.room(&room).is_some_and(|room| room.is_member(peer))
    }

    /// Serves a stream that a peer opened. One refusal for everything that is not for it.
    async fn serve(self: std::sync::Arc<Self>, link: Link, open: Open, mut stream: Stream) {
        let peer = link.peer();
        let room = open.room.and_then(|room| self.room(&room));
        if let Some(room) = room.as_ref().filter(|_| open.service == service::SYNC) {
            if room.is_open_to(&self, &peer) {
                return sync::accept(self, room.clone(), link, stream).await;
            }
            if let Some(shown) = room.farewell(&peer) {
                return farewell::serve(self, room.id(), &shown, stream).await;
            }
        }
        let shared = room.filter(|room| room.is_shared_with(&self, &peer));
        match (open.service.as_str(), shared) {
            (service::PING, _) => builtin::ping(stream).await,
            (service::PROFILE, _) => builtin::profile(stream, &self.profile()).await,
            (service::JOIN, _) => {
                if accept(&mut stream).await {
                    invite::serve(self, link, stream).await;
                }
            }
            (service::LOOK, _) => {
                if accept(&mut stream).await {
                    look::serve(self, link, stream).await;
                }
            }
            (service::CONTACT, _) => {
                if accept(&mut stream).await {
                    contact::serve(self, link, stream).await;
                }
            }
            (service::KEYS, Some(room)) => {
                if accept(&mut stream).await {
                    keys::serve(self, room, peer, stream).await;
                }
            }
            (service::HELD, Some(room)) => {
                if accept(&mut stream).await {
                    content::holders::serve(self, room, stream).await;
                }
            }
            (service::FETCHERS, _) => {
                if accept(&mut stream).await {
                    content::fetchers::serve(self, peer, stream).await;
                }
            }
            (name, _) => self.serve_user(name, &peer, stream).await,
        }
    }

    async fn serve_user(&self, name: &str, peer: &PeerId, mut stream: Stream) {
        let caller = self.caller(peer);
        let members = |room: RoomId, peer: &PeerId| self.is_member_of(room, peer);
        match self.registry.admit(name, &caller, &members) {
            Ok(admitted) => serve(admitted, caller, stream).await,
            Err(refusal) => answer(&mut stream, refusal.opened()).await,
        }
    }
}

pub(crate) async fn accept(stream: &mut Stream) -> bool {
    stream.send.send(&Opened::Accepted).await.is_ok()
}

pub(crate) async fn answer(stream: &mut Stream, opened: Opened) {
    if stream.send.send(&opened).await.is_ok() {
        stream.send.finish();
        stream.recv.stop();
        stream.send.delivered().await;
    }
}
