//! The commands, one module a subject. Each asks the node through its client and prints the result.

pub(crate) mod about;
pub(crate) mod chat;
pub(crate) mod demo;
pub(crate) mod files;
pub(crate) mod invite;
pub(crate) mod log;
pub(crate) mod member;
pub(crate) mod room;
pub(crate) mod say;
pub(crate) mod search;
pub(crate) mod service;
pub(crate) mod share;
pub(crate) mod shell;
pub(crate) mod standing;
pub(crate) mod storage;
pub(crate) mod transfer;
pub(crate) mod up;
