//! Services: what a node provides to others, and how it calls theirs (DESIGN.md 3).
//!
//! A call is one bidirectional stream. After `Open` and `Opened` it carries either *one request and
//! one reply* (raw request bytes up to the end of the stream; back comes one
//! [`ayni_core::proto::ReplyHead`] frame and, after `Done`, the raw reply up to the end), or, for a
//! TCP service, *bytes both ways*, each direction ending by itself.
//!
//! Invariants: everything from the other side is bounded in size and in time; who may not call a
//! service hears the same as for one that does not exist; the proper end of a stream is only ever
//! sent after everything before it ([`outgoing::Outgoing`]), so that nothing cut short looks whole.
//!
//! Not here: who connects to whom (`transport/`), rooms and their own services (`rooms/`).

pub(crate) mod builtin;
pub(crate) mod call;
pub(crate) mod forward;
mod outgoing;
mod pipe;
pub(crate) mod registry;
mod reply;
pub(crate) mod serve;
#[cfg(test)]
mod tests;
mod text;

pub(crate) use call::{CallLimits, is_offered_stream, open_stream, request};
pub(crate) use forward::forward;
pub(crate) use registry::Registry;
pub(crate) use serve::serve;
