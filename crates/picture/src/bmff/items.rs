//! Items: pictures, parts of pictures, and what is said about them.

use std::collections::BTreeMap;
use std::ops::Range;

use super::atoms::{Atom, MAX_SIBLINGS, Reader, atoms, only};
use crate::read::Fault;

/// Most pieces of all items: each in four, which no encoder does.
const MAX_EXTENTS: usize = 4 * MAX_SIBLINGS;

/// Coded pictures, and pictures made of others. Not JPEG 2000, which has comments of its own.
const PICTURES: &[&[u8; 4]] = &[
    b"av01", b"avc1", b"evc1", b"grid", b"hev1", b"hvc1", b"hvt1", b"iden", b"iovl", b"lhv1",
    b"mski", b"sato", b"tmap", b"unci", b"vvc1",
];

const CUT: Fault = Fault::Damaged("its list of items is cut");
const PLACES: Fault = Fault::Damaged("its list of places is cut");

/// What is said of an item.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) what: What,
    /// Its name for people, by its place in the file.
    pub(super) name: Range<usize>,
    /// The pieces of its data, by their place in the file.
    pub(super) extents: Vec<Range<usize>>,
}

/// What an item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// A picture that has no data of its own.
    Identity,
    /// A picture that is a JPEG, with all that one can have.
    Jpeg,
    /// Any other picture.
    Picture,
    /// EXIF.
    Exif,
    /// XMP and other texts.
    Text,
    /// An address, or what only its place is known of.
    Other,
}

impl What {
    pub(super) fn is_picture(self) -> bool {
        matches!(self, Self::Identity | Self::Jpeg | Self::Picture)
    }
}

/// Reads the items of a `meta` box.
///
/// # Errors
/// [`Fault`] if it cannot be said for each item what it is and where.
pub(super) fn items(bytes: &[u8], meta: &[Atom]) -> Result<BTreeMap<u32, Item>, Fault> {
    let mut items = BTreeMap::new();
    let list = only(meta, *b"iinf")?.ok_or(Fault::Damaged("it lists no items"))?;
    for entry in entries(bytes, list)? {
        let (id, item) = entry_of(bytes, &entry)?;
        if items.insert(id, item).is_some() {
            return Err(Fault::Unknown(format!("two items of number {id}")));
        }
    }
    place(bytes, meta, &mut items)?;
    Ok(items)
}

fn entries(bytes: &[u8], list: &Atom) -> Result<Vec<Atom>, Fault> {
    let (version, _, _) = list.versioned(bytes).ok_or(CUT)?;
    let count_len = if version == 0 { 2 } else { 4 };
    let start = list.versioned_range().ok_or(CUT)?.start + count_len;
    atoms(bytes, start..list.body.end)
}

fn entry_of(bytes: &[u8], entry: &Atom) -> Result<(u32, Item), Fault> {
    let (version, _, body) = entry.versioned(bytes).ok_or(CUT)?;
    if entry.name != *b"infe" || !matches!(version, 2..=3) {
        return Err(Fault::Unknown(format!("an item of version {version}")));
    }
    let mut reader = Reader::of(body);
    let id = reader.id(version == 3).ok_or(CUT)?;
    let protection = reader.number(2).ok_or(CUT)?;
    let kind = reader.id(true).ok_or(CUT)?.to_be_bytes();
    if protection != 0 {
        return Err(Fault::Unknown("a protected item".into()));
    }
    let start = entry.body.end - reader.left();
    let name = start..start + reader.text().len();
    let what = match &kind {
        b"iden" => What::Identity,
        b"jpeg" => What::Jpeg,
        kind if PICTURES.contains(&kind) => What::Picture,
        b"Exif" => What::Exif,
        b"mime" => What::Text,
        b"uri " => What::Other,
        kind => {
            let kind = String::from_utf8_lossy(kind).into_owned();
            return Err(Fault::Unknown(format!("an item of kind {kind}")));
        }
    };
    Ok((id, Item { what, name, extents: Vec::new() }))
}

/// Where pieces of data are: lengths of numbers, and what they count from.
struct Places<'a> {
    reader: Reader<'a>,
    version: u8,
    offset_len: usize,
    length_len: usize,
    base_len: usize,
    index_len: usize,
    /// The data inside of the `meta` box.
    inside: Option<Range<usize>>,
    file_len: usize,
}

/// Finds the pieces of each item.
fn place(bytes: &[u8], meta: &[Atom], items: &mut BTreeMap<u32, Item>) -> Result<(), Fault> {
    let list = only(meta, *b"iloc")?.ok_or(Fault::Damaged("it says of no item where it is"))?;
    let inside = only(meta, *b"idat")?.map(|atom| atom.body.clone());
    let (version, _, body) = list.versioned(bytes).ok_or(PLACES)?;
    if version > 2 {
        return Err(Fault::Unknown(format!("a list of places of version {version}")));
    }
    let mut reader = Reader::of(body);
    let sizes = usize::try_from(reader.number(2).ok_or(PLACES)?).map_err(|_| PLACES)?;
    let len = |shift: usize| sizes >> shift & 15;
    let (offset_len, length_len, base_len) = (len(12), len(8), len(4));
    let index_len = if version == 0 { 0 } else { len(0) };
    if [offset_len, length_len, base_len, index_len].iter().any(|len| ![0, 4, 8].contains(len)) {
        return Err(Fault::Damaged("its places have numbers of no known length"));
    }
    let count = reader.id(version == 2).ok_or(PLACES)?;
    if usize::try_from(count).is_ok_and(|count| count > MAX_SIBLINGS) {
        return Err(Fault::Unknown(format!("more than {MAX_SIBLINGS} items")));
    }
    let file_len = bytes.len();
    let mut places =
        Places { reader, version, offset_len, length_len, base_len, index_len, inside, file_len };
    let mut left = MAX_EXTENTS;
    for _ in 0..count {
        let id = places.reader.id(version == 2).ok_or(PLACES)?;
        // An item that is not listed is unknown: it will be overwritten.
        let nameless = || Item { what: What::Other, name: 0..0, extents: Vec::new() };
        let item = items.entry(id).or_insert_with(nameless);
        if !item.extents.is_empty() {
            return Err(Fault::Unknown(format!("two places of item {id}")));
        }
        item.extents = places.extents(item.what, &mut left)?;
    }
    Ok(())
}

impl Places<'_> {
    /// Reads the pieces of the next item.
    fn extents(&mut self, what: What, left: &mut usize) -> Result<Vec<Range<usize>>, Fault> {
        let method = if self.version == 0 { 0 } else { self.reader.number(2).ok_or(PLACES)? & 15 };
        let source = self.reader.number(2).ok_or(PLACES)?;
        let base = self.reader.number(self.base_len).ok_or(PLACES)?;
        let count = self.reader.number(2).ok_or(PLACES)?;
        let within = match (method, source, self.inside.clone()) {
            (0, 0, _) => 0..self.file_len,
            (1, 0, Some(inside)) => inside,
            _ => return Err(Fault::Unknown("an item in another file or item".into())),
        };
        let mut extents = Vec::new();
        for _ in 0..count {
            *left = left
                .checked_sub(1)
                .ok_or_else(|| Fault::Unknown(format!("more than {MAX_EXTENTS} pieces")))?;
            self.reader.number(self.index_len).ok_or(PLACES)?;
            let offset = self.reader.number(self.offset_len).ok_or(PLACES)?;
            let len = self.reader.number(self.length_len).ok_or(PLACES)?;
            match (len, what) {
                (0, What::Identity) => {}
                // Readers differ in whether it is empty or all there is.
                (0, _) => return Err(Fault::Unknown("an item without a length".into())),
                _ => extents.push(range(base, offset, len, &within)?),
            }
        }
        Ok(extents)
    }
}

fn range(base: u64, offset: u64, len: u64, within: &Range<usize>) -> Result<Range<usize>, Fault> {
    let start = base.checked_add(offset).and_then(|it| usize::try_from(it).ok());
    let start = start.and_then(|start| within.start.checked_add(start));
    let end = start.zip(usize::try_from(len).ok()).and_then(|(start, len)| start.checked_add(len));
    let range = start.zip(end).map(|(start, end)| start..end);
    range
        .filter(|range| range.end <= within.end)
        .ok_or(Fault::Damaged("an item ends behind the file"))
}
