//! Metadata overwritten where it is.

use std::collections::BTreeMap;
use std::ops::Range;

use super::atoms::{Atom, atom, atoms, only};
use super::items::{Item, What, items};
use super::movie::Movie;
use super::properties::told;
use crate::kind::{PictureKind, kind};
use crate::read::{Fault, u32_be};
use crate::{icc, jpeg};

/// Most boxes at the top of a file; pictures have three or four.
const MAX_TOP: usize = 256;
/// Boxes of `meta` that stay.
const META: &[&[u8; 4]] =
    &[b"hdlr", b"dinf", b"pitm", b"iinf", b"iloc", b"iprp", b"iref", b"idat", b"grpl"];
/// EXIF with nothing in it, as an item: where its TIFF structure begins, and an empty directory.
const EMPTY_EXIF: &[u8] = b"\0\0\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0";
/// Bytes of a handler before its name: a version, two reserved parts, and what it handles between.
const HANDLER_LEN: usize = 24;

/// What a file has at its top, up to the end of the picture.
struct Top {
    meta: Atom,
    movie: Option<Atom>,
    data: Vec<Atom>,
    /// Boxes that go.
    told: Vec<Atom>,
    /// Where the last box ends that stays.
    end: usize,
}

impl Top {
    fn read(bytes: &[u8]) -> Result<Self, Fault> {
        let mut at = 0;
        let mut all = Vec::new();
        // Another file may be glued to the end, or something that is no box.
        while let Some(next) = atom(bytes, at, bytes.len(), true)
            && (all.is_empty() || next.name != *b"ftyp")
        {
            at = next.body.end;
            all.push(next);
            if all.len() > MAX_TOP {
                return Err(Fault::Unknown(format!("more than {MAX_TOP} boxes")));
            }
        }
        let meta = only(&all, *b"meta")?.cloned();
        let meta = meta.ok_or_else(|| Fault::Unknown("no items".into()))?;
        let movie = only(&all, *b"moov")?.cloned();
        if only(&all, *b"moof")?.is_some() {
            return Err(Fault::Unknown("a sequence in fragments".into()));
        }
        let (kept, told): (Vec<_>, Vec<_>) = all
            .into_iter()
            .partition(|atom| [b"ftyp", b"meta", b"moov", b"mdat"].contains(&&atom.name));
        let end = kept.last().map_or(0, |atom| atom.body.end);
        let data = kept.into_iter().filter(|atom| atom.name == *b"mdat").collect();
        Ok(Self { meta, movie, data, told, end })
    }
}

/// Returns the file without metadata, no part of which has moved.
pub(crate) fn strip(bytes: &[u8]) -> Result<Vec<u8>, Fault> {
    let top = Top::read(bytes)?;
    let cut = Fault::Damaged("its items are cut");
    let meta = atoms(bytes, top.meta.versioned_range().ok_or(cut)?)?;
    let mut handlers = handler(bytes, &meta)?;
    let items = items(bytes, &meta)?;
    let (told_properties, mut colors) = told(bytes, &meta)?;
    let movie = match &top.movie {
        Some(moov) => Movie::read(bytes, moov)?,
        None => Movie::default(),
    };
    handlers.extend(movie.handlers);
    colors.extend(movie.colors);

    let mut out = bytes.to_vec();
    wipe_data(&mut out, &top, &meta, &items)?;
    strip_jpegs(&mut out, &items)?;
    let told_meta = meta.iter().filter(|atom| !META.contains(&&atom.name));
    let told = top.told.iter().chain(told_meta).chain(&told_properties).chain(&movie.told);
    for atom in told {
        free(&mut out, atom);
    }
    for range in movie.texts {
        fill(&mut out, range, 0);
    }
    for atom in &colors {
        scrub_colors(&mut out, atom);
    }
    for handler in handlers {
        let name = (handler.body.start + HANDLER_LEN).min(handler.body.end);
        fill(&mut out, name..handler.body.end, 0);
    }
    // Texts follow the name, so it keeps its length.
    for item in items.into_values() {
        fill(&mut out, item.name, b'_');
    }
    out.truncate(top.end);
    Ok(out)
}

/// Returns the box that says what `meta` is about, if that is a picture.
fn handler(bytes: &[u8], meta: &[Atom]) -> Result<Vec<Atom>, Fault> {
    let handler = only(meta, *b"hdlr")?.ok_or(Fault::Damaged("it does not say what it is"))?;
    let kind = handler.versioned(bytes).and_then(|(_, _, body)| u32_be(body, 4));
    if kind.map(u32::to_be_bytes) != Some(*b"pict") {
        return Err(Fault::Unknown("items that are no pictures".into()));
    }
    Ok(vec![handler.clone()])
}

/// Overwrites the data of items that are not pictures, and what belongs to no item.
fn wipe_data(
    out: &mut [u8],
    top: &Top,
    meta: &[Atom],
    items: &BTreeMap<u32, Item>,
) -> Result<(), Fault> {
    let inside = meta.iter().filter(|atom| atom.name == *b"idat");
    let spaces: Vec<Range<usize>> =
        top.data.iter().chain(inside).map(|atom| atom.body.clone()).collect();
    let is_picture = |item: &&Item| item.what.is_picture();
    let kept = merged(items.values().filter(is_picture));
    let gone = merged(items.values().filter(|item| !is_picture(item)));
    let within = |range: &Range<usize>| {
        spaces.iter().any(|space| space.start <= range.start && range.end <= space.end)
    };
    if !items.values().flat_map(|item| &item.extents).all(within) {
        return Err(Fault::Unknown("an item outside of its data".into()));
    }
    if gone.iter().any(|gone| overlaps(&kept, gone)) {
        return Err(Fault::Unknown("metadata that is part of the picture".into()));
    }
    // A sequence has data that no item names.
    let has_frames = |space: &Range<usize>| {
        top.movie.is_some() && top.data.iter().any(|atom| atom.body == *space)
    };
    for space in spaces.iter().filter(|space| !has_frames(space)) {
        for gap in gaps(space, &kept) {
            fill(out, gap, 0);
        }
    }
    for item in items.values().filter(|item| !is_picture(item)) {
        empty(out, item);
    }
    Ok(())
}

/// Strips the items that are JPEGs, each in its place: what is left is as long as before, with zeros behind
/// its end.
fn strip_jpegs(out: &mut [u8], items: &BTreeMap<u32, Item>) -> Result<(), Fault> {
    let mut pieces: Vec<(&Range<usize>, bool)> = items
        .values()
        .flat_map(|item| item.extents.iter().map(|it| (it, item.what == What::Jpeg)))
        .collect();
    pieces.sort_by_key(|(range, _)| range.start);
    // Where the pieces so far end, and those of JPEGs among them.
    let (mut end, mut jpeg_end) = (0, 0);
    for (range, is_jpeg) in pieces {
        if range.start < jpeg_end || (is_jpeg && range.start < end) {
            return Err(Fault::Unknown("a JPEG that shares bytes with another item".into()));
        }
        end = end.max(range.end);
        if is_jpeg {
            jpeg_end = range.end;
        }
    }
    for item in items.values().filter(|item| item.what == What::Jpeg) {
        let places = || item.extents.iter().cloned().flatten();
        let bytes: Vec<u8> = places().filter_map(|at| out.get(at).copied()).collect();
        if kind(&bytes) != Some(PictureKind::Jpeg) {
            return Err(Fault::Unknown("a JPEG whose beginning is elsewhere".into()));
        }
        let (mut stripped, _) = jpeg::strip(&bytes)?;
        if stripped.len() > bytes.len() {
            return Err(Fault::Unknown("a JPEG that ends early".into()));
        }
        stripped.resize(bytes.len(), 0);
        for (at, byte) in places().zip(stripped) {
            if let Some(place) = out.get_mut(at) {
                *place = byte;
            }
        }
    }
    Ok(())
}

/// The pieces of items in order, with those joined that touch or overlap.
fn merged<'a>(items: impl Iterator<Item = &'a Item>) -> Vec<Range<usize>> {
    let mut extents: Vec<Range<usize>> = items.flat_map(|item| item.extents.clone()).collect();
    extents.sort_by_key(|range| (range.start, range.end));
    let mut joined: Vec<Range<usize>> = Vec::new();
    for range in extents {
        match joined.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    joined
}

/// Whether one of the ranges, which are in order and apart, has a byte in common with another.
fn overlaps(ranges: &[Range<usize>], other: &Range<usize>) -> bool {
    let after = ranges.partition_point(|range| range.end <= other.start);
    ranges.get(after).is_some_and(|range| range.start < other.end)
}

/// What of a space no range covers; the ranges are in order and apart.
fn gaps(space: &Range<usize>, ranges: &[Range<usize>]) -> Vec<Range<usize>> {
    let mut gaps = Vec::new();
    let mut at = space.start;
    for range in ranges {
        if range.start >= space.end {
            break;
        }
        if range.end > at {
            gaps.push(at..range.start.max(at));
            at = range.end;
        }
    }
    gaps.push(at.min(space.end)..space.end);
    gaps
}

/// Overwrites an item with something that readers take for empty.
fn empty(out: &mut [u8], item: &Item) {
    let filler = if item.what == What::Text { b' ' } else { 0 };
    for extent in &item.extents {
        fill(out, extent.clone(), filler);
    }
    let len: usize = item.extents.iter().map(Range::len).sum();
    if item.what == What::Exif && len >= EMPTY_EXIF.len() {
        let places = item.extents.iter().cloned().flatten();
        for (at, byte) in places.zip(EMPTY_EXIF) {
            if let Some(place) = out.get_mut(at) {
                *place = *byte;
            }
        }
    }
}

/// Overwrites in a box of colors what tells whose color profile it is; one that is none goes.
fn scrub_colors(out: &mut [u8], atom: &Atom) {
    let body = out.get(atom.body.clone()).unwrap_or_default();
    let Some((b"prof" | b"rICC", profile)) = body.split_first_chunk() else { return };
    let Some(mut profile) = icc::profile(profile) else { return free(out, atom) };
    profile.resize(body.len() - 4, 0);
    if let Some(place) = out.get_mut(atom.body.start + 4..atom.body.end) {
        place.copy_from_slice(&profile);
    }
}

/// Makes a box into free space.
fn free(out: &mut [u8], atom: &Atom) {
    fill(out, atom.body.clone(), 0);
    if let Some(name) = out.get_mut(atom.start + 4..atom.start + 8) {
        name.copy_from_slice(b"free");
    }
}

fn fill(out: &mut [u8], range: Range<usize>, byte: u8) {
    if let Some(bytes) = out.get_mut(range) {
        bytes.fill(byte);
    }
}
