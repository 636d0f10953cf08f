//! What is simulated, as one table.

use crate::network::Conditions;

/// Whether the room is a group or the direct room of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The first peer founds it and invites the others.
    Group,
    /// Both found it.
    Direct,
}

/// One kind of run; the seed decides the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// What it shows.
    pub about: &'static str,
    /// Group or direct.
    pub kind: Kind,
    /// Peers, newcomers included.
    pub peers: usize,
    /// Of these, how many come when half of the time is over.
    pub newcomers: usize,
    /// Of these, how many leave the room when three quarters of the time are over.
    pub leavers: usize,
    /// Whether the founder stops for good when a third of the time is over.
    pub founder_goes: bool,
    /// Messages that are said in all.
    pub messages: u64,
    /// Of a hundred messages, how many have a text of up to 8 KiB instead of a few words.
    pub long_percent: u64,
    /// Times that someone changes a name.
    pub renames: u64,
    /// Time in which all that happens, in milliseconds.
    pub span_ms: u64,
    /// Connections that drop.
    pub drops: u64,
    /// Times that the network is parted, each for up to a quarter of the time.
    pub partings: u64,
    /// Times that a peer stops, and starts again up to an eighth of the time later.
    pub restarts: u64,
    /// How far wall clocks are off, at most, in milliseconds, both ways.
    pub skew_ms: u64,
    /// Connections that each peer keeps, at least; where there are no more peers: all.
    pub neighbors: usize,
    /// The network.
    pub conditions: Conditions,
}

const CALM: Conditions = Conditions {
    latency_ms: 10,
    jitter_ms: 20,
    loss_permille: 0,
    repeat_permille: 0,
    bytes_per_ms: 2000,
};

const ROUGH: Conditions = Conditions {
    latency_ms: 20,
    jitter_ms: 300,
    loss_permille: 300,
    repeat_permille: 200,
    bytes_per_ms: 100,
};

const BASE: Scenario = Scenario {
    name: "",
    about: "",
    kind: Kind::Group,
    peers: 5,
    newcomers: 0,
    leavers: 0,
    founder_goes: false,
    messages: 120,
    long_percent: 2,
    renames: 6,
    span_ms: 60_000,
    drops: 0,
    partings: 0,
    restarts: 0,
    skew_ms: 2_000,
    neighbors: 8,
    conditions: ROUGH,
};

/// All scenarios.
pub const SCENARIOS: &[Scenario] = &[
    Scenario { name: "calm", about: "five peers on a good network", conditions: CALM, ..BASE },
    Scenario {
        name: "two",
        about: "two peers; gossip is lost, repeated and shuffled, connections drop",
        peers: 2,
        drops: 4,
        restarts: 1,
        ..BASE
    },
    Scenario {
        name: "five",
        about: "five peers; gossip is lost, repeated and shuffled, connections drop",
        drops: 10,
        restarts: 2,
        ..BASE
    },
    Scenario {
        name: "direct",
        about: "a direct room that both sides found, with one of them away at times",
        kind: Kind::Direct,
        peers: 2,
        drops: 3,
        restarts: 2,
        ..BASE
    },
    Scenario {
        name: "silent-gossip",
        about: "no live message ever arrives: synchronisation alone brings everything",
        conditions: Conditions { loss_permille: 1000, ..ROUGH },
        ..BASE
    },
    Scenario {
        name: "parted",
        about: "the network parts and heals while both sides talk, rename and invite",
        partings: 3,
        renames: 20,
        ..BASE
    },
    Scenario {
        name: "restarts",
        about: "peers stop at any moment and come back from what they keep",
        restarts: 12,
        drops: 5,
        ..BASE
    },
    Scenario {
        name: "newcomers",
        about: "three join a room with much history, two of them while connections drop",
        peers: 6,
        newcomers: 3,
        messages: 600,
        drops: 6,
        ..BASE
    },
    Scenario {
        name: "founder-gone",
        about: "the founder is gone for good; another admits a newcomer, who gets everything",
        newcomers: 1,
        founder_goes: true,
        ..BASE
    },
    Scenario {
        name: "leavers",
        about: "two leave, at once perhaps, while the network parts; the others converge",
        leavers: 2,
        partings: 1,
        drops: 3,
        ..BASE
    },
    Scenario {
        name: "wrong-clocks",
        about: "wall clocks are up to five minutes off",
        skew_ms: 300_000,
        restarts: 3,
        ..BASE
    },
    Scenario {
        name: "crowd",
        about: "twenty peers with three neighbors each: what one says goes through others",
        peers: 20,
        newcomers: 4,
        leavers: 2,
        messages: 200,
        drops: 20,
        partings: 1,
        restarts: 6,
        neighbors: 3,
        ..BASE
    },
];

/// Finds a scenario.
pub fn scenario(name: &str) -> Option<&'static Scenario> {
    SCENARIOS.iter().find(|scenario| scenario.name == name)
}
