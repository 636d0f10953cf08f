//! What other processes use, as Linux tells it.

use std::time::Duration;

use anyhow::{Context, Result};

/// Resident memory of a process in MB: now, and at most so far. Source: proc_pid_status(5).
pub fn memory(process: u32) -> Result<(f64, f64)> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let mb = |name: &str| -> Result<f64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).context("memory")?;
        let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kib * 1024.0 / 1e6)
    };
    Ok((mb("VmRSS:")?, mb("VmHWM:")?))
}

/// Processor time of a process so far. Source: proc_pid_stat(5), fields 14 and 15.
pub fn time(process: u32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let (_, fields) = stat.rsplit_once(") ").context("stat")?;
    Ok(super::ticks(fields.split(' ').skip(11).take(2)))
}
