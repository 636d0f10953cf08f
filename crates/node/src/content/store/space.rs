//! Room on the disk: asked for before the first byte, with a reserve that contents leave free.

use std::io;
use std::path::Path;

/// Bytes that contents leave free on their disk: the database and its log file need some to go on
/// (messages, and what was fetched), and so does the system. A hundred times what a minute of talk takes.
pub(crate) const RESERVE: u64 = 256 * 1024 * 1024;

/// How many bytes are free where a folder lies.
pub(crate) type Free = fn(&Path) -> io::Result<u64>;

/// Returns how many bytes are free where a folder lies.
pub(super) fn free(folder: &Path) -> io::Result<u64> {
    fs4::available_space(folder)
}

/// Checks that a folder's disk has room for so many bytes, beside the reserve.
///
/// # Errors
/// [`io::ErrorKind::StorageFull`], with what is lacking.
pub(super) fn check(free: Free, folder: &Path, bytes: u64) -> io::Result<()> {
    // Where the system does not say, writing shows.
    let Ok(free) = free(folder) else { return Ok(()) };
    let needed = bytes.saturating_add(RESERVE);
    if free >= needed {
        return Ok(());
    }
    let (folder, lacks) = (folder.display(), (needed - free).div_ceil(1_000_000));
    let reserve = RESERVE / 1_000_000;
    Err(io::Error::new(
        io::ErrorKind::StorageFull,
        format!(
            "the disk of {folder} has too little space: {lacks} MB are lacking, with {reserve} MB that \
             are kept free; free some and try again"
        ),
    ))
}
