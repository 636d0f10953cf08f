//! A picture without what tells who took it where, and with what shows it as before.

use crate::kind::{PictureKind, kind};
use crate::orientation::Orientation;
use crate::read::Fault;
use crate::{bmff, gif, jpeg, png, webp};

/// Largest file that is taken for a picture. A camera's largest JPEG has near 100 MB; all of it is
/// in memory twice while it is stripped.
pub const MAX_PICTURE_BYTES: usize = 128 * 1024 * 1024;

/// A picture without metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stripped {
    /// The file. A file without metadata need not be the one that came: parts may have moved.
    pub bytes: Vec<u8>,
    /// What it is.
    pub kind: PictureKind,
    /// The EXIF orientation that it still has. AVIF and HEIC turn by other means, which stay:
    /// upright.
    pub orientation: Orientation,
}

/// Why metadata cannot be removed from a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StripError {
    /// The file is no picture of a known kind.
    #[error("this is not a picture of a known kind")]
    NotAPicture,
    /// The file is larger than [`MAX_PICTURE_BYTES`].
    #[error("the picture has {size} bytes; pictures end at {limit}")]
    TooLarge {
        /// Bytes that it has.
        size: usize,
        /// Bytes that it may have.
        limit: usize,
    },
    /// The file breaks its own format, or ends too early.
    #[error("this {kind} is damaged: {what}")]
    Damaged {
        /// What it is.
        kind: PictureKind,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The file has something of which it is not known whether it is metadata or needed.
    #[error("this {kind} has {what}, so its metadata cannot be told from the picture")]
    NotUnderstood {
        /// What it is.
        kind: PictureKind,
        /// What is not known in it.
        what: String,
    },
}

/// Removes metadata from a picture, without encoding it again.
///
/// What goes: EXIF with position and camera, XMP, IPTC, comments and texts, times, embedded
/// previews of JPEG, further pictures and movies behind the picture, everything unknown. What
/// stays: color spaces, color profiles without the texts and numbers that tell whose they are,
/// transparency, animation, pixel density, the orientation (a minimal EXIF if it is not upright).
/// The picture need not be decodable.
///
/// # Errors
/// [`StripError`] where the file cannot be walked through; then nothing is known about what is in
/// it.
pub fn strip(bytes: &[u8]) -> Result<Stripped, StripError> {
    let kind = kind(bytes).ok_or(StripError::NotAPicture)?;
    if bytes.len() > MAX_PICTURE_BYTES {
        return Err(StripError::TooLarge { size: bytes.len(), limit: MAX_PICTURE_BYTES });
    }
    let stripped = match kind {
        PictureKind::Jpeg => jpeg::strip(bytes),
        PictureKind::Png => png::strip(bytes),
        PictureKind::Gif => gif::strip(bytes).map(|bytes| (bytes, Orientation::Upright)),
        PictureKind::WebP => webp::strip(bytes),
        PictureKind::Avif | PictureKind::Heic => {
            bmff::strip(bytes).map(|bytes| (bytes, Orientation::Upright))
        }
    };
    match stripped {
        Ok((bytes, orientation)) => Ok(Stripped { bytes, kind, orientation }),
        Err(Fault::Damaged(what)) => Err(StripError::Damaged { kind, what }),
        Err(Fault::Unknown(what)) => Err(StripError::NotUnderstood { kind, what }),
    }
}
