//! Finding peers and staying connected: where addresses come from, and whom to be connected with.

pub(crate) mod book;
pub(crate) mod lan;
pub(crate) mod mesh;
pub(crate) mod wake;
