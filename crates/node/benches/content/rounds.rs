//! All ways in turns, and what they are judged by.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;

use crate::common::{Table, as_float, cores, doing, median, verdict};
use crate::tables::{spread, summary};
use crate::way::{self, Taken, Way};

/// The aims: of the bound, of libtorrent, and the memory of each end.
const AIM_BOUND: f64 = 0.9;
const AIM_TORRENT: f64 = 1.3;
const AIM_MEMORY_MB: f64 = 120.0;

/// What every way took, in the order of the rounds.
pub(crate) struct Rounds(BTreeMap<Way, Vec<Taken>>);

impl Rounds {
    /// Lets a file go all ways, in turns. The first round begins with the first way, the next with the
    /// second one, so that none always follows the same.
    pub(crate) fn run(file: &Path, ways: &[Way], rounds: usize) -> Result<Self> {
        let mut all: BTreeMap<Way, Vec<Taken>> = BTreeMap::new();
        for round in 0..rounds {
            for at in 0..ways.len() {
                let Some(way) = ways.get((round + at) % ways.len()).copied() else { continue };
                let (taken, _) = way::go(way, file)?;
                let (time, to_disk) = (taken.time.as_secs_f64(), taken.to_disk.as_secs_f64());
                doing(&format!(
                    "round {} of {rounds}: {}: {time:.2} s, to the disk {to_disk:.2} s more",
                    round + 1,
                    way.about(),
                ));
                all.entry(way).or_default().push(taken);
            }
        }
        Ok(Self(all))
    }

    /// Prints what came of it.
    pub(crate) fn print(&self, bytes: u64) {
        let mut table = Table::new(&[
            "way (medians; least to most)",
            "MB/s",
            "until on the disk",
            "cpu s/GB, both",
            "peak, giver",
            "peak, taker",
            "own cpu",
            "other cpu",
        ]);
        for (way, taken) in &self.0 {
            let of =
                |value: &dyn Fn(&Taken) -> f64| -> Vec<f64> { taken.iter().map(value).collect() };
            let mb = as_float(bytes) / 1e6;
            let share = |part: f64, it: &Taken| 100.0 * part / it.time.as_secs_f64() / cores();
            let most = |end: usize| taken.iter().map(|it| it.peaks[end]).fold(0.0, f64::max);
            table.row(&[
                way.about().to_owned(),
                summary(of(&|it| mb / it.time.as_secs_f64()), 0),
                summary(of(&|it| mb / (it.time + it.to_disk).as_secs_f64()), 0),
                summary(of(&|it| it.cpu.as_secs_f64() / mb * 1e3), 2),
                format!("{:.0} MB", most(0)),
                format!("{:.0} MB", most(1)),
                format!("{:.0} %", median(&mut of(&|it| share(it.cpu.as_secs_f64(), it)))),
                format!("{:.0} %", median(&mut of(&|it| share(it.others.as_secs_f64(), it)))),
            ]);
        }
        let rounds = self.0.values().map(Vec::len).max().unwrap_or(0);
        table.print(&format!(
            "content: {bytes} bytes from one process to another on 127.0.0.1, {rounds} rounds in turns"
        ));
        println!(
            "  libtorrent neither encrypts nor waits for the disk; its memory has the pages of mapped files"
        );
        self.verdicts();
    }

    fn verdicts(&self) {
        let mut table = Table::new(&["ayni against", "time", "until on the disk", "cpu", "aim"]);
        let against = |other: Way, value: &dyn Fn(&Taken) -> f64| -> Option<Vec<f64>> {
            let (ours, theirs) = (self.0.get(&Way::Ours)?, self.0.get(&other)?);
            let pairs = ours.iter().zip(theirs);
            Some(pairs.map(|(ours, theirs)| value(theirs) / value(ours)).collect())
        };
        for (other, aim) in [
            (Way::Raw, None),
            (Way::Bound, Some(AIM_BOUND)),
            (Way::Blobs, None),
            (Way::Torrent, Some(AIM_TORRENT)),
        ] {
            let Some(mut rates) = against(other, &|it| it.time.as_secs_f64()) else { continue };
            let durable = against(other, &|it| (it.time + it.to_disk).as_secs_f64());
            let cpu = against(other, &|it| 1.0 / it.cpu.as_secs_f64());
            let said = aim.map(|aim| format!("{aim} x: {}", verdict(median(&mut rates) >= aim)));
            table.row(&[
                other.about().to_owned(),
                spread(rates),
                durable.map(spread).unwrap_or_default(),
                cpu.map(spread).unwrap_or_default(),
                said.unwrap_or_default(),
            ]);
        }
        if let Some(ours) = self.0.get(&Way::Ours) {
            let most = ours.iter().flat_map(|it| it.peaks).fold(0.0, f64::max);
            let said = verdict(most <= AIM_MEMORY_MB);
            table.row(&["memory", &format!("{most:.0} MB"), "", "", &format!("120 MB: {said}")]);
        }
        table.print("ratios of the same round (rates: higher is better; cpu: lower is better)");
    }
}
