//! Synchronisation of one room between two peers, over one open stream.
//!
//! Both sides do the same. Each says a hash of its state; only where they differ it announces what
//! it holds ([`frame::SyncFrame::Have`]), and from then on only what is new. Whoever lacks something
//! that the other announced asks for ranges of it ([`frame::SyncFrame::Want`]), at most a few
//! thousand events at a time, and receives them as runs. So the receiver decides its own pace, asks
//! no two peers for the same range ([`Claims`]), and takes the control lane first, then the newest
//! messages, then the rest from the newest backwards.
//!
//! [`Session`] is the machine: it sees frontiers and frames, never events' contents, and does no IO.
//! Who drives it reads and writes the store ([`Output::Serve`], [`Output::Receive`]).

mod claims;
pub mod frame;
mod session;

pub use claims::{Claims, SessionId};
pub use session::{Input, Output, Session, StateHash, View, Violation};
