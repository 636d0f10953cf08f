//! How a picture must be turned to be shown: the one tag of EXIF that stays.
//!
//! Source: CIPA DC-008 (Exif 3.0), tag 0x0112; TIFF 6.0, section 2.

use crate::read::{array, u16_be, u16_le, u32_be, u32_le};

/// The tag's number in the first directory.
const TAG: u16 = 0x0112;
/// TIFF's type of a number of two bytes.
const SHORT: u16 = 3;
/// Bytes of one entry of a directory.
const ENTRY_LEN: usize = 12;
/// A directory in big-endian order with the one tag; its value is byte 19.
const MINIMAL: [u8; 26] = *b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x01\0\0\0\0\0\0";
/// Where the value's lower byte is in [`MINIMAL`].
const VALUE_AT: usize = 19;

/// How stored pixels are turned to be shown: the eight symmetries of a rectangle, as EXIF counts
/// them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Orientation {
    /// 1: as stored.
    #[default]
    Upright,
    /// 2: left and right change places.
    Mirrored,
    /// 3: turned by half a turn.
    UpsideDown,
    /// 4: above and below change places.
    Flipped,
    /// 5: rows become columns.
    Transposed,
    /// 6: a quarter turn clockwise.
    Clockwise,
    /// 7: rows become columns, from the other corner.
    Transversed,
    /// 8: a quarter turn counterclockwise.
    Counterclockwise,
}

/// All, in the order of their numbers, which begin at 1.
const ALL: [Orientation; 8] = [
    Orientation::Upright,
    Orientation::Mirrored,
    Orientation::UpsideDown,
    Orientation::Flipped,
    Orientation::Transposed,
    Orientation::Clockwise,
    Orientation::Transversed,
    Orientation::Counterclockwise,
];

impl Orientation {
    /// Returns the orientation of EXIF's number, from 1 to 8.
    pub fn from_number(number: u16) -> Option<Self> {
        ALL.get(usize::from(number).checked_sub(1)?).copied()
    }

    /// Returns EXIF's number, from 1 to 8.
    pub fn number(self) -> u8 {
        self as u8 + 1
    }

    /// Whether width and height change places.
    pub fn swaps_sides(self) -> bool {
        self.number() >= 5
    }

    /// Returns width and height as shown of those stored.
    pub fn shown(self, (width, height): (u32, u32)) -> (u32, u32) {
        if self.swaps_sides() { (height, width) } else { (width, height) }
    }

    /// Reads the tag out of a TIFF structure, which is what EXIF is; upright where there is none.
    ///
    /// Like in browsers, a value of another type than it should have does not count.
    pub(crate) fn from_tiff(tiff: &[u8]) -> Self {
        Self::find(tiff).and_then(Self::from_number).unwrap_or_default()
    }

    fn find(tiff: &[u8]) -> Option<u16> {
        let is_big = match &array(tiff, 0)? {
            b"MM\0*" => true,
            b"II*\0" => false,
            _ => return None,
        };
        let short = if is_big { u16_be } else { u16_le };
        let long = if is_big { u32_be } else { u32_le };
        let directory = usize::try_from(long(tiff, 4)?).ok()?;
        let count = usize::from(short(tiff, directory)?);
        let entries = tiff.get(directory.checked_add(2)?..)?.chunks_exact(ENTRY_LEN);
        let tag = entries.take(count).find(|entry| short(entry, 0) == Some(TAG))?;
        (short(tag, 2) == Some(SHORT) && long(tag, 4) == Some(1)).then(|| short(tag, 8))?
    }

    /// Returns a TIFF structure with this tag alone; none for an upright picture, which needs no
    /// tag.
    pub(crate) fn to_tiff(self) -> Option<[u8; 26]> {
        let mut tiff = MINIMAL;
        *tiff.get_mut(VALUE_AT)? = self.number();
        (self != Self::Upright).then_some(tiff)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minimal_tag_is_read_back() {
        for number in 1..=8 {
            let orientation = Orientation::from_number(number).expect("one of eight");
            assert_eq!(u16::from(orientation.number()), number);
            match orientation.to_tiff() {
                Some(tiff) => assert_eq!(Orientation::from_tiff(&tiff), orientation),
                None => assert_eq!(number, 1),
            }
        }
        assert_eq!(Orientation::from_number(0), None);
        assert_eq!(Orientation::from_number(9), None);
    }

    #[test]
    fn either_byte_order_and_any_place_is_read() {
        let mut tiff = b"II*\0\x10\0\0\0--------".to_vec();
        tiff.extend(b"\x02\0\x0f\x01\x02\0\x04\0\0\0abc\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0");
        assert_eq!(Orientation::from_tiff(&tiff), Orientation::Clockwise);
        // Fewer entries than the tag's place; another type; a length beyond the end.
        tiff[16] = 1;
        assert_eq!(Orientation::from_tiff(&tiff), Orientation::Upright);
        tiff[16] = 255;
        assert_eq!(Orientation::from_tiff(&tiff), Orientation::Clockwise);
        tiff[32] = 4;
        assert_eq!(Orientation::from_tiff(&tiff), Orientation::Upright);
        tiff[4..8].copy_from_slice(&[255; 4]);
        assert_eq!(Orientation::from_tiff(&tiff), Orientation::Upright);
    }
}
