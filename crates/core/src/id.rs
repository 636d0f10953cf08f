//! Identifiers: one newtype for every kind of id, shown as lowercase hexadecimal.
//!
//! Invariant: an id is 32 bytes and says nothing about the validity of what it names; who needs a
//! usable public key turns it into one with [`crate::keys::PublicKey`].

use std::fmt;
use std::str::FromStr;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use minicbor::{Decode, Decoder, Encode, Encoder};

/// Bytes in every id.
pub const ID_LEN: usize = 32;

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an id: expected 64 hexadecimal digits")]
pub struct ParseIdError;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; ID_LEN]);

        impl $name {
            /// Returns the 32 bytes.
            pub const fn as_bytes(&self) -> &[u8; ID_LEN] {
                &self.0
            }

            /// Returns the first eight hexadecimal digits, for people and logs.
            pub fn short(&self) -> String {
                HEXLOWER.encode(&self.0).chars().take(8).collect()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&HEXLOWER.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.short())
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;
            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map_err(|_| ParseIdError)?;
                bytes.as_slice().try_into().map(Self).map_err(|_| ParseIdError)
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = ParseIdError;
            fn try_from(bytes: &[u8]) -> Result<Self, ParseIdError> {
                bytes.try_into().map(Self).map_err(|_| ParseIdError)
            }
        }

        impl<C> Encode<C> for $name {
            fn encode<W: minicbor::encode::Write>(
                &self,
                e: &mut Encoder<W>,
                _: &mut C,
            ) -> Result<(), minicbor::encode::Error<W::Error>> {
                e.bytes(&self.0)?.ok()
            }
        }

        impl<'b, C> Decode<'b, C> for $name {
            fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
                let bytes = d.bytes()?;
                bytes.try_into().map(Self).map_err(|_| {
                    minicbor::decode::Error::message("an id is 32 bytes").at(d.position())
                })
            }
        }
    )*};
}

ids! {
    /// A device: its Ed25519 public key, which is also its iroh endpoint id.
    PeerId;
    /// An account: the Ed25519 public key of the root that certifies devices.
    AccountId;
    /// A room: the hash of its genesis.
    RoomId;
    /// An event: the hash of its header.
    EventId;
    /// A generation of a room's key. Never a time.
    EpochId;
    /// An invite: the Ed25519 public key whose seed travels in the ticket.
    InviteKey;
    /// Content: the BLAKE3 hash of its bytes, or of the list of a folder's files.
    BlobId;
    /// A gossip scope, derived from an epoch's secret.
    TopicId;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips_and_accepts_upper_case() {
        let id = PeerId([0xab; 32]);
        assert_eq!(id.to_string().parse::<PeerId>(), Ok(id));
        assert_eq!(id.to_string().to_uppercase().parse::<PeerId>(), Ok(id));
        assert_eq!(id.short(), "abababab");
    }

    #[test]
    fn wrong_lengths_are_refused() {
        assert!("ab".parse::<RoomId>().is_err());
        assert!("zz".repeat(32).parse::<RoomId>().is_err());
        let mut short = Vec::new();
        minicbor::encode(minicbor::bytes::ByteVec::from(vec![0u8; 31]), &mut short).expect("vec");
        assert!(minicbor::decode::<RoomId>(&short).is_err());
    }
}
