//! Ayni as a library: one running node, with rooms, direct messages and services between people's
//! own machines, and no server.
//!
//! ```no_run
//! # async fn run() -> Result<(), ayni::Error> {
//! use ayni::{Network, Node};
//!
//! let node = Node::builder().data("/tmp/ayni-doc").network(Network::Loopback).start().await?;
//! let room = node.create_room("family").await?;
//! let ticket = node.invite(room.room, ayni::InviteOptions::default()).await?;
//! println!("send this to the others: {ticket}");
//! node.say(room.room, "hello").await?;
//! node.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! The protocol itself is in `ayni-core`, free of IO. This crate adds what touches the machine: the
//! SQLite store, iroh's QUIC endpoint, gossip, discovery and the tasks between them.
//! `ARCHITECTURE.md` in the repository is the map.

#[doc(hidden)]
pub mod bench;
mod builder;
mod content;
mod data;
mod discovery;
mod dispatch;
mod error;
mod event;
mod find;
mod inner;
mod model;
mod name;
mod node;
mod rooms;
pub mod service;
mod services;
mod start;
mod status;
mod store;
mod transport;

pub use ayni_core::attachment::{Attachment, Picture};
pub use ayni_core::file_name::deceives;
pub use ayni_core::id::{AccountId, BlobId, EventId, InviteKey, PeerId, RoomId};
pub use ayni_core::limits;
pub use ayni_core::room::{History, Role, Setting, UnknownRole};
pub use ayni_core::ticket::Ticket;
pub use builder::{Builder, Network, data_folder};
pub use content::model::*;
pub use content::{ContentReader, Existing, Fetching, Replication, Target};
pub use error::{Error, ErrorKind, Result};
pub use event::{Event, EventStream};
pub use model::*;
pub use node::{Node, Who};
