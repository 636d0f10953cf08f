//! What shows of a picture before it is here.

mod kit;

use ayni_core::limits::{MAX_THUMBHASH, MAX_THUMBNAIL};
use ayni_picture::{DescribeError, Limits, PictureKind, THUMBNAIL_SIDE, describe, strip};
use image::{DynamicImage, ImageFormat, Luma, Rgba, RgbaImage};
use kit::{heif, raster, samples};

fn shown(bytes: &[u8]) -> RgbaImage {
    let described = describe(bytes, &Limits::default()).expect("it can be described");
    image::load_from_memory(&described.thumbnail).expect("a JPEG").into_rgba8()
}

fn is_near(a: Rgba<u8>, b: Rgba<u8>) -> bool {
    a.0.iter().zip(b.0).all(|(a, b)| a.abs_diff(b) < 40)
}

#[test]
fn every_kind_has_its_size_and_all_that_decode_a_thumbnail() {
    for sample in samples() {
        let name = sample.name;
        let described = describe(&sample.bytes, &Limits::default()).expect("it can be described");
        assert_eq!((described.width, described.height), sample.shown, "{name}");
        assert_eq!(described.kind, sample.kind, "{name}");
        let is_decoded = !matches!(sample.kind, PictureKind::Avif | PictureKind::Heic);
        assert_eq!(!described.thumbnail.is_empty(), is_decoded, "{name}");
        assert_eq!(!described.thumbhash.is_empty(), is_decoded, "{name}");
        assert!(
            described.thumbhash.len() <= MAX_THUMBHASH
                && described.thumbnail.len() <= MAX_THUMBNAIL
        );
        // Metadata has no part in it.
        let stripped = strip(&sample.bytes).expect("it can be stripped").bytes;
        assert_eq!(describe(&stripped, &Limits::default()), Ok(described), "{name}");
    }
}

#[test]
fn thumbnails_are_turned_as_the_picture_is_shown() {
    // Where the mark of the upper left corner comes to lie: which side, which end.
    let corners = [(0, 0), (1, 0), (1, 1), (0, 1), (0, 0), (1, 0), (1, 1), (0, 1)];
    for (orientation, (right, bottom)) in (1..=8).zip(corners) {
        let small = shown(&raster::planted_jpeg(false, orientation));
        let mark = |x: u32, y: u32| {
            let at = |side: u32, end: u32| if end == 0 { 3 } else { side - 4 };
            small.get_pixel(at(small.width(), x), at(small.height(), y)).0[2] > 128
        };
        for x in 0..2 {
            for y in 0..2 {
                assert_eq!(mark(x, y), (x, y) == (right, bottom), "{orientation}: {x} {y}");
            }
        }
    }
}

#[test]
fn large_pictures_become_small_in_every_pixel_format() {
    let image = DynamicImage::from(raster::pixels(1200, 800));
    let formats = [
        image.clone(),
        image.to_rgb8().into(),
        image.to_luma8().into(),
        image.to_luma_alpha8().into(),
        image.to_rgb16().into(),
        image.to_rgba16().into(),
        image.to_luma16().into(),
    ];
    for image in formats {
        let small = shown(&raster::png(&image));
        assert_eq!(small.dimensions(), (THUMBNAIL_SIDE, 171), "{:?}", image.color());
        let expected = image.thumbnail_exact(256, 171).into_rgba8();
        for at in [(10, 10), (128, 85), (250, 160)] {
            let (found, expected) = (small.get_pixel(at.0, at.1), expected.get_pixel(at.0, at.1));
            assert!(is_near(*found, *expected), "{:?} {found:?} {expected:?}", image.color());
        }
    }
}

#[test]
fn transparency_comes_onto_white_and_leaves_no_rim() {
    // Black that nobody sees beside red that everybody does.
    let image = RgbaImage::from_fn(1000, 1000, |x, _| {
        if x < 500 { Rgba([0, 0, 0, 0]) } else { Rgba([255, 0, 0, 255]) }
    });
    for bytes in [raster::png(&image.clone().into()), raster::webp(&image.into())] {
        let small = shown(&bytes);
        assert!(is_near(*small.get_pixel(60, 128), Rgba([255, 255, 255, 255])));
        assert!(is_near(*small.get_pixel(200, 128), Rgba([255, 0, 0, 255])));
        // Between them from white to red, never towards black.
        assert!(small.pixels().all(|pixel| pixel.0[0] > 215), "a dark rim");
    }
}

#[test]
fn the_first_frame_stands_for_an_animation() {
    let first = RgbaImage::from_pixel(64, 64, Rgba([0, 200, 0, 255]));
    let second = RgbaImage::from_pixel(64, 64, Rgba([200, 0, 0, 255]));
    let small = shown(&raster::gif(&[first, second]));
    assert!(is_near(*small.get_pixel(32, 32), Rgba([0, 200, 0, 255])));
}

#[test]
fn extreme_sides_are_shown() {
    for (width, height) in [(1, 1), (1, 3000), (5000, 1), (100, 101)] {
        let image =
            DynamicImage::from(image::ImageBuffer::from_pixel(width, height, Luma([99_u8])));
        let small = shown(&raster::png(&image));
        assert!(small.width().max(small.height()) <= THUMBNAIL_SIDE);
        assert_eq!(small.width() > small.height(), width > height);
    }
}

#[test]
fn noise_is_small_enough() {
    let noise = RgbaImage::from_raw(512, 512, kit::noise(512 * 512 * 4)).expect("as many bytes");
    let described = describe(&raster::png(&noise.into()), &Limits::default()).expect("described");
    assert!(described.thumbnail.len() <= MAX_THUMBNAIL && !described.thumbnail.is_empty());
}

#[test]
fn limits_are_kept_by_what_the_header_says() {
    let jpeg = raster::jpeg(1000, 1000, false);
    let refused = describe(&jpeg, &Limits { pixels: 999_999, ..Limits::default() });
    assert_eq!(refused, Err(DescribeError::TooManyPixels { width: 1000, height: 1000 }));
    let refused = describe(&jpeg, &Limits { bytes: 1_000_000, ..Limits::default() });
    assert!(
        matches!(refused, Err(DescribeError::TooMuchMemory { bytes, .. }) if bytes > 3_000_000)
    );
    assert!(describe(&jpeg, &Limits { pixels: 1_000_000, bytes: 10_000_000 }).is_ok());
}

#[test]
fn what_cannot_be_decoded_is_a_verdict() {
    let undecodable = |bytes: &[u8]| {
        matches!(describe(bytes, &Limits::default()), Err(DescribeError::Undecodable { .. }))
    };
    assert_eq!(describe(b"a text", &Limits::default()), Err(DescribeError::NotAPicture));
    let mut png = raster::planted_png(1);
    let data = png.windows(4).position(|it| it == b"IDAT").expect("it has data");
    png[data + 4..data + 20].fill(0xee);
    assert!(undecodable(&png));
    assert!(undecodable(b"GIF89a\0\0\0\0\0\0\0;") && undecodable(b"\xff\xd8\xff\xd9"));
    assert!(undecodable(&heif::atom(b"ftyp", &[b"heic", &[0; 4]])));
}

#[test]
fn a_thumbhash_shows_the_colors() {
    let image = RgbaImage::from_pixel(300, 200, Rgba([200, 30, 30, 255]));
    let bytes = raster::encoded(&image.into(), ImageFormat::Png);
    let described = describe(&bytes, &Limits::default()).expect("it can be described");
    let (width, height, pixels) =
        thumbhash::thumb_hash_to_rgba(&described.thumbhash).expect("a thumbhash");
    assert!(width > height);
    let average: Vec<usize> = (0..3)
        .map(|at| pixels.iter().skip(at).step_by(4).map(|it| usize::from(*it)).sum::<usize>())
        .map(|sum| sum * 4 / pixels.len())
        .collect();
    assert!(average[0] > 170 && average[1] < 60 && average[2] < 60, "{average:?}");
}
