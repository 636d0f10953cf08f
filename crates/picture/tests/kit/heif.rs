//! AVIF and HEIC, made by hand: what is in their coded pictures is no picture.
#![allow(clippy::trivially_copy_pass_by_ref, reason = "names read best as b\"name\"")]

use std::ops::Range;

use ayni_picture::PictureKind;

use super::{Sample, be32, movie, noise, profile, tiff, xmp};

/// How a file is laid out.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    pub kind: PictureKind,
    /// Of the list of places: 0, 1 or 2.
    pub version: u8,
    /// Bytes of an offset in that list: 4 or 8.
    pub offset_len: u8,
    /// How many pieces the data of each item is in.
    pub pieces: usize,
    /// Whether EXIF lies inside of the box of items.
    pub is_inside: bool,
    /// Whether it is a sequence as well.
    pub is_sequence: bool,
}

/// A file, and where its picture is.
pub struct Heif {
    pub bytes: Vec<u8>,
    pub picture: Vec<Range<usize>>,
}

/// Layouts that differ in how items are found.
pub const LAYOUTS: [(&str, Layout); 5] = [
    ("avif", layout(PictureKind::Avif, 0, 4, 1, false, false)),
    ("avif-sequence", layout(PictureKind::Avif, 1, 4, 2, false, true)),
    ("heic", layout(PictureKind::Heic, 0, 4, 3, false, false)),
    ("heic-inside", layout(PictureKind::Heic, 1, 4, 1, true, false)),
    ("heic-long", layout(PictureKind::Heic, 2, 8, 2, true, false)),
];

const fn layout(
    kind: PictureKind,
    version: u8,
    offset_len: u8,
    pieces: usize,
    is_inside: bool,
    is_sequence: bool,
) -> Layout {
    Layout { kind, version, offset_len, pieces, is_inside, is_sequence }
}

pub fn samples() -> Vec<Sample> {
    let sample = |(name, layout): (&'static str, Layout)| Sample {
        name,
        kind: layout.kind,
        bytes: heif(layout).bytes,
        // Turned by a quarter.
        shown: (24, 40),
        orientation: 1,
    };
    LAYOUTS.into_iter().map(sample).collect()
}

pub fn atom(name: &[u8; 4], parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    [be32(body.len() + 8).as_slice(), name, &body].concat()
}

fn versioned(name: &[u8; 4], version: u8, parts: &[&[u8]]) -> Vec<u8> {
    atom(name, &[&[version, 0, 0, 0], &parts.concat()])
}

fn entry(id: u8, kind: &[u8; 4], texts: &[u8]) -> Vec<u8> {
    versioned(b"infe", 2, &[&[0, id, 0, 0], kind, texts])
}

fn coded(layout: Layout) -> &'static [u8; 4] {
    if layout.kind == PictureKind::Avif { b"av01" } else { b"hvc1" }
}

fn entries(kind: &[u8; 4]) -> Vec<u8> {
    let entries = [
        entry(1, kind, b"planted name\0"),
        entry(2, b"Exif", b"\0"),
        entry(3, b"mime", b"planted name\0application/rdf+xml\0"),
        entry(4, b"mime", b"\0application/json\0"),
        entry(5, b"uri ", b"planted\0urn:example\0"),
    ];
    versioned(b"iinf", 0, &[&[0, 5], &entries.concat()])
}

fn properties(layout: Layout) -> Vec<u8> {
    let config: &[u8; 4] = if layout.kind == PictureKind::Avif { b"av1C" } else { b"hvcC" };
    let list = [
        versioned(b"ispe", 0, &[&be32(40), &be32(24)]),
        atom(config, &[b"\x81\0\x0c\0"]),
        atom(b"irot", &[&[1]]),
        versioned(b"udes", 0, &[b"en\0planted title\0planted description\0planted tag\0"]),
        versioned(b"crtt", 0, &[b"planted!"]),
        // Nobody knows it, but readers must: it stays.
        atom(b"zzzz", &[b"needed"]),
        atom(b"colr", &[b"prof", &profile(300), b"planted behind it"]),
        atom(b"colr", &[b"prof", b"planted, no profile"]),
    ];
    let uses = [0, 0, 0, 1, 0, 1, 8, 1, 0x82, 0x83, 4, 5, 0x86, 7, 8];
    let parts = [
        atom(b"ipco", &[&list.concat()]),
        versioned(b"ipma", 0, &[&uses]),
        atom(b"skip", &[b"planted beside properties"]),
    ];
    atom(b"iprp", &[&parts.concat()])
}

/// Splits data and lays it out: pieces with something between them.
fn spread(space: &mut Vec<u8>, data: &[u8], pieces: usize) -> Vec<Range<usize>> {
    let piece_len = data.len().div_ceil(pieces);
    let place = |piece: &[u8]| {
        space.extend(b"planted gap");
        let start = space.len();
        space.extend(piece);
        start..space.len()
    };
    data.chunks(piece_len).map(place).collect()
}

fn places(layout: Layout, items: &[(bool, Vec<Range<usize>>)], data_at: usize) -> Vec<u8> {
    let number = |value: usize, len: u8| {
        let bytes = u64::try_from(value).expect("small").to_be_bytes();
        bytes[8 - usize::from(len)..].to_vec()
    };
    let id_len = if layout.version == 2 { 4 } else { 2 };
    let mut out = vec![layout.offset_len << 4 | 4, layout.offset_len << 4];
    out.extend(number(items.len(), id_len));
    for (index, (is_inside, extents)) in items.iter().enumerate() {
        out.extend(number(index + 1, id_len));
        if layout.version > 0 {
            out.extend([0, u8::from(*is_inside)]);
        }
        out.extend([0, 0]);
        let base = if *is_inside { 0 } else { data_at };
        out.extend(number(base, layout.offset_len));
        out.extend(number(extents.len(), 2));
        for extent in extents {
            out.extend(number(extent.start, layout.offset_len));
            out.extend(number(extent.len(), 4));
        }
    }
    versioned(b"iloc", layout.version, &[&out])
}

fn handler(kind: &[u8; 4]) -> Vec<u8> {
    versioned(b"hdlr", 0, &[&[0; 4], kind, &[0; 12], b"planted handler\0"])
}

/// A sequence of one track, with the times and texts that movies have.
fn sequence() -> Vec<u8> {
    let description = [
        atom(b"av1C", &[b"\x81\0\x0c\0"]),
        atom(b"colr", &[b"prof", &profile(300)]),
        atom(b"plnt", &[b"planted box"]),
    ];
    let encoder = [[0; 42].as_slice(), b"\x0fplanted encoder", &[0; 16], &[0; 4]].concat();
    let description = atom(b"av01", &[&encoder, &description.concat()]);
    let tables =
        [versioned(b"stsd", 0, &[&be32(1), &description]), atom(b"uuid", &[b"planted table"])];
    let media = [
        versioned(b"mdhd", 1, &[b"planted!planted!", &[0; 20]]),
        handler(b"pict"),
        atom(b"minf", &[&versioned(b"vmhd", 0, &[&[0; 8]]), &atom(b"stbl", &[&tables.concat()])]),
    ];
    let track = [
        versioned(b"tkhd", 0, &[b"planted!", &[0; 72]]),
        atom(b"mdia", &[&media.concat()]),
        atom(b"udta", &[b"planted place"]),
        atom(b"meta", &[b"planted keys"]),
    ];
    let parts = [
        versioned(b"mvhd", 0, &[b"planted!", &[0; 88]]),
        atom(b"trak", &[&track.concat()]),
        atom(b"udta", &[&atom(b"\xa9xyz", &[b"planted-13.5+071.9/"])]),
    ];
    atom(b"moov", &[&parts.concat()])
}

/// Makes a file with EXIF, XMP and texts as items, properties, boxes, and behind the picture.
pub fn heif(layout: Layout) -> Heif {
    heif_of(layout, (coded(layout), noise(3000)))
}

/// Makes a file whose picture is an item of this kind and with this data.
pub fn heif_of(layout: Layout, (kind, picture): (&[u8; 4], Vec<u8>)) -> Heif {
    let brand = if layout.kind == PictureKind::Avif { b"avif" } else { b"heic" };
    let front = [
        atom(b"ftyp", &[brand, &[0; 4], b"mif1", b"miaf"]),
        atom(b"uuid", &[&[7; 16], b"planted box"]),
        atom(b"free", &[b"planted in free space"]),
    ];
    let exif = [be32(0).as_slice(), &tiff(6)].concat();
    let (mut data, mut inside) = (Vec::new(), Vec::new());
    let mut items = Vec::new();
    for (index, item) in
        [picture, exif, xmp(), b"{\"planted\":1}".to_vec(), b"planted".to_vec()].iter().enumerate()
    {
        let is_inside = layout.is_inside && index == 1;
        let space = if is_inside { &mut inside } else { &mut data };
        items.push((is_inside, spread(space, item, layout.pieces)));
    }
    // In a sequence the gaps may be frames, so they stay.
    if layout.is_sequence {
        let gaps = String::from_utf8_lossy(&data).into_owned();
        assert!(gaps.contains("planted gap"));
        for at in 0..data.len() - 11 {
            if &data[at..at + 11] == b"planted gap" {
                data[at..at + 11].copy_from_slice(b"coded frame");
            }
        }
    }
    let movie_box = if layout.is_sequence { sequence() } else { Vec::new() };
    let meta = |data_at| {
        let parts = [
            handler(b"pict"),
            versioned(b"pitm", 0, &[&[0, 1]]),
            places(layout, &items, data_at),
            entries(kind),
            properties(layout),
            atom(b"idat", &[&inside]),
            atom(b"udta", &[b"planted user data"]),
            versioned(b"xml ", 0, &[b"<planted/>"]),
        ];
        versioned(b"meta", 0, &[&parts.concat()])
    };
    let data_at = front.concat().len() + meta(0).len() + movie_box.len() + 8;
    let mut bytes = [front.concat(), meta(data_at), movie_box, atom(b"mdat", &[&data])].concat();
    bytes.extend(atom(b"mpvd", &[&movie()]));
    bytes.extend(movie());
    bytes.extend(b"planted trailer of no format");
    let picture = items.swap_remove(0).1;
    let moved = |range: Range<usize>| range.start + data_at..range.end + data_at;
    Heif { bytes, picture: picture.into_iter().map(moved).collect() }
}
