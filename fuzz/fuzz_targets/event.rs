//! Looks for bytes that break a property of `event`.
#![no_main]

#[path = "../../crates/core/tests/properties/mod.rs"]
#[allow(dead_code, unreachable_pub)] // each target uses one of the properties
mod properties;

libfuzzer_sys::fuzz_target!(|data: &[u8]| properties::event(data));
