//! Looks for bytes that break a property of pictures.
#![no_main]

#[path = "../../crates/picture/tests/properties/mod.rs"]
#[allow(unreachable_pub)] // the tests include the same file
mod properties;

libfuzzer_sys::fuzz_target!(|data: &[u8]| properties::picture(data));
