//! Epoch secrets on their way to one device: sealed to the key in its certificate, so that they can
//! pass through anyone's hands.
//!
//! Invariants: nothing carries an epoch's secret in the open, not even inside an authenticated
//! connection; what is sealed opens for one device, in one room, from one sender, as one epoch; and
//! what opens is taken only if it is that epoch's secret, which its commitment in the control lane
//! proves. So no sender needs to be believed, and the mode without a sender's key suffices.
//!
//! Non-goal: who may have which secret ([`crate::room::Handover`]).
//!
//! Source: HPKE, RFC 9180, base mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305.

use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, HpkeError, Kem, OpModeR, OpModeS, Serializable};
use minicbor::{Decode, Encode};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use zeroize::Zeroize;

use crate::Entropy;
use crate::epoch::EpochSecret;
use crate::id::{EpochId, PeerId, RoomId};
use crate::keys::{Bytes32, DeviceClaim, DeviceKey, context, derive};

/// A secret of 32 bytes and the cipher's tag.
const SEALED_LEN: usize = 32 + 16;

type Private = <X25519HkdfSha256 as Kem>::PrivateKey;
type Public = <X25519HkdfSha256 as Kem>::PublicKey;
type Encapped = <X25519HkdfSha256 as Kem>::EncappedKey;

/// Why a secret cannot be sealed for a device, or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealedError {
    /// A public key, the device's or the one sent along, is of small order: anyone could open it.
    #[error("weak public key: nothing is sealed with it")]
    WeakKey,
    /// It was sealed for another device, room, epoch or sender, or altered.
    #[error("the sealed key does not open: for someone else, or altered")]
    Closed,
    /// It opens, and is not the secret of the epoch that it is said to be of.
    #[error("the sealed key is not that of the epoch it names")]
    OtherEpoch,
}

/// One epoch's secret, sealed for one device.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SealedEpoch {
    /// The epoch.
    #[n(0)]
    pub epoch: EpochId,
    /// The public key made for this sealing alone.
    #[n(1)]
    pub enc: Bytes32,
    /// The secret and the tag.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub sealed: [u8; SEALED_LEN],
}

impl std::fmt::Debug for SealedEpoch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SealedEpoch({})", self.epoch.short())
    }
}

impl SealedEpoch {
    /// Opens what `from` sealed for the device of `key`.
    ///
    /// # Errors
    /// [`SealedError`].
    pub fn open(
        &self,
        room: RoomId,
        from: PeerId,
        key: &DeviceKey,
    ) -> Result<EpochSecret, SealedError> {
        let info = info(room, self.epoch, from, key.id());
        let private = Private::from_bytes(key.hpke_secret()).map_err(|_| SealedError::WeakKey)?;
        let enc = Encapped::from_bytes(&self.enc.0).map_err(|_| SealedError::WeakKey)?;
        let opened = hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
            &OpModeR::Base,
            &private,
            &enc,
            &info,
            &self.sealed,
            &[],
        );
        let mut plain = opened.map_err(|error| match error {
            HpkeError::DecapError => SealedError::WeakKey,
            _ => SealedError::Closed,
        })?;
        let secret = plain.as_slice().try_into().map(EpochSecret::new);
        plain.zeroize();
        let secret = secret.map_err(|_| SealedError::Closed)?;
        if secret.id(room) == self.epoch { Ok(secret) } else { Err(SealedError::OtherEpoch) }
    }
}

/// Seals secrets of a room's epochs for other devices. `Debug` shows nothing of its randomness.
pub struct Sealer {
    room: RoomId,
    from: PeerId,
    random: ChaCha20Rng,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sealer({})", self.room.short())
    }
}

impl Sealer {
    /// Begins with fresh `entropy`, from which the key of each sealing comes; `from` is this device.
    pub fn new(room: RoomId, from: PeerId, entropy: Entropy) -> Self {
        Self { room, from, random: ChaCha20Rng::from_seed(entropy) }
    }

    /// Seals a secret for the device that is certified in `to`. The certificate must have been
    /// verified, and be the one that the room's control lane has of that device.
    ///
    /// # Errors
    /// [`SealedError::WeakKey`].
    pub fn seal(
        &mut self,
        secret: &EpochSecret,
        to: &DeviceClaim,
    ) -> Result<SealedEpoch, SealedError> {
        let epoch = secret.id(self.room);
        let info = info(self.room, epoch, self.from, to.device);
        let public = Public::from_bytes(&to.hpke.0).map_err(|_| SealedError::WeakKey)?;
        let sealed = hpke::single_shot_seal_with_rng::<
            ChaCha20Poly1305,
            HkdfSha256,
            X25519HkdfSha256,
        >(
            &OpModeS::Base, &public, &info, secret.as_bytes(), &[], &mut self.random
        );
        let (enc, sealed) = sealed.map_err(|_| SealedError::WeakKey)?;
        let Ok(sealed) = sealed.try_into() else {
            unreachable!("the cipher adds a tag of 16 bytes")
        };
        Ok(SealedEpoch { epoch, enc: Bytes32(enc.to_bytes().into()), sealed })
    }
}

/// What a sealing is bound to besides the recipient's key.
fn info(room: RoomId, epoch: EpochId, from: PeerId, to: PeerId) -> [u8; 32] {
    derive(context::EPOCH_SEALED, &[&room.0, &epoch.0, &from.0, &to.0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::AccountKey;
    use crate::wire;

    const ROOM: RoomId = RoomId([5; 32]);

    fn device(n: u8) -> DeviceKey {
        DeviceKey::from_secrets(&[n; 32], &[n + 100; 32])
    }

    fn claim(key: &DeviceKey, hpke: [u8; 32]) -> DeviceClaim {
        AccountKey::from_entropy(&[1; 32]).certify(key.id(), hpke, 0).claim
    }

    fn sealed(secret: &EpochSecret, from: u8, to: u8) -> SealedEpoch {
        let to = device(to);
        let mut sealer = Sealer::new(ROOM, device(from).id(), [7; 32]);
        sealer.seal(secret, &claim(&to, to.hpke_public())).expect("a good key")
    }

    #[test]
    fn hazard_18_a_sealed_key_opens_for_its_device_room_epoch_and_sender_only() {
        let secret = EpochSecret::new([9; 32]);
        let (sent, from) = (sealed(&secret, 1, 2), device(1).id());
        assert_eq!(sent.open(ROOM, from, &device(2)), Ok(secret.clone()));
        let closed = Err(SealedError::Closed);
        assert_eq!(sent.open(ROOM, from, &device(3)), closed, "another device");
        assert_eq!(sent.open(RoomId([6; 32]), from, &device(2)), closed, "another room");
        assert_eq!(sent.open(ROOM, device(3).id(), &device(2)), closed, "another sender");
        let other = EpochSecret::new([8; 32]).id(ROOM);
        let renamed = SealedEpoch { epoch: other, ..sent.clone() };
        assert_eq!(renamed.open(ROOM, from, &device(2)), closed, "another epoch");
        // The key of the device, in another device's name.
        let both = DeviceKey::from_secrets(&[3; 32], &[102; 32]);
        assert_eq!(both.hpke_public(), device(2).hpke_public());
        assert_eq!(sent.open(ROOM, from, &both), closed, "another device with the same key");
    }

    #[test]
    fn every_altered_bit_is_noticed() {
        let secret = EpochSecret::new([9; 32]);
        let (sent, from) = (sealed(&secret, 1, 2), device(1).id());
        for bit in 0..(32 + SEALED_LEN) * 8 {
            let mut altered = sent.clone();
            let (at, mask) = (bit / 8, 1 << (bit % 8));
            match at.checked_sub(32) {
                None => altered.enc.0[at] ^= mask,
                Some(at) => altered.sealed[at] ^= mask,
            }
            assert!(altered.open(ROOM, from, &device(2)).is_err(), "bit {bit}");
        }
        let mut short = wire::encode(&sent);
        short.pop();
        assert!(wire::decode::<SealedEpoch>(&short).is_err());
    }

    #[test]
    fn hazard_15_nothing_is_sealed_to_or_opened_with_a_low_order_key() {
        let secret = EpochSecret::new([9; 32]);
        for low in low_order() {
            let mut sealer = Sealer::new(ROOM, device(1).id(), [7; 32]);
            let refused = sealer.seal(&secret, &claim(&device(2), low));
            assert_eq!(refused, Err(SealedError::WeakKey), "{low:?}");
            let sent = SealedEpoch { enc: Bytes32(low), ..sealed(&secret, 1, 2) };
            let refused = sent.open(ROOM, device(1).id(), &device(2));
            assert_eq!(refused, Err(SealedError::WeakKey), "{low:?}");
        }
    }

    /// All encodings of points of small order on the curve and its twist, as RFC 7748's function
    /// reads them (the two of order 8, and 0, 1, p - 1, p, p + 1).
    fn low_order() -> Vec<[u8; 32]> {
        let near_p = |last: u8| {
            let mut bytes = [0xff; 32];
            (bytes[0], bytes[31]) = (last, 0x7f);
            bytes
        };
        let mut one = [0; 32];
        one[0] = 1;
        let order_8 = [
            "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
            "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        ];
        let order_8 = order_8.map(|hex| {
            let bytes = data_encoding::HEXLOWER.decode(hex.as_bytes()).expect("hex");
            bytes.try_into().expect("32 bytes")
        });
        let near = [0xec, 0xed, 0xee].map(near_p);
        [vec![[0; 32], one], order_8.to_vec(), near.to_vec()].concat()
    }

    #[test]
    fn what_opens_to_another_secret_is_refused() {
        // A member seals rubbish in the name of an epoch.
        let (rubbish, to) = (EpochSecret::new([8; 32]), device(2));
        let epoch = EpochSecret::new([9; 32]).id(ROOM);
        let info = info(ROOM, epoch, device(1).id(), to.id());
        let public = Public::from_bytes(&to.hpke_public()).expect("a key");
        let (enc, sealed) =
            hpke::single_shot_seal_with_rng::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
                &OpModeS::Base,
                &public,
                &info,
                rubbish.as_bytes(),
                &[],
                &mut ChaCha20Rng::from_seed([7; 32]),
            )
            .expect("seals");
        let enc = Bytes32(enc.to_bytes().into());
        let sent = SealedEpoch { epoch, enc, sealed: sealed.try_into().expect("48 bytes") };
        assert_eq!(sent.open(ROOM, device(1).id(), &to), Err(SealedError::OtherEpoch));
    }

    #[test]
    fn hazard_3_two_sealings_have_nothing_in_common() {
        let (secret, to) = (EpochSecret::new([9; 32]), device(2));
        let to = claim(&to, to.hpke_public());
        let mut sealer = Sealer::new(ROOM, device(1).id(), [7; 32]);
        let one = sealer.seal(&secret, &to).expect("a good key");
        let two = sealer.seal(&secret, &to).expect("a good key");
        assert_ne!(one.enc, two.enc);
        assert_ne!(one.sealed, two.sealed);
        let mut other = Sealer::new(ROOM, device(1).id(), [8; 32]);
        assert_ne!(other.seal(&secret, &to).expect("a good key").enc, one.enc);
    }
}
