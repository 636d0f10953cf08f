//! Pictures that were cut, changed and put together wrongly.

mod kit;
#[allow(unreachable_pub)] // the fuzz target includes the same file
mod properties;

use kit::samples;
use properties::picture;
use proptest::prelude::*;

#[test]
fn every_cut_of_every_sample_is_a_verdict() {
    for sample in samples() {
        // Each place near the beginning, where the structure is, then fewer.
        let len = sample.bytes.len();
        let places = (0..len.min(1500)).step_by(3).chain((1500..len).step_by(997));
        places.for_each(|at| picture(&sample.bytes[..at]));
    }
}

proptest! {
    #[test]
    fn changed_samples_are_verdicts(
        index in 0_usize..64,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut all = samples();
        let sample = all.swap_remove(index % all.len());
        let mut bytes = sample.bytes;
        for (at, byte) in changes {
            let at = at.index(bytes.len().min(2000));
            bytes[at] = byte;
        }
        picture(&bytes);
    }

    #[test]
    fn samples_with_parts_moved_are_verdicts(
        index in 0_usize..64,
        from in any::<prop::sample::Index>(),
        to in any::<prop::sample::Index>(),
        len in 1_usize..200,
    ) {
        let mut all = samples();
        let sample = all.swap_remove(index % all.len());
        let mut bytes = sample.bytes;
        let from = from.index(bytes.len());
        let part: Vec<u8> = bytes.drain(from..(from + len).min(bytes.len())).collect();
        let to = to.index(bytes.len() + 1);
        bytes.splice(to..to, part);
        picture(&bytes);
    }

    #[test]
    fn noise_behind_a_signature_is_a_verdict(
        start in prop::sample::select(vec![
            b"\xff\xd8\xff".as_slice(), b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR", b"GIF89a",
            b"RIFF\x40\0\0\0WEBP", b"\0\0\0\x10ftypheic\0\0\0\0\0\0\0\x40meta",
        ]),
        noise in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        picture(&[start, &noise].concat());
    }
}
