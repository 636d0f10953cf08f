//! A small picture of a large one.
//!
//! Sources: thumbhash (Evan Wallace), whose pictures end at 100 pixels a side.

use ayni_core::limits::MAX_THUMBNAIL;
use fast_image_resize::{FilterType, IntoImageView, MulDiv, ResizeAlg, ResizeOptions, Resizer};
use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, RgbImage, RgbaImage};

use crate::orientation::Orientation;

/// Longest side of a thumbnail in pixels: what a timeline shows of a picture, on a dense screen
/// half of it. With [`MAX_THUMBNAIL`] it fits into an event.
pub const THUMBNAIL_SIDE: u32 = 256;
/// Longest side that a thumbhash is made of: its format has no use for more.
const HASH_SIDE: u32 = 100;
/// Qualities of a thumbnail, tried until it is small enough: above the first nobody sees a
/// difference at this size, below the last a smaller picture looks better.
const QUALITIES: [u8; 5] = [80, 65, 50, 35, 20];

/// What is made of the pixels.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Preview {
    pub(crate) thumbhash: Vec<u8>,
    pub(crate) thumbnail: Vec<u8>,
}

impl Preview {
    /// Makes a preview of a decoded picture as it is shown.
    pub(crate) fn of(image: DynamicImage, orientation: Orientation) -> Result<Self, String> {
        let mut small = shrunk(image, THUMBNAIL_SIDE)?;
        small.apply_orientation(turn(orientation));
        let small = small.into_rgba8();
        let thumbnail = thumbnail(&small)?;
        let tiny = shrunk(small.into(), HASH_SIDE)?.into_rgba8();
        let (width, height) = (tiny.width() as usize, tiny.height() as usize);
        let thumbhash = thumbhash::rgba_to_thumb_hash(width, height, tiny.as_raw());
        Ok(Self { thumbhash, thumbnail })
    }
}

fn turn(orientation: Orientation) -> image::metadata::Orientation {
    use image::metadata::Orientation::{
        FlipHorizontal, FlipVertical, NoTransforms, Rotate90, Rotate90FlipH, Rotate180, Rotate270,
        Rotate270FlipH,
    };
    match orientation {
        Orientation::Upright => NoTransforms,
        Orientation::Mirrored => FlipHorizontal,
        Orientation::UpsideDown => Rotate180,
        Orientation::Flipped => FlipVertical,
        Orientation::Transposed => Rotate90FlipH,
        Orientation::Clockwise => Rotate90,
        Orientation::Transversed => Rotate270FlipH,
        Orientation::Counterclockwise => Rotate270,
    }
}

/// Returns sides of which the longer is at most `longest`, in the same proportion.
fn fitted(width: u32, height: u32, longest: u32) -> (u32, u32) {
    let whole = width.max(height);
    if whole <= longest {
        return (width, height);
    }
    let part = |side: u32| {
        let rounded =
            (u64::from(side) * u64::from(longest) + u64::from(whole / 2)) / u64::from(whole);
        u32::try_from(rounded).unwrap_or(longest).max(1)
    };
    (part(width), part(height))
}

/// Makes a picture smaller, in its own pixel format, so that nothing as large as it is copied.
fn shrunk(mut image: DynamicImage, longest: u32) -> Result<DynamicImage, String> {
    let (width, height) = fitted(image.width(), image.height(), longest);
    if (width, height) == (image.width(), image.height()) {
        return Ok(image);
    }
    let has_alpha = image.color().has_alpha();
    let alpha = MulDiv::new();
    let wrong = |error: &dyn std::fmt::Display| error.to_string();
    if has_alpha {
        // Colors count by how much of them is seen, so that what is transparent leaves no rim.
        alpha.multiply_alpha_inplace(&mut image).map_err(|error| wrong(&error))?;
    }
    let mut small = DynamicImage::new(width, height, image.color());
    let options = ResizeOptions::new()
        .use_alpha(false)
        .resize_alg(ResizeAlg::Convolution(FilterType::Hamming));
    debug_assert!(image.pixel_type().is_some());
    Resizer::new().resize(&image, &mut small, &options).map_err(|error| wrong(&error))?;
    if has_alpha {
        alpha.divide_alpha_inplace(&mut small).map_err(|error| wrong(&error))?;
    }
    Ok(small)
}

/// Makes a JPEG that is small enough, of lower quality or fewer pixels if it must be.
fn thumbnail(image: &RgbaImage) -> Result<Vec<u8>, String> {
    let mut image = on_white(image);
    loop {
        for quality in QUALITIES {
            let mut jpeg = Vec::with_capacity(MAX_THUMBNAIL);
            let encoder = JpegEncoder::new_with_quality(&mut jpeg, quality);
            image.write_with_encoder(encoder).map_err(|error| error.to_string())?;
            if jpeg.len() <= MAX_THUMBNAIL {
                return Ok(jpeg);
            }
        }
        // Ends: near one pixel a JPEG has less than a kibibyte.
        let half = image.width().max(image.height()) / 2;
        image = shrunk(image.into(), half.max(1))?.into_rgb8();
    }
}

fn on_white(image: &RgbaImage) -> RgbImage {
    let mut opaque = RgbImage::new(image.width(), image.height());
    for (to, from) in opaque.pixels_mut().zip(image.pixels()) {
        let [colors @ .., alpha] = from.0;
        let blended = colors.map(|color| {
            let sum = u32::from(color) * u32::from(alpha) + 255 * (255 - u32::from(alpha));
            u8::try_from((sum + 127) / 255).unwrap_or(255)
        });
        to.0 = blended;
    }
    opaque
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_keep_their_proportion_and_never_vanish() {
        assert_eq!(fitted(4000, 3000, 256), (256, 192));
        assert_eq!(fitted(3000, 4000, 256), (192, 256));
        assert_eq!(fitted(65_535, 1, 256), (256, 1));
        assert_eq!(fitted(10, 7, 256), (10, 7));
    }

    #[test]
    fn noise_fits_too() {
        let mut state = 1_u32;
        let noise = RgbaImage::from_fn(256, 256, |_, _| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let [a, b, c, _] = state.rotate_left(7).to_be_bytes();
            image::Rgba([a, b, c, 255])
        });
        let jpeg = thumbnail(&noise).expect("it can be encoded");
        assert!(jpeg.len() <= MAX_THUMBNAIL);
    }
}
