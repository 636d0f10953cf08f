//! GIF: a screen, and blocks that end with an empty piece.
//!
//! Sources: CompuServe, Graphics Interchange Format, version 89a; Netscape's and ICC's application
//! extensions.

use crate::describe::Header;
use crate::icc;
use crate::orientation::Orientation;
use crate::read::{Fault, array, slice, u16_le};

const TRAILER: u8 = 0x3b;
const IMAGE: u8 = 0x2c;
const EXTENSION: u8 = 0x21;
const CONTROL: u8 = 0xf9;
const TEXT: u8 = 0x01;
const APPLICATION: u8 = 0xff;
/// Bytes of the signature and the logical screen.
const SCREEN_LEN: usize = 13;

enum Block<'a> {
    /// How long the next image is shown, and what is transparent in it.
    Control(&'a [u8]),
    /// A program's own: its name, and the pieces after it.
    Application { name: &'a [u8], pieces: Pieces<'a> },
    /// A text that is drawn; no browser does.
    Text,
    /// Anything else that is not shown.
    Other,
    /// An image: its sides, and all of its bytes.
    Image { width: u16, height: u16, whole: &'a [u8] },
}

/// Pieces of up to 255 bytes, each behind its length; the empty one ends them.
#[derive(Clone)]
struct Pieces<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let piece = slice(self.rest, 1, usize::from(*self.rest.first()?))?;
        self.rest = self.rest.get(1 + piece.len()..)?;
        (!piece.is_empty()).then_some(piece)
    }
}

struct Blocks<'a> {
    bytes: &'a [u8],
    at: usize,
}

const CUT: Fault = Fault::Damaged("it ends in a block");

/// Bytes of a table of colors, by the flags that announce it.
fn table_len(flags: u8) -> usize {
    if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 7) + 1) }
}

impl<'a> Blocks<'a> {
    /// Returns the signature and the screen with its colors, and the blocks behind it.
    fn of(bytes: &'a [u8]) -> Result<(&'a [u8], Self), Fault> {
        let flags = bytes.get(10).copied().ok_or(CUT)?;
        let screen = slice(bytes, 0, SCREEN_LEN + table_len(flags)).ok_or(CUT)?;
        Ok((screen, Self { bytes, at: screen.len() }))
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    /// Goes over pieces with their end, and returns them.
    fn pieces(&mut self) -> Option<Pieces<'a>> {
        let from = self.at;
        loop {
            let len = usize::from(self.byte()?);
            self.at += len;
            if len == 0 {
                return Some(Pieces { rest: self.bytes.get(from..self.at)? });
            }
        }
    }

    fn image(&mut self) -> Option<Block<'a>> {
        let from = self.at - 1;
        let [_, _, _, _, w, w2, h, h2, flags]: [u8; 9] = array(self.bytes, self.at)?;
        // The descriptor, its colors, and the size of the first codes.
        self.at += 9 + table_len(flags) + 1;
        self.pieces()?;
        let whole = self.bytes.get(from..self.at)?;
        let (width, height) = (u16::from_le_bytes([w, w2]), u16::from_le_bytes([h, h2]));
        Some(Block::Image { width, height, whole })
    }

    fn extension(&mut self) -> Option<Block<'a>> {
        let label = self.byte()?;
        let mut pieces = self.pieces()?;
        Some(match label {
            CONTROL => Block::Control(pieces.next().unwrap_or_default()),
            APPLICATION => Block::Application { name: pieces.next().unwrap_or_default(), pieces },
            TEXT => Block::Text,
            _ => Block::Other,
        })
    }
}

impl<'a> Iterator for Blocks<'a> {
    type Item = Result<Block<'a>, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let block = match self.byte()? {
                // Some encoders end a block twice.
                0 => continue,
                TRAILER => None,
                IMAGE => Some(self.image().ok_or(CUT)),
                EXTENSION => Some(self.extension().ok_or(CUT)),
                _ => Some(Err(Fault::Damaged("a block has no known beginning"))),
            };
            if !matches!(block, Some(Ok(_))) {
                self.at = self.bytes.len();
            }
            return block;
        }
    }
}

/// Returns the file without metadata.
pub(crate) fn strip(bytes: &[u8]) -> Result<Vec<u8>, Fault> {
    let (screen, blocks) = Blocks::of(bytes)?;
    let mut out = Vec::with_capacity(bytes.len());
    out.extend(screen);
    let mut control = None;
    let mut has_image = false;
    for block in blocks {
        match block? {
            Block::Control(data) => control = data.get(..4),
            // It takes the control before it along.
            Block::Text => control = None,
            Block::Other => {}
            Block::Application { name, pieces } => write_application(&mut out, name, pieces),
            Block::Image { whole, .. } => {
                if let Some(data) = control.take() {
                    out.extend([EXTENSION, CONTROL, 4]);
                    out.extend(data);
                    out.push(0);
                }
                out.extend(whole);
                has_image = true;
            }
        }
    }
    if !has_image {
        return Err(Fault::Damaged("there is no picture in it"));
    }
    out.push(TRAILER);
    Ok(out)
}

/// Writes what a program added if it changes how the picture is shown: how often it is repeated,
/// and its colors.
fn write_application(out: &mut Vec<u8>, name: &[u8], mut pieces: Pieces<'_>) {
    match name {
        b"NETSCAPE2.0" | b"ANIMEXTS1.0" => {
            let Some([1, low, high]) = pieces.find(|piece| piece.first() == Some(&1)) else {
                return;
            };
            out.extend([EXTENSION, APPLICATION, 11]);
            out.extend(name);
            out.extend([3, 1, *low, *high, 0]);
        }
        b"ICCRGBG1012" => {
            let profile: Vec<u8> = pieces.flatten().copied().collect();
            let Some(profile) = icc::profile(&profile) else { return };
            out.extend([EXTENSION, APPLICATION, 11]);
            out.extend(name);
            for piece in profile.chunks(usize::from(u8::MAX)) {
                out.push(u8::try_from(piece.len()).unwrap_or(u8::MAX));
                out.extend(piece);
            }
            out.push(0);
        }
        _ => {}
    }
}

/// Reads the size and the cost of decoding the first image.
pub(crate) fn header(bytes: &[u8]) -> Result<Header, Fault> {
    let (screen, blocks) = Blocks::of(bytes)?;
    let (width, height) = u16_le(screen, 6).zip(u16_le(screen, 8)).ok_or(CUT)?;
    let mut image = None;
    for block in blocks {
        if let Block::Image { width, height, .. } = block? {
            image = Some(u64::from(width) * u64::from(height));
            break;
        }
    }
    let image = image.ok_or(Fault::Damaged("there is no picture in it"))?;
    let pixels = u64::from(width) * u64::from(height);
    Ok(Header {
        width: width.into(),
        height: height.into(),
        orientation: Orientation::Upright,
        // Screen and image in four channels each; the decoder's tables and buffers.
        decode_bytes: (pixels + image) * 4 + (1 << 20) + bytes.len() as u64,
    })
}
