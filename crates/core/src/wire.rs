//! Deterministic CBOR: one value, one encoding.
//!
//! Invariant: what is signed or hashed is decoded by [`decode_canonical`], which refuses every byte
//! string that our own encoder would not have produced: other integer widths, indefinite lengths,
//! duplicate or unknown keys, trailing bytes. Frames between services use [`decode`], which ignores
//! unknown keys, so that a newer peer can add some.
//!
//! Source: RFC 8949 section 4.2; encoding by `minicbor` derives with numeric keys.

use minicbor::{Decode, Encode};

/// Why bytes are not a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// Not CBOR of the expected shape.
    #[error("malformed: {0}")]
    Malformed(String),
    /// More bytes follow the value.
    #[error("trailing bytes after the value")]
    Trailing,
    /// The same value has another, canonical encoding; or it holds unknown keys.
    #[error("not the canonical encoding, or unknown fields")]
    NotCanonical,
    /// Longer than its limit.
    #[error("{what} of {len} bytes exceeds the limit of {limit}")]
    TooLong {
        /// What is too long.
        what: &'static str,
        /// Its length.
        len: usize,
        /// The limit.
        limit: usize,
    },
}

impl From<minicbor::decode::Error> for WireError {
    fn from(error: minicbor::decode::Error) -> Self {
        Self::Malformed(error.to_string())
    }
}

/// Encodes a value. Infallible: the target is memory and our types have no failing encoders.
pub fn encode<T: Encode<()>>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    let Ok(()) = minicbor::encode(value, &mut bytes) else { unreachable!("encoding to memory") };
    bytes
}

/// Decodes a value that must fill `bytes`; unknown keys are ignored.
///
/// # Errors
/// [`WireError::Malformed`], [`WireError::Trailing`].
pub fn decode<'b, T: Decode<'b, ()>>(bytes: &'b [u8]) -> Result<T, WireError> {
    let mut decoder = minicbor::Decoder::new(bytes);
    let value = decoder.decode::<T>()?;
    if decoder.position() != bytes.len() {
        return Err(WireError::Trailing);
    }
    Ok(value)
}

/// Decodes a value whose only valid encoding is `bytes`.
///
/// # Errors
/// Those of [`decode`], and [`WireError::NotCanonical`].
pub fn decode_canonical<'b, T: Decode<'b, ()> + Encode<()>>(
    bytes: &'b [u8],
) -> Result<T, WireError> {
    let value = decode::<T>(bytes)?;
    if encode(&value) != bytes {
        return Err(WireError::NotCanonical);
    }
    Ok(value)
}

/// Refuses a length above its limit.
///
/// # Errors
/// [`WireError::TooLong`].
pub fn check_len(what: &'static str, len: usize, limit: usize) -> Result<(), WireError> {
    if len > limit {
        return Err(WireError::TooLong { what, len, limit });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Encode, Decode)]
    #[cbor(map)]
    struct Sample {
        #[n(0)]
        a: u64,
        #[n(1)]
        b: Option<String>,
    }

    #[test]
    fn hazard_16_canonical_accepts_only_our_own_encoding() {
        let value = Sample { a: 5, b: None };
        let bytes = encode(&value);
        assert_eq!(bytes, [0xa1, 0x00, 0x05]);
        assert_eq!(decode_canonical::<Sample>(&bytes), Ok(value));
        // Five written in two bytes.
        let wide: &[u8] = &[0xa1, 0x00, 0x18, 0x05];
        assert_eq!(decode_canonical::<Sample>(wide), Err(WireError::NotCanonical));
        // An indefinite map.
        let open: &[u8] = &[0xbf, 0x00, 0x05, 0xff];
        assert_eq!(decode_canonical::<Sample>(open), Err(WireError::NotCanonical));
        // A duplicate key.
        let twice: &[u8] = &[0xa2, 0x00, 0x05, 0x00, 0x05];
        assert_eq!(decode_canonical::<Sample>(twice), Err(WireError::NotCanonical));
        // An unknown key: ignored in frames, refused in what is signed.
        let newer: &[u8] = &[0xa2, 0x00, 0x05, 0x07, 0x01];
        assert_eq!(decode::<Sample>(newer), Ok(Sample { a: 5, b: None }));
        assert_eq!(decode_canonical::<Sample>(newer), Err(WireError::NotCanonical));
        // Trailing bytes.
        let long: &[u8] = &[0xa1, 0x00, 0x05, 0x00];
        assert_eq!(decode::<Sample>(long), Err(WireError::Trailing));
    }

    #[test]
    fn hazard_16_hostile_shapes_are_verdicts() {
        // A four gigabyte string, and an array that claims 2^60 entries.
        let huge: &[u8] = &[0xa1, 0x01, 0x7a, 0xff, 0xff, 0xff, 0xff];
        assert!(matches!(decode::<Sample>(huge), Err(WireError::Malformed(_))));
        let mut array = vec![0x9b, 0x10];
        array.extend([0; 7]);
        assert!(matches!(decode::<Vec<u64>>(&array), Err(WireError::Malformed(_))));
        // 100,000 nested arrays under an unknown key.
        let mut deep = vec![0xa2, 0x00, 0x05, 0x07];
        deep.extend(std::iter::repeat_n(0x81, 100_000));
        deep.push(0x00);
        assert!(decode::<Sample>(&deep).is_ok());
        assert_eq!(decode_canonical::<Sample>(&deep), Err(WireError::NotCanonical));
    }
}
