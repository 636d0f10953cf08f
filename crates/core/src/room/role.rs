//! What a member may do.

use minicbor::{Decode, Encode};

/// The standing of an account in a room, lowest first: each may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Encode, Decode)]
#[cbor(index_only)]
pub enum Role {
    /// Reads.
    #[n(0)]
    Reader,
    /// Writes, and invites where the room lets members invite.
    #[default]
    #[n(1)]
    Member,
    /// Grants up to its own role, removes those below it, sets the room up.
    #[n(2)]
    Admin,
    /// Named by the genesis, or by another founder. Nobody is above those whom the genesis names.
    #[n(3)]
    Founder,
}

impl Role {
    /// Whether it carries authority over others.
    pub fn has_authority(self) -> bool {
        self >= Self::Admin
    }

    /// Returns its name in text, as [`std::str::FromStr`] takes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Member => "member",
            Self::Admin => "admin",
            Self::Founder => "founder",
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        [Self::Reader, Self::Member, Self::Admin, Self::Founder]
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or(UnknownRole)
    }
}

/// No role has this name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a role is reader, member, admin or founder")]
pub struct UnknownRole;
