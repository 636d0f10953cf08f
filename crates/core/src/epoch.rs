//! Epochs: the generations of a room's key, and what is sealed with them.
//!
//! An epoch's secret never enters a log; the log holds a commitment. From the secret come, by key
//! derivation with separate contexts, the key that seals bodies and the gossip topic.
//!
//! Invariant: every body has a nonce of its own from fresh randomness (24 bytes, so that random
//! choice is safe), also when a cloned device seals two texts at one position.
//!
//! Source: XChaCha20-Poly1305, draft-irtf-cfrg-xchacha-03.

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::Entropy;
use crate::id::{EpochId, RoomId, TopicId};
use crate::keys::{Bytes32, context, derive};

/// Bytes that sealing adds: the nonce in front, the tag behind.
pub const SEAL_OVERHEAD: usize = NONCE_LEN + 16;
const NONCE_LEN: usize = 24;
/// For keys that seal one thing only.
const NO_NONCE: [u8; NONCE_LEN] = [0; NONCE_LEN];

/// The secret of one epoch, 32 bytes. `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct EpochSecret([u8; 32]);

impl std::fmt::Debug for EpochSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EpochSecret")
    }
}

/// Why a sealed body could not be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the sealed body does not open: another key, or altered")]
pub struct OpenError;

impl EpochSecret {
    /// Takes fresh entropy as a new secret, or a secret as it came from a member.
    pub const fn new(secret: Entropy) -> Self {
        Self(secret)
    }

    /// Returns the bytes, to store them or to hand them to an entitled device.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns the commitment that the control log publishes.
    pub fn commitment(&self) -> Bytes32 {
        Bytes32(derive(context::EPOCH_COMMITMENT, &[&self.0]))
    }

    /// Returns the epoch's id in a room.
    pub fn id(&self, room: RoomId) -> EpochId {
        epoch_id(room, &self.commitment())
    }

    /// Returns the gossip topic of this epoch: only who holds the secret finds it.
    pub fn topic(&self, room: RoomId) -> TopicId {
        TopicId(derive(context::EPOCH_TOPIC, &[&self.0, &room.0]))
    }

    /// Seals `plain` with `header` (the event's header up to its body fields) as associated data.
    ///
    /// Shape: nonce of 24 bytes ‖ ciphertext ‖ tag of 16 bytes.
    pub fn seal(&self, room: RoomId, header: &[u8], plain: &[u8], entropy: &Entropy) -> Vec<u8> {
        let mut nonce = [0; NONCE_LEN];
        for (to, from) in nonce.iter_mut().zip(entropy) {
            *to = *from;
        }
        let payload = Payload { msg: plain, aad: header };
        let Ok(sealed) = self.cipher(room).encrypt(&XNonce::from(nonce), payload) else {
            unreachable!("bodies are far below the cipher's limit of 256 GiB")
        };
        [&nonce[..], &sealed].concat()
    }

    /// Opens what [`Self::seal`] made, with the same header.
    ///
    /// # Errors
    /// [`OpenError`]: another key, another header, or altered bytes.
    pub fn open(&self, room: RoomId, header: &[u8], sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
        let (nonce, text) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(OpenError)?;
        let payload = Payload { msg: text, aad: header };
        self.cipher(room).decrypt(&XNonce::from(*nonce), payload).map_err(|_| OpenError)
    }

    /// Seals the secret of an epoch that this one follows: whoever has this one has that one too.
    pub fn wrap(&self, room: RoomId, parent: &Self) -> Vec<u8> {
        let Ok(sealed) =
            self.wrap_cipher(room, parent.id(room)).encrypt(&XNonce::from(NO_NONCE), &parent.0[..])
        else {
            unreachable!("32 bytes are below the cipher's limit")
        };
        sealed
    }

    /// Opens what [`Self::wrap`] made of the secret of the epoch `parent`.
    ///
    /// # Errors
    /// [`OpenError`]: another key, altered bytes, or the secret of another epoch.
    pub fn unwrap(&self, room: RoomId, parent: EpochId, sealed: &[u8]) -> Result<Self, OpenError> {
        let opened = self.wrap_cipher(room, parent).decrypt(&XNonce::from(NO_NONCE), sealed);
        let secret = Self(opened.map_err(|_| OpenError)?.try_into().map_err(|_| OpenError)?);
        if secret.id(room) == parent { Ok(secret) } else { Err(OpenError) }
    }

    /// A key of its own for each pair of epochs: it seals one secret and nothing else.
    fn wrap_cipher(&self, room: RoomId, parent: EpochId) -> XChaCha20Poly1305 {
        let mut key = derive(context::EPOCH_WRAP, &[&self.0, &room.0, &parent.0]);
        let cipher = XChaCha20Poly1305::new(&key.into());
        key.zeroize();
        cipher
    }

    fn cipher(&self, room: RoomId) -> XChaCha20Poly1305 {
        let mut key = derive(context::EPOCH_BODY, &[&self.0, &room.0]);
        let cipher = XChaCha20Poly1305::new(&key.into());
        key.zeroize();
        cipher
    }
}

/// Returns the id of the epoch with this commitment.
pub fn epoch_id(room: RoomId, commitment: &Bytes32) -> EpochId {
    EpochId(derive(context::EPOCH_ID, &[&room.0, &commitment.0]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: RoomId = RoomId([5; 32]);

    #[test]
    fn hazard_18_a_body_opens_with_its_own_header_room_and_key_only() {
        let secret = EpochSecret::new([1; 32]);
        let sealed = secret.seal(ROOM, b"header", b"text", &[7; 32]);
        assert_eq!(sealed.len(), 4 + SEAL_OVERHEAD);
        assert_eq!(secret.open(ROOM, b"header", &sealed), Ok(b"text".to_vec()));
        assert_eq!(secret.open(ROOM, b"other", &sealed), Err(OpenError));
        assert_eq!(secret.open(RoomId([6; 32]), b"header", &sealed), Err(OpenError));
        assert_eq!(EpochSecret::new([2; 32]).open(ROOM, b"header", &sealed), Err(OpenError));
        assert_eq!(secret.open(ROOM, b"header", &sealed[..20]), Err(OpenError));
    }

    #[test]
    fn hazard_3_two_texts_at_one_position_have_different_nonces() {
        let secret = EpochSecret::new([1; 32]);
        let one = secret.seal(ROOM, b"header", b"text", &[7; 32]);
        let two = secret.seal(ROOM, b"header", b"text", &[8; 32]);
        assert_ne!(one[..24], two[..24]);
    }

    #[test]
    fn names_derived_from_a_secret_differ_by_room_and_purpose() {
        let secret = EpochSecret::new([1; 32]);
        let other = RoomId([6; 32]);
        assert_ne!(secret.topic(ROOM), secret.topic(other));
        assert_ne!(secret.id(ROOM), secret.id(other));
        assert_ne!(secret.id(ROOM).0, secret.topic(ROOM).0);
        assert!(!format!("{secret:?}").contains('1'));
    }
}
