//! Files to move, taking them in, and many small ones as a folder.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use ayni::AttachOptions;
use bao_tree::blake3;

use crate::bare;
use crate::common::{self, Running, Table, as_float, doing, median, quick, verdict};
use crate::tables::{spread, summary};
use crate::way::{self, Way};

/// Bytes that are made or read at a time.
const PIECE: usize = 1024 * 1024;
/// Files of the folder, and bytes of each.
const FILES: u64 = 10_000;
const FILE_BYTES: u64 = 4096;
/// The aims: of the slower of hashing and reading, and the folder against one file of that size.
const AIM_IMPORT: f64 = 0.9;
const AIM_FOLDER: f64 = 3.0;

/// Makes a file whose bytes nothing can compress, others for every `seed`.
pub(crate) fn make(path: &Path, bytes: u64, seed: u64) -> Result<PathBuf> {
    let mut random = blake3::Hasher::new().update(&seed.to_be_bytes()).finalize_xof();
    let (mut file, mut piece, mut left) = (File::create(path)?, vec![0; PIECE], bytes);
    while left > 0 {
        let part = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE);
        let part = piece.get_mut(..part).unwrap_or_default();
        random.fill(part);
        file.write_all(part)?;
        left -= part.len() as u64;
    }
    Ok(path.to_owned())
}

/// Takes a file in by reference, in turns with hashing it on one thread; the same with a file that is
/// not in memory, in turns with reading it.
pub(crate) async fn import(file: &Path, rounds: usize) -> Result<()> {
    let bytes = as_float(std::fs::metadata(file)?.len());
    let running = Running::start().await?;
    let room = running.node.create_room("import").await?.room;
    let (mut rates, mut ratios) = (vec![vec![]; 4], vec![vec![]; 2]);
    ensure!(Command::new("sync").status()?.success(), "sync failed");
    for round in 1..=rounds {
        doing(&format!("import: round {round} of {rounds}"));
        for (at, cold) in [false, true].into_iter().enumerate() {
            if cold && !forget(file) {
                continue;
            }
            let begun = Instant::now();
            if cold {
                read(file)?;
            } else {
                bare::hash(file).map(drop)?;
            }
            let alone = begun.elapsed().as_secs_f64();
            if cold && !forget(file) {
                continue;
            }
            let begun = Instant::now();
            running.node.attach(room, file, &AttachOptions::default()).await?;
            let import = begun.elapsed().as_secs_f64();
            rates[2 * at].push(bytes / alone / 1e6);
            rates[2 * at + 1].push(bytes / import / 1e6);
            ratios[at].push(alone / import);
        }
    }
    running.node.shutdown().await;
    let mut table = Table::new(&["import", "MB/s", "against it", "aim"]);
    let names = [
        "BLAKE3 on one thread, file in memory",
        "attach by reference, file in memory",
        "plain reading, file on the disk",
        "attach by reference, file on the disk",
    ];
    for (at, (name, rates)) in names.iter().zip(rates).enumerate() {
        let mut ratios = if at % 2 == 1 { ratios[at / 2].clone() } else { vec![] };
        let said = (!ratios.is_empty())
            .then(|| format!("{AIM_IMPORT} x: {}", verdict(median(&mut ratios) >= AIM_IMPORT)));
        let against = if ratios.is_empty() { String::new() } else { spread(ratios) };
        table.row(&[(*name).to_owned(), summary(rates, 0), against, said.unwrap_or_default()]);
    }
    table.print(&format!("content: taking in {bytes} bytes by reference, message included"));
    Ok(())
}

fn read(file: &Path) -> Result<()> {
    let (mut file, mut piece) = (File::open(file)?, vec![0; PIECE]);
    while file.read(&mut piece)? > 0 {}
    Ok(())
}

/// Has the system forget what it keeps of a file in memory, where it can be told to.
fn forget(file: &Path) -> bool {
    let mut command = Command::new("dd");
    command.arg(format!("if={}", file.display())).args(["iflag=nocache", "count=0", "status=none"]);
    command.status().is_ok_and(|status| status.success())
}

/// Fetches a folder of many small files, in turns with one file of that size.
pub(crate) fn folder(rounds: usize) -> Result<()> {
    let count = if quick() { FILES / 10 } else { FILES };
    let made = common::folder()?;
    let folder = made.path().join("folder");
    std::fs::create_dir(&folder)?;
    for n in 0..count {
        make(&folder.join(format!("{n}")), FILE_BYTES, n + 1)?;
    }
    let one = make(&made.path().join("one"), count * FILE_BYTES, 0)?;
    // Nothing is deleted meanwhile: ext4 looks for minutes past what ten thousand files left there.
    let (mut many, mut single, mut folders) = (vec![], vec![], vec![]);
    for round in 1..=rounds {
        for (path, all) in [(&one, &mut single), (&folder, &mut many)] {
            let (taken, of_both) = way::go(Way::Ours, path)?;
            all.push(taken);
            folders.push(of_both);
        }
        doing(&format!("folder: round {round} of {rounds}"));
    }
    let mut table =
        Table::new(&["what", "time", "to the disk", "cpu, both", "peak, giver", "peak, taker"]);
    for (name, taken) in [("one file", &single), ("the folder", &many)] {
        let seconds = |value: fn(&way::Taken) -> Duration| {
            let figures = taken.iter().map(|it| value(it).as_secs_f64()).collect();
            format!("{} s", summary(figures, 2))
        };
        let most = |end: usize| taken.iter().map(|it| it.peaks[end]).fold(0.0, f64::max);
        table.row(&[
            name.to_owned(),
            seconds(|it| it.time),
            seconds(|it| it.to_disk),
            seconds(|it| it.cpu),
            format!("{:.0} MB", most(0)),
            format!("{:.0} MB", most(1)),
        ]);
    }
    let ratio = |many: &way::Taken, single: &way::Taken| {
        many.time.as_secs_f64() / single.time.as_secs_f64()
    };
    let mut ratios: Vec<f64> = many.iter().zip(&single).map(|(m, s)| ratio(m, s)).collect();
    let said = verdict(median(&mut ratios) <= AIM_FOLDER);
    table.row(&["the folder / one file".to_owned(), spread(ratios), format!("aim 3 x: {said}")]);
    table.print(&format!(
        "content: a folder of {count} files of {FILE_BYTES} bytes, beside one file of that size"
    ));
    Ok(())
}
