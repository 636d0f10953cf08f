//! JPEG, PNG, GIF and WebP.

use ayni_picture::PictureKind;
use image::codecs::gif::GifEncoder;
use image::{DynamicImage, Frame, ImageFormat, Rgba, RgbaImage};
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};

use super::{Sample, be32, movie, profile, tiff, xmp};

/// A picture that no turn or mirror leaves as it was.
pub fn pixels(width: u32, height: u32) -> RgbaImage {
    RgbaImage::from_fn(width, height, |x, y| {
        let part = |at: u32, whole: u32| u8::try_from(at * 255 / whole).expect("below 256");
        let corner = if x < width / 3 && y < height / 3 { 255 } else { 0 };
        Rgba([part(x, width), part(y, height), corner, 255])
    })
}

/// The same, transparent in part.
pub fn transparent(width: u32, height: u32) -> RgbaImage {
    let mut image = pixels(width, height);
    image.enumerate_pixels_mut().for_each(|(x, _, pixel)| {
        pixel.0[3] = if x < width / 2 { 0 } else { 200 };
    });
    image
}

pub fn samples() -> Vec<Sample> {
    let sample =
        |name, kind, bytes, shown, orientation| Sample { name, kind, bytes, shown, orientation };
    let mut all = vec![
        sample("jpeg-plain", PictureKind::Jpeg, jpeg(40, 24, false), (40, 24), 1),
        sample("jpeg-progressive", PictureKind::Jpeg, planted_jpeg(true, 6), (24, 40), 6),
        sample("png-plain", PictureKind::Png, png(&transparent(40, 24).into()), (40, 24), 1),
        sample("png-planted", PictureKind::Png, planted_png(8), (24, 40), 8),
        sample("png-late", PictureKind::Png, late_png(), (24, 40), 5),
        sample("gif-planted", PictureKind::Gif, planted_gif(), (40, 24), 1),
        sample("webp-plain", PictureKind::WebP, webp(&pixels(40, 24).into()), (40, 24), 1),
        sample("webp-planted", PictureKind::WebP, planted_webp(3), (40, 24), 3),
        sample("webp-animated", PictureKind::WebP, animated_webp(), (24, 40), 7),
    ];
    for orientation in 1..=8 {
        let shown = if orientation < 5 { (40, 24) } else { (24, 40) };
        let bytes = planted_jpeg(false, orientation);
        all.push(sample("jpeg-planted", PictureKind::Jpeg, bytes, shown, orientation));
    }
    all
}

pub fn jpeg(width: u16, height: u16, is_progressive: bool) -> Vec<u8> {
    let image = DynamicImage::from(pixels(width.into(), height.into())).into_rgb8();
    let mut out = Vec::new();
    let mut encoder = Encoder::new(&mut out, 90);
    encoder.set_progressive(is_progressive);
    encoder.set_sampling_factor(SamplingFactor::F_2_2);
    encoder.encode(image.as_raw(), width, height, ColorType::Rgb).expect("it can be encoded");
    out
}

pub fn segment(marker: u8, payload: &[&[u8]]) -> Vec<u8> {
    let payload = payload.concat();
    let len = u16::try_from(payload.len() + 2).expect("small").to_be_bytes();
    [[0xff, marker], len].concat().into_iter().chain(payload).collect()
}

/// A JPEG with everything that is found in JPEGs, in front, between scans and behind.
pub fn planted_jpeg(is_progressive: bool, orientation: u16) -> Vec<u8> {
    let plain = jpeg(40, 24, is_progressive);
    let profile = profile(70_000);
    let (first, second) = profile.split_at(65_000);
    let mut out = plain[..2].to_vec();
    out.extend(segment(0xe0, &[b"JFIF\0\x01\x02\x01\0\x48\0\x48\x02\x02", b"planted prev"]));
    out.extend(segment(0xe0, &[b"JFXX\0\x10planted preview"]));
    out.extend(segment(0xe1, &[b"Exif\0\0", &tiff(orientation)]));
    out.extend(segment(0xe1, &[b"http://ns.adobe.com/xap/1.0/\0", &xmp()]));
    out.extend(segment(0xe1, &[b"Exif\0\0", &tiff(2)]));
    out.extend(segment(0xe2, &[b"ICC_PROFILE\0\x02\x02", second]));
    out.extend(segment(0xe2, &[b"MPF\0planted index of pictures"]));
    out.extend(segment(0xe2, &[b"ICC_PROFILE\0\x01\x02", first]));
    out.extend(segment(0xe5, &[b"planted by some camera"]));
    out.extend(b"planted between segments");
    out.extend(segment(0xed, &[b"Photoshop 3.0\08BIM\x04\x04\0\0planted caption"]));
    out.extend([0xff, 0xff]);
    out.extend(segment(0xee, &[b"Adobe\0\x64\0\0\0\0\x01planted"]));
    out.extend(segment(0xfe, &[b"planted comment"]));
    // The encoder's own JFIF segment goes along; the first one counts.
    out.extend(between_scans(&plain[2..plain.len() - 2]));
    out.extend(segment(0xfe, &[b"planted comment at the end"]));
    out.extend([0xff, 0xd9]);
    out.extend(movie());
    out
}

/// Plants a comment and EXIF in front of every scan but the first.
fn between_scans(coded: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = coded;
    let mut first = true;
    while let Some(at) = rest.windows(2).skip(1).position(|pair| pair == [0xff, 0xda]) {
        let (before, scan) = rest.split_at(at + 1);
        out.extend(before);
        if !first {
            out.extend(segment(0xfe, &[b"planted between scans"]));
            out.extend(segment(0xe1, &[b"Exif\0\0", &tiff(2)]));
        }
        first = false;
        rest = scan;
    }
    out.extend(rest);
    out
}

pub fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut out = std::io::Cursor::new(Vec::new());
    image.write_to(&mut out, format).expect("it can be encoded");
    out.into_inner()
}

pub fn png(image: &DynamicImage) -> Vec<u8> {
    encoded(image, ImageFormat::Png)
}

pub fn chunk(name: [u8; 4], data: &[u8]) -> Vec<u8> {
    let mut out = be32(data.len()).to_vec();
    out.extend(name);
    out.extend(data);
    let checksum = crc32fast::hash(&out[4..]);
    out.extend(checksum.to_be_bytes());
    out
}

/// Bytes as a zlib stream that is not compressed.
pub fn stored(data: &[u8]) -> Vec<u8> {
    let len = u16::try_from(data.len()).expect("small");
    let mut out = vec![0x78, 1, 1];
    out.extend(len.to_le_bytes());
    out.extend((!len).to_le_bytes());
    out.extend(data);
    let (mut a, mut b) = (1_u32, 0_u32);
    for byte in data {
        a = (a + u32::from(*byte)) % 65_521;
        b = (b + a) % 65_521;
    }
    out.extend((b << 16 | a).to_be_bytes());
    out
}

/// A PNG with everything that is found in PNGs, in front of the picture and behind it.
pub fn planted_png(orientation: u16) -> Vec<u8> {
    let plain = png(&transparent(40, 24).into());
    let (header, rest) = plain.split_at(8 + 25);
    let (coded, end) = rest.split_at(rest.len() - 12);
    let mut out = header.to_vec();
    out.extend(chunk(*b"tEXt", b"Author\0planted author"));
    let color = [b"planted screen\0\0".as_slice(), &stored(&profile(300))].concat();
    out.extend(chunk(*b"iCCP", &color));
    out.extend(chunk(*b"gAMA", &be32(45_455)));
    out.extend(chunk(*b"cHRM", b"planted: too long for a chunk of this name"));
    out.extend(chunk(*b"pHYs", b"\0\0\x0b\x13\0\0\x0b\x13\x01"));
    out.extend(chunk(*b"tIME", &[7, 231, 1, 2, 3, 4, 5]));
    out.extend(chunk(*b"iTXt", &[b"XML:com.adobe.xmp\0\0\0\0\0".as_slice(), &xmp()].concat()));
    out.extend(chunk(*b"zTXt", &[b"Comment\0\0".as_slice(), &stored(b"planted comment")].concat()));
    out.extend(chunk(*b"eXIf", &tiff(orientation)));
    out.extend(chunk(*b"caBX", b"planted provenance"));
    out.extend(coded);
    out.extend(chunk(*b"tEXt", b"Location\0planted place"));
    out.extend(chunk(*b"plNt", b"planted by some program"));
    out.extend(end);
    out.extend(movie());
    out
}

/// A PNG that ends without an end, with its EXIF behind the picture.
fn late_png() -> Vec<u8> {
    let plain = png(&pixels(40, 24).into());
    let mut out = plain[..plain.len() - 12].to_vec();
    out.extend(chunk(*b"eXIf", &tiff(5)));
    out
}

pub fn gif(frames: &[RgbaImage]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = GifEncoder::new(&mut out);
    for frame in frames {
        encoder.encode_frame(Frame::new(frame.clone())).expect("it can be encoded");
    }
    drop(encoder);
    out
}

fn pieces(data: &[u8]) -> Vec<u8> {
    let pieces = data.chunks(255);
    let mut out: Vec<u8> = pieces
        .flat_map(|piece| [&[u8::try_from(piece.len()).expect("short")], piece].concat())
        .collect();
    out.push(0);
    out
}

/// A GIF of two frames with a comment, a text, XMP, a program's own data, a color profile.
pub fn planted_gif() -> Vec<u8> {
    let plain = gif(&[pixels(40, 24), transparent(40, 24)]);
    let colors = if plain[10] & 0x80 == 0 { 0 } else { 3 << ((plain[10] & 7) + 1) };
    let (screen, blocks) = plain.split_at(13 + colors);
    let mut out = screen.to_vec();
    out.extend([&[0x21, 0xfe], pieces(b"planted comment").as_slice()].concat());
    out.extend([b"\x21\xff\x0bNETSCAPE2.0\x03\x01\x05\0\0".as_slice()].concat());
    out.extend(b"\x21\xff\x0bXMP DataXMP");
    out.extend(xmp());
    // Each byte leads to the end, wherever the text is taken for a length.
    out.push(1);
    out.extend((0..=255).rev().collect::<Vec<u8>>());
    out.push(0);
    out.extend(b"\x21\xff\x0bplanted_own");
    out.extend(pieces(b"planted data"));
    out.extend(b"\x21\xff\x0bICCRGBG1012");
    out.extend(pieces(&profile(300)));
    out.extend(b"\x21\xf9\x04\0\0\0\0\0\x21\x01\x0c\0\0\0\0\x08\0\x08\0\x08\x08\x01\0");
    out.extend(pieces(b"planted text"));
    out.extend(&blocks[..blocks.len() - 1]);
    out.extend([&[0x21, 0xfe], pieces(b"planted comment at the end").as_slice()].concat());
    out.push(0x3b);
    out.extend(movie());
    out
}

pub fn webp(image: &DynamicImage) -> Vec<u8> {
    encoded(image, ImageFormat::WebP)
}

pub fn riff_chunk(name: [u8; 4], data: &[u8]) -> Vec<u8> {
    let len = u32::try_from(data.len()).expect("small").to_le_bytes();
    let padding = [0].iter().take(data.len() % 2);
    name.iter().chain(&len).chain(data).chain(padding).copied().collect()
}

pub fn riff(chunks: &[Vec<u8>]) -> Vec<u8> {
    let chunks = chunks.concat();
    let len = u32::try_from(chunks.len() + 4).expect("small").to_le_bytes();
    [b"RIFF".as_slice(), &len, b"WEBP", &chunks].concat()
}

pub fn extended(flags: u8, width: u32, height: u32) -> Vec<u8> {
    let [w, w2, w3, _] = (width - 1).to_le_bytes();
    let [h, h2, h3, _] = (height - 1).to_le_bytes();
    riff_chunk(*b"VP8X", &[flags, 0, 0, 0, w, w2, w3, h, h2, h3])
}

/// A WebP with a profile, EXIF, XMP, and chunks that nobody knows.
pub fn planted_webp(orientation: u16) -> Vec<u8> {
    let coded = webp(&transparent(40, 24).into()).split_off(12);
    let mut out = riff(&[
        extended(0x3c, 40, 24),
        riff_chunk(*b"ICCP", &profile(301)),
        riff_chunk(*b"PLNT", b"planted by somebody"),
        coded,
        riff_chunk(*b"EXIF", &[b"Exif\0\0".as_slice(), &tiff(orientation)].concat()),
        riff_chunk(*b"XMP ", &xmp()),
    ]);
    out.extend(movie());
    out
}

/// A frame of 40 × 24 pixels, shown for 100 ms, with something behind its picture.
pub fn frame(coded: Vec<u8>) -> Vec<u8> {
    let mut data = vec![0; 6];
    data.extend([39, 0, 0, 23, 0, 0, 100, 0, 0, 2]);
    data.extend(coded);
    data.extend(riff_chunk(*b"PLNT", b"planted in a frame"));
    riff_chunk(*b"ANMF", &data)
}

/// An animation of two frames with things between their parts.
pub fn animated_webp() -> Vec<u8> {
    animation(&riff_chunk(*b"PLNT", b"planted between frames"))
}

/// An animation of two frames with something between them.
pub fn animation(between: &[u8]) -> Vec<u8> {
    let frame = |image: RgbaImage| frame(webp(&image.into()).split_off(12));
    riff(&[
        extended(0x1e, 40, 24),
        riff_chunk(*b"ANIM", b"\xff\xff\xff\xff\x03\0"),
        frame(transparent(40, 24)),
        between.to_vec(),
        frame(pixels(40, 24)),
        riff_chunk(*b"EXIF", &tiff(7)),
        riff_chunk(*b"XMP ", &xmp()),
    ])
}
