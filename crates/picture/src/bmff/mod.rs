//! AVIF and HEIC: boxes within boxes (ISO base media file format), and items that lie somewhere
//! else.
//!
//! Nothing moves, since items are found by their place in the file: what goes is overwritten where
//! it is, and what stands behind the picture is cut off.
//!
//! Sources: ISO/IEC 14496-12 (boxes, `meta`, movies), ISO/IEC 23008-12 (items, properties).

mod atoms;
mod items;
mod movie;
mod properties;
mod scrub;

pub(crate) use properties::header;
pub(crate) use scrub::strip;
