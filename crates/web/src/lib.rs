//! Ayni's local API: the only crate that knows HTTP.
//!
//! Purpose: a running node serves its own commands and its page over `http://127.0.0.1:PORT`, and the
//! command line is a client of that API like any other program, so that one code path does the work.
//!
//! - [`api`]: the JSON shapes, with the conversion from the node's values at this one boundary.
//! - [`server`]: the routes, behind exact `Host` and `Origin` checks and a bearer token.
//! - [`client`]: the typed client.
//! - [`Local`]: a node and its API inside this process, for commands that find none running.
//!
//! Invariant: no request reaches a route before its `Host`, its `Origin` and its token were checked.
//! Non-goals: remote access (the API listens on 127.0.0.1 only), cookies, cross-origin use.

pub mod api;
pub mod client;
mod frame;
mod local;
pub mod server;

pub use client::{Client, ClientError};
pub use local::Local;
pub use server::{ServeOptions, Server, serve};
