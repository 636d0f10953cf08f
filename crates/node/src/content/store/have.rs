//! Which blocks of an unfinished content are here, and by what they came, kept in a file beside it.
//!
//! A bit is set after its block was written. A process that is killed loses nothing that the system was
//! given, so what the file says holds; after a crash of the machine it may not, and the blocks are hashed
//! again. The file says in which run of the machine it was written, or that all of it came to the disk
//! when the node stopped: a system that does not tell its runs apart needs the latter.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::OnceLock;

use ayni_core::swarm::{Blocks, block_count, runs};
use bao_tree::io::sync::ReadAt as _;

use super::files::write_at;
use super::via::Via;

/// A mark of the format, the run of the machine, by what it came, and the content's size.
const HEADER_LEN: usize = 8 + 16 + Via::LEN + 8;
const HEADER: u64 = HEADER_LEN as u64;
const MARK: &[u8; 8] = b"ayni\0hv2";
/// Where the run of the machine stands.
const RUN_AT: u64 = 8;
/// Where it stands by what it came.
const VIA_AT: u64 = 8 + 16;
/// Instead of a run: all of it is on the disk.
const SETTLED: [u8; 16] = [0xff; 16];

/// The blocks of one unfinished content.
#[derive(Debug)]
pub(super) struct Have {
    file: File,
    size: u64,
    via: Via,
    blocks: Blocks,
    /// The bits as they are in the file.
    bits: Vec<u8>,
    /// Whether the file says that all of it is on the disk.
    settled: bool,
}

impl Have {
    /// Makes an empty one.
    pub(super) fn create(path: &Path, size: u64, via: Via) -> io::Result<Self> {
        let bytes = usize::try_from(block_count(size).div_ceil(8)).map_err(io::Error::other)?;
        let mut options = super::files::private();
        let file = options.read(true).write(true).create(true).truncate(true).open(path)?;
        let mut header = MARK.to_vec();
        header.extend_from_slice(&run_of_machine());
        header.extend_from_slice(&via.to_bytes());
        header.extend_from_slice(&size.to_be_bytes());
        write_at(&file, 0, &header)?;
        file.set_len(HEADER + bytes as u64)?;
        let (blocks, bits) = (Blocks::empty(), vec![0; bytes]);
        Ok(Self { file, size, via, blocks, bits, settled: false })
    }

    /// Opens one that was left. Returns also whether its bits hold: it was written in this run of the
    /// machine, or is all on the disk. None for a file that is not whole.
    pub(super) fn open(path: &Path) -> io::Result<Option<(Self, bool)>> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let Some((run, via, size)) = header(&file)? else { return Ok(None) };
        let bytes = block_count(size).div_ceil(8);
        if file.metadata()?.len() != HEADER + bytes {
            return Ok(None);
        }
        let mut bits = vec![0; usize::try_from(bytes).map_err(io::Error::other)?];
        file.read_exact_at(HEADER, &mut bits)?;
        let blocks = &to_blocks(&bits) & &Blocks::from(0..block_count(size));
        let settled = run == SETTLED;
        let holds = settled || run == run_of_machine() && run != [0; 16];
        Ok(Some((Self { file, size, via, blocks, bits, settled }, holds)))
    }

    /// Returns by what a content came whose file this is; none for a file that is not whole.
    pub(super) fn via_in(file: &File) -> io::Result<Option<Via>> {
        Ok(header(file)?.map(|(_, via, _)| via))
    }

    /// Returns the size of the content in bytes.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Returns the blocks that are here.
    pub(super) fn blocks(&self) -> &Blocks {
        &self.blocks
    }

    /// Returns by what they came.
    pub(super) fn via(&self) -> Via {
        self.via
    }

    /// Notes that something else brings more of it. On the disk when it returns, before what it brings.
    pub(super) fn mix(&mut self) -> io::Result<()> {
        if self.via != Via::Mixed {
            write_at(&self.file, VIA_AT, &Via::Mixed.to_bytes())?;
            self.file.sync_data()?;
            self.via = Via::Mixed;
        }
        Ok(())
    }

    /// Notes blocks that were written.
    pub(super) fn add(&mut self, blocks: &Blocks) -> io::Result<()> {
        if self.settled {
            write_at(&self.file, RUN_AT, &run_of_machine())?;
            self.file.sync_data()?;
            self.settled = false;
        }
        for (from, to) in runs(blocks) {
            let (first, end) = (index(from / 8), index(to.div_ceil(8)));
            for block in from..to {
                if let Some(byte) = self.bits.get_mut(index(block / 8)) {
                    *byte |= 0x80 >> (block % 8);
                }
            }
            if let Some(changed) = self.bits.get(first..end) {
                write_at(&self.file, HEADER + from / 8, changed)?;
            }
        }
        self.blocks |= blocks.clone();
        Ok(())
    }

    /// Notes that no block is here: who opens it next begins anew.
    pub(super) fn forget(&self) -> io::Result<()> {
        write_at(&self.file, HEADER, &vec![0; self.bits.len()])?;
        self.file.sync_data()
    }

    /// Notes that all blocks that are here are on the disk.
    pub(super) fn settle(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        write_at(&self.file, RUN_AT, &SETTLED)?;
        self.file.sync_data()?;
        self.settled = true;
        Ok(())
    }
}

/// Reads the run, by what it came, and the content's size.
fn header(file: &File) -> io::Result<Option<([u8; 16], Via, u64)>> {
    if file.metadata()?.len() < HEADER {
        return Ok(None);
    }
    let mut header = [0; HEADER_LEN];
    file.read_exact_at(0, &mut header)?;
    let (mark, rest) = header.split_at(8);
    let (run, rest) = rest.split_at(16);
    let (via, size) = rest.split_at(Via::LEN);
    let size = size.try_into().map(u64::from_be_bytes).unwrap_or_default();
    let run = run.try_into().unwrap_or_default();
    Ok((mark == MARK).then(|| (run, Via::of_bytes(via), size)))
}

fn index(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

fn to_blocks(bits: &[u8]) -> Blocks {
    let mut blocks = Blocks::empty();
    let mut begun = None;
    let ends = std::iter::once(0);
    for (at, byte) in bits.iter().copied().chain(ends).enumerate() {
        for bit in 0..8 {
            let (block, set) = (at as u64 * 8 + bit, byte & (0x80 >> bit) != 0);
            match begun {
                None if set => begun = Some(block),
                Some(from) if !set => {
                    blocks |= Blocks::from(from..block);
                    begun = None;
                }
                _ => {}
            }
        }
    }
    blocks
}

/// Returns what names the time since the machine was started; zeros where the system does not say.
fn run_of_machine() -> [u8; 16] {
    static RUN: OnceLock<[u8; 16]> = OnceLock::new();
    *RUN.get_or_init(|| {
        let digits: String = boot_id().chars().filter(char::is_ascii_hexdigit).collect();
        let bytes = data_encoding::HEXLOWER_PERMISSIVE.decode(digits.as_bytes());
        bytes.unwrap_or_default().try_into().unwrap_or_default()
    })
}

#[cfg(not(target_os = "macos"))]
fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default()
}

#[cfg(target_os = "macos")]
fn boot_id() -> String {
    let mut asked = std::process::Command::new("/usr/sbin/sysctl");
    let told = asked.args(["-n", "kern.bootsessionuuid"]).output();
    told.map(|told| String::from_utf8_lossy(&told.stdout).into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: Via = Via::Room(ayni_core::id::RoomId([3; 32]));

    #[test]
    fn what_was_noted_is_there_after_opening_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("have");
        let size = 1000 * 16 * 1024 - 5;
        let mut have = Have::create(&path, size, ROOM).expect("made");
        let some = Blocks::from(0..1) | Blocks::from(7..9) | Blocks::from(500..1000);
        have.add(&some).expect("written");
        have.add(&Blocks::from(1..7)).expect("written");
        drop(have);
        let (again, holds) = Have::open(&path).expect("reads").expect("whole");
        assert_eq!((again.size(), again.via()), (size, ROOM));
        assert_eq!(*again.blocks(), Blocks::from(0..9) | Blocks::from(500..1000));
        assert_eq!(holds, cfg!(any(target_os = "linux", target_os = "macos")));
        // Another run of the machine, and files that a crash cut short.
        let mut bytes = std::fs::read(&path).expect("reads");
        bytes[9] ^= 1;
        std::fs::write(&path, &bytes).expect("written");
        assert!(!Have::open(&path).expect("reads").expect("whole").1);
        for len in [0, 7, 31, 32, HEADER_LEN - 1, HEADER_LEN, bytes.len() - 1] {
            std::fs::write(&path, &bytes[..len]).expect("written");
            assert!(Have::open(&path).expect("reads").is_none(), "{len}");
        }
    }

    #[test]
    fn what_came_to_the_disk_holds_in_any_run_until_more_is_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("have");
        let mut have = Have::create(&path, 64 * 16 * 1024, ROOM).expect("made");
        have.add(&Blocks::from(0..5)).expect("written");
        have.settle().expect("on the disk");
        drop(have);
        let (mut again, holds) = Have::open(&path).expect("reads").expect("whole");
        assert!(holds && *again.blocks() == Blocks::from(0..5), "whatever this system tells");
        again.add(&Blocks::from(5..6)).expect("written");
        let run = std::fs::read(&path).expect("reads")[8..24].to_vec();
        assert_eq!(run, run_of_machine(), "what is written now may be lost");
    }

    #[test]
    fn what_may_not_be_on_the_disk_is_forgotten() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("have");
        let mut have = Have::create(&path, 64 * 16 * 1024, ROOM).expect("made");
        have.add(&Blocks::from(0..64)).expect("written");
        have.forget().expect("written");
        let (again, _) = Have::open(&path).expect("reads").expect("whole");
        assert!(again.blocks().is_empty() && again.via() == ROOM);
    }

    #[test]
    fn what_came_by_both_is_nobodys() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("have");
        let mut have = Have::create(&path, 64 * 16 * 1024, ROOM).expect("made");
        have.mix().expect("written");
        assert_eq!(Have::open(&path).expect("reads").expect("whole").0.via(), Via::Mixed);
    }
}
