//! Boxes: a length, a name, and what is in them.

use std::ops::Range;

use crate::read::{Fault, array, u32_be};

/// Most boxes side by side, and most items. A picture of 200 megapixels in tiles of 512 × 512 has
/// near 800 items.
pub(super) const MAX_SIBLINGS: usize = 4096;

/// A box, by its place in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Atom {
    pub(super) name: [u8; 4],
    /// Where it begins.
    pub(super) start: usize,
    /// Where what is in it begins and ends.
    pub(super) body: Range<usize>,
}

impl Atom {
    /// What is in it behind a version and flags.
    pub(super) fn versioned<'a>(&self, bytes: &'a [u8]) -> Option<(u8, u32, &'a [u8])> {
        let body = bytes.get(self.body.clone())?;
        let head = u32_be(body, 0)?;
        Some((head.to_be_bytes()[0], head & 0x00ff_ffff, body.get(4..)?))
    }

    /// Where what is in it begins, behind a version and flags, and where it ends.
    pub(super) fn versioned_range(&self) -> Option<Range<usize>> {
        let start = self.body.start.checked_add(4)?;
        (start <= self.body.end).then_some(start..self.body.end)
    }
}

/// Returns the box that begins at `at`, which ends at `end` or before; none if there is no such
/// box.
///
/// A box whose length is "up to the end of the file" may be the last of a file.
pub(super) fn atom(bytes: &[u8], at: usize, end: usize, may_be_open: bool) -> Option<Atom> {
    let len = u32_be(bytes, at)?;
    let name = array(bytes, at.checked_add(4)?)?;
    let (head, len) = match len {
        0 if may_be_open => (8, end.checked_sub(at)?),
        1 => {
            let len = array(bytes, at.checked_add(8)?).map(u64::from_be_bytes)?;
            (16, usize::try_from(len).ok()?)
        }
        len => (8, usize::try_from(len).ok()?),
    };
    let after = at.checked_add(len)?;
    (len >= head && after <= end).then(|| Atom { name, start: at, body: at + head..after })
}

/// Returns the boxes that fill a range.
///
/// # Errors
/// [`Fault`] if something else is in it, or more than [`MAX_SIBLINGS`].
pub(super) fn atoms(bytes: &[u8], range: Range<usize>) -> Result<Vec<Atom>, Fault> {
    let mut found = Vec::new();
    let mut at = range.start;
    while at < range.end {
        if found.len() == MAX_SIBLINGS {
            return Err(Fault::Unknown(format!("more than {MAX_SIBLINGS} boxes")));
        }
        let atom = atom(bytes, at, range.end, false).ok_or(Fault::Damaged("a box is cut"))?;
        at = atom.body.end;
        found.push(atom);
    }
    Ok(found)
}

/// Returns the one box of a name.
///
/// # Errors
/// [`Fault`] if there are several: readers differ in which one counts.
pub(super) fn only(atoms: &[Atom], name: [u8; 4]) -> Result<Option<&Atom>, Fault> {
    let mut named = atoms.iter().filter(|atom| atom.name == name);
    let first = named.next();
    if named.next().is_some() {
        return Err(Fault::Unknown(format!("several boxes {}", String::from_utf8_lossy(&name))));
    }
    Ok(first)
}

/// Reads numbers one after the other.
#[derive(Clone)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Reads a big-endian number of 0 to 8 bytes.
    pub(super) fn number(&mut self, len: usize) -> Option<u64> {
        let (number, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        (len <= 8).then(|| number.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    }

    /// Reads two bytes, or four.
    pub(super) fn id(&mut self, is_long: bool) -> Option<u32> {
        self.number(if is_long { 4 } else { 2 }).and_then(|id| u32::try_from(id).ok())
    }

    /// Goes over a text and its zero, or up to the end, and returns it.
    pub(super) fn text(&mut self) -> &'a [u8] {
        let len = self.rest.iter().position(|byte| *byte == 0).unwrap_or(self.rest.len());
        let (text, rest) = self.rest.split_at_checked(len).unwrap_or_default();
        self.rest = rest.get(1..).unwrap_or_default();
        text
    }

    /// How many bytes are left.
    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }
}
