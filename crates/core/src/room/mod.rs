//! Rooms: replicated conversations, and who belongs to them.
//!
//! [`Genesis`] names a room, [`Control`] is what its control lane says, [`Members`] reduces that to
//! who is who, and [`Room`] is one device's replica: it authors, accepts and summarises events.
//!
//! Membership here is the small part of the authority tree: founders, and members whom any member
//! admits by an invite, until they leave. Everything is monotone, so the result does not depend on
//! delivery order.

mod control;
mod epochs;
mod genesis;
mod logs;
mod members;
mod replica;

pub use control::{Admit, Control, Cut, EpochBody, GenesisBody, Invite, LogCut};
pub use epochs::EpochInfo;
pub use genesis::{Genesis, History, Kind, Policies, RULES};
pub use logs::{LogState, LogTable, Run};
pub use members::{InviteInfo, MemberInfo, Members};
pub use replica::{Accepted, AuthorError, Effect, Reject, Room};
