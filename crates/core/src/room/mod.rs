//! Rooms: replicated conversations, and who belongs to them.
//!
//! [`Genesis`] names a room, [`Control`] is what its control lane says, [`Members`] reduces that to
//! who is who, and [`Room`] is one device's replica: it authors, accepts and summarises events.
//!
//! The rules are in `docs/rooms.md`; `reduce.rs` is the code that follows them.

mod control;
mod epochs;
mod genesis;
mod handover;
mod heard;
mod logs;
mod members;
mod places;
mod reduce;
mod replica;
mod role;
mod statements;

pub use control::{
    Admit, Branches, Cites, Control, Cut, EpochBody, Fork, GenesisBody, Grant, HeaderBytes,
    Introduced, Invite, LogCut, Remove, Revoke, Seat, Set, Setting, SignedHeader, Upgrade, Wrap,
};
pub use epochs::EpochInfo;
pub use genesis::{Genesis, History, Kind, Policies, RULES};
pub use handover::Handover;
pub use logs::{LogState, LogTable, Run};
pub use members::{InviteInfo, MemberInfo, Members, Settings};
pub use replica::{Accepted, AuthorError, Effect, Reject, Room};
pub use role::{Role, UnknownRole};
