//! Pictures of every kind with things planted in them that must not come out.
#![allow(dead_code, unreachable_pub)] // each test uses a part of it

pub mod heif;
pub mod lossless;
pub mod raster;

use ayni_picture::PictureKind;

/// Every planted text contains it, so that one search finds them all.
pub const PLANTED: &str = "planted";

/// A picture, and what must be true of it.
pub struct Sample {
    pub name: &'static str,
    pub kind: PictureKind,
    pub bytes: Vec<u8>,
    /// Its size as shown.
    pub shown: (u32, u32),
    /// The orientation that its EXIF has, which must stay.
    pub orientation: u16,
}

/// One of every kind, in every form that differs.
pub fn samples() -> Vec<Sample> {
    let mut all = raster::samples();
    all.extend(heif::samples());
    all
}

/// Whether a text occurs in bytes.
pub fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// Whether a text occurs in bytes, also in the two encodings of two bytes a character.
pub fn contains_in_any_encoding(bytes: &[u8], text: &str) -> bool {
    let wide: Vec<u8> = text.bytes().flat_map(|byte| [0, byte]).collect();
    let found = bytes.windows(wide.len()).any(|window| window == wide);
    found || contains(bytes, text)
}

/// EXIF as cameras write it: a make, a text, an orientation, a position.
pub fn tiff(orientation: u16) -> Vec<u8> {
    let texts: [&[u8]; 2] = [b"planted camera\0\0", b"planted description, by Ana Quispe\0\0"];
    let directory = 8;
    let gps = directory + 2 + 4 * 12 + 4;
    let degrees = gps + 2 + 2 * 12 + 4;
    let text_at = degrees + 24;
    let mut out = b"MM\0*\0\0\0\x08".to_vec();
    let entry = |out: &mut Vec<u8>, tag: u16, kind: u16, count: usize, value: [u8; 4]| {
        out.extend(tag.to_be_bytes());
        out.extend(kind.to_be_bytes());
        out.extend(be32(count));
        out.extend(value);
    };
    out.extend([0, 4]);
    entry(&mut out, 0x010e, 2, texts[1].len(), be32(text_at + texts[0].len()));
    entry(&mut out, 0x010f, 2, texts[0].len(), be32(text_at));
    let [high, low] = orientation.to_be_bytes();
    entry(&mut out, 0x0112, 3, 1, [high, low, 0, 0]);
    entry(&mut out, 0x8825, 4, 1, be32(gps));
    out.extend([0; 4]);
    out.extend([0, 2]);
    entry(&mut out, 1, 2, 2, *b"S\0\0\0");
    entry(&mut out, 2, 5, 3, be32(degrees));
    out.extend([0; 4]);
    for number in [13_u32, 31, 1234] {
        out.extend(number.to_be_bytes());
        out.extend(if number == 1234 { 100_u32 } else { 1 }.to_be_bytes());
    }
    out.extend(texts.concat());
    out
}

/// XMP that names somebody.
pub fn xmp() -> Vec<u8> {
    b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><dc:creator>planted creator</dc:creator></x:xmpmeta>"
        .to_vec()
}

/// Where in [`profile`] the curve begins, which must stay; it goes on to the end.
pub const CURVE_AT: usize = 288;

/// A color profile of a screen that names it, with a curve that makes it `len` bytes long.
pub fn profile(len: usize) -> Vec<u8> {
    let mut profile = be32(len).to_vec();
    profile.resize(128, 0);
    profile[8] = 2;
    profile[36..40].copy_from_slice(b"acsp");
    profile[48..56].copy_from_slice(b"planted!");
    profile.extend(be32(3));
    for (name, at, len) in
        [(b"desc", 168, 100), (b"mmod", 268, 20), (b"rTRC", CURVE_AT, len - CURVE_AT)]
    {
        profile.extend([*name, be32(at), be32(len)].concat());
    }
    profile.extend(b"desc\0\0\0\0\0\0\0\x18planted screen of Ana's");
    profile.resize(268, 0);
    profile.extend(b"mmod\0\0\0\0planted numb");
    profile.extend((CURVE_AT..len).map(|at| u8::try_from(at % 251).expect("small")));
    profile
}

/// A movie as telephones put it behind a picture.
pub fn movie() -> Vec<u8> {
    let mut movie = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom".to_vec();
    movie.extend(b"\0\0\0\x1dmdatplanted movie's data");
    movie
}

pub fn be32(number: usize) -> [u8; 4] {
    u32::try_from(number).expect("small").to_be_bytes()
}

/// Random-looking bytes, the same every time.
pub fn noise(len: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..len).map(next).collect()
}
