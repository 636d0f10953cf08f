//! A network of this benchmark's own, and the bytes that cross it.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Set in the process that has a network namespace of its own.
const INSIDE: &str = "AYNI_BENCH_NETNS";
/// IPv4 and UDP headers of one packet.
const HEADERS: u64 = 28;

/// Whether nothing else uses this loopback interface.
pub fn is_alone() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Starts this program again in a network namespace of its own and ends with it, where that is
/// possible; else returns, and whatever else uses 127.0.0.1 is counted too.
pub fn alone() -> Result<()> {
    if !is_alone()
        && let Some(success) = in_own_namespace()?
    {
        std::process::exit(i32::from(!success));
    }
    Ok(())
}

/// Runs this program in a network namespace of its own; none where that is not possible.
fn in_own_namespace() -> Result<Option<bool>> {
    let shell = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--net", "sh", "-c"]).arg(script);
        command
    };
    let mut probe = shell("ip link set lo up");
    let possible = probe.stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !possible.is_ok_and(|status| status.success()) {
        return Ok(None);
    }
    let mut command = shell("ip link set lo up && exec \"$0\" \"$@\"");
    command.arg(std::env::current_exe()?).args(std::env::args_os().skip(1)).env(INSIDE, "1");
    Ok(Some(command.status()?.success()))
}

/// Returns the UDP payload that the loopback interface has carried so far. Source: proc_net_dev(5).
pub fn loopback_bytes() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/net/dev").context("counting bytes needs Linux")?;
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix("lo:"));
    let fields: Vec<u64> = line
        .context("there is no loopback interface")?
        .split_whitespace()
        .filter_map(|field| field.parse().ok())
        .collect();
    let [bytes, packets, ..] = fields[..] else { bail!("/proc/net/dev is of another shape") };
    Ok(bytes.saturating_sub(HEADERS * packets))
}
