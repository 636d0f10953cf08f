//! What hostile pictures make this crate allocate, counted by the allocator.

mod kit;

use std::io::Write;

use ayni_picture::{DescribeError, Limits, StripError, describe, strip};
use image::DynamicImage;
use kit::{be32, heif, lossless, raster};
use peak_alloc::PeakAlloc;

#[global_allocator]
static COUNTED: PeakAlloc = PeakAlloc;

const MIB: usize = 1024 * 1024;

/// Returns what a function returns, and the most bytes that it had beside those that were there.
fn counted<T>(f: impl FnOnce() -> T) -> (T, usize) {
    let before = COUNTED.current_usage();
    COUNTED.reset_peak_usage();
    let result = f();
    (result, COUNTED.peak_usage().saturating_sub(before))
}

fn overwritten(mut bytes: Vec<u8>, after: &[u8], with: &[u8]) -> Vec<u8> {
    let at =
        bytes.windows(after.len()).position(|it| it == after).expect("it occurs") + after.len();
    bytes[at..at + with.len()].copy_from_slice(with);
    bytes
}

/// A PNG of one color, as large as its header says, in few bytes.
fn flat_png(side: u32) -> Vec<u8> {
    let header = [be32(side as usize), be32(side as usize)].concat();
    let header = [header.as_slice(), &[8, 0, 0, 0, 0]].concat();
    let mut packed = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    let row = vec![0; side as usize + 1];
    (0..side).for_each(|_| packed.write_all(&row).expect("in memory"));
    let data = packed.finish().expect("in memory");
    [
        b"\x89PNG\r\n\x1a\n".to_vec(),
        raster::chunk(*b"IHDR", &header),
        raster::chunk(*b"IDAT", &data),
        raster::chunk(*b"IEND", &[]),
    ]
    .concat()
}

/// A small PNG with a color profile that has 256 MiB when it is unpacked.
fn profile_bomb() -> Vec<u8> {
    let mut packed = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    let mut block = kit::profile(MIB);
    block[..4].copy_from_slice(&be32(256 * MIB));
    (0..256).for_each(|_| packed.write_all(&block).expect("in memory"));
    let data = [b"icc\0\0".as_slice(), &packed.finish().expect("in memory")].concat();
    let mut png = raster::png(&raster::pixels(8, 8).into());
    png.splice(33..33, raster::chunk(*b"iCCP", &data));
    png
}

// One test, since the allocator counts for the whole process.
#[test]
fn hazard_25_bombs_and_huge_lengths_are_refused_early_with_memory_flat() {
    pictures_of_too_many_pixels();
    pictures_of_two_sizes();
    unpacked_profiles();
    tables_of_codes();
    lengths_of_four_gibibytes();
    long_lists_and_deep_nesting();
    stripping_takes_two_files();
    what_the_header_promises_is_kept();
}

/// 30,000 × 30,000 and more, with and without data for so many pixels.
fn pictures_of_too_many_pixels() {
    let side = 30_000_u16.to_be_bytes();
    let bomb = flat_png(30_000);
    assert!(bomb.len() < 2 * MIB, "900 MB of pixels in {} bytes", bomb.len());
    let jpeg =
        overwritten(raster::jpeg(8, 8, false), &[0xff, 0xc0, 0, 17, 8], &[side, side].concat());
    let gif = [b"GIF89a".as_slice(), &[255; 4], &raster::planted_gif()[10..]].concat();
    let webp = raster::riff(&[
        raster::extended(0, 1 << 24, 1 << 24),
        raster::webp(&raster::pixels(8, 8).into()).split_off(12),
    ]);
    let (_, layout) = heif::LAYOUTS[0];
    let avif = overwritten(heif::heif(layout).bytes, b"ispe\0\0\0\0", &[127; 8]);
    for bytes in [bomb, jpeg, gif, webp, avif] {
        let (refused, peak) = counted(|| describe(&bytes, &Limits::default()));
        assert!(matches!(refused, Err(DescribeError::TooManyPixels { .. })), "{refused:?}");
        assert!(peak < MIB / 4, "{peak} bytes");
    }
}

/// A file that is small by its header, and large by what is in it.
fn pictures_of_two_sizes() {
    let mut gif = raster::planted_gif();
    gif[6..10].copy_from_slice(&[1, 0, 1, 0]);
    let image = gif.windows(9).position(|it| it == [0x2c, 0, 0, 0, 0, 40, 0, 24, 0]);
    let image = image.expect("it has an image");
    gif[image + 5..image + 9].fill(255);
    let lossy = [b"\x10\0\0\x9d\x01\x2a".as_slice(), &[0xff, 0x3f, 0xff, 0x3f], &[0; 64]].concat();
    let webp = raster::riff(&[raster::extended(0, 1, 1), raster::riff_chunk(*b"VP8 ", &lossy)]);
    let mut frame = vec![0; 16];
    frame.extend(raster::riff_chunk(*b"VP8 ", &lossy));
    let animated = raster::riff(&[
        raster::extended(2, 1, 1),
        raster::riff_chunk(*b"ANIM", &[0; 6]),
        raster::riff_chunk(*b"ANMF", &frame),
    ]);
    for bytes in [gif, webp, animated] {
        let (refused, peak) = counted(|| describe(&bytes, &Limits::default()));
        assert!(matches!(refused, Err(DescribeError::TooMuchMemory { .. })), "{refused:?}");
        assert!(peak < MIB / 4, "{peak} bytes");
    }
}

fn unpacked_profiles() {
    let bytes = profile_bomb();
    let (_, peak) = counted(|| describe(&bytes, &Limits::default()));
    assert!(peak < 16 * MIB, "{peak} bytes");
    let (stripped, peak) = counted(|| strip(&bytes));
    assert!(stripped.is_ok() && peak < 2 * bytes.len() + MIB, "{peak} bytes");
}

/// A lossless WebP of 4 MB with tables of 1.3 GB, and a smaller one that has what is counted.
fn tables_of_codes() {
    let bytes = lossless::groups(256);
    assert!(bytes.len() < 4 * MIB, "{} bytes", bytes.len());
    let (refused, peak) = counted(|| describe(&bytes, &Limits::default()));
    assert!(matches!(refused, Err(DescribeError::TooMuchMemory { .. })), "{refused:?}");
    assert!(peak < MIB / 4, "{peak} bytes");
    let bytes = lossless::groups(8);
    let promised = promised(&bytes);
    let (cut, peak) = counted(|| describe(&bytes, &Limits::default()));
    assert!(matches!(cut, Err(DescribeError::Undecodable { .. })), "{cut:?}");
    assert!(peak > 8 * 256 * 5 * 4096 && peak < promised, "{peak} of {promised} bytes");
}

fn lengths_of_four_gibibytes() {
    let png = [&raster::planted_png(1)[..33], &[255; 4], b"tEXtabcd"].concat();
    let riff = overwritten(raster::planted_webp(1), b"RIFF", &[255; 4]);
    let chunk = overwritten(raster::planted_webp(1), b"ICCP", &[255; 4]);
    let (_, layout) = heif::LAYOUTS[0];
    let heif = heif::heif(layout).bytes;
    let item = heif.windows(4).position(|it| it == b"iinf").expect("it lists items");
    let mut long = heif.clone();
    long[item - 4..item].fill(255);
    let mut longer = heif;
    longer[item - 4..item].copy_from_slice(&be32(1));
    longer[item + 4..item + 12].fill(255);
    for bytes in [png, riff, chunk, long, longer] {
        let (refused, peak) = counted(|| strip(&bytes));
        assert!(matches!(refused, Err(StripError::Damaged { .. })), "{refused:?}");
        assert!(peak < MIB / 4, "{peak} bytes");
        let (refused, peak) = counted(|| describe(&bytes, &Limits::default()));
        assert!(peak < MIB / 4, "{peak} bytes: {refused:?}");
    }
}

fn long_lists_and_deep_nesting() {
    let front = heif::atom(b"ftyp", &[b"heic", &[0; 4]]);
    let versioned = |name, parts: &[&[u8]]| heif::atom(name, &[&[0; 4], &parts.concat()]);
    let handler = versioned(b"hdlr", &[&[0; 4], b"pict", &[0; 13]]);
    // Each of 65,535 items has 65,535 pieces of no bytes.
    let places = versioned(b"iloc", &[&[0, 0], &[255; 2], &[0, 1, 0, 0, 255, 255].repeat(65_535)]);
    let entries = versioned(b"iinf", &[&[0, 0]]);
    let list = [front.clone(), versioned(b"meta", &[&handler, &entries, &places])].concat();
    let mut deep = vec![0; 8];
    for _ in 0..20_000 {
        let name: &[u8; 4] = [b"moov", b"trak", b"mdia", b"minf"][deep.len() / 8 % 4];
        deep.splice(..0, [be32(deep.len() + 8).as_slice(), name].concat());
    }
    let empty = versioned(b"iloc", &[&[0, 0, 0, 0]]);
    let meta = versioned(b"meta", &[&handler, &entries, &empty]);
    let deep = [front, meta, heif::atom(b"moov", &[&deep])].concat();
    let tables = [0xff, 0xdd, 0, 4, 0, 0].repeat(1_000_000);
    let jpeg = [&[0xff, 0xd8], tables.as_slice(), &raster::jpeg(8, 8, false)[2..]].concat();
    for bytes in [list, deep, jpeg] {
        let (_, peak) = counted(|| strip(&bytes));
        assert!(peak < 2 * bytes.len() + MIB, "{peak} bytes for {}", bytes.len());
        let (_, peak) = counted(|| describe(&bytes, &Limits::default()));
        assert!(peak < 2 * bytes.len() + 4 * MIB, "{peak} bytes for {}", bytes.len());
    }
}

fn stripping_takes_two_files() {
    for sample in kit::samples() {
        let (_, peak) = counted(|| strip(&sample.bytes));
        let limit = 2 * sample.bytes.len() + MIB / 2;
        assert!(peak < limit, "{}: {peak} bytes for {}", sample.name, sample.bytes.len());
    }
}

/// How many bytes decoding takes by the header.
fn promised(bytes: &[u8]) -> usize {
    match describe(bytes, &Limits { bytes: 0, ..Limits::default() }) {
        Err(DescribeError::TooMuchMemory { bytes, .. }) => usize::try_from(bytes).expect("small"),
        other => panic!("{other:?}"),
    }
}

/// Decoding takes no more than was counted from the header, for whatever is decoded.
fn what_the_header_promises_is_kept() {
    let image = DynamicImage::from(raster::transparent(1600, 1200));
    let mut files = vec![
        ("jpeg", raster::jpeg(1600, 1200, false)),
        ("progressive jpeg", raster::jpeg(1600, 1200, true)),
        ("wide jpeg", raster::jpeg(60_000, 16, false)),
        ("wide progressive jpeg", raster::jpeg(60_000, 16, true)),
        ("gif", raster::gif(&[image.to_rgba8(), image.to_rgba8()])),
    ];
    for image in [image.clone(), image.to_rgb8().into(), image.to_luma8().into()] {
        files.push(("png", raster::png(&image)));
        files.push(("webp", raster::webp(&image)));
    }
    for image in [DynamicImage::from(image.to_rgba16()), image.to_luma_alpha16().into()] {
        files.push(("deep png", raster::png(&image)));
    }
    for (name, bytes) in files {
        let promised = promised(&bytes);
        let (described, peak) = counted(|| describe(&bytes, &Limits::default()));
        assert!(described.is_ok(), "{name}: {described:?}");
        println!("{name}: {peak} of {promised} bytes");
        // What is made of the pixels is small, and counts beside.
        assert!(peak < promised + 2 * MIB, "{name}: {peak} of {promised} bytes");
    }
}
