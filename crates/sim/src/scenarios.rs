//! What is simulated, as one table.

use ayni_core::room::History;

use crate::liar::{ALL_LIES, Lie};
use crate::network::Conditions;

/// Whether the room is a group or the direct room of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The first peer founds it and invites the others.
    Group,
    /// Both found it.
    Direct,
}

/// What people do with the room and with one another. What the room does not permit when it is due
/// is left out, and counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Affairs {
    /// Members whom the founder makes admins when most have joined.
    pub admins: usize,
    /// Times that an admin gives someone a role, up to its own.
    pub grants: u64,
    /// Times that an admin, or the founder, gives someone a lower role.
    pub demotions: u64,
    /// Times that an admin, or the founder, removes someone.
    pub removals: u64,
    /// Times that two admins beside each other sign removals of each other, whatever their own
    /// replicas say; each time the founder removes one of them later.
    pub rivalries: u64,
    /// Times that someone who was removed gets a new invite, made in knowledge of that.
    pub readmissions: u64,
    /// Further invites that members make; some of those who come later hold one of these.
    pub invites: u64,
    /// Times that someone ends an invite.
    pub revocations: u64,
    /// Times that the room is set up in some respect.
    pub settings: u64,
}

/// Nothing of that kind.
const PEACE: Affairs = Affairs {
    admins: 0,
    grants: 0,
    demotions: 0,
    removals: 0,
    rivalries: 0,
    readmissions: 0,
    invites: 0,
    revocations: 0,
    settings: 0,
};

/// One kind of run; the seed decides the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// What it shows.
    pub about: &'static str,
    /// Seeds that the ordinary tests run, from 0 on; none of what takes too long for them.
    pub tested: u64,
    /// Seeds of the long set (`cargo xtask sim`), from 0 on.
    pub seeds: u64,
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
    /// What people do with the room and with one another.
    pub affairs: Affairs,
    /// What newcomers may read, by the genesis.
    pub history: History,
    /// Peers that break the rules, never the founder, and never newcomers.
    pub liars: usize,
    /// What they may do: each does one of these.
    pub lies: &'static [Lie],
    /// Peers whose connections carry a hundredth of what others' do, never the founder.
    pub slow: usize,
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

/// Rough, and so wide that a hundredth of it is worth waiting for: a frame takes some seconds.
const WIDE: Conditions = Conditions { bytes_per_ms: 1000, ..ROUGH };

const BASE: Scenario = Scenario {
    name: "",
    about: "",
    tested: 10,
    seeds: 50,
    kind: Kind::Group,
    peers: 5,
    newcomers: 0,
    leavers: 0,
    founder_goes: false,
    messages: 120,
    long_percent: 2,
    renames: 6,
    affairs: PEACE,
    history: History::FromStart,
    liars: 0,
    lies: ALL_LIES,
    slow: 0,
    span_ms: 60_000,
    drops: 0,
    partings: 0,
    restarts: 0,
    skew_ms: 2_000,
    neighbors: 8,
    conditions: ROUGH,
};

const TURBULENT: Affairs = Affairs {
    admins: 4,
    grants: 4,
    demotions: 2,
    removals: 4,
    rivalries: 1,
    readmissions: 2,
    invites: 2,
    revocations: 1,
    settings: 6,
};

/// All scenarios.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "calm",
        tested: 3,
        about: "five peers on a good network",
        conditions: CALM,
        ..BASE
    },
    Scenario {
        name: "two",
        tested: 12,
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
        tested: 8,
        about: "a direct room that both sides found, with one of them away at times",
        kind: Kind::Direct,
        peers: 2,
        drops: 3,
        restarts: 2,
        ..BASE
    },
    Scenario {
        name: "silent-gossip",
        tested: 4,
        about: "no live message ever arrives: synchronisation alone brings everything",
        conditions: Conditions { loss_permille: 1000, ..ROUGH },
        ..BASE
    },
    Scenario {
        name: "parted",
        tested: 8,
        about: "the network parts and heals while both sides talk, rename and invite",
        partings: 3,
        renames: 20,
        ..BASE
    },
    Scenario {
        name: "restarts",
        tested: 8,
        about: "peers stop at any moment and come back from what they keep",
        restarts: 12,
        drops: 5,
        ..BASE
    },
    Scenario {
        name: "newcomers",
        tested: 3,
        about: "three join a room with much history, two of them while connections drop",
        peers: 6,
        newcomers: 3,
        messages: 600,
        drops: 6,
        ..BASE
    },
    Scenario {
        name: "founder-gone",
        tested: 6,
        about: "the founder is gone for good; another admits a newcomer, who gets everything",
        newcomers: 1,
        founder_goes: true,
        ..BASE
    },
    Scenario {
        name: "leavers",
        tested: 8,
        about: "two leave, at once perhaps, while the network parts; the others converge",
        leavers: 2,
        partings: 1,
        drops: 3,
        ..BASE
    },
    Scenario {
        name: "wrong-clocks",
        tested: 5,
        about: "wall clocks are up to five minutes off",
        skew_ms: 300_000,
        restarts: 3,
        ..BASE
    },
    Scenario {
        name: "crowd",
        tested: 2,
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
    Scenario {
        name: "removals",
        about: "founder and admins remove members and admins, also at once, apart, and while those are away",
        peers: 9,
        affairs: Affairs { admins: 3, removals: 4, demotions: 1, grants: 2, ..PEACE },
        drops: 4,
        partings: 2,
        restarts: 4,
        ..BASE
    },
    Scenario {
        name: "siblings",
        about: "admins beside each other try to remove each other; the founder removes one of them",
        peers: 7,
        affairs: Affairs { admins: 3, rivalries: 3, grants: 2, ..PEACE },
        partings: 3,
        ..BASE
    },
    Scenario {
        name: "readmitted",
        about: "some who were removed come back by new invites, and hold old ones all the time",
        peers: 8,
        affairs: Affairs { admins: 2, removals: 4, readmissions: 4, ..PEACE },
        drops: 4,
        partings: 1,
        restarts: 2,
        ..BASE
    },
    Scenario {
        name: "revoked",
        about: "members invite, invites are ended while some come with them, inviters are removed",
        peers: 10,
        newcomers: 5,
        affairs: Affairs { admins: 2, invites: 5, revocations: 5, removals: 1, ..PEACE },
        partings: 2,
        ..BASE
    },
    Scenario {
        name: "settings",
        about: "admins set the room up at once: name, topic, who may invite, post and pin, history",
        peers: 7,
        newcomers: 2,
        affairs: Affairs { admins: 3, settings: 24, demotions: 1, ..PEACE },
        partings: 2,
        restarts: 2,
        ..BASE
    },
    Scenario {
        name: "from-joining",
        about: "newcomers, and those who come back, read nothing that was said without them",
        peers: 9,
        newcomers: 3,
        history: History::FromJoining,
        affairs: Affairs { admins: 2, removals: 2, readmissions: 2, ..PEACE },
        partings: 2,
        drops: 4,
        restarts: 2,
        ..BASE
    },
    Scenario {
        name: "slow",
        tested: 6,
        about: "two of eight peers carry a hundredth of what others do, and hold up nobody",
        peers: 8,
        newcomers: 2,
        messages: 400,
        slow: 2,
        conditions: WIDE,
        drops: 4,
        ..BASE
    },
    Scenario {
        name: "liars-fork",
        about: "two sign two branches of their logs, and send one to the one, the other to the others",
        peers: 8,
        liars: 2,
        lies: &[Lie::ForksChat, Lie::ForksControl],
        affairs: Affairs { admins: 1, removals: 1, ..PEACE },
        partings: 1,
        restarts: 2,
        ..BASE
    },
    Scenario {
        name: "liars-serve",
        about: "two claim what they have not, serve what is wrong, in part, unasked, or nothing",
        peers: 8,
        newcomers: 2,
        liars: 2,
        lies: &[
            Lie::ClaimsMore,
            Lie::Corrupts,
            Lie::Truncates,
            Lie::Unasked,
            Lie::NeverAnswers,
            Lie::FalseStates,
            Lie::Floods,
        ],
        drops: 4,
        ..BASE
    },
    Scenario {
        name: "liars-stay",
        about: "two go on after their removal: write, date back, and are helped by one who relays",
        peers: 9,
        liars: 3,
        lies: &[Lie::WritesOn, Lie::Backdates, Lie::Relays],
        affairs: Affairs { admins: 3, removals: 2, ..PEACE },
        partings: 1,
        ..BASE
    },
    Scenario {
        name: "storm",
        tested: 2,
        about: "all of it among sixteen peers: the long run made short",
        peers: 16,
        newcomers: 3,
        leavers: 1,
        liars: 2,
        slow: 1,
        messages: 300,
        affairs: TURBULENT,
        drops: 10,
        partings: 2,
        restarts: 5,
        neighbors: 4,
        conditions: WIDE,
        ..BASE
    },
    Scenario {
        name: "long",
        tested: 0,
        seeds: 200,
        about: "all of it among fifty peers: 2000 events, 3 partings, 10 restarts, 2 liars",
        peers: 50,
        newcomers: 6,
        leavers: 2,
        liars: 2,
        slow: 2,
        messages: 1900,
        renames: 40,
        affairs: Affairs { settings: 12, removals: 8, ..TURBULENT },
        span_ms: 180_000,
        drops: 40,
        partings: 3,
        restarts: 10,
        neighbors: 5,
        conditions: WIDE,
        ..BASE
    },
];

/// Finds a scenario.
pub fn scenario(name: &str) -> Option<&'static Scenario> {
    SCENARIOS.iter().find(|scenario| scenario.name == name)
}
