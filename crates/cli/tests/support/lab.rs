//! Hosts in network namespaces on a bridge, made and removed by a test. Needs root.

use std::path::Path;
use std::process::Command;

/// Two bridges without a way between them: all hosts begin on the first.
const SIDES: [&str; 2] = ["br0", "br1"];

/// A bridge with hosts on it, in network namespaces of their own; removed when it is dropped.
pub struct Lab {
    namespaces: Vec<String>,
}

impl Lab {
    /// Makes a bridge with `hosts` hosts, or says what this machine lacks.
    pub fn new(name: &str, hosts: usize) -> Result<Self, String> {
        let prefix = format!("ayni-{name}-{}", std::process::id());
        let bridge = format!("{prefix}-bridge");
        let mut lab = Self { namespaces: Vec::new() };
        lab.add(&bridge)?;
        for side in SIDES {
            ip(&["-n", &bridge, "link", "add", side, "type", "bridge", "mcast_snooping", "0"])?;
            ip(&["-n", &bridge, "link", "set", side, "up"])?;
        }
        for number in 1..=hosts {
            let host = format!("{prefix}-{number}");
            lab.add(&host)?;
            let port = format!("port{number}");
            let cable = ["link", "add", &port, "netns", &bridge, "type", "veth", "peer", "name"];
            ip(&[&cable[..], &["eth0", "netns", &host]].concat())?;
            ip(&["-n", &bridge, "link", "set", &port, "master", SIDES[0], "up"])?;
            ip(&["-n", &host, "link", "set", "lo", "up"])?;
            ip(&["-n", &host, "link", "set", "eth0", "up"])?;
            lab.address(number, &format!("10.99.0.{number}/24"))?;
        }
        Ok(lab)
    }

    /// Gives a host (counted from 1) its only address, and the route that multicast needs.
    pub fn address(&self, number: usize, address: &str) -> Result<(), String> {
        let host = self.host(number);
        ip(&["-n", host, "address", "flush", "dev", "eth0", "scope", "global"])?;
        ip(&["-n", host, "address", "add", address, "dev", "eth0"])?;
        ip(&["-n", host, "route", "replace", "224.0.0.0/4", "dev", "eth0"])
    }

    /// Puts a host's cable into one of the two bridges.
    pub fn plug(&self, number: usize, side: usize) {
        let port = format!("port{number}");
        let plugged = ip(&["-n", &self.namespaces[0], "link", "set", &port, "master", SIDES[side]]);
        plugged.expect("a cable can be moved");
    }

    /// Returns `ayni ARGS` on a host, in the network preset `lan`: `ip netns exec` becomes it.
    pub fn ayni(&self, number: usize, data: &Path, args: &[&str]) -> Command {
        let inner = super::command(data);
        let mut outer = self.program(number, Path::new(inner.get_program()));
        for (name, value) in inner.get_envs() {
            match value {
                Some(value) => outer.env(name, value),
                None => outer.env_remove(name),
            };
        }
        outer.env("AYNI_NETWORK", "lan").args(args);
        outer
    }

    /// Returns a call of any program on a host.
    pub fn program(&self, number: usize, program: &Path) -> Command {
        let mut outer = Command::new("ip");
        outer.args(["netns", "exec", self.host(number)]).arg(program);
        outer
    }

    /// Lets a host send `up` and receive `down` kilobits a second; none: as fast as it can.
    pub fn shape(&self, number: usize, up: Option<u32>, down: Option<u32>) -> Result<(), String> {
        tbf(self.host(number), "eth0", up)?;
        tbf(&self.namespaces[0], &format!("port{number}"), down)
    }

    fn add(&mut self, namespace: &str) -> Result<(), String> {
        ip(&["netns", "add", namespace])?;
        self.namespaces.push(namespace.to_owned());
        Ok(())
    }

    /// Returns the namespace of a host, counted from 1 (before it stands the bridge).
    pub fn host(&self, number: usize) -> &str {
        &self.namespaces[number]
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for namespace in &self.namespaces {
            // Nothing can be done here about one that stays.
            let _ = ip(&["netns", "delete", namespace]);
        }
    }
}

/// Makes a lab. Without root and network namespaces: says so and returns none; where `CI=true` asks
/// for every test, that is a failure.
pub fn lab(name: &str, hosts: usize) -> Option<Lab> {
    match Lab::new(name, hosts) {
        Ok(lab) => Some(lab),
        Err(why) => {
            assert!(
                std::env::var("CI").as_deref() != Ok("true"),
                "needs root and network namespaces: {why}"
            );
            println!("skipped: needs root and network namespaces: {why}");
            None
        }
    }
}

fn ip(args: &[&str]) -> Result<(), String> {
    run("ip", args)
}

fn run(program: &str, args: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(args).output();
    let output = output.map_err(|why| format!("{program}: {why}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program} {}: {}", args.join(" "), said.trim()))
}

/// Limits what leaves a device, with a token bucket.
fn tbf(namespace: &str, device: &str, kbit: Option<u32>) -> Result<(), String> {
    let Some(kbit) = kbit else {
        // None is there at the beginning.
        let _ = run("tc", &["-n", namespace, "qdisc", "del", "dev", device, "root"]);
        return Ok(());
    };
    let rate = format!("{kbit}kbit");
    let place = ["-n", namespace, "qdisc", "replace", "dev", device, "root", "tbf"];
    // A bucket of some packets, and a queue as long as those of home routers are at best.
    run("tc", &[&place[..], &["rate", &rate, "burst", "32kb", "latency", "100ms"]].concat())
}
