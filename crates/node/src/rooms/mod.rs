//! Rooms of a running node: replicas backed by the store, synchronised with peers.
//!
//! Invariants: a replica's lock is held for computation only, never across an await; the order in
//! which events enter the replica is the order in which they enter the store (both under the lock);
//! nothing is announced, sent or shown before it is durable.

pub(crate) mod contact;
pub(crate) mod digest;
pub(crate) mod farewell;
pub(crate) mod forks;
pub(crate) mod govern;
pub(crate) mod handle;
pub(crate) mod invite;
pub(crate) mod join;
pub(crate) mod keys;
pub(crate) mod live;
pub(crate) mod look;
pub(crate) mod messages;
pub(crate) mod pace;
pub(crate) mod serve;
pub(crate) mod standing;
pub(crate) mod sync;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod tip;

pub(crate) use handle::RoomHandle;
