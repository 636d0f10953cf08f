//! Arbitrary bytes, and vectors with a few bytes changed, are verdicts for every decoder: the
//! properties of the fuzz targets, on what a generator and the golden vectors give.
#![allow(unreachable_pub, reason = "the properties are a module of the fuzz targets as well")]

mod properties;
mod vectors;

use proptest::prelude::*;

fn all(bytes: &[u8]) {
    properties::frame(bytes);
    properties::event(bytes);
    properties::ticket(bytes);
}

/// A vector, as it is, as a frame, and cut at the first byte as the frame property wants it.
fn framed(payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    [&[payload.len().to_le_bytes()[0]], &length[..], payload].concat()
}

#[test]
fn hazard_16_every_cut_of_a_vector_is_a_verdict() {
    for (_, bytes) in vectors::all() {
        for end in 0..=bytes.len() {
            all(&bytes[..end]);
            all(&framed(&bytes[..end]));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn hazard_16_arbitrary_bytes_are_verdicts(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        all(&bytes);
        all(&framed(&bytes));
    }

    #[test]
    fn hazard_16_changed_vectors_are_verdicts(
        which in any::<prop::sample::Index>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let vectors = vectors::all();
        let (_, mut bytes) = vectors[which.index(vectors.len())].clone();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        all(&bytes);
        all(&framed(&bytes));
    }
}
