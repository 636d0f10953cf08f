//! Properties of items: size, colors, turns; and which ones a reader must know.

use std::collections::BTreeSet;
use std::ops::Range;

use super::atoms::{Atom, Reader, atom, atoms, only};
use crate::describe::Header;
use crate::orientation::Orientation;
use crate::read::{Fault, u32_be};

/// Properties that say how a picture is decoded or shown. What else there is may be about it:
/// names, texts, times, where the camera stood.
const SHOWN: &[&[u8; 4]] = &[
    b"a1lx", b"a1op", b"amve", b"auxC", b"av1C", b"avcC", b"cclv", b"clap", b"clli", b"cmpC",
    b"cmpd", b"colr", b"cpal", b"evcC", b"hvcC", b"icef", b"imir", b"irot", b"iscl", b"ispe",
    b"lhvC", b"lsel", b"mdcv", b"ndwt", b"oinf", b"pasp", b"pixi", b"reve", b"rloc", b"tols",
    b"uncC", b"vvcC",
];

const CUT: Fault = Fault::Damaged("its properties are cut");
/// Most properties that all items together may have.
const MAX_USES: usize = 65_536;

/// A property in use: of which item, by its place in the list, and whether readers must know it.
struct Use {
    item: u32,
    index: usize,
    is_needed: bool,
}

/// Properties of a `meta` box.
struct Properties {
    list: Vec<Atom>,
    /// Boxes beside those of properties and their uses.
    others: Vec<Atom>,
    uses: Vec<Use>,
}

impl Properties {
    fn read(bytes: &[u8], meta: &[Atom]) -> Result<Self, Fault> {
        let Some(all) = only(meta, *b"iprp")? else {
            return Ok(Self { list: Vec::new(), others: Vec::new(), uses: Vec::new() });
        };
        let parts = atoms(bytes, all.body.clone())?;
        let list = only(&parts, *b"ipco")?.ok_or(CUT)?;
        let list = atoms(bytes, list.body.clone())?;
        let mut uses = Vec::new();
        for part in parts.iter().filter(|part| part.name == *b"ipma") {
            read_uses(bytes, part, &mut uses)?;
        }
        let is_other = |part: &Atom| ![b"ipco", b"ipma"].contains(&&part.name);
        let others = parts.into_iter().filter(is_other).collect();
        Ok(Self { list, others, uses })
    }

    fn of(&self, item: u32, name: [u8; 4]) -> Option<&Atom> {
        let mut own = self.uses.iter().filter(|it| it.item == item);
        own.find_map(|it| self.list.get(it.index).filter(|atom| atom.name == name))
    }
}

fn read_uses(bytes: &[u8], part: &Atom, uses: &mut Vec<Use>) -> Result<(), Fault> {
    let (version, flags, body) = part.versioned(bytes).ok_or(CUT)?;
    let mut reader = Reader::of(body);
    for _ in 0..reader.number(4).ok_or(CUT)? {
        let item = reader.id(version > 0).ok_or(CUT)?;
        for _ in 0..reader.number(1).ok_or(CUT)? {
            let is_long = flags & 1 == 1;
            let number = reader.number(if is_long { 2 } else { 1 }).ok_or(CUT)?;
            let needed = if is_long { 0x8000 } else { 0x80 };
            let index = usize::try_from(number & (needed - 1)).map_err(|_| CUT)?;
            let is_needed = number & needed != 0;
            // They count from one; zero is none.
            uses.extend(index.checked_sub(1).map(|index| Use { item, index, is_needed }));
        }
        if uses.len() > MAX_USES {
            return Err(Fault::Unknown(format!("more than {MAX_USES} properties")));
        }
    }
    Ok(())
}

/// Returns the properties that are about the picture, not of it, which are neither known nor needed
/// by readers; and those of colors.
pub(super) fn told(bytes: &[u8], meta: &[Atom]) -> Result<(Vec<Atom>, Vec<Atom>), Fault> {
    let properties = Properties::read(bytes, meta)?;
    if properties.list.iter().any(|atom| atom.name == *b"jpgC") {
        return Err(Fault::Unknown("a JPEG whose beginning is elsewhere".into()));
    }
    let uses = properties.uses.iter().filter(|it| it.is_needed);
    let needed: BTreeSet<usize> = uses.map(|it| it.index).collect();
    let list = properties.list.into_iter().enumerate();
    let (shown, told): (Vec<_>, Vec<_>) =
        list.partition(|(index, atom)| is_shown(atom) || needed.contains(index));
    let colors = shown.into_iter().map(|(_, atom)| atom).filter(|atom| atom.name == *b"colr");
    let told = told.into_iter().map(|(_, atom)| atom).chain(properties.others);
    Ok((told.collect(), colors.collect()))
}

/// Whether a property says how a picture is decoded or shown.
pub(super) fn is_shown(property: &Atom) -> bool {
    SHOWN.contains(&&property.name)
}

/// Reads the size; nothing is decoded.
pub(crate) fn header(bytes: &[u8]) -> Result<Header, Fault> {
    let meta = top(bytes, *b"meta").ok_or(Fault::Damaged("it has no items"))?;
    let meta = atoms(bytes, meta.versioned_range().ok_or(CUT)?)?;
    let (version, _, body) = only(&meta, *b"pitm")?
        .and_then(|atom| atom.versioned(bytes))
        .ok_or(Fault::Damaged("it does not say which item is the picture"))?;
    let main = Reader::of(body).id(version > 0).ok_or(CUT)?;
    let properties = Properties::read(bytes, &meta)?;
    let body = |name: [u8; 4]| {
        let atom = properties.of(main, name)?;
        bytes.get(atom.body.clone())
    };
    let stored = body(*b"ispe").and_then(|it| u32_be(it, 4).zip(u32_be(it, 8)));
    let stored = stored.ok_or(Fault::Damaged("its picture has no size"))?;
    let cut = body(*b"clap").and_then(|clap| aperture(clap, stored)).unwrap_or(stored);
    let is_turned = body(*b"irot").and_then(<[u8]>::first).is_some_and(|turns| turns & 1 == 1);
    let (width, height) = if is_turned { (cut.1, cut.0) } else { cut };
    Ok(Header { width, height, orientation: Orientation::Upright, decode_bytes: 0 })
}

/// The part of a picture that is shown, as fractions; none if it is not within the picture.
fn aperture(clap: &[u8], (width, height): (u32, u32)) -> Option<(u32, u32)> {
    let side = |at, whole: u32| {
        let side = u32_be(clap, at)?.checked_div(u32_be(clap, at + 4)?)?;
        (1..=whole).contains(&side).then_some(side)
    };
    side(0, width).zip(side(8, height))
}

/// Returns the first box of a name at the top of a file.
fn top(bytes: &[u8], name: [u8; 4]) -> Option<Atom> {
    let mut range: Range<usize> = 0..bytes.len();
    loop {
        let found = atom(bytes, range.start, range.end, true)?;
        if found.name == name {
            return Some(found);
        }
        range.start = found.body.end;
    }
}
