//! Pictures: what a file is, the same file without metadata, and what shows of it before it is
//! here.
//!
//! Bytes in, bytes out: no files, no clock, no tasks. Decoding takes up to a second for the largest
//! pictures, so callers run [`describe()`] where they may block, a few at a time.
//!
//! Invariants:
//! - A file is what its content says ([`kind`]); its name decides nothing about a picture.
//! - [`strip()`] never encodes again: the coded picture stays as it came, byte for byte. It keeps
//!   what it knows to change how a picture is shown and drops everything else, so metadata of
//!   tomorrow goes as well. Where it does not understand a file it refuses; what it returned once
//!   it leaves alone.
//! - Bytes are hostile: no length is believed before it is compared with what is there, nothing
//!   nests without a bound, and [`describe()`] knows from the header what decoding will cost,
//!   before it does.
//!
//! Non-goals: decoding AVIF and HEIC, for which there is no sound decoder in safe Rust (they have
//! their size, and no thumbnail); what hides inside of coded pixels.

mod bmff;
mod describe;
mod gif;
mod icc;
mod jpeg;
mod kind;
mod orientation;
mod png;
mod read;
mod strip;
mod thumbnail;
mod vp8l;
mod webp;

pub use describe::{DescribeError, Described, Limits, MAX_DECODE_BYTES, MAX_PIXELS, describe};
pub use kind::{PictureKind, SNIFF_LEN, kind, media_type};
pub use orientation::Orientation;
pub use strip::{MAX_PICTURE_BYTES, StripError, Stripped, strip};
pub use thumbnail::THUMBNAIL_SIDE;
