//! What goes and what stays, for every kind.

mod kit;

use std::io::Cursor;

use ayni_picture::{Orientation, PictureKind, StripError, kind, strip};
use exif::Tag;
use image::codecs::{gif::GifDecoder, webp::WebPDecoder};
use image::metadata::LoopCount;
use image::{AnimationDecoder, DynamicImage, ImageDecoder, ImageReader};
use kit::{PLANTED, Sample, contains, contains_in_any_encoding, heif, raster, samples};

fn decode(bytes: &[u8]) -> DynamicImage {
    let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().expect("in memory");
    reader.decode().expect("it can be decoded")
}

fn decodable() -> impl Iterator<Item = Sample> {
    let all = samples().into_iter();
    all.filter(|it| !matches!(it.kind, PictureKind::Avif | PictureKind::Heic))
}

#[test]
fn nothing_that_was_planted_is_left() {
    for sample in samples() {
        let name = sample.name;
        assert_eq!(contains(&sample.bytes, PLANTED), !name.ends_with("plain"), "{name}");
        let stripped = strip(&sample.bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(!contains_in_any_encoding(&stripped.bytes, PLANTED), "{name}");
        assert!(
            !contains(&stripped.bytes, "xmpmeta") && !contains(&stripped.bytes, "Ana"),
            "{name}"
        );
        assert_eq!(stripped.kind, sample.kind, "{name}");
        assert_eq!(kind(&stripped.bytes), Some(sample.kind), "{name}");
        for gone in ["zTXt", "iTXt", "tEXt", "tIME", "Photoshop", "MPF", "JFXX", "mpvd"] {
            assert!(!contains(&stripped.bytes, gone), "{name}: {gone}");
        }
    }
}

#[test]
fn what_was_stripped_is_left_alone() {
    for sample in samples() {
        let once = strip(&sample.bytes).expect("it can be stripped");
        let twice = strip(&once.bytes).expect("it can be stripped again");
        assert_eq!(once, twice, "{}", sample.name);
    }
}

#[test]
fn pixels_stay_as_they_were() {
    for sample in decodable() {
        let stripped = strip(&sample.bytes).expect("it can be stripped");
        assert!(decode(&sample.bytes) == decode(&stripped.bytes), "{}", sample.name);
    }
}

#[test]
fn animations_stay_as_they_were() {
    let frames = |bytes: &[u8]| {
        let cursor = Cursor::new(bytes.to_vec());
        let frames = match kind(bytes) {
            Some(PictureKind::Gif) => GifDecoder::new(cursor).expect("a GIF").into_frames(),
            _ => WebPDecoder::new(cursor).expect("a WebP").into_frames(),
        };
        let frames = frames.collect_frames().expect("they can be decoded");
        let shown = frames.into_iter().map(|it| (it.delay().numer_denom_ms(), it.into_buffer()));
        shown.collect::<Vec<_>>()
    };
    // The decoder wants frames of WebP to follow one another.
    let gif = raster::planted_gif();
    for (shown, bytes) in [(gif.clone(), gif), (raster::animation(&[]), raster::animated_webp())] {
        let stripped = strip(&bytes).expect("it can be stripped").bytes;
        assert_eq!(frames(&shown).len(), 2);
        assert!(frames(&shown) == frames(&stripped));
    }
    // How often it is repeated.
    let gif = strip(&raster::planted_gif()).expect("it can be stripped").bytes;
    assert!(contains(&gif, "NETSCAPE2.0\u{3}\u{1}\u{5}\0\0"));
    let webp = strip(&raster::animated_webp()).expect("it can be stripped").bytes;
    let decoder = WebPDecoder::new(Cursor::new(webp)).expect("a WebP");
    assert!(matches!(decoder.loop_count(), LoopCount::Finite(times) if times.get() == 3));
}

#[test]
fn the_orientation_stays_and_is_all_that_does() {
    for sample in decodable() {
        let stripped = strip(&sample.bytes).expect("it can be stripped");
        let expected = Orientation::from_number(sample.orientation).expect("one of eight");
        assert_eq!(stripped.orientation, expected, "{}", sample.name);
        let found = exif::Reader::new().read_from_container(&mut Cursor::new(&stripped.bytes));
        let Ok(found) = found else {
            assert_eq!(sample.orientation, 1, "{}", sample.name);
            continue;
        };
        let fields: Vec<_> = found.fields().map(|it| (it.tag, it.value.get_uint(0))).collect();
        let orientation = Some(u32::from(sample.orientation));
        assert_eq!(fields, [(Tag::Orientation, orientation)], "{}", sample.name);
    }
}

#[test]
fn readers_find_empty_exif_in_heif() {
    for (name, layout) in heif::LAYOUTS {
        let file = heif::heif(layout).bytes;
        let read = |bytes: &[u8]| {
            exif::Reader::new().read_from_container(&mut Cursor::new(bytes.to_vec()))
        };
        // The reader does not know every layout; where it does, it saw a position before.
        let Ok(before) = read(&file) else { continue };
        assert!(before.fields().any(|it| it.tag == Tag::GPSLatitude), "{name}");
        let stripped = strip(&file).expect("it can be stripped").bytes;
        assert_eq!(read(&stripped).map_or(0, |exif| exif.fields().count()), 0, "{name}");
    }
}

#[test]
fn color_profiles_stay() {
    let profile = |bytes: Vec<u8>| {
        let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().expect("in memory");
        let mut decoder = reader.into_decoder().expect("it has a header");
        decoder.icc_profile().expect("it can be read")
    };
    for (planted, len) in [
        (raster::planted_jpeg(false, 1), 70_000),
        (raster::planted_jpeg(true, 1), 70_000),
        (raster::planted_png(1), 300),
        (raster::planted_gif(), 300),
        (raster::planted_webp(1), 301),
    ] {
        let stripped = strip(&planted).expect("it can be stripped").bytes;
        let (before, after) = (profile(planted).expect("one"), profile(stripped).expect("one"));
        assert_eq!(before, kit::profile(len));
        assert_eq!(after.get(kit::CURVE_AT..), before.get(kit::CURVE_AT..));
        assert!(contains(&before, PLANTED) && !contains(&after, PLANTED));
        assert!(contains(&after, "rTRC") && contains(&after, "desc") && !contains(&after, "mmod"));
    }
    for (name, layout) in heif::LAYOUTS {
        let stripped = strip(&heif::heif(layout).bytes).expect("it can be stripped").bytes;
        assert!(contains(&stripped, "colrprof") && contains(&stripped, "rTRC"), "{name}");
    }
}

#[test]
fn what_calls_itself_a_profile_goes() {
    let plain = raster::jpeg(8, 8, false);
    let segment = raster::segment(0xe2, &[b"ICC_PROFILE\0\x01\x01planted, no profile"]);
    let jpeg = [&plain[..2], &segment, &plain[2..]].concat();
    assert!(!contains(&strip(&jpeg).expect("it can be stripped").bytes, PLANTED));
    let coded = raster::webp(&raster::pixels(8, 8).into()).split_off(12);
    let profile = raster::riff_chunk(*b"ICCP", b"planted, no profile");
    let webp = raster::riff(&[raster::extended(0x20, 8, 8), profile, coded]);
    let stripped = strip(&webp).expect("it can be stripped").bytes;
    assert!(!contains(&stripped, PLANTED) && !contains(&stripped, "ICCP"));
    assert!(decode(&webp) == decode(&stripped));
}

#[test]
fn pictures_that_nobody_sees_go() {
    // Behind a picture that does not end, as a second one, as the data of an end.
    let plain = raster::jpeg(8, 8, false);
    let hidden = raster::planted_jpeg(false, 1);
    let jpeg = [&plain[..plain.len() - 2], &hidden].concat();
    assert_eq!(
        strip(&jpeg).expect("it can be stripped").bytes,
        strip(&plain).expect("plain").bytes
    );
    let coded = |side| raster::webp(&raster::pixels(side, side).into()).split_off(12);
    let webp =
        raster::riff(&[raster::extended(0, 8, 8), coded(8), coded(9), raster::frame(coded(7))]);
    let one = raster::riff(&[raster::extended(0, 8, 8), coded(8)]);
    assert_eq!(strip(&webp).expect("it can be stripped").bytes, one);
    let png = raster::png(&raster::pixels(8, 8).into());
    let end = raster::chunk(*b"IEND", b"planted behind the picture");
    let unknown = strip(&[&png[..png.len() - 12], &end].concat());
    assert!(matches!(unknown, Err(StripError::NotUnderstood { .. })));
}

#[test]
fn density_stays_and_previews_go() {
    let stripped = strip(&raster::planted_jpeg(false, 1)).expect("it can be stripped").bytes;
    assert!(contains(&stripped, "JFIF\0\u{1}\u{2}\u{1}\0\u{48}\0\u{48}\0\0"));
    let png = strip(&raster::planted_png(1)).expect("it can be stripped").bytes;
    assert!(contains(&png, "pHYs") && contains(&png, "gAMA") && !contains(&png, "cHRM"));
}

#[test]
fn coded_pictures_in_heif_stay_in_their_place() {
    for (name, layout) in heif::LAYOUTS {
        let file = heif::heif(layout);
        let stripped = strip(&file.bytes).expect("it can be stripped").bytes;
        for extent in file.picture {
            assert_eq!(stripped.get(extent.clone()), file.bytes.get(extent), "{name}");
        }
        assert!(contains(&stripped, "zzzz") && contains(&stripped, "irot"), "{name}");
        assert_eq!(contains(&stripped, "coded frame"), layout.is_sequence, "{name}");
    }
}

#[test]
fn pictures_that_no_decoder_knows_are_stripped_too() {
    // Arithmetic coding, and coded data that is none.
    let mut jpeg = raster::planted_jpeg(false, 6);
    let frame = jpeg.windows(4).position(|it| it == [0xff, 0xc0, 0, 17]).expect("it has a frame");
    jpeg[frame + 1] = 0xc9;
    let mut png = raster::planted_png(6);
    let data = png.windows(4).position(|it| it == b"IDAT").expect("it has data");
    png[data + 4..data + 20].fill(0xee);
    for bytes in [jpeg, png] {
        assert!(image::load_from_memory(&bytes).is_err());
        let stripped = strip(&bytes).expect("it can be stripped");
        assert!(!contains(&stripped.bytes, PLANTED));
        assert_eq!(stripped.orientation, Orientation::Clockwise);
    }
}

#[test]
fn a_jpeg_that_ends_early_gets_an_end() {
    let plain = raster::jpeg(40, 24, false);
    let cut = &plain[..plain.len() - 40];
    let stripped = strip(cut).expect("it can be stripped").bytes;
    assert!(stripped.ends_with(&[0xff, 0xd9]));
    // Below, decoders make something up.
    let above = |bytes: &[u8]| decode(bytes).crop_imm(0, 0, 40, 8);
    assert!(above(cut) == above(&stripped));
}

#[test]
fn a_jpeg_in_heif_is_stripped_where_it_is() {
    for (name, layout) in heif::LAYOUTS {
        let planted = raster::planted_jpeg(true, 6);
        let file = heif::heif_of(layout, (b"jpeg", planted.clone()));
        let stripped = strip(&file.bytes).unwrap_or_else(|error| panic!("{name}: {error}")).bytes;
        assert!(!contains_in_any_encoding(&stripped, PLANTED), "{name}");
        let inside: Vec<u8> =
            file.picture.iter().flat_map(|range| &stripped[range.clone()]).copied().collect();
        assert_eq!(inside.len(), planted.len(), "{name}");
        assert_eq!(decode(&inside), decode(&planted), "{name}");
        assert_eq!(strip(&stripped).expect("again").bytes, stripped, "{name}");
    }
}

#[test]
fn a_jpeg_in_heif_that_cannot_be_stripped_where_it_is_is_refused() {
    let (_, layout) = heif::LAYOUTS[0];
    let unknown = |bytes: &[u8]| matches!(strip(bytes), Err(StripError::NotUnderstood { .. }));
    // One that begins elsewhere, and one without an end, which would grow.
    let jpeg = raster::jpeg(40, 24, false);
    for cut in [&jpeg[2..], &jpeg[..jpeg.len() - 2]] {
        assert!(unknown(&heif::heif_of(layout, (b"jpeg", cut.to_vec())).bytes));
    }
    let mut bytes = heif::heif(layout).bytes;
    let at = bytes.windows(4).position(|it| it == b"zzzz").expect("it has properties");
    bytes[at..at + 4].copy_from_slice(b"jpgC");
    assert!(unknown(&bytes), "the beginning of one");
    assert!(unknown(&heif::heif_of(layout, (b"j2k1", kit::noise(99))).bytes));
    // Frames that are JPEGs.
    let (_, layout) = heif::LAYOUTS.into_iter().find(|(_, it)| it.is_sequence).expect("one");
    let mut bytes = heif::heif(layout).bytes;
    let at = bytes.windows(4).position(|it| it == b"stsd").expect("a track");
    bytes[at + 16..at + 20].copy_from_slice(b"jpeg");
    assert!(unknown(&bytes));
    // Two items of the same bytes, one of which is a JPEG.
    let mut bytes = heif::heif_of(layout, (b"jpeg", jpeg)).bytes;
    assert!(strip(&bytes).is_ok());
    let at = bytes.windows(8).position(|it| it == b"\0\x02\0\0Exif").expect("it is listed");
    bytes[at + 4..at + 8].copy_from_slice(b"jpeg");
    assert!(unknown(&bytes), "EXIF is no JPEG");
}

#[test]
fn what_is_not_understood_is_refused() {
    let damaged = |bytes: &[u8]| matches!(strip(bytes), Err(StripError::Damaged { .. }));
    let unknown = |bytes: &[u8]| matches!(strip(bytes), Err(StripError::NotUnderstood { .. }));
    assert_eq!(strip(b"a text"), Err(StripError::NotAPicture));
    // Lengths that go beyond the end.
    let png = raster::planted_png(1);
    assert!(damaged(&png[..400]) && damaged(b"\x89PNG\r\n\x1a\n"));
    assert!(damaged(&raster::planted_webp(1)[..300]) && damaged(&raster::planted_gif()[..900]));
    assert!(damaged(&raster::planted_jpeg(false, 1)[..500]) && damaged(b"\xff\xd8\xff\xd9"));
    // A chunk that no reader may pass over.
    let mut critical = png.clone();
    critical.splice(33..33, raster::chunk(*b"QQQQ", b"?"));
    assert!(unknown(&critical));
    let (_, layout) = heif::LAYOUTS[0];
    let changed = |from: &[u8], to: &[u8]| {
        let mut bytes = heif::heif(layout).bytes;
        let at = bytes.windows(from.len()).position(|it| it == from).expect("it occurs");
        bytes[at..at + to.len()].copy_from_slice(to);
        bytes
    };
    assert!(unknown(&changed(b"av01", b"new1")));
    assert!(unknown(&changed(b"hdlr\0\0\0\0\0\0\0\0pict", b"hdlr\0\0\0\0\0\0\0\0soun")));
    assert!(unknown(&changed(b"mdat", b"mdta")));
    assert!(unknown(&changed(b"\0\x01\0\0av01", b"\0\x01\0\x01av01")));
    assert!(damaged(&heif::heif(layout).bytes[..1500]));
}

#[test]
fn metadata_that_shares_bytes_with_the_picture_is_refused() {
    let (_, layout) = heif::LAYOUTS[0];
    let mut bytes = heif::heif(layout).bytes;
    let list = bytes.windows(4).position(|it| it == b"iloc").expect("it has places");
    // Of the second item: id, source, base, count, then offset and length.
    let first = list + 4 + 4 + 2 + 2;
    let offset = first + 18 + 10;
    let picture: [u8; 4] = bytes[first + 10..first + 14].try_into().expect("four");
    bytes[offset..offset + 4].copy_from_slice(&picture);
    assert!(matches!(strip(&bytes), Err(StripError::NotUnderstood { .. })));
}
