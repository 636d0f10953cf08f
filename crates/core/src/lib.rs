//! Ayni's protocol as pure state machines.
//!
//! Purpose: everything two peers must agree on, in a form that a simulator can drive with thousands
//! of peers and that a reader can hold in the head: identities, events, logs, rooms, synchronisation,
//! tickets and the frames of the wire.
//!
//! Invariant: nothing here does IO, reads a clock or asks the operating system for randomness. Time
//! comes in as [`clock::Millis`], scheduling randomness from a generator seeded at construction,
//! secrets and nonces from fresh [`Entropy`] carried in the input. `clippy.toml` forbids the rest.
//!
//! Non-goals: storage, sockets, tasks (crate `ayni`), HTTP (crate `ayni-web`).

pub mod attachment;
pub mod chat;
pub mod clock;
pub mod epoch;
pub mod event;
pub mod file_name;
pub mod frame;
pub mod id;
pub mod keys;
pub mod limits;
pub mod log;
pub mod proto;
pub mod room;
pub mod sealed;
pub mod swarm;
pub mod sync;
pub mod ticket;
pub mod wire;

/// Fresh randomness handed in by the caller, used once for a secret, a nonce or a seed.
///
/// Shape: 32 bytes from the operating system (node) or from a seeded generator (simulator).
pub type Entropy = [u8; 32];
