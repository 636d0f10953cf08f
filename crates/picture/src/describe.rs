//! What shows of a picture before it is here.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use ayni_core::limits::MAX_PIXEL_SIDE;
use image::codecs::{gif::GifDecoder, jpeg::JpegDecoder, png::PngDecoder, webp::WebPDecoder};
use image::{DynamicImage, ImageDecoder, ImageResult};

use crate::kind::{PictureKind, kind};
use crate::orientation::Orientation;
use crate::read::Fault;
use crate::thumbnail::Preview;
use crate::{bmff, gif, jpeg, png, webp};

/// Most pixels of a picture that is decoded: those of the largest cameras in use. A second of work.
pub const MAX_PIXELS: u64 = 100_000_000;
/// Most bytes that decoding may take, by what the header says: 100 megapixels of baseline JPEG take
/// 300 MB, 48 megapixels of progressive JPEG without subsampling 440 MB.
pub const MAX_DECODE_BYTES: u64 = 512 * 1024 * 1024;

/// What a picture may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most pixels.
    pub pixels: u64,
    /// Most bytes of memory while it is decoded.
    pub bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { pixels: MAX_PIXELS, bytes: MAX_DECODE_BYTES }
    }
}

/// What shows of a picture before it is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// What it is.
    pub kind: PictureKind,
    /// Pixels from left to right, as it is shown.
    pub width: u32,
    /// Pixels from top to bottom.
    pub height: u32,
    /// A thumbhash of at most 25 bytes; empty for AVIF and HEIC, which are not decoded.
    pub thumbhash: Vec<u8>,
    /// A JPEG of at most [`THUMBNAIL_SIDE`](crate::THUMBNAIL_SIDE) pixels a side and
    /// [`MAX_THUMBNAIL`](ayni_core::limits::MAX_THUMBNAIL) bytes, on white where the picture is
    /// transparent; empty for AVIF and HEIC. Of an animation, its first frame.
    pub thumbnail: Vec<u8>,
}

/// Why a picture cannot be described.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DescribeError {
    /// The file is no picture of a known kind.
    #[error("this is not a picture of a known kind")]
    NotAPicture,
    /// It has more pixels than the limits allow; nothing was decoded.
    #[error(
        "this picture is {width} × {height} pixels large, which is too many to show a small one"
    )]
    TooManyPixels {
        /// From left to right, as it is shown.
        width: u32,
        /// From top to bottom.
        height: u32,
    },
    /// Decoding would take more memory than the limits allow; nothing was decoded.
    #[error(
        "decoding this picture of {width} × {height} pixels would take {bytes} bytes of memory"
    )]
    TooMuchMemory {
        /// From left to right, as it is shown.
        width: u32,
        /// From top to bottom.
        height: u32,
        /// Bytes that it would take, at most.
        bytes: u64,
    },
    /// It cannot be decoded.
    #[error("this {kind} cannot be decoded: {reason}")]
    Undecodable {
        /// What it is.
        kind: PictureKind,
        /// What is wrong with it.
        reason: String,
    },
}

/// What a file's header says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) orientation: Orientation,
    /// Bytes that decoding takes, at most.
    pub(crate) decode_bytes: u64,
}

/// Describes a picture: its size as shown, a thumbhash, a thumbnail.
///
/// AVIF and HEIC have a size only. Takes up to a second and [`Limits::bytes`] of memory.
///
/// # Errors
/// [`DescribeError`] if it is beyond the limits, which is known before anything is decoded, or
/// cannot be decoded.
pub fn describe(bytes: &[u8], limits: &Limits) -> Result<Described, DescribeError> {
    let kind = kind(bytes).ok_or(DescribeError::NotAPicture)?;
    let header = header(kind, bytes)?;
    check(kind, &header, limits)?;
    let (width, height) = header.orientation.shown((header.width, header.height));
    let preview = if matches!(kind, PictureKind::Avif | PictureKind::Heic) {
        Preview::default()
    } else {
        // The decoders are others' work, and these bytes may be hostile: a panic is a verdict on
        // them.
        let preview = catch_unwind(AssertUnwindSafe(|| preview(kind, bytes, &header)));
        preview
            .unwrap_or_else(|_| Err("its decoder gave up".into()))
            .map_err(|reason| DescribeError::Undecodable { kind, reason })?
    };
    let Preview { thumbhash, thumbnail } = preview;
    Ok(Described { kind, width, height, thumbhash, thumbnail })
}

fn header(kind: PictureKind, bytes: &[u8]) -> Result<Header, DescribeError> {
    let header = match kind {
        PictureKind::Jpeg => jpeg::header(bytes),
        PictureKind::Png => png::header(bytes),
        PictureKind::Gif => gif::header(bytes),
        PictureKind::WebP => webp::header(bytes),
        PictureKind::Avif | PictureKind::Heic => bmff::header(bytes),
    };
    header.map_err(|fault| DescribeError::Undecodable {
        kind,
        reason: match fault {
            Fault::Damaged(what) => what.into(),
            Fault::Unknown(what) => format!("it has {what}"),
        },
    })
}

fn check(kind: PictureKind, header: &Header, limits: &Limits) -> Result<(), DescribeError> {
    let (width, height) = header.orientation.shown((header.width, header.height));
    if width == 0 || height == 0 {
        return Err(DescribeError::Undecodable { kind, reason: "it has no pixels".into() });
    }
    let longest = usize::try_from(width.max(height)).unwrap_or(usize::MAX);
    if u64::from(width) * u64::from(height) > limits.pixels || longest > MAX_PIXEL_SIDE {
        return Err(DescribeError::TooManyPixels { width, height });
    }
    if header.decode_bytes > limits.bytes {
        let bytes = header.decode_bytes;
        return Err(DescribeError::TooMuchMemory { width, height, bytes });
    }
    Ok(())
}

fn preview(kind: PictureKind, bytes: &[u8], header: &Header) -> Result<Preview, String> {
    let image = decode(kind, bytes, header).map_err(|error| error.to_string())?;
    Preview::of(image, header.orientation)
}

/// Decodes a picture, or the first of an animation.
fn decode(kind: PictureKind, bytes: &[u8], header: &Header) -> ImageResult<DynamicImage> {
    let mut allowed = image::Limits::no_limits();
    // What was checked must hold for the decoder as well; compressed color profiles count too.
    allowed.max_image_width = Some(header.width);
    allowed.max_image_height = Some(header.height);
    allowed.max_alloc = Some(header.decode_bytes);
    let reader = Cursor::new(bytes);
    match kind {
        PictureKind::Png => DynamicImage::from_decoder(PngDecoder::with_limits(reader, allowed)?),
        PictureKind::Gif => limited(GifDecoder::new(reader)?, allowed),
        PictureKind::WebP => limited(WebPDecoder::new(reader)?, allowed),
        _ => limited(JpegDecoder::new(reader)?, allowed),
    }
}

fn limited(mut decoder: impl ImageDecoder, allowed: image::Limits) -> ImageResult<DynamicImage> {
    decoder.set_limits(allowed)?;
    DynamicImage::from_decoder(decoder)
}
