//! Starting a node: the folder, the store, the rooms, then the network.

use std::sync::Arc;
use std::time::Duration;

use ayni_core::ticket::Ticket;
use iroh_gossip::net::Gossip;

use crate::builder::{Builder, Network, data_folder};
use crate::content;
use crate::data::{Config, DataFolder};
use crate::discovery::{lan, mesh, wake};
use crate::dispatch::Dispatch;
use crate::error::{Error, Result};
use crate::inner::{Inner, Parts};
use crate::rooms::{RoomHandle, join, tip};
use crate::store::Store;
use crate::transport::endpoint::{self, Bound};
use crate::transport::links::Links;

/// Runs blocking work off the runtime's workers.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(Error::Closed))
}

/// Starts a node.
pub(crate) async fn start(builder: Builder) -> Result<Arc<Inner>> {
    let offline = builder.offline;
    let parts = blocking(move || open(&builder)).await?;
    let inner = Inner::new(parts)?;
    let result = async {
        restore(&inner).await?;
        if !offline {
            go_online(&inner).await?;
        }
        Ok(())
    }
    .await;
    match result {
        Ok(()) => Ok(inner),
        Err(error) => {
            inner.cancel.cancel();
            inner.store.close().await;
            Err(error)
        }
    }
}

fn open(builder: &Builder) -> Result<Parts> {
    let folder = DataFolder::open(&data_folder(builder.data.as_deref())?)?;
    folder.check_whole()?;
    let keys = folder.keys()?;
    let mut config = folder.config()?;
    let network = match (builder.network, &config.network) {
        (Some(network), _) => network,
        (None, Some(name)) => name.parse().unwrap_or_default(),
        (None, None) => Network::default(),
    };
    let store = Store::open(&folder.database(), !builder.skip_index)?;
    let first = config == Config::default();
    let kept = config.network.as_deref() == Some(network.name());
    if builder.keep_network && !kept {
        config.network = Some(network.name().to_owned());
    }
    if first || builder.keep_network && !kept {
        folder.save_config(&config)?;
    }
    Ok(Parts { folder, keys, config, network, store })
}

async fn restore(inner: &Arc<Inner>) -> Result<()> {
    inner.book.restore(inner.store.peers().await?);
    let joins = inner.store.pending_joins().await?;
    for stored in inner.store.rooms().await? {
        let loaded = inner.store.load_room(stored.room).await?;
        let joining = joins.iter().any(|join| join.room == stored.room);
        if loaded.control.is_empty() && !joining {
            // The node was killed between noting a room and writing its first events: nobody was
            // told of it, and its key is lost.
            continue;
        }
        let room = RoomHandle::restore(stored.room, inner.me(), &loaded, inner.now());
        inner.add_room(&room);
        // Earlier versions kept none of those that came wrapped. Only search lacks them.
        if let Err(error) = room.keep_secrets(inner).await {
            tracing::warn!("secrets of earlier epochs could not be kept: {error}");
        }
    }
    content::restore(inner).await?;
    let place = tip::place_of(&inner.folder.database());
    if inner.config().place != place {
        tip::note_copy(inner, place).await?;
    }
    Ok(())
}

async fn go_online(inner: &Arc<Inner>) -> Result<()> {
    let port = inner.config().udp_port;
    let (bound, heard) = endpoint::bind(inner.network, &inner.keys.device, port).await?;
    keep_port(inner, &bound).await?;
    for known in inner.book.all() {
        bound.learn(&known.addr);
    }
    let gossip = Gossip::builder().spawn(bound.endpoint.clone());
    let handler = Arc::new(Dispatch(Arc::downgrade(inner)));
    let (cancel, tasks) = (inner.cancel.clone(), inner.tasks.clone());
    let links = Links::new(bound.clone(), gossip.clone(), handler, cancel.clone(), tasks);
    inner.go_online(links.clone(), gossip);
    inner.tasks.spawn(links.clone().accept());
    inner.tasks.spawn(cancel.clone().run_until_cancelled_owned(links.reap()));
    for room in inner.rooms() {
        inner.start_live(&room);
    }
    let stop = || cancel.clone();
    inner.tasks.spawn(stop().run_until_cancelled_owned(mesh::run(inner.clone())));
    inner.tasks.spawn(stop().run_until_cancelled_owned(wake::run(inner.clone())));
    inner.tasks.spawn(stop().run_until_cancelled_owned(announce_services(inner.clone())));
    if let Some(heard) = heard {
        inner.tasks.spawn(stop().run_until_cancelled_owned(lan::run(inner.clone(), heard)));
    }
    content::go_online(inner);
    resume_joins(inner).await
}

/// Keeps the UDP port, so that addresses others remember stay true.
async fn keep_port(inner: &Arc<Inner>, bound: &Bound) -> Result<()> {
    let port = bound.endpoint.bound_sockets().first().map(std::net::SocketAddr::port);
    if inner.config().udp_port == port {
        return Ok(());
    }
    inner.change_config(move |config| config.udp_port = port).await
}

async fn resume_joins(inner: &Arc<Inner>) -> Result<()> {
    for pending in inner.store.pending_joins().await? {
        match Ticket::from_bytes(&pending.ticket) {
            Ok(ticket) => drop(join::begin(inner, ticket, false).await?),
            Err(error) => tracing::warn!("a remembered join cannot be read: {error}"),
        }
    }
    Ok(())
}

/// How long reasons to update hellos are gathered: a room's first synchronisation brings many.
const GATHER: Duration = Duration::from_millis(50);

/// Tells connected peers when the services that they may call change: because a service was provided
/// or withdrawn, or because a peer belongs to another room or account now.
async fn announce_services(inner: Arc<Inner>) {
    let mut provided = inner.registry.changed();
    loop {
        tokio::select! {
            changed = provided.changed() => if changed.is_err() { return },
            () = inner.callers_changed.notified() => {}
        }
        tokio::time::sleep(GATHER).await;
        for link in inner.links().map(Links::all).unwrap_or_default() {
            let of_link = inner.clone();
            // One task a peer: a slow one holds up no other.
            let task = async move { link.send_hello(|| of_link.hello(&link.peer())).await };
            inner.tasks.spawn(inner.cancel.clone().run_until_cancelled_owned(task));
        }
    }
}
