//! By what the bytes of a content came.
//!
//! It is noted with the bytes themselves, so that nothing that happens elsewhere can make it wrong: what
//! came through a room may be given to its members, also while the rest still comes. As soon as something
//! else brings more of the same content, it came by both, and may be given to nobody because of that.

use ayni_core::id::{BlobId, RoomId};

/// By what a content came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Via {
    /// Members of a room gave it.
    Room(RoomId),
    /// It was fetched by a ticket for this root.
    Ticket(BlobId),
    /// Several, or nobody knows.
    Mixed,
}

impl Via {
    /// Bytes that it takes in a file.
    pub(super) const LEN: usize = 33;

    pub(super) fn to_bytes(self) -> [u8; Self::LEN] {
        let (kind, id) = match self {
            Self::Mixed => (0, [0; 32]),
            Self::Room(room) => (1, room.0),
            Self::Ticket(root) => (2, root.0),
        };
        let mut bytes = [kind; Self::LEN];
        bytes[1..].copy_from_slice(&id);
        bytes
    }

    pub(super) fn of_bytes(bytes: &[u8]) -> Self {
        let Some((kind, Ok(id))) = bytes.split_first().map(|(kind, id)| (kind, id.try_into()))
        else {
            return Self::Mixed;
        };
        match kind {
            1 => Self::Room(RoomId(id)),
            2 => Self::Ticket(BlobId(id)),
            _ => Self::Mixed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_anything_else_is_nobodys() {
        for via in [Via::Mixed, Via::Room(RoomId([7; 32])), Via::Ticket(BlobId([9; 32]))] {
            assert_eq!(Via::of_bytes(&via.to_bytes()), via);
        }
        for bytes in [&[][..], &[1], &[1; 32], &[1; 34], &[3; 33]] {
            assert_eq!(Via::of_bytes(bytes), Via::Mixed);
        }
    }
}
