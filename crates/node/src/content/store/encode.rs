//! What is sent of a content: its size, then hashes and data in the order of the tree, as BLAKE3's
//! verified streaming has it (bao, with blocks of 16 KiB), which iroh-blobs speaks.
//!
//! What lies in the store was verified when it came, and is not hashed again: a disk that lies is found
//! by who reads. What lies outside of it, where anyone may change it, is.

use std::io;

use ayni_core::swarm::{BLOCK_BYTES, Blocks};
use bao_tree::blake3::hazmat::{self, HasherExt as _};
use bao_tree::blake3::{self, Hash};
use bao_tree::io::mixed::{EncodedItem, traverse_selected_rec};
use bao_tree::io::outboard::PreOrderOutboard;
use bao_tree::io::sync::{Outboard as _, encode_ranges_validated, truncate_ranges};
use bao_tree::iter::BaoChunk;
use bao_tree::{ChunkRanges, ChunkRangesRef};
use bytes::Bytes;

use super::entry::Entry;

/// Bytes that are handed over at a time: large against what each hand-over costs.
const PIECE: usize = 256 * 1024;
/// What may come beyond that before it is noticed: a block, and hashes above it.
const FULL: usize = 32 * 1024;
/// What comes with the bytes of one block: its size, and at most fifteen pairs of hashes.
const BESIDE_BLOCK: usize = 8 + 15 * 64;

impl Entry {
    /// Encodes these ranges, in pieces. Blocking.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] where a block is not here, or not any more as it was; what came before
    /// is right. Whatever `give` returns.
    pub(crate) fn encode(
        &self,
        ranges: &ChunkRanges,
        mut give: impl FnMut(Bytes) -> io::Result<()>,
    ) -> io::Result<()> {
        // A block more than a piece: the last one that goes in may be a whole one. One block has few hashes.
        let beside = if self.tree.is_none() { BESIDE_BLOCK } else { FULL };
        let most = usize::try_from(self.size).unwrap_or(PIECE).min(PIECE) + beside;
        let mut piece = Vec::with_capacity(most);
        piece.extend_from_slice(&self.size.to_le_bytes());
        if self.tree.is_none() {
            self.encode_block(ranges, Pieces { piece, give: &mut give })
        } else {
            self.encode_blocks(truncate_ranges(ranges, self.size), piece, &mut give)
        }
    }

    /// One block has no hashes beside it: it is hashed, wherever it lies.
    fn encode_block(
        &self,
        ranges: &ChunkRanges,
        mut pieces: Pieces<'_, impl FnMut(Bytes) -> io::Result<()>>,
    ) -> io::Result<()> {
        if self.blocks().is_empty() && self.size > 0 {
            return Err(io::ErrorKind::NotFound.into());
        }
        let (root, tree) = (Hash::from_bytes(self.blob.0), self.shape());
        let outboard = PreOrderOutboard { root, tree, data: &[][..] };
        let encoded = encode_ranges_validated(&self.data, outboard, ranges, &mut pieces);
        encoded.map_err(|error| io::Error::new(io::ErrorKind::NotFound, error))?;
        pieces.end()
    }

    fn encode_blocks(
        &self,
        ranges: &ChunkRangesRef,
        mut piece: Vec<u8>,
        give: &mut impl FnMut(Bytes) -> io::Result<()>,
    ) -> io::Result<()> {
        let (root, shape) = (Hash::from_bytes(self.blob.0), self.shape());
        let Some(tree) = &self.tree else { return Err(io::ErrorKind::NotFound.into()) };
        let outboard = PreOrderOutboard { root, tree: shape, data: tree };
        let mut here: Option<Blocks> = None;
        let mut proof = self.linked.then(|| Proof(vec![root]));
        for item in shape.ranges_pre_order_chunks_iter_ref(ranges, 0) {
            match item {
                BaoChunk::Parent { node, is_root, left: goes_left, right: goes_right, .. } => {
                    let Some((left, right)) = outboard.load(node)? else {
                        return Err(io::ErrorKind::NotFound.into());
                    };
                    if let Some(proof) = &mut proof {
                        let goes = (goes_left.then_some(left), goes_right.then_some(right));
                        proof.parent((left, right), is_root, goes)?;
                    }
                    piece.extend_from_slice(left.as_bytes());
                    piece.extend_from_slice(right.as_bytes());
                }
                BaoChunk::Leaf { start_chunk, size, is_root, ranges } => {
                    let offset = start_chunk.to_bytes();
                    let here = here.get_or_insert_with(|| self.blocks());
                    if !here.contains(&(offset / BLOCK_BYTES)) {
                        return Err(io::ErrorKind::NotFound.into());
                    }
                    let from = piece.len();
                    piece.resize(from + size, 0);
                    let block = piece.get_mut(from..).unwrap_or_default();
                    if self.read_at(offset, block)? != size {
                        return Err(io::ErrorKind::NotFound.into());
                    }
                    if let Some(proof) = &mut proof {
                        proof.block(offset, block, is_root)?;
                    }
                    if !ranges.is_all() {
                        let block = Bytes::copy_from_slice(block);
                        piece.truncate(from);
                        let mut items = Vec::new();
                        let level = u32::from(super::entry::BLOCK.chunk_log());
                        traverse_selected_rec(
                            start_chunk,
                            block,
                            is_root,
                            ranges,
                            level,
                            true,
                            &mut items,
                        );
                        for item in &items {
                            append(&mut piece, item);
                        }
                    }
                    if piece.len() >= PIECE {
                        let next = Vec::with_capacity(PIECE + FULL);
                        give(std::mem::replace(&mut piece, next).into())?;
                    }
                }
            }
        }
        give(piece.into())
    }
}

/// The hashes that what comes next must have, the nearest last: what lies outside of the store is compared
/// with them.
struct Proof(Vec<Hash>);

impl Proof {
    fn parent(
        &mut self,
        (left, right): (Hash, Hash),
        is_root: bool,
        goes: (Option<Hash>, Option<Hash>),
    ) -> io::Result<()> {
        let (left, right) = (left.as_bytes(), right.as_bytes());
        let found = if is_root {
            hazmat::merge_subtrees_root(left, right, hazmat::Mode::Hash)
        } else {
            hazmat::merge_subtrees_non_root(left, right, hazmat::Mode::Hash).into()
        };
        self.expect(found)?;
        self.0.extend(goes.1);
        self.0.extend(goes.0);
        Ok(())
    }

    fn block(&mut self, offset: u64, block: &[u8], is_root: bool) -> io::Result<()> {
        let found = if is_root {
            blake3::hash(block)
        } else {
            let mut hasher = blake3::Hasher::new();
            hasher.set_input_offset(offset).update(block);
            hasher.finalize_non_root().into()
        };
        self.expect(found)
    }

    fn expect(&mut self, found: Hash) -> io::Result<()> {
        if self.0.pop() == Some(found) { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
    }
}

fn append(piece: &mut Vec<u8>, item: &EncodedItem) {
    match item {
        EncodedItem::Parent(parent) => {
            piece.extend_from_slice(parent.pair.0.as_bytes());
            piece.extend_from_slice(parent.pair.1.as_bytes());
        }
        EncodedItem::Leaf(leaf) => piece.extend_from_slice(&leaf.data),
        _ => {}
    }
}

/// Gathers what is written into pieces.
struct Pieces<'a, F> {
    piece: Vec<u8>,
    give: &'a mut F,
}

impl<F: FnMut(Bytes) -> io::Result<()>> Pieces<'_, F> {
    fn end(self) -> io::Result<()> {
        (self.give)(self.piece.into())
    }
}

impl<F: FnMut(Bytes) -> io::Result<()>> io::Write for Pieces<'_, F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE {
            let next = Vec::with_capacity(PIECE + 1024);
            (self.give)(std::mem::replace(&mut self.piece, next).into())?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
