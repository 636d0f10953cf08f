//! Frames: a length and that many bytes, on every service stream.
//!
//! Shape: `length: u32, big-endian ‖ payload`. A length above [`MAX_FRAME`] is refused before
//! anything is allocated for it, and a buffer never holds more than one frame's worth and what
//! arrived with it.

use minicbor::{Decode, Encode};

use crate::limits::MAX_FRAME;
use crate::wire::{self, WireError};

/// Bytes of the length in front.
pub const LENGTH_LEN: usize = 4;

/// Encodes a value as one frame, length included.
///
/// # Errors
/// [`WireError::TooLong`] when it does not fit; nothing of ours is that long unless it is a bug.
pub fn encode<T: Encode<()>>(value: &T) -> Result<Vec<u8>, WireError> {
    let payload = wire::encode(value);
    let length = payload_len(payload.len())?;
    Ok([&length.to_be_bytes()[..], &payload].concat())
}

/// Reads the length in front of a frame.
///
/// # Errors
/// [`WireError::TooLong`].
pub fn decode_len(length: [u8; LENGTH_LEN]) -> Result<usize, WireError> {
    let len = u32::from_be_bytes(length) as usize;
    payload_len(len)?;
    Ok(len)
}

fn payload_len(len: usize) -> Result<u32, WireError> {
    wire::check_len("frame", len, MAX_FRAME)?;
    u32::try_from(len).map_err(|_| WireError::Malformed("frame length".into()))
}

/// Cuts a stream of bytes into frames, as they arrive.
#[derive(Debug, Default)]
pub struct FrameBuffer {
    bytes: Vec<u8>,
}

impl FrameBuffer {
    /// Adds bytes as they arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Returns how many bytes wait.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether no bytes wait.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Takes the next whole payload, or none when more bytes are needed.
    ///
    /// # Errors
    /// [`WireError::TooLong`]: the stream cannot be read on.
    pub fn next_payload(&mut self) -> Result<Option<Vec<u8>>, WireError> {
        let Some(length) = self.bytes.first_chunk::<LENGTH_LEN>() else { return Ok(None) };
        let end = LENGTH_LEN + decode_len(*length)?;
        if self.bytes.len() < end {
            return Ok(None);
        }
        let rest = self.bytes.split_off(end);
        let mut payload = std::mem::replace(&mut self.bytes, rest);
        payload.drain(..LENGTH_LEN);
        Ok(Some(payload))
    }

    /// Takes and decodes the next frame; unknown keys are ignored.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn next_frame<T: for<'b> Decode<'b, ()>>(&mut self) -> Result<Option<T>, WireError> {
        self.next_payload()?.map(|payload| wire::decode(&payload)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hazard_25_a_four_gigabyte_length_is_refused_at_its_fourth_byte() {
        let mut buffer = FrameBuffer::default();
        buffer.push(&[0xff, 0xff, 0xff]);
        assert_eq!(buffer.next_payload(), Ok(None));
        buffer.push(&[0xff]);
        assert!(matches!(buffer.next_payload(), Err(WireError::TooLong { .. })));
    }

    proptest! {
        #[test]
        fn frames_survive_any_split(
            payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..50), 0..6),
            split in 1usize..20,
        ) {
            let stream: Vec<u8> = payloads.iter().flat_map(|payload| {
                encode(&minicbor::bytes::ByteVec::from(payload.clone())).expect("short")
            }).collect();
            let mut buffer = FrameBuffer::default();
            let mut seen = Vec::new();
            for chunk in stream.chunks(split) {
                buffer.push(chunk);
                while let Some(frame) = buffer.next_frame::<minicbor::bytes::ByteVec>()? {
                    seen.push(frame.to_vec());
                }
            }
            prop_assert_eq!(seen, payloads);
            prop_assert!(buffer.is_empty());
        }
    }
}
