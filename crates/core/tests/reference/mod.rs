//! The rules of `docs/rooms.md` once more, slow and plain: sets, and loops until nothing changes.
//!
//! Nothing here is shared with the reducer but the wire types. Statements have no order; every question
//! is answered from the whole set. [`facts`] is what was stated, [`rules`] what follows from it,
//! [`shown`] what a member sees, [`history`] grows sets of statements at random, [`story`] tells
//! them.

pub(crate) mod facts;
pub(crate) mod history;
pub(crate) mod rules;
pub(crate) mod shown;
pub(crate) mod story;
