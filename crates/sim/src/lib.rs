//! Ayni's core on a virtual network: many peers in one thread, in virtual time, from a seed.
//!
//! Purpose: to show that peers converge whatever the network does, and to find the seed for which
//! they do not. [`scenarios::SCENARIOS`] says what is simulated, [`verdict::run`] runs one and judges
//! it. `cargo xtask sim` runs many seeds.
//!
//! Invariant: a run follows from its scenario and its seed, on every machine. So there is no clock,
//! no thread and no hash map here, and all chance comes from [`dice::Dice`].
//!
//! Non-goals: QUIC, gossip trees, databases. The driver of a peer ([`peer::Peer`]) is a model of the
//! one in crate `ayni`, with the same duties.

pub mod dice;
pub mod liar;
pub mod network;
pub mod peer;
pub mod plan;
pub mod scenarios;
pub mod store;
pub mod verdict;
pub mod world;
