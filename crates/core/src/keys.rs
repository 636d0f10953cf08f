//! Keys and signatures: Ed25519, verified strictly, with a named domain for every use.
//!
//! Invariants: no signature made for one purpose is valid for another ([`Domain`]); weak public
//! keys never verify; secrets are wiped when dropped and never printed.
//!
//! Source: RFC 8032; "Taming the many EdDSAs" (Chalkias et al. 2020) for why strict.

use curve25519_dalek::montgomery::MontgomeryPoint;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use minicbor::{Decode, Encode};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::Entropy;
use crate::id::{AccountId, InviteKey, PeerId};
use crate::wire::{self, WireError};

/// Bytes in a signature.
pub const SIGNATURE_LEN: usize = 64;

/// What a signature is for; part of what is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Domain {
    /// An event, by its device, over the event id.
    Event,
    /// A device certificate, by its account.
    DeviceCert,
    /// A claim on an invite, by the invite's key and the joining device.
    JoinProof,
    /// The same claim, to be shown what the invite invites to, and nothing more.
    LookProof,
}

impl Domain {
    const fn tag(self) -> &'static [u8] {
        match self {
            Self::Event => b"ayni sig v1",
            Self::DeviceCert => b"ayni device v1",
            Self::JoinProof => b"ayni join v1",
            Self::LookProof => b"ayni look v1",
        }
    }
}

/// Contexts of BLAKE3's key derivation mode, one for every hash that names or derives something.
pub mod context {
    /// Room id from genesis.
    pub const ROOM: &str = "ayni room v1";
    /// Event id from header.
    pub const EVENT: &str = "ayni event v1";
    /// Hash of a sealed body.
    pub const BODY: &str = "ayni body v1";
    /// Account signing key from the 32 bytes behind the 24 words.
    pub const ACCOUNT: &str = "ayni account v1";
    /// Commitment to an epoch's secret.
    pub const EPOCH_COMMITMENT: &str = "ayni epoch commitment v1";
    /// Epoch id from its commitment and room.
    pub const EPOCH_ID: &str = "ayni epoch id v1";
    /// Key that seals bodies, from an epoch's secret.
    pub const EPOCH_BODY: &str = "ayni epoch body v1";
    /// Key that seals a parent's secret, from an epoch's secret.
    pub const EPOCH_WRAP: &str = "ayni epoch wrap v1";
    /// What the sealing of an epoch's secret for a device is bound to.
    pub const EPOCH_SEALED: &str = "ayni epoch sealed v1";
    /// Gossip topic, from an epoch's secret.
    pub const EPOCH_TOPIC: &str = "ayni epoch topic v1";
    /// State hash of a room.
    pub const STATE: &str = "ayni state v1";
    /// Checksum in a ticket.
    pub const TICKET: &str = "ayni ticket v1";
}

/// Hashes `parts`, in order, under a context of [`context`].
pub fn derive(context: &str, parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key(context);
    for part in parts {
        hasher.update(part);
    }
    *hasher.finalize().as_bytes()
}

/// A detached signature.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Sig(pub [u8; SIGNATURE_LEN]);

impl std::fmt::Debug for Sig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sig")
    }
}

impl<C> Encode<C> for Sig {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.bytes(&self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Sig {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let bytes = d.bytes()?;
        bytes
            .try_into()
            .map(Self)
            .map_err(|_| minicbor::decode::Error::message("a signature is 64 bytes"))
    }
}

/// Why a signature or key is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The public key is not a point, or of small order.
    #[error("weak or malformed public key")]
    WeakKey,
    /// The signature does not verify, strictly.
    #[error("invalid signature")]
    BadSignature,
}

/// Verifies a signature strictly, under `domain`.
///
/// # Errors
/// [`KeyError::WeakKey`], [`KeyError::BadSignature`].
pub fn verify(
    key: &[u8; 32],
    domain: Domain,
    message: &[u8],
    signature: &Sig,
) -> Result<(), KeyError> {
    let key = VerifyingKey::from_bytes(key).map_err(|_| KeyError::WeakKey)?;
    if key.is_weak() {
        return Err(KeyError::WeakKey);
    }
    let signature = Signature::from_bytes(&signature.0);
    key.verify_strict(&tagged(domain, message), &signature).map_err(|_| KeyError::BadSignature)
}

fn tagged(domain: Domain, message: &[u8]) -> Vec<u8> {
    [domain.tag(), message].concat()
}

/// An Ed25519 secret with one role. `Debug` shows nothing.
#[derive(Clone, ZeroizeOnDrop)]
struct Secret(SigningKey);

impl Secret {
    fn sign(&self, domain: Domain, message: &[u8]) -> Sig {
        Sig(self.0.sign(&tagged(domain, message)).to_bytes())
    }

    fn public(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }
}

/// The account's root key. It certifies devices and does nothing else.
#[derive(Clone)]
pub struct AccountKey(Secret);

impl AccountKey {
    /// Derives the key from the 32 bytes that the 24 words stand for.
    pub fn from_entropy(entropy: &Entropy) -> Self {
        let mut seed = derive(context::ACCOUNT, &[entropy]);
        let key = SigningKey::from_bytes(&seed);
        seed.zeroize();
        Self(Secret(key))
    }

    /// Returns the account's id.
    pub fn id(&self) -> AccountId {
        AccountId(self.0.public())
    }

    /// Certifies a device: its key, its HPKE public key and the time.
    pub fn certify(&self, device: PeerId, hpke: [u8; 32], time_ms: u64) -> DeviceCert {
        let claim = DeviceClaim { account: self.id(), device, hpke: Bytes32(hpke), time_ms };
        let signature = self.0.sign(Domain::DeviceCert, &wire::encode(&claim));
        DeviceCert { claim, signature }
    }
}

impl std::fmt::Debug for AccountKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AccountKey({})", self.id().short())
    }
}

/// A device's keys: Ed25519 for its identity and events, X25519 for what is sealed to it.
#[derive(Clone)]
pub struct DeviceKey {
    signing: Secret,
    hpke: HpkeSecret,
}

#[derive(Clone, Zeroize, ZeroizeOnDrop)]
struct HpkeSecret([u8; 32]);

impl DeviceKey {
    /// Builds the keys from two secrets of 32 bytes.
    pub fn from_secrets(signing: &[u8; 32], hpke: &[u8; 32]) -> Self {
        Self { signing: Secret(SigningKey::from_bytes(signing)), hpke: HpkeSecret(*hpke) }
    }

    /// Returns the device's id.
    pub fn id(&self) -> PeerId {
        PeerId(self.signing.public())
    }

    /// Returns the Ed25519 secret, for the QUIC endpoint, which has the same identity.
    pub fn signing_secret(&self) -> [u8; 32] {
        self.signing.0.to_bytes()
    }

    /// Returns the public key to which secrets for this device are sealed.
    pub fn hpke_public(&self) -> [u8; 32] {
        MontgomeryPoint::mul_base_clamped(self.hpke.0).to_bytes()
    }

    /// Returns the X25519 secret, to open what is sealed to this device.
    pub(crate) fn hpke_secret(&self) -> &[u8; 32] {
        &self.hpke.0
    }

    /// Signs under `domain`.
    pub fn sign(&self, domain: Domain, message: &[u8]) -> Sig {
        self.signing.sign(domain, message)
    }
}

impl std::fmt::Debug for DeviceKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DeviceKey({})", self.id().short())
    }
}

/// The key of one invite; its seed travels in the ticket.
#[derive(Clone)]
pub struct InviteSecret(Secret);

impl InviteSecret {
    /// Builds the key from its seed.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(Secret(SigningKey::from_bytes(seed)))
    }

    /// Returns the public key, which the invite event names.
    pub fn key(&self) -> InviteKey {
        InviteKey(self.0.public())
    }

    /// Signs a claim on the invite.
    pub fn sign(&self, message: &[u8]) -> Sig {
        self.0.sign(Domain::JoinProof, message)
    }

    /// Signs a claim on the invite, for being shown what it invites to.
    pub fn sign_look(&self, message: &[u8]) -> Sig {
        self.0.sign(Domain::LookProof, message)
    }
}

impl std::fmt::Debug for InviteSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "InviteSecret({})", self.key().short())
    }
}

/// Thirty-two opaque bytes on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes32(pub [u8; 32]);

impl<C> Encode<C> for Bytes32 {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.bytes(&self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Bytes32 {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        d.bytes()?
            .try_into()
            .map(Self)
            .map_err(|_| minicbor::decode::Error::message("expected 32 bytes"))
    }
}

/// What an account states about one of its devices.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct DeviceClaim {
    /// The account.
    #[n(0)]
    pub account: AccountId,
    /// The device.
    #[n(1)]
    pub device: PeerId,
    /// The device's X25519 public key.
    #[n(2)]
    pub hpke: Bytes32,
    /// When it was certified, Unix milliseconds.
    #[n(3)]
    pub time_ms: u64,
}

/// A device certificate: the claim and the account's signature on it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct DeviceCert {
    /// What is certified.
    #[n(0)]
    pub claim: DeviceClaim,
    /// The account's signature.
    #[n(1)]
    pub signature: Sig,
}

impl DeviceCert {
    /// Checks the account's signature and that both keys are usable.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn verify(&self) -> Result<(), KeyError> {
        let device =
            VerifyingKey::from_bytes(&self.claim.device.0).map_err(|_| KeyError::WeakKey)?;
        if device.is_weak() || has_small_order(&self.claim.hpke.0) {
            return Err(KeyError::WeakKey);
        }
        let message = wire::encode(&self.claim);
        verify(&self.claim.account.0, Domain::DeviceCert, &message, &self.signature)
    }

    /// Decodes a certificate that must be canonical; does not verify it.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, WireError> {
        wire::decode_canonical(bytes)
    }
}

/// Whether an X25519 public key is of small order: eight times such a point is zero. (A scalar of
/// full length would tell the same, at the price of a signature; rooms of a thousand members check
/// as many certificates at each start.)
fn has_small_order(key: &[u8; 32]) -> bool {
    let eight = [true, false, false, false];
    MontgomeryPoint(*key).mul_bits_be(eight.into_iter()).to_bytes() == [0; 32]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device() -> DeviceKey {
        DeviceKey::from_secrets(&[1; 32], &[2; 32])
    }

    #[test]
    fn hazard_18_a_signature_holds_in_its_own_domain_only() {
        let key = device();
        let all = [Domain::Event, Domain::DeviceCert, Domain::JoinProof, Domain::LookProof];
        for made in all {
            let signature = key.signing.sign(made, b"message");
            for read in all {
                let verdict = verify(&key.id().0, read, b"message", &signature);
                assert_eq!(verdict.is_ok(), made == read, "{made:?} as {read:?}");
            }
            // What is signed begins with its domain, and no domain begins another.
            let begins = all.iter().filter(|other| made.tag().starts_with(other.tag())).count();
            assert_eq!(begins, 1, "{made:?}");
        }
        let signature = key.sign(Domain::Event, b"message");
        let stranger = DeviceKey::from_secrets(&[9; 32], &[2; 32]);
        assert!(verify(&stranger.id().0, Domain::Event, b"message", &signature).is_err());
    }

    #[test]
    fn hazard_15_weak_keys_and_loose_signatures_are_refused() {
        // The neutral element: everything verifies against it where verification is loose.
        let mut neutral = [0u8; 32];
        neutral[0] = 1;
        let mut loose = [0u8; 64];
        loose[0] = 1;
        assert_eq!(verify(&neutral, Domain::Event, b"x", &Sig(loose)), Err(KeyError::WeakKey));
        let account = AccountKey::from_entropy(&[3; 32]);
        for weak in small_order() {
            let verdict = verify(&weak, Domain::Event, b"x", &Sig(loose));
            assert_eq!(verdict, Err(KeyError::WeakKey), "{weak:02x?}");
            let cert = account.certify(PeerId(weak), device().hpke_public(), 0);
            assert_eq!(cert.verify(), Err(KeyError::WeakKey), "{weak:02x?}");
        }
        // S + L: the same signature with a scalar that is not reduced.
        let key = device();
        let mut signature = key.sign(Domain::Event, b"x");
        let order: [u8; 32] = [
            0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9,
            0xde, 0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
        ];
        let mut carry = 0u16;
        for (byte, add) in signature.0[32..].iter_mut().zip(order) {
            let sum = u16::from(*byte) + u16::from(add) + carry;
            *byte = u8::try_from(sum & 0xff).expect("masked");
            carry = sum >> 8;
        }
        assert_eq!(
            verify(&key.id().0, Domain::Event, b"x", &signature),
            Err(KeyError::BadSignature)
        );
        // A certificate for an X25519 key of small order: 0, 1, p - 1, p, p + 1, and two of order 8.
        let near_p = |last| {
            let mut bytes = [0xff; 32];
            (bytes[0], bytes[31]) = (last, 0x7f);
            bytes
        };
        let order_8 = [
            "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
            "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        ];
        let low = [[0; 32], neutral, near_p(0xec), near_p(0xed), near_p(0xee)];
        for low in low.into_iter().chain(order_8.map(hex)) {
            let cert = account.certify(key.id(), low, 0);
            assert_eq!(cert.verify(), Err(KeyError::WeakKey), "{low:02x?}");
        }
        assert_eq!(account.certify(key.id(), key.hpke_public(), 0).verify(), Ok(()));
    }

    fn hex(text: &str) -> [u8; 32] {
        let bytes = data_encoding::HEXLOWER.decode(text.as_bytes()).expect("hex");
        bytes.try_into().expect("32 bytes")
    }

    /// Encodings of the eight points of small order, some of them not canonical (Chalkias et al.).
    fn small_order() -> Vec<[u8; 32]> {
        let known = [
            "0100000000000000000000000000000000000000000000000000000000000000",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "0000000000000000000000000000000000000000000000000000000000000080",
            "0000000000000000000000000000000000000000000000000000000000000000",
            "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
            "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
            "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
            "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
            "0100000000000000000000000000000000000000000000000000000000000080",
            "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        ];
        known.map(hex).to_vec()
    }

    #[test]
    fn a_certificate_is_bound_to_its_claim() {
        let account = AccountKey::from_entropy(&[3; 32]);
        let mut cert = account.certify(device().id(), device().hpke_public(), 7);
        let bytes = wire::encode(&cert);
        assert_eq!(DeviceCert::from_bytes(&bytes), Ok(cert.clone()));
        cert.claim.time_ms = 8;
        assert_eq!(cert.verify(), Err(KeyError::BadSignature));
    }

    #[test]
    fn secrets_are_not_printed() {
        let shown = format!("{:?} {:?}", device(), AccountKey::from_entropy(&[3; 32]));
        assert!(!shown.contains("0101") && !shown.contains("[1, 1"));
    }
}
