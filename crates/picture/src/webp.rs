//! WebP: a RIFF file of chunks, one of which says what the others are.
//!
//! Sources: RFC 9649; RFC 6386, section 9.1 (the size of a lossy picture).

use crate::describe::Header;
use crate::icc;
use crate::orientation::Orientation;
use crate::read::{Fault, array, slice, u16_le, u24_le, u32_le};
use crate::vp8l;

const EXTENDED: [u8; 4] = *b"VP8X";
const LOSSY: [u8; 4] = *b"VP8 ";
const LOSSLESS: [u8; 4] = *b"VP8L";
const ALPHA: [u8; 4] = *b"ALPH";
const ANIMATION: [u8; 4] = *b"ANIM";
const FRAME: [u8; 4] = *b"ANMF";
const PROFILE: [u8; 4] = *b"ICCP";
const EXIF: [u8; 4] = *b"EXIF";

/// Flags of an extended file.
const HAS_ANIMATION: u8 = 0x02;
const HAS_EXIF: u8 = 0x08;
const HAS_ALPHA: u8 = 0x10;
const HAS_PROFILE: u8 = 0x20;
/// Bytes of a frame's own header, before its chunks.
const FRAME_HEADER_LEN: usize = 16;
/// Bytes of a lossless picture before its coded data: a signature, its size.
const LOSSLESS_HEADER_LEN: usize = 5;

const NO_PICTURE: Fault = Fault::Damaged("there is no picture in it");
const NO_SIZE: Fault = Fault::Damaged("its picture has no size");
const CUT: Fault = Fault::Damaged("its animation is cut");

struct Chunk<'a> {
    name: [u8; 4],
    data: &'a [u8],
}

#[derive(Clone)]
struct Chunks<'a> {
    rest: &'a [u8],
}

impl<'a> Chunks<'a> {
    /// The chunks of a file; what stands behind the length that it gives is not part of it.
    fn of(bytes: &'a [u8]) -> Result<Self, Fault> {
        let len = u32_le(bytes, 4).and_then(|len| usize::try_from(len).ok());
        let rest = len.and_then(|len| slice(bytes, 8, len)).and_then(|riff| riff.get(4..));
        let rest = rest.ok_or(Fault::Damaged("it ends before its own end"))?;
        Ok(Self { rest })
    }

    fn take(&mut self) -> Option<Chunk<'a>> {
        let name = array(self.rest, 0)?;
        let len = usize::try_from(u32_le(self.rest, 4)?).ok()?;
        let data = slice(self.rest, 8, len)?;
        // An odd length is followed by a byte that may be missing at the end.
        self.rest = self.rest.get(8 + len + len % 2..).unwrap_or_default();
        Some(Chunk { name, data })
    }
}

impl<'a> Iterator for Chunks<'a> {
    type Item = Result<Chunk<'a>, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let chunk = self.take().ok_or(Fault::Damaged("it ends in a chunk"));
        if chunk.is_err() {
            self.rest = &[];
        }
        Some(chunk)
    }
}

/// What an extended file says about how it is shown.
#[derive(Default)]
struct Shown<'a> {
    extended: Option<&'a [u8]>,
    orientation: Option<Orientation>,
    profile: Option<Vec<u8>>,
}

impl<'a> Shown<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, Fault> {
        let mut shown = Self::default();
        for (index, chunk) in Chunks::of(bytes)?.enumerate() {
            let chunk = chunk?;
            match chunk.name {
                EXTENDED if index > 0 => {
                    return Err(Fault::Damaged("its extended header is not at its beginning"));
                }
                EXTENDED => {
                    let header = chunk.data.get(..10);
                    shown.extended = Some(header.ok_or(Fault::Damaged("its header is cut"))?);
                }
                EXIF if shown.orientation.is_none() && shown.extended.is_some() => {
                    // Some writers put the name in front that JPEG has.
                    let tiff = chunk.data.strip_prefix(b"Exif\0\0").unwrap_or(chunk.data);
                    shown.orientation = Some(Orientation::from_tiff(tiff));
                }
                PROFILE if shown.profile.is_none() && shown.extended.is_some() => {
                    shown.profile = icc::profile(chunk.data);
                }
                _ => {}
            }
        }
        Ok(shown)
    }

    fn has(&self, flag: u8) -> bool {
        self.extended.and_then(<[u8]>::first).is_some_and(|flags| flags & flag != 0)
    }

    fn orientation(&self) -> Orientation {
        self.orientation.unwrap_or_default()
    }

    /// Returns the extended header, with the flags that are true of what is kept.
    fn header(&self) -> Option<Vec<u8>> {
        let mut header = self.extended?.to_vec();
        let flags = header.first_mut()?;
        *flags &= HAS_ANIMATION | HAS_ALPHA;
        if self.profile.is_some() {
            *flags |= HAS_PROFILE;
        }
        if self.orientation() != Orientation::Upright {
            *flags |= HAS_EXIF;
        }
        // Reserved; after it come the sides.
        header.get_mut(1..4)?.fill(0);
        Some(header)
    }
}

/// Returns the file without metadata, and the orientation that it has.
pub(crate) fn strip(bytes: &[u8]) -> Result<(Vec<u8>, Orientation), Fault> {
    let shown = Shown::read(bytes)?;
    let mut out = Vec::with_capacity(bytes.len());
    out.extend(b"RIFF\0\0\0\0WEBP");
    if let Some(header) = shown.header() {
        write(&mut out, EXTENDED, &header);
    }
    if let Some(profile) = &shown.profile {
        write(&mut out, PROFILE, profile);
    }
    let chunks = Chunks::of(bytes)?;
    if shown.has(HAS_ANIMATION) {
        write_frames(&mut out, chunks)?;
    } else {
        write_image(&mut out, chunks)?;
    }
    if let Some(tiff) = shown.orientation().to_tiff() {
        write(&mut out, EXIF, &tiff);
    }
    let len = u32::try_from(out.len() - 8).map_err(|_| Fault::Damaged("it is too large"))?;
    if let Some(size) = out.get_mut(4..8) {
        size.copy_from_slice(&len.to_le_bytes());
    }
    Ok((out, shown.orientation()))
}

/// Writes the first picture with its transparency: others are not shown.
fn write_image(out: &mut Vec<u8>, chunks: Chunks<'_>) -> Result<(), Fault> {
    let mut has_alpha = false;
    for chunk in chunks {
        let chunk = chunk?;
        match chunk.name {
            ALPHA if !has_alpha => {
                write(out, ALPHA, chunk.data);
                has_alpha = true;
            }
            LOSSY | LOSSLESS => {
                write(out, chunk.name, chunk.data);
                return Ok(());
            }
            _ => {}
        }
    }
    Err(NO_PICTURE)
}

/// Writes the frames of an animation, with nothing in each but its picture.
fn write_frames(out: &mut Vec<u8>, chunks: Chunks<'_>) -> Result<(), Fault> {
    let mut has_frame = false;
    for chunk in chunks {
        let chunk = chunk?;
        match chunk.name {
            // The color behind an animation, and how often it is repeated.
            ANIMATION if !has_frame => {
                write(out, ANIMATION, chunk.data.get(..6).ok_or(CUT)?);
            }
            FRAME => {
                let (header, rest) = chunk.data.split_at_checked(FRAME_HEADER_LEN).ok_or(CUT)?;
                let mut frame = header.to_vec();
                write_image(&mut frame, Chunks { rest })?;
                write(out, FRAME, &frame);
                has_frame = true;
            }
            _ => {}
        }
    }
    if has_frame { Ok(()) } else { Err(NO_PICTURE) }
}

fn write(out: &mut Vec<u8>, name: [u8; 4], data: &[u8]) {
    out.extend(name);
    // What is written came out of one chunk, or is shorter.
    out.extend(u32::try_from(data.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend(data);
    out.extend([0].iter().take(data.len() % 2));
}

/// Reads size, orientation and the cost of decoding.
pub(crate) fn header(bytes: &[u8]) -> Result<Header, Fault> {
    let shown = Shown::read(bytes)?;
    let mut chunks = Chunks::of(bytes)?;
    let sides = shown.extended.map(|header| u24_le(header, 4).zip(u24_le(header, 7)));
    let mut sides = sides.flatten().map(|(width, height)| (width + 1, height + 1));
    // The size of transparency, which does not say its own.
    let mut alpha = sides;
    if shown.has(HAS_ANIMATION) {
        let frame = first(&chunks, FRAME).ok_or(NO_PICTURE)?;
        let header = u24_le(frame, 6).zip(u24_le(frame, 9)).ok_or(CUT)?;
        alpha = Some((header.0 + 1, header.1 + 1));
        chunks = Chunks { rest: frame.get(FRAME_HEADER_LEN..).unwrap_or_default() };
    }
    let mut images = chunks.clone().flatten();
    let image = images.find(|it| [LOSSY, LOSSLESS].contains(&it.name)).ok_or(NO_PICTURE)?;
    // What is decoded has a size of its own, which may not be that of the file.
    let coded = coded(&image).ok_or(NO_SIZE)?;
    let (width, height) = *sides.get_or_insert(coded);
    // Bytes of a pixel, at most: what comes out, planes of color, transparency with its own
    // decoder, working space of the lossless decoder; an animation has a canvas and a frame beside.
    let pixel = match image.name {
        _ if shown.has(HAS_ANIMATION) => 24,
        LOSSY if !shown.has(HAS_ALPHA) => 6,
        _ => 14,
    };
    let area = |(width, height): (u32, u32)| u64::from(width) * u64::from(height);
    let pixels = area((width, height)).max(area(coded));
    let tables =
        tables(&chunks, alpha.unwrap_or(coded)).ok_or(Fault::Damaged("its codes are cut"))?;
    Ok(Header {
        width,
        height,
        orientation: shown.orientation(),
        decode_bytes: pixels
            .saturating_mul(pixel)
            .saturating_add(tables)
            .saturating_add((1 << 21) + bytes.len() as u64),
    })
}

fn first<'a>(chunks: &Chunks<'a>, name: [u8; 4]) -> Option<&'a [u8]> {
    chunks.clone().flatten().find(|chunk| chunk.name == name).map(|chunk| chunk.data)
}

/// How many bytes the tables of codes take in what is coded without loss: colors, transparency.
fn tables(chunks: &Chunks<'_>, alpha: (u32, u32)) -> Option<u64> {
    let mut sum = 0;
    if let Some(data) = first(chunks, LOSSLESS) {
        sum += vp8l::tables(data.get(LOSSLESS_HEADER_LEN..)?, lossless_sides(data)?)?;
    }
    // The first byte says how it is coded.
    if let Some([how, data @ ..]) = first(chunks, ALPHA)
        && how & 3 == 1
    {
        sum += vp8l::tables(data, alpha)?;
    }
    Some(sum)
}

/// The size of a coded picture.
fn coded(image: &Chunk<'_>) -> Option<(u32, u32)> {
    if image.name == LOSSLESS {
        return lossless_sides(image.data);
    }
    let side = |at| u16_le(image.data, at).map(|side| u32::from(side & 0x3fff));
    (array(image.data, 3)? == *b"\x9d\x01\x2a").then_some((side(6)?, side(8)?))
}

/// The size of a picture without loss: after a signature, fourteen bits for each side less one.
fn lossless_sides(data: &[u8]) -> Option<(u32, u32)> {
    let bits = u32_le(data, 1)?;
    Some(((bits & 0x3fff) + 1, (bits >> 14 & 0x3fff) + 1))
}
