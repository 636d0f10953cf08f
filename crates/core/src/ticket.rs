//! Tickets: everything a newcomer needs to join a room, as one line of text.
//!
//! Shape: `ayni` ‖ base32 (RFC 4648, lowercase, no padding) of `version: u8 ‖ body ‖ checksum: 4`,
//! where `body` is the canonical CBOR of [`Ticket`] and the checksum is the start of its BLAKE3
//! hash, so that a mistyped or cut ticket is told from an expired one. Pinned by a golden vector.
//!
//! A ticket is a secret: who has it can join until it expires, is used up or is revoked.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use data_encoding::{BASE32_NOPAD, Specification};
use minicbor::{Decode, Encode};

use crate::id::{PeerId, RoomId};
use crate::keys::{Bytes32, InviteSecret, context, derive};
use crate::limits::{MAX_DIRECT_ADDRS, MAX_PEER_ADDRS, MAX_RELAY_URL, MAX_TICKET_TEXT};
use crate::wire;

/// What every ticket starts with.
pub const PREFIX: &str = "ayni";
/// The version written, and the only one read.
pub const VERSION: u8 = 1;
const CHECKSUM_LEN: usize = 4;

/// Where a peer can be reached.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct PeerAddr {
    /// The peer.
    #[n(0)]
    pub peer: PeerId,
    /// UDP addresses, the likeliest first.
    #[n(1)]
    pub direct: Vec<Addr>,
    /// Relay URLs.
    #[n(2)]
    pub relays: Vec<String>,
}

impl PeerAddr {
    /// Returns the socket addresses.
    pub fn sockets(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.direct.iter().map(|addr| addr.0)
    }

    /// Whether it keeps to the limits of [`crate::limits`].
    pub fn is_within_limits(&self) -> bool {
        self.direct.len() <= MAX_DIRECT_ADDRS
            && self.relays.len() <= 2
            && self.relays.iter().all(|url| url.len() <= MAX_RELAY_URL)
    }
}

/// A socket address on the wire: 6 bytes (IPv4) or 18 (IPv6), port last, big-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Addr(pub SocketAddr);

impl<C> Encode<C> for Addr {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        let mut bytes = match self.0 {
            SocketAddr::V4(addr) => addr.ip().octets().to_vec(),
            SocketAddr::V6(addr) => addr.ip().octets().to_vec(),
        };
        bytes.extend(self.0.port().to_be_bytes());
        e.bytes(&bytes)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Addr {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let bytes = d.bytes()?;
        if let Ok([a, b, c, e, p, q]) = <[u8; 6]>::try_from(bytes) {
            return Ok(Self(SocketAddr::from(([a, b, c, e], u16::from_be_bytes([p, q])))));
        }
        let malformed = || minicbor::decode::Error::message("an address is 6 or 18 bytes");
        let (ip, port) = bytes.split_last_chunk::<2>().ok_or_else(malformed)?;
        let ip: [u8; 16] = ip.try_into().map_err(|_| malformed())?;
        Ok(Self(SocketAddr::from((ip, u16::from_be_bytes(*port)))))
    }
}

/// An invitation to one room.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Ticket {
    /// The room.
    #[n(0)]
    pub room: RoomId,
    /// Seed of the invite's Ed25519 key.
    #[n(1)]
    pub seed: Bytes32,
    /// When it expires, Unix milliseconds, so that the holder knows without asking.
    #[n(2)]
    pub expires_ms: u64,
    /// Members who can admit, the inviter first.
    #[n(3)]
    pub members: Vec<PeerAddr>,
}

/// Why a text is not a ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TicketError {
    /// It does not start with `ayni`, or has other characters than a ticket's.
    #[error("this is not a ticket: a ticket starts with \"ayni\" and has letters and digits only")]
    NotATicket,
    /// Its checksum differs.
    #[error("this ticket is damaged: copy it again, whole")]
    Damaged,
    /// Its version is not known here.
    #[error("this ticket is of version {0}, which this ayni does not know: update ayni")]
    UnknownVersion(u8),
}

impl Ticket {
    /// Returns the invite's key.
    pub fn secret(&self) -> InviteSecret {
        InviteSecret::from_seed(&self.seed.0)
    }

    /// Returns the binary form: `version ‖ body ‖ checksum`.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend(wire::encode(self));
        let checksum = checksum(&bytes);
        bytes.extend(checksum);
        bytes
    }

    /// Reads the binary form.
    ///
    /// # Errors
    /// [`TicketError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TicketError> {
        let (signed, sum) =
            bytes.split_last_chunk::<CHECKSUM_LEN>().ok_or(TicketError::NotATicket)?;
        if checksum(signed) != *sum {
            return Err(TicketError::Damaged);
        }
        let (version, body) = signed.split_first().ok_or(TicketError::NotATicket)?;
        if *version != VERSION {
            return Err(TicketError::UnknownVersion(*version));
        }
        let ticket: Self = wire::decode_canonical(body).map_err(|_| TicketError::Damaged)?;
        if ticket.members.len() > MAX_PEER_ADDRS
            || !ticket.members.iter().all(PeerAddr::is_within_limits)
        {
            return Err(TicketError::Damaged);
        }
        Ok(ticket)
    }
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_LEN] {
    let [a, b, c, d, ..] = derive(context::TICKET, &[bytes]);
    [a, b, c, d]
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = BASE32_NOPAD.encode(&self.to_bytes()).to_ascii_lowercase();
        write!(f, "{PREFIX}{text}")
    }
}

impl FromStr for Ticket {
    type Err = TicketError;

    /// Reads a ticket; case and surrounding white space do not matter.
    fn from_str(text: &str) -> Result<Self, TicketError> {
        let text = text.trim();
        if text.len() > MAX_TICKET_TEXT || !text.is_ascii() {
            return Err(TicketError::NotATicket);
        }
        let text = text.to_ascii_lowercase();
        let code = text.strip_prefix(PREFIX).ok_or(TicketError::NotATicket)?;
        let bytes = alphabet()
            .and_then(|base32| base32.decode(code.as_bytes()).ok())
            .ok_or(TicketError::NotATicket)?;
        Self::from_bytes(&bytes)
    }
}

/// Base32 in lower case, without padding. Trailing bits must be zero, so a ticket has one text.
fn alphabet() -> Option<data_encoding::Encoding> {
    let mut specification = Specification::new();
    specification.symbols.push_str("abcdefghijklmnopqrstuvwxyz234567");
    specification.encoding().ok()
}
