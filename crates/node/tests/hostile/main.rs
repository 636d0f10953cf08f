//! Hostile peers against real nodes on 127.0.0.1.
//!
//! Each test puts a peer that breaks one rule before a node that talks with another honest one, and
//! asserts that the node refuses or drops it in bounded time, that the honest ones go on talking, and
//! that memory stays flat. The hostile peer is a bare QUIC endpoint, so it can send anything.

mod gossip;
mod greeting;
mod joining;
mod keys;
mod links;
mod members;
mod newer;
mod privacy;
mod sessions;
mod slow;
mod streams;
mod support;
