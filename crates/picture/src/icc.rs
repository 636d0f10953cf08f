//! Color profiles: kept, since they change how a picture is shown, without what tells whose they
//! are.
//!
//! Profiles of screens name their maker and model, and when they were calibrated; those of one
//! system hold the screen's serial number. The tables that colors are computed by stay where they
//! are, all other bytes are overwritten, so that a profile keeps its length.
//!
//! Sources: ICC.1:2022 and ICC.1:2001-04 (version 2), section 7.2 and the types of tags.

use std::ops::Range;

use crate::read::{array, slice, u32_be};

/// Bytes of the header; the number of tags follows.
pub(crate) const HEADER_LEN: usize = 128;
/// Where the header has its signature.
const SIGNATURE_AT: usize = 36;
/// Where the table of tags begins.
const TABLE_AT: usize = HEADER_LEN + 4;
/// Bytes of a tag in the table: its name, where it is, how long it is.
const ENTRY_LEN: usize = 12;
/// Most tags of a profile; those in use have up to 30.
const MAX_TAGS: usize = 256;
/// The first version whose texts are in several languages.
const VERSION_4: u8 = 4;

/// Places of the header that colors do not depend on: the preferred program, the system, maker,
/// model and attributes of the device, who made the profile, its checksum, what is reserved.
const TOLD: &[Range<usize>] = &[4..8, 40..44, 48..64, 80..HEADER_LEN];
/// When the profile was made, and what stands there instead: the first of January 2000.
const DATE: (Range<usize>, [u8; 12]) = (24..36, [0x07, 0xd0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0]);

/// Tags that colors are computed by.
const COLORS: &[&[u8; 4]] = &[
    b"A2B0", b"A2B1", b"A2B2", b"A2B3", b"B2A0", b"B2A1", b"B2A2", b"B2A3", b"B2D0", b"B2D1",
    b"B2D2", b"B2D3", b"D2B0", b"D2B1", b"D2B2", b"D2B3", b"aabg", b"aagg", b"aarg", b"bTRC",
    b"bXYZ", b"bkpt", b"chad", b"cicp", b"gTRC", b"gXYZ", b"gamt", b"kTRC", b"lumi", b"pre0",
    b"pre1", b"pre2", b"rTRC", b"rXYZ", b"wtpt",
];
/// Texts without which a profile is not valid: what it is called, and who may copy it.
const TEXTS: &[&[u8; 4]] = &[b"desc", b"cprt"];

/// A text in one language, from version 4 on.
const TEXT: &[u8] = b"mluc\0\0\0\0\0\0\0\x01\0\0\0\x0cenUS\0\0\0\x06\0\0\0\x1c\0i\0c\0c";
/// A text before version 4.
const OLD_TEXT: &[u8] = b"text\0\0\0\0icc\0";
/// A name before version 4: in ASCII, and empty in two more encodings.
const OLD_NAME: &[u8; 94] = &{
    let mut name = [0; 94];
    let ascii = b"desc\0\0\0\0\0\0\0\x04icc\0";
    let mut at = 0;
    while at < ascii.len() {
        name[at] = ascii[at];
        at += 1;
    }
    name
};

/// Returns the length that bytes give of themselves if they begin like a profile.
pub(crate) fn profile_len(bytes: &[u8]) -> Option<usize> {
    let len = usize::try_from(u32_be(bytes, 0)?).ok()?;
    let is_profile = len >= TABLE_AT && slice(bytes, SIGNATURE_AT, 4) == Some(b"acsp");
    is_profile.then_some(len)
}

/// Returns the profile without what tells whose it is and without what follows it, as long as it
/// came; none if it is not a profile.
pub(crate) fn profile(bytes: &[u8]) -> Option<Vec<u8>> {
    let whole = bytes.get(..profile_len(bytes)?)?;
    let tags = tags(whole)?;
    let mut out = vec![0; whole.len()];
    put(&mut out, 0, whole.get(..HEADER_LEN)?);
    for place in TOLD {
        out.get_mut(place.clone())?.fill(0);
    }
    put(&mut out, DATE.0.start, &DATE.1);
    let is_old = *whole.get(8)? < VERSION_4;
    let mut kept = Vec::new();
    for tag in &tags {
        if COLORS.contains(&&tag.name) {
            put(&mut out, tag.place.start, whole.get(tag.place.clone())?);
            kept.push(tag.clone());
        } else if let Some(text) = tag.text(is_old, &tags) {
            put(&mut out, tag.place.start, text);
            let end = tag.place.start + text.len();
            kept.push(Tag { name: tag.name, place: tag.place.start..end });
        }
    }
    put(&mut out, HEADER_LEN, &number(kept.len()));
    for (index, tag) in kept.iter().enumerate() {
        let entry = [tag.name, number(tag.place.start), number(tag.place.len())].concat();
        put(&mut out, TABLE_AT + index * ENTRY_LEN, &entry);
    }
    Some(out)
}

/// A tag, and where its data is.
#[derive(Clone)]
struct Tag {
    name: [u8; 4],
    place: Range<usize>,
}

impl Tag {
    /// Returns what stands instead of a text, if the profile needs it and it fits into the text's
    /// place.
    fn text(&self, is_old: bool, all: &[Tag]) -> Option<&'static [u8]> {
        let text = match (&self.name, is_old) {
            (b"desc", true) => OLD_NAME,
            (_, true) => OLD_TEXT,
            (_, false) => TEXT,
        };
        let mut colors = all.iter().filter(|tag| COLORS.contains(&&tag.name));
        let is_shared =
            colors.any(|it| it.place.start < self.place.end && self.place.start < it.place.end);
        let fits = TEXTS.contains(&&self.name) && text.len() <= self.place.len() && !is_shared;
        fits.then_some(text)
    }
}

/// Reads the table of tags; none if one of them is not within the profile, behind the table.
fn tags(profile: &[u8]) -> Option<Vec<Tag>> {
    let count = usize::try_from(u32_be(profile, HEADER_LEN)?).ok()?;
    if count > MAX_TAGS {
        return None;
    }
    let table = slice(profile, TABLE_AT, count * ENTRY_LEN)?;
    let tag = |entry: &[u8]| {
        let at = usize::try_from(u32_be(entry, 4)?).ok()?;
        let place = at..at.checked_add(usize::try_from(u32_be(entry, 8)?).ok()?)?;
        let is_within = at >= TABLE_AT + table.len() && place.end <= profile.len();
        is_within.then_some(Tag { name: array(entry, 0)?, place })
    };
    table.chunks_exact(ENTRY_LEN).map(tag).collect()
}

fn number(number: usize) -> [u8; 4] {
    // Places come out of numbers of four bytes.
    u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes()
}

fn put(out: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = out.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A profile with a curve of four bytes behind its texts.
    fn sample(version: u8, texts: &[([u8; 4], usize)]) -> Vec<u8> {
        let mut out = vec![0xee; TABLE_AT + ENTRY_LEN * (texts.len() + 1)];
        let mut tags = Vec::new();
        for (name, len) in texts {
            tags.push((*name, out.len(), *len));
            out.resize(out.len() + len, b'!');
        }
        tags.push((*b"kTRC", out.len(), 4));
        out.extend(b"curv");
        let len = number(out.len());
        put(&mut out, 0, &len);
        put(&mut out, 8, &[version]);
        put(&mut out, SIGNATURE_AT, b"acsp");
        put(&mut out, HEADER_LEN, &number(tags.len()));
        for (index, (name, at, len)) in tags.into_iter().enumerate() {
            let entry = [name, number(at), number(len)].concat();
            put(&mut out, TABLE_AT + index * ENTRY_LEN, &entry);
        }
        out
    }

    fn names(profile: &[u8]) -> Vec<[u8; 4]> {
        tags(profile).expect("a table").into_iter().map(|tag| tag.name).collect()
    }

    #[test]
    fn texts_are_overwritten_and_what_is_unknown_goes() {
        for version in [2, 4, 5] {
            let texts = [(*b"meta", 50), (*b"desc", 120), (*b"cprt", 40)];
            let before = sample(version, &texts);
            let after = profile(&[before.as_slice(), b"behind it"].concat()).expect("a profile");
            assert_eq!(after.len(), before.len());
            assert_eq!(names(&after), [*b"desc", *b"cprt", *b"kTRC"]);
            assert!(!after.contains(&b'!') && after.ends_with(b"curv"));
            assert_eq!(after.get(36..40), Some(b"acsp".as_slice()));
            assert_eq!(after.get(48..56), Some([0; 8].as_slice()), "maker and model");
            assert_eq!(profile(&after).as_ref(), Some(&after));
        }
    }

    #[test]
    fn texts_go_that_have_no_room_or_share_it_with_colors() {
        let short = profile(&sample(4, &[(*b"desc", 20), (*b"cprt", 33)])).expect("a profile");
        assert_eq!(names(&short), [*b"kTRC"]);
        let mut shared = sample(2, &[(*b"cprt", 40)]);
        let place = shared.get(TABLE_AT + 4..TABLE_AT + 12).expect("a table").to_vec();
        put(&mut shared, TABLE_AT + ENTRY_LEN + 4, &place);
        let shared = profile(&shared).expect("a profile");
        assert_eq!(names(&shared), [*b"kTRC"]);
    }

    #[test]
    fn what_is_no_profile_is_none() {
        let whole = sample(2, &[(*b"desc", 120)]);
        assert!((0..whole.len()).all(|len| profile(&whole[..len]).is_none()));
        let changed = |at: usize, with: &[u8]| {
            let mut bytes = whole.clone();
            put(&mut bytes, at, with);
            profile(&bytes).is_some()
        };
        assert!(changed(0, &[]));
        assert!(!changed(SIGNATURE_AT, b"acsq") && !changed(HEADER_LEN, &[0xff; 4]));
        // A tag in the table itself, one behind the end.
        assert!(!changed(TABLE_AT + 4, &number(TABLE_AT)) && !changed(TABLE_AT + 4, &[0xff; 4]));
    }
}
