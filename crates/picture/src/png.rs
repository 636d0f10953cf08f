//! PNG: chunks, each with a name that says whether a reader may pass it over.
//!
//! Source: W3C, Portable Network Graphics (Third Edition), with animation, `cICP` and `eXIf`.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;

use crate::describe::Header;
use crate::icc;
use crate::orientation::Orientation;
use crate::read::{Fault, array, slice, u32_be};

const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";
const EXIF: [u8; 4] = *b"eXIf";
const PROFILE: [u8; 4] = *b"iCCP";

/// What is kept: what no reader may pass over, and what changes how the picture is shown; with the
/// longest that each can be, since what is longer has something else in it.
const KEPT: &[([u8; 4], usize)] = &[
    (*b"IDAT", usize::MAX),
    (*b"IEND", 0),
    (*b"IHDR", 13),
    (*b"PLTE", 3 * 256),
    (*b"acTL", 8),
    (*b"bKGD", 6),
    (*b"cHRM", 32),
    (*b"cICP", 4),
    (*b"cLLI", 8),
    (*b"fcTL", 26),
    (*b"fdAT", usize::MAX),
    (*b"gAMA", 4),
    (*b"mDCV", 24),
    (*b"pHYs", 9),
    (*b"sBIT", 4),
    (*b"sRGB", 1),
    (*b"tRNS", 256),
];

/// Largest color profile when it is unpacked: those of three colors have up to near 2 MiB.
const MAX_PROFILE: usize = 4 * 1024 * 1024;

struct Chunk<'a> {
    name: [u8; 4],
    data: &'a [u8],
    /// All of it: length, name, data, checksum.
    whole: &'a [u8],
}

impl Chunk<'_> {
    fn is_kept(&self) -> bool {
        KEPT.iter().any(|(name, longest)| *name == self.name && self.data.len() <= *longest)
    }

    /// Whether a reader that does not know it must give up.
    fn is_critical(&self) -> bool {
        self.name[0].is_ascii_uppercase()
    }
}

/// The chunks of a file, in order, with the last one and nothing behind it.
struct Chunks<'a> {
    rest: &'a [u8],
}

impl<'a> Chunks<'a> {
    fn of(bytes: &'a [u8]) -> Result<Self, Fault> {
        let rest = bytes.strip_prefix(SIGNATURE).ok_or(Fault::Damaged("it has no signature"))?;
        if slice(rest, 0, 8) != Some(b"\0\0\0\x0dIHDR") {
            return Err(Fault::Damaged("it does not begin with a header"));
        }
        Ok(Self { rest })
    }

    fn take(&mut self) -> Option<Chunk<'a>> {
        let len = usize::try_from(u32_be(self.rest, 0)?).ok()?;
        let name = array(self.rest, 4)?;
        let data = slice(self.rest, 8, len)?;
        let whole = slice(self.rest, 0, len.checked_add(12)?)?;
        self.rest = if name == *b"IEND" { &[] } else { self.rest.get(whole.len()..)? };
        Some(Chunk { name, data, whole })
    }
}

impl<'a> Iterator for Chunks<'a> {
    type Item = Result<Chunk<'a>, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let chunk = self.take().ok_or(Fault::Damaged("it ends in a chunk"));
        Some(chunk.and_then(|chunk| {
            let named = chunk.name.iter().all(u8::is_ascii_alphabetic);
            if named { Ok(chunk) } else { Err(Fault::Damaged("a chunk has no name")) }
        }))
    }
}

fn orientation(bytes: &[u8]) -> Result<Orientation, Fault> {
    for chunk in Chunks::of(bytes)? {
        let chunk = chunk?;
        if chunk.name == EXIF {
            return Ok(Orientation::from_tiff(chunk.data));
        }
    }
    Ok(Orientation::Upright)
}

/// Returns the file without metadata, and the orientation that it has.
pub(crate) fn strip(bytes: &[u8]) -> Result<(Vec<u8>, Orientation), Fault> {
    let orientation = orientation(bytes)?;
    let mut out = Vec::with_capacity(bytes.len());
    out.extend(SIGNATURE);
    let (mut has_data, mut has_end) = (false, false);
    for chunk in Chunks::of(bytes)? {
        let chunk = chunk?;
        match chunk.name {
            PROFILE => write_profile(&mut out, chunk.data),
            _ if chunk.is_kept() => out.extend(chunk.whole),
            _ if chunk.is_critical() => {
                let name = String::from_utf8_lossy(&chunk.name).into_owned();
                return Err(Fault::Unknown(format!("a chunk {name}")));
            }
            _ => {}
        }
        has_data |= chunk.name == *b"IDAT";
        has_end |= chunk.name == *b"IEND";
        if chunk.name == *b"IHDR"
            && let Some(tiff) = orientation.to_tiff()
        {
            write(&mut out, EXIF, &[&tiff]);
        }
    }
    if !has_data {
        return Err(Fault::Damaged("there is no picture in it"));
    }
    if !has_end {
        write(&mut out, *b"IEND", &[]);
    }
    Ok((out, orientation))
}

/// Writes a color profile without the name that it has, which may be that of a screen or a person,
/// and without what else tells whose it is.
fn write_profile(out: &mut Vec<u8>, data: &[u8]) {
    let Some(profile) = unpacked(data).and_then(|profile| icc::profile(&profile)) else { return };
    // Room for what does not become smaller, and for the stream's own bytes.
    let mut packed = Vec::with_capacity(profile.len() + profile.len() / 1024 + 64);
    let mut encoder = ZlibEncoder::new(&mut packed, Compression::default());
    if encoder.write_all(&profile).is_ok() && encoder.finish().is_ok() {
        write(out, PROFILE, &[b"icc\0\0", &packed]);
    }
}

/// Unpacks a color profile: as many bytes as its header says, none if that is more than
/// [`MAX_PROFILE`].
fn unpacked(data: &[u8]) -> Option<Vec<u8>> {
    // A name, a zero, the method of compression.
    let end = data.iter().take(80).position(|byte| *byte == 0)?;
    let mut rest = ZlibDecoder::new(data.get(end + 2..)?);
    let mut profile = vec![0; icc::HEADER_LEN];
    rest.read_exact(&mut profile).ok()?;
    let len = icc::profile_len(&profile).filter(|len| *len <= MAX_PROFILE)?;
    profile.resize(len, 0);
    rest.read_exact(profile.get_mut(icc::HEADER_LEN..)?).ok()?;
    Some(profile)
}

fn write(out: &mut Vec<u8>, name: [u8; 4], data: &[&[u8]]) {
    let len: usize = data.iter().map(|part| part.len()).sum();
    // What is written came out of one chunk, or is shorter.
    out.extend(u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes());
    let mut checksum = crc32fast::Hasher::new();
    for part in [name.as_slice()].iter().chain(data) {
        checksum.update(part);
        out.extend(*part);
    }
    out.extend(checksum.finalize().to_be_bytes());
}

/// Reads size, orientation and the cost of decoding.
pub(crate) fn header(bytes: &[u8]) -> Result<Header, Fault> {
    let orientation = orientation(bytes)?;
    let damaged = Fault::Damaged("it has no header");
    let first = Chunks::of(bytes)?.next().ok_or(damaged.clone())??;
    let (width, height) =
        u32_be(first.data, 0).zip(u32_be(first.data, 4)).ok_or(damaged.clone())?;
    let [depth, color]: [u8; 2] = array(first.data, 8).ok_or(damaged)?;
    // With transparency, which another chunk may add; palettes are decoded to colors.
    let channels: u64 = if color & 2 == 0 { 2 } else { 4 };
    let pixel = channels * if depth == 16 { 2 } else { 1 };
    let row = u64::from(width).saturating_mul(pixel);
    Ok(Header {
        width,
        height,
        orientation,
        // The picture, a few rows, and a window of compression; text comes out of the file as it
        // is.
        decode_bytes: row
            .saturating_mul(u64::from(height).saturating_add(8))
            .saturating_add(1 << 20)
            .saturating_add(bytes.len() as u64),
    })
}
