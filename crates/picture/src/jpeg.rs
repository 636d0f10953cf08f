//! JPEG: markers and segments, and coded data between them.
//!
//! Sources: ITU-T T.81 annex B; T.871 (JFIF); T.872 6.5.3 (Adobe's APP14); ICC.1:2022 annex B.4;
//! for what readers do with broken files, libjpeg.

use crate::describe::Header;
use crate::icc;
use crate::orientation::Orientation;
use crate::read::{Fault, array, slice, u16_be};

const SOI: u8 = 0xd8;
const EOI: u8 = 0xd9;
const SOS: u8 = 0xda;
const APP0: u8 = 0xe0;
const APP1: u8 = 0xe1;
const APP2: u8 = 0xe2;
const APP14: u8 = 0xee;

const JFIF: &[u8] = b"JFIF\0";
const EXIF: &[u8] = b"Exif\0";
const ICC: &[u8] = b"ICC_PROFILE\0";
const ADOBE: &[u8] = b"Adobe";
/// Bytes of a JFIF segment without its preview: name, version, density, and a preview of 0 × 0.
const JFIF_LEN: usize = 14;
/// Bytes of Adobe's segment up to and with the color transform.
const ADOBE_LEN: usize = 12;
/// Bytes of a profile that fit into a segment beside length, name, number and count.
const ICC_PIECE: usize = 65_535 - 2 - 14;
/// Most scans that are decoded. Encoders make near ten; each one more is another walk over all
/// pixels.
const MAX_SCANS: usize = 100;

/// What a file is made of.
enum Part<'a> {
    Segment {
        marker: u8,
        payload: &'a [u8],
    },
    /// A scan: its header's payload, and the coded data up to the next marker.
    Scan {
        header: &'a [u8],
        coded: &'a [u8],
    },
}

/// The parts of a file in order, up to its end of image; what stands between parts is left out,
/// like readers do.
struct Parts<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Parts<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 2 }
    }

    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// Goes behind the next marker and returns it.
    fn marker(&mut self) -> Option<u8> {
        loop {
            self.at += self.rest().iter().position(|byte| *byte == 0xff)?;
            self.at += self.rest().iter().position(|byte| *byte != 0xff)?;
            let marker = *self.rest().first()?;
            self.at += 1;
            // Those without a segment say nothing outside of coded data.
            if !matches!(marker, 0..=1 | 0xd0..=0xd7) {
                return Some(marker);
            }
        }
    }

    fn payload(&mut self) -> Result<&'a [u8], Fault> {
        let rest = self.rest();
        let len = usize::from(u16_be(rest, 0).ok_or(Fault::Damaged("it ends in a segment"))?);
        let payload = rest.get(2..len).ok_or(Fault::Damaged("a segment ends behind the file"))?;
        self.at += len;
        Ok(payload)
    }

    /// Goes over coded data: up to a marker that is neither an escaped byte nor a restart.
    fn coded(&mut self) -> &'a [u8] {
        let rest = self.rest();
        let mut len = 0;
        loop {
            let from = rest.get(len..).unwrap_or_default();
            let Some(escape) = from.iter().position(|byte| *byte == 0xff) else {
                len = rest.len();
                break;
            };
            let fill = from.get(escape..).unwrap_or_default();
            match fill.iter().position(|byte| *byte != 0xff) {
                Some(after) if matches!(fill.get(after), Some(0 | 0xd0..=0xd7)) => {
                    len += escape + after + 1;
                }
                _ => {
                    len += escape;
                    break;
                }
            }
        }
        self.at += len;
        rest.get(..len).unwrap_or_default()
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = Result<Part<'a>, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        // A second beginning is that of another picture, behind one that does not end.
        let marker = self.marker().filter(|marker| !matches!(*marker, SOI | EOI));
        let Some(marker) = marker else {
            self.at = self.bytes.len();
            return None;
        };
        let payload = match self.payload() {
            Ok(payload) => payload,
            Err(fault) => return Some(Err(fault)),
        };
        Some(Ok(match marker {
            SOS => Part::Scan { header: payload, coded: self.coded() },
            marker => Part::Segment { marker, payload },
        }))
    }
}

/// What a picture's application segments say about how it is shown.
#[derive(Default)]
struct Shown<'a> {
    jfif: Option<&'a [u8]>,
    orientation: Option<Orientation>,
    /// Pieces of a color profile: number, count, bytes.
    profile: Vec<(u8, u8, &'a [u8])>,
    adobe: Option<&'a [u8]>,
}

impl<'a> Shown<'a> {
    /// Reads what stands before the first scan, where readers look for it.
    fn read(bytes: &'a [u8]) -> Result<Self, Fault> {
        let mut shown = Self::default();
        for part in Parts::of(bytes) {
            match part? {
                Part::Segment { marker, payload } => shown.note(marker, payload),
                Part::Scan { .. } => break,
            }
        }
        Ok(shown)
    }

    fn note(&mut self, marker: u8, payload: &'a [u8]) {
        match marker {
            APP0 if self.jfif.is_none() && payload.starts_with(JFIF) => {
                self.jfif = payload.get(..JFIF_LEN);
            }
            APP1 if self.orientation.is_none() && payload.starts_with(EXIF) => {
                // The name ends with a zero and a byte of padding.
                let tiff = payload.get(EXIF.len() + 1..).unwrap_or_default();
                self.orientation = Some(Orientation::from_tiff(tiff));
            }
            APP2 => {
                if let Some([number, count, piece @ ..]) = payload.strip_prefix(ICC) {
                    self.profile.push((*number, *count, piece));
                }
            }
            APP14 if payload.starts_with(ADOBE) => {
                self.adobe = payload.get(..ADOBE_LEN).or(self.adobe);
            }
            _ => {}
        }
    }

    /// Puts the color profile together; none if pieces are missing, or it is no profile.
    fn profile(&self) -> Option<Vec<u8>> {
        let mut pieces = self.profile.clone();
        pieces.sort_by_key(|(number, _, _)| *number);
        let whole = pieces.iter().enumerate().all(|(index, (number, count, _))| {
            usize::from(*number) == index + 1 && usize::from(*count) == pieces.len()
        });
        let bytes: Vec<u8> = pieces.iter().flat_map(|(_, _, piece)| *piece).copied().collect();
        if whole { icc::profile(&bytes) } else { None }
    }

    fn write(&self, out: &mut Vec<u8>) {
        if let Some(jfif) = self.jfif {
            let kept = jfif.get(..JFIF_LEN - 2).unwrap_or_default();
            segment(out, APP0, &[kept, &[0, 0]]);
        }
        if let Some(tiff) = self.orientation.and_then(Orientation::to_tiff) {
            segment(out, APP1, &[EXIF, &[0], &tiff]);
        }
        let profile = self.profile().unwrap_or_default();
        let count = profile.len().div_ceil(ICC_PIECE);
        for (index, piece) in profile.chunks(ICC_PIECE).enumerate() {
            // At most 255, since it came in as many.
            let number = |it: usize| u8::try_from(it).unwrap_or(u8::MAX);
            segment(out, APP2, &[ICC, &[number(index + 1), number(count)], piece]);
        }
        if let Some(adobe) = self.adobe {
            segment(out, APP14, &[adobe]);
        }
    }
}

/// Whether a segment is needed to decode: frames, tables, restart intervals.
fn is_coding(marker: u8) -> bool {
    matches!(marker, 0xc0..=0xcf | 0xdb..=0xdf)
}

/// Whether a segment begins a frame: those of the range that are no tables.
fn is_frame(marker: u8) -> bool {
    matches!(marker, 0xc0..=0xcf) && !matches!(marker, 0xc4 | 0xc8 | 0xcc)
}

fn segment(out: &mut Vec<u8>, marker: u8, payload: &[&[u8]]) {
    let len = 2 + payload.iter().map(|part| part.len()).sum::<usize>();
    // What is written came out of segments, or is shorter than one.
    let len = u16::try_from(len).unwrap_or(u16::MAX);
    out.extend([0xff, marker]);
    out.extend(len.to_be_bytes());
    for part in payload {
        out.extend(*part);
    }
}

/// Returns the file without metadata, and the orientation that it has.
pub(crate) fn strip(bytes: &[u8]) -> Result<(Vec<u8>, Orientation), Fault> {
    let shown = Shown::read(bytes)?;
    let mut out = Vec::with_capacity(bytes.len());
    out.extend([0xff, SOI]);
    shown.write(&mut out);
    let (mut has_frame, mut has_scan) = (false, false);
    for part in Parts::of(bytes) {
        match part? {
            Part::Segment { marker, payload } if is_coding(marker) => {
                has_frame |= is_frame(marker);
                segment(&mut out, marker, &[payload]);
            }
            Part::Segment { .. } => {}
            Part::Scan { header, coded } => {
                has_scan = true;
                segment(&mut out, SOS, &[header]);
                out.extend(coded);
            }
        }
    }
    if !has_frame || !has_scan {
        return Err(Fault::Damaged("there is no picture in it"));
    }
    out.extend([0xff, EOI]);
    Ok((out, shown.orientation.unwrap_or_default()))
}

/// Reads size, orientation and the cost of decoding.
pub(crate) fn header(bytes: &[u8]) -> Result<Header, Fault> {
    let shown = Shown::read(bytes)?;
    let mut frame = None;
    let (mut scans, mut first_scan) = (0, None);
    for part in Parts::of(bytes) {
        match part? {
            Part::Segment { marker, payload } if is_frame(marker) && frame.is_none() => {
                frame = Some((marker, payload));
            }
            Part::Segment { .. } => {}
            Part::Scan { header, .. } => {
                scans += 1;
                first_scan = first_scan.or(header.first().copied());
            }
        }
    }
    if scans > MAX_SCANS {
        return Err(Fault::Unknown(format!("{scans} scans")));
    }
    let frame = frame.and_then(|(marker, payload)| Frame::read(marker, payload));
    let frame = frame.ok_or(Fault::Damaged("there is no picture in it"))?;
    let at_once = !frame.is_progressive && first_scan == Some(frame.components());
    Ok(Header {
        width: frame.width.into(),
        height: frame.height.into(),
        orientation: shown.orientation.unwrap_or_default(),
        // The decoder reads the file into a buffer of its own, and texts in it once or twice more.
        decode_bytes: frame.decode_bytes(at_once).saturating_add(3 * bytes.len() as u64),
    })
}

/// A frame's header.
struct Frame<'a> {
    is_progressive: bool,
    width: u16,
    height: u16,
    /// For each component: its id, its sampling (across in the upper four bits), its table.
    components: &'a [[u8; 3]],
}

impl<'a> Frame<'a> {
    fn read(marker: u8, payload: &'a [u8]) -> Option<Self> {
        let [_precision, a, b, c, d, count]: [u8; 6] = array(payload, 0)?;
        let components = slice(payload, 6, usize::from(count) * 3)?.as_chunks().0;
        Some(Self {
            is_progressive: matches!(marker, 0xc2 | 0xc6 | 0xca | 0xce),
            height: u16::from_be_bytes([a, b]),
            width: u16::from_be_bytes([c, d]),
            components,
        })
    }

    fn components(&self) -> u8 {
        u8::try_from(self.components.len()).unwrap_or(u8::MAX)
    }

    /// Bytes that decoding takes, beside the file. Coefficients of two bytes are kept for all
    /// blocks unless the one scan has all components.
    fn decode_bytes(&self, at_once: bool) -> u64 {
        let sampling =
            || self.components.iter().map(|[_, it, _]| (u64::from(it >> 4), u64::from(it & 15)));
        let across = sampling().map(|(across, _)| across).max().unwrap_or(1).max(1);
        let down = sampling().map(|(_, down)| down).max().unwrap_or(1).max(1);
        let blocks_across = u64::from(self.width).div_ceil(8 * across);
        let blocks_down = u64::from(self.height).div_ceil(8 * down);
        let in_block: u64 = sampling().map(|(across, down)| across * down).sum();
        let coefficients = blocks_across * blocks_down * in_block * 64 * 2;
        let channels = if self.components.len() == 1 { 1 } else { 3 };
        let pixels = u64::from(self.width) * u64::from(self.height) * channels;
        // Rows of blocks, before and after their color is sampled up.
        let rows = blocks_across * 8 * across * 8 * down * 2 * 16;
        pixels + rows + if at_once { 0 } else { coefficients }
    }
}
