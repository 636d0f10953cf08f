//! A file moves from one store to another over loopback, beside what the machine can do at all and beside
//! what others do: MB a second, processor time for a GB, memory of both ends.
//!
//! Both ends are processes of their own, new ones for every transfer, and all ways take turns, so that
//! what else runs on the machine meets all alike. Then: taking a file in by reference beside hashing it,
//! and a folder of many small files beside one file of that size.
//!
//! Options after the names of parts (`ways`, `import`, `folder`; all by default): `--quick`, `--bytes N`
//! (of the file that moves), `--rounds N`, `--only WAY,WAY` (`raw`, `bound`, `ayni`, `blobs`, `torrent`).

mod bare;
mod blobs;
#[path = "../common/mod.rs"]
mod common;
mod files;
mod ours;
mod rounds;
mod tables;
mod torrent;
mod way;

use std::time::Duration;

use anyhow::{Result, bail};
use common::{child, doing, option, quick};
use rounds::Rounds;
use way::Way;

/// Longest wait for one transfer: only a hang meets it.
const DEADLINE: Duration = Duration::from_mins(10);
/// Bytes of the file that moves: long against what begins and ends a transfer.
const BYTES: u64 = 1024 * 1024 * 1024;
/// The same where only the benchmark itself is tried.
const QUICK_BYTES: u64 = 64 * 1024 * 1024;
/// Times that each way has its turn.
const ROUNDS: usize = 5;

fn main() -> Result<()> {
    if let Some(arguments) = child::arguments() {
        let part = async { tokio::time::timeout(DEADLINE, one_part(&arguments)).await? };
        return tokio::runtime::Runtime::new()?.block_on(part);
    }
    let bytes = if quick() { QUICK_BYTES } else { BYTES };
    let bytes = option("--bytes").map_or(Ok(bytes), |text| text.parse())?;
    let rounds = if quick() { 1 } else { ROUNDS };
    let rounds = option("--rounds").map_or(Ok(rounds), |text| text.parse())?;
    let parts: Vec<String> =
        std::env::args().skip(1).take_while(|it| !it.starts_with('-')).collect();
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|it| it == part);
    let folder = common::folder()?;
    doing(&format!("makes a file of {bytes} bytes"));
    let file = files::make(&folder.path().join("file"), bytes, 0)?;
    if wanted("ways") {
        Rounds::run(&file, &ways(), rounds)?.print(bytes);
    }
    if wanted("import") {
        tokio::runtime::Runtime::new()?.block_on(files::import(&file, rounds))?;
    }
    if wanted("folder") {
        files::folder(rounds)?;
    }
    Ok(())
}

/// Returns the ways that take part; none that this machine cannot go.
fn ways() -> Vec<Way> {
    let only = option("--only");
    let named = |way: &Way| only.as_ref().is_none_or(|it| it.split(',').any(|it| it == way.word()));
    let mut ways: Vec<Way> = Way::ALL.into_iter().filter(named).collect();
    if ways.contains(&Way::Torrent) && torrent::python().is_none() {
        doing("libtorrent is left out: no python3 here has it (Debian: python3-libtorrent)");
        ways.retain(|way| *way != Way::Torrent);
    }
    ways
}

/// Is one end of one transfer.
async fn one_part(arguments: &[String]) -> Result<()> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["give", "raw", file, _] => bare::give(file, true).await,
        ["give", "bound", file, _] => bare::give(file, false).await,
        ["give", "ayni", file, folder] => ours::give(file, folder).await,
        ["give", "blobs", file, folder] => blobs::give(file, folder).await,
        ["take", "raw", _, address] => bare::take(address, None).await,
        ["take", "bound", folder, address] => bare::take(address, Some(folder)).await,
        ["take", "ayni", folder, address] => ours::take(folder, address).await,
        ["take", "blobs", folder, address] => blobs::take(folder, address).await,
        _ => bail!("no part of this benchmark: {words:?}"),
    }
}
