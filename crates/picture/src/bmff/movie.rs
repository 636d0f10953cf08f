//! Movies inside of a picture file: image sequences, which AVIF and HEIC can be as well.

use std::ops::Range;

use super::atoms::{Atom, Reader, atoms};
use super::properties::is_shown;
use crate::read::{Fault, u32_be};

/// Boxes that a sequence needs, by the box that they are in.
const NEEDED: &[(&[u8; 4], &[&[u8; 4]])] = &[
    (b"moov", &[b"mvhd", b"trak"]),
    (b"trak", &[b"tkhd", b"tref", b"edts", b"trgr", b"mdia"]),
    (b"mdia", &[b"mdhd", b"hdlr", b"elng", b"minf"]),
    (b"minf", &[b"vmhd", b"hmhd", b"nmhd", b"dinf", b"stbl"]),
    (
        b"stbl",
        &[
            b"stsd", b"stts", b"ctts", b"cslg", b"stsc", b"stsz", b"stz2", b"stco", b"co64",
            b"stss", b"stsh", b"stdp", b"sdtp", b"sbgp", b"sgpd", b"subs", b"saiz", b"saio",
        ],
    ),
];
/// How the pictures of a track may be coded. A JPEG could have anything, and is found in a track only by
/// its tables.
const CODED: &[&[u8; 4]] = &[
    b"av01", b"avc1", b"avc3", b"evc1", b"hev1", b"hvc1", b"hvt1", b"lhe1", b"lhv1", b"vvc1",
    b"vvi1",
];
/// Boxes of a track's description that say how it is decoded, beside those that properties are as
/// well.
const DESCRIBED: &[&[u8; 4]] = &[b"ccst", b"auxi", b"btrt"];
/// Bytes of such a description before its boxes, and where the name of the encoder is in it.
const DESCRIPTION_LEN: usize = 78;
const ENCODER: Range<usize> = 42..74;

const CUT: Fault = Fault::Damaged("its sequence is cut");

/// What to overwrite in a sequence.
#[derive(Default)]
pub(super) struct Movie {
    /// Boxes that go.
    pub(super) told: Vec<Atom>,
    /// When something was made, and what by, at these places.
    pub(super) texts: Vec<Range<usize>>,
    /// Boxes of colors.
    pub(super) colors: Vec<Atom>,
    /// Boxes that say what a track is, with a name at their end.
    pub(super) handlers: Vec<Atom>,
}

impl Movie {
    /// Reads a `moov` box and what is in it.
    pub(super) fn read(bytes: &[u8], moov: &Atom) -> Result<Self, Fault> {
        let mut movie = Self::default();
        // Five levels, since only boxes that are known are looked into.
        movie.walk(bytes, moov)?;
        Ok(movie)
    }

    fn walk(&mut self, bytes: &[u8], parent: &Atom) -> Result<(), Fault> {
        let needed = NEEDED.iter().find(|(name, _)| **name == parent.name);
        let Some((_, needed)) = needed else { return Ok(()) };
        for child in atoms(bytes, parent.body.clone())? {
            match &child.name {
                b"mvex" => return Err(Fault::Unknown("a sequence in fragments".into())),
                name if !needed.contains(&name) => self.told.push(child),
                b"mvhd" | b"tkhd" | b"mdhd" => self.texts.push(times(bytes, &child)?),
                b"stsd" => self.descriptions(bytes, &child)?,
                b"hdlr" => {
                    check_handler(bytes, &child)?;
                    self.handlers.push(child);
                }
                _ => self.walk(bytes, &child)?,
            }
        }
        Ok(())
    }

    /// Reads how the pictures of a track are coded.
    fn descriptions(&mut self, bytes: &[u8], list: &Atom) -> Result<(), Fault> {
        // A version and a number of descriptions.
        let start = list.versioned_range().ok_or(CUT)?.start + 4;
        for description in atoms(bytes, start..list.body.end)? {
            if !CODED.contains(&&description.name) {
                let name = String::from_utf8_lossy(&description.name).into_owned();
                return Err(Fault::Unknown(format!("a track of kind {name}")));
            }
            let body = description.body;
            let parts = body.start + DESCRIPTION_LEN;
            if parts > body.end {
                return Err(CUT);
            }
            self.texts.push(body.start + ENCODER.start..body.start + ENCODER.end);
            for part in atoms(bytes, parts..body.end)? {
                if part.name == *b"colr" {
                    self.colors.push(part);
                } else if !is_shown(&part) && !DESCRIBED.contains(&&part.name) {
                    self.told.push(part);
                }
            }
        }
        Ok(())
    }
}

/// Where a box has its times: two numbers at its beginning.
fn times(bytes: &[u8], atom: &Atom) -> Result<Range<usize>, Fault> {
    let (version, _, body) = atom.versioned(bytes).ok_or(CUT)?;
    let len = if version == 0 { 8 } else { 16 };
    Reader::of(body).number(8).ok_or(CUT)?;
    let start = atom.versioned_range().ok_or(CUT)?.start;
    if start + len > atom.body.end { Err(CUT) } else { Ok(start..start + len) }
}

/// Sound, texts and positions have tracks of their own; those are no part of a picture.
fn check_handler(bytes: &[u8], atom: &Atom) -> Result<(), Fault> {
    let (_, _, body) = atom.versioned(bytes).ok_or(CUT)?;
    let kind = u32_be(body, 4).ok_or(CUT)?.to_be_bytes();
    if [b"pict", b"vide", b"auxv"].contains(&&kind) {
        return Ok(());
    }
    Err(Fault::Unknown("a track that is no picture".into()))
}
