//! Starting a node: the folder, the store, the rooms, then the network.

use std::sync::{Arc, PoisonError};

use ayni_core::ticket::Ticket;
use iroh_gossip::net::Gossip;

use crate::builder::{Builder, Network, data_folder};
use crate::data::{Config, DataFolder};
use crate::discovery::{lan, mesh, wake};
use crate::dispatch::Dispatch;
use crate::error::{Error, Result};
use crate::inner::{Inner, Parts};
use crate::rooms::{RoomHandle, join};
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
    let keys = folder.keys()?;
    let mut config = folder.config()?;
    let network = match (builder.network, &config.network) {
        (Some(network), _) => network,
        (None, Some(name)) => name.parse().unwrap_or_default(),
        (None, None) => Network::default(),
    };
    let store = Store::open(&folder.database())?;
    let fresh = Config::default();
    if config == fresh || (!builder.offline && config.network.as_deref() != Some(network.name())) {
        if !builder.offline {
            config.network = Some(network.name().to_owned());
        }
        folder.save_config(&config)?;
    }
    Ok(Parts { folder, keys, config, network, store })
}

async fn restore(inner: &Arc<Inner>) -> Result<()> {
    inner.book.restore(inner.store.peers().await?);
    for stored in inner.store.rooms().await? {
        let loaded = inner.store.load_room(stored.room).await?;
        let room = RoomHandle::restore(stored.room, inner.me(), loaded, inner.now());
        inner.add_room(room);
    }
    Ok(())
}

async fn go_online(inner: &Arc<Inner>) -> Result<()> {
    let port = inner.config.lock().unwrap_or_else(PoisonError::into_inner).udp_port;
    let bound = endpoint::bind(inner.network, &inner.keys.device, port).await?;
    keep_port(inner, &bound).await?;
    for known in inner.book.all() {
        bound.learn(&known.addr);
    }
    let gossip = Gossip::builder().spawn(bound.endpoint.clone());
    let handler = Arc::new(Dispatch(Arc::downgrade(inner)));
    let (cancel, tasks) = (inner.cancel.clone(), inner.tasks.clone());
    let links = Links::new(bound.clone(), gossip.clone(), handler, cancel.clone(), tasks);
    inner.go_online(links.clone(), gossip);
    inner.tasks.spawn(links.accept());
    for room in inner.rooms() {
        inner.start_live(&room);
    }
    let stop = || cancel.clone();
    inner.tasks.spawn(stop().run_until_cancelled_owned(mesh::run(inner.clone())));
    inner.tasks.spawn(stop().run_until_cancelled_owned(wake::run(inner.clone())));
    inner.tasks.spawn(stop().run_until_cancelled_owned(announce_services(inner.clone())));
    if let Some(mdns) = bound.mdns {
        inner.tasks.spawn(stop().run_until_cancelled_owned(lan::run(inner.clone(), mdns)));
    }
    resume_joins(inner).await
}

/// Keeps the UDP port, so that addresses others remember stay true.
async fn keep_port(inner: &Arc<Inner>, bound: &Bound) -> Result<()> {
    let port = bound.endpoint.bound_sockets().first().map(std::net::SocketAddr::port);
    let changed = {
        let mut config = inner.config.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = config.udp_port != port;
        config.udp_port = port;
        changed.then(|| config.clone())
    };
    let Some(config) = changed else { return Ok(()) };
    let inner = inner.clone();
    blocking(move || inner.folder.save_config(&config)).await
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

/// Tells connected peers when the services that they may call change.
async fn announce_services(inner: Arc<Inner>) {
    let mut changed = inner.registry.changed();
    while changed.changed().await.is_ok() {
        for link in inner.links().map(Links::all).unwrap_or_default() {
            let hello = inner.hello(&link.peer());
            // One task a peer: a slow one holds up no other.
            inner.tasks.spawn(async move {
                let _ = link.send_hello(&hello).await;
            });
        }
    }
}
