//! Numbers as SQLite keeps them: signed, of 64 bits, small ones in few bytes.

use ayni_core::clock::Hlc;
use ayni_core::id::EventId;

const TOP_BIT: u64 = 1 << 63;

/// What [`short`] keeps of an id's first eight bytes: all. In tests two bits, so that ties are common.
const SHORT_MASK: u64 = if cfg!(test) { 0b11 << 62 } else { u64::MAX };

/// A timestamp, such that SQLite's order is the order of time for every value.
pub(super) const fn from_time(time: Hlc) -> i64 {
    (time.0 ^ TOP_BIT).cast_signed()
}

/// The inverse of [`from_time`].
pub(super) const fn to_time(number: i64) -> Hlc {
    Hlc(number.cast_unsigned() ^ TOP_BIT)
}

/// The first eight bytes of an event's id, such that SQLite's order is the order of bytes.
pub(super) fn short(id: &EventId) -> i64 {
    let start = id.0.first_chunk().map_or(0, |start| u64::from_be_bytes(*start));
    ((start & SHORT_MASK) ^ TOP_BIT).cast_signed()
}

/// A position in a log. Small ones stay small (one to three bytes); those of 2⁶³ and above, which
/// a hostile author may choose, come out negative: compare within one [`half`] only.
pub(super) const fn from_seq(seq: u64) -> i64 {
    seq.cast_signed()
}

/// The inverse of [`from_seq`].
pub(super) const fn to_seq(number: i64) -> u64 {
    number.cast_unsigned()
}

/// Returns the last position of the half of all positions in which `seq` lies: up to it
/// [`from_seq`] keeps the order.
pub(super) const fn half(seq: u64) -> u64 {
    if seq < TOP_BIT { TOP_BIT - 1 } else { u64::MAX }
}

/// A count or a time in milliseconds; what does not fit is the largest.
pub(super) fn from_count(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The inverse of [`from_count`]; a negative one is zero.
pub(super) fn to_count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_survives() {
        let times = [0, 1, TOP_BIT - 1, TOP_BIT, u64::MAX];
        assert!(times.is_sorted_by_key(|time| from_time(Hlc(*time))));
        assert!(times.iter().all(|time| to_time(from_time(Hlc(*time))).0 == *time));
        let ids = [0x00, 0x7f, 0x80, 0xff].map(|byte| EventId([byte; 32]));
        assert!(ids.is_sorted_by_key(short));
        for seq in [0, 5, TOP_BIT - 1, TOP_BIT, u64::MAX] {
            assert_eq!(to_seq(from_seq(seq)), seq);
            assert!(from_seq(seq) <= from_seq(half(seq)));
        }
    }
}
