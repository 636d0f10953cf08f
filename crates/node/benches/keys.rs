//! Keys: what it costs to seal one epoch's secret to a thousand devices, beside the bare curve.

mod common;

use std::time::Duration;

use anyhow::Result;
use ayni_core::epoch::EpochSecret;
use ayni_core::id::RoomId;
use ayni_core::keys::{AccountKey, DeviceClaim, DeviceKey};
use ayni_core::sealed::{SealedEpoch, Sealer};
use common::{Meter, Samples, Table, ms, quick, verdict};
use curve25519_dalek::montgomery::MontgomeryPoint;

/// Devices that one secret is sealed to.
const DEVICES: usize = 1_000;
/// Repetitions of each measurement.
const ROUNDS: usize = 15;
/// The aim.
const AIM: Duration = Duration::from_millis(250);
const ROOM: RoomId = RoomId([5; 32]);

/// What is measured: its name, whether the aim is for it, and how to do it once.
type Run<'a> = (&'a str, bool, &'a dyn Fn() -> Result<()>);

fn main() -> Result<()> {
    let rounds = if quick() { 3 } else { ROUNDS };
    let keys: Vec<DeviceKey> = (0..DEVICES)
        .map(|_| Ok(DeviceKey::from_secrets(&entropy()?, &entropy()?)))
        .collect::<Result<_>>()?;
    let account = AccountKey::from_entropy(&entropy()?);
    let claims: Vec<DeviceClaim> =
        keys.iter().map(|key| account.certify(key.id(), key.hpke_public(), 0).claim).collect();
    let secret = EpochSecret::new(entropy()?);
    let seals = |threads: usize| seal(&secret, &keys, &claims, threads);

    let (from, sealed) = (keys[0].id(), seals(1)?);
    let opens = || {
        for (sealed, key) in sealed.iter().zip(&keys) {
            anyhow::ensure!(sealed.open(ROOM, from, key)? == secret);
        }
        Ok(())
    };
    let (bares, one, two) = (|| bare(&claims), || seals(1).map(drop), || seals(2).map(drop));
    let runs: [Run<'_>; 4] = [
        ("baseline: bare X25519, 1,000 times", false, &bares),
        ("sealed on one core", true, &one),
        ("sealed on two cores", true, &two),
        ("opened, each by its device, one core", false, &opens),
    ];
    let mut seen: [(Samples, Duration); 4] = Default::default();
    let whole = Meter::start()?;
    for _ in 0..rounds {
        for ((_, _, run), (samples, used)) in runs.iter().zip(&mut seen) {
            let meter = Meter::start()?;
            run()?;
            let load = meter.read()?;
            samples.add(load.wall);
            *used += load.own;
        }
    }
    let head = ["one epoch to 1,000 devices", "CPU", "fastest", "p50", "slowest", "aim: 250 ms"];
    let mut table = Table::new(&head);
    for ((name, aim, _), (samples, used)) in runs.iter().zip(&seen) {
        // Counted in hundredths of a second: a mean of all rounds.
        let cpu = ms(*used / u32::try_from(rounds)?);
        let (fastest, slowest) = (ms(samples.percentile(0)), ms(samples.percentile(100)));
        let p50 = samples.p50();
        let met = if *aim { verdict(p50 <= AIM) } else { "" };
        table.row(&[*name, &cpu, &fastest, &ms(p50), &slowest, met]);
    }
    let others = whole.read()?.others_share();
    table.print(&format!(
        "keys: HPKE with X25519, {rounds} rounds in turns; others used {others:.0} % of the machine"
    ));
    Ok(())
}

fn entropy() -> Result<[u8; 32]> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

/// A thousand multiplications on the curve with a key that is not known before: half of what sealing
/// needs of it (the other half has a table).
fn bare(claims: &[DeviceClaim]) -> Result<()> {
    let scalar = entropy()?;
    for claim in claims {
        let point = MontgomeryPoint(claim.hpke.0);
        std::hint::black_box(point.mul_clamped(scalar));
    }
    Ok(())
}

fn seal(
    secret: &EpochSecret,
    keys: &[DeviceKey],
    claims: &[DeviceClaim],
    threads: usize,
) -> Result<Vec<SealedEpoch>> {
    let part = |claims: &[DeviceClaim]| -> Result<Vec<SealedEpoch>> {
        let mut sealer = Sealer::new(ROOM, keys[0].id(), entropy()?);
        claims.iter().map(|claim| Ok(sealer.seal(secret, claim)?)).collect()
    };
    std::thread::scope(|scope| {
        let parts = claims.chunks(claims.len().div_ceil(threads));
        let running: Vec<_> = parts.map(|claims| scope.spawn(move || part(claims))).collect();
        let mut all = Vec::new();
        for thread in running {
            all.extend(thread.join().map_err(|_| anyhow::anyhow!("a thread failed"))??);
        }
        Ok(all)
    })
}
