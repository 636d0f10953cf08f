//! The command line's grammar: every command, argument and default, and nothing else.
//!
//! The doc comments here are the help texts and the man page. `docs/cli.md` is the reference, and a
//! test fails when a command or an option is missing there.

mod files;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ayni::service::ServiceLimits;
use ayni::{Network, Role};
use ayni_web::api::MAX_FOUND;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

pub(crate) use files::{Attach, Fetch, Get, Limits, Pictures, Pin, Send, Storage, TransferCommand};

/// Messages that `log` and `chat` show unless told otherwise: a screen or two.
pub(crate) const SHOWN_MESSAGES: usize = 50;
/// How long `join` waits for the room, in seconds: a few round trips, retries included.
const JOIN_WAIT_S: u64 = 30;
/// How long `request` waits for the reply, in seconds: what a service may take by default.
const REQUEST_TIMEOUT_S: u64 = ServiceLimits::TIMEOUT.as_secs();
/// Longest time that any option takes, in seconds: a day. Longer is a slip of the keyboard.
const LONGEST_WAIT_S: u64 = 24 * 60 * 60;
/// The heading of the options that every command has.
const EVERYWHERE: &str = "Options of every command";
/// Nodes of a demonstration: fewest (someone is killed, two must go on) and most (one machine).
const DEMO_PEERS: std::ops::RangeInclusive<i64> = 3..=32;

/// Chat and services between people's own machines, with no server in between.
///
/// `ayni` alone starts this machine's node and opens its page. Every other command is answered by
/// that node while it runs; otherwise it works on the data folder, or starts a node for as long as
/// it needs one.
#[derive(Debug, Parser)]
#[command(name = "ayni", version, arg_required_else_help = false, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(flatten)]
    pub(crate) up: Up,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// Options of every command, before or after its name.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// Data folder [default: AYNI_DATA, else the platform's own]
    #[arg(long, value_name = "DIR", global = true, help_heading = EVERYWHERE)]
    pub(crate) data: Option<PathBuf>,
    /// Print JSON, one object a line
    #[arg(long, global = true, help_heading = EVERYWHERE)]
    pub(crate) json: bool,
    /// Where others are looked for: internet, lan, loopback [default: AYNI_NETWORK, else the last]
    #[arg(long, value_name = "PRESET", global = true, help_heading = EVERYWHERE,
          value_parser = network)]
    pub(crate) network: Option<Network>,
}

/// Everything that `ayni` can be asked.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start this folder's node and serve until stopped (what `ayni` alone does)
    Up(Up),
    /// Show who this node is
    Id,
    /// Change the name shown to others
    Name {
        /// The new name
        new_name: String,
    },
    /// Create, list, set up and open rooms
    Room {
        #[command(subcommand)]
        command: RoomCommand,
    },
    /// Change what members may do, and remove them
    Member {
        #[command(subcommand)]
        command: MemberCommand,
    },
    /// List and revoke a room's invitations (`room invite` makes them)
    Invite {
        #[command(subcommand)]
        command: InviteCommand,
    },
    /// Show what a ticket invites to, and who invites, without joining
    Look {
        /// The ticket, as an inviter sent it
        ticket: String,
        /// Seconds to wait for a member of the room
        #[arg(long, value_name = "SECONDS", default_value_t = JOIN_WAIT_S, value_parser = seconds())]
        wait: u64,
    },
    /// Join a room with a ticket
    Join {
        /// The ticket, as an inviter sent it
        ticket: String,
        /// Do not show what it invites to, and do not ask
        #[arg(long, short)]
        yes: bool,
        /// Seconds to wait until the room is here
        #[arg(long, value_name = "SECONDS", default_value_t = JOIN_WAIT_S, value_parser = seconds())]
        wait: u64,
    },
    /// Leave a room
    Leave {
        /// The room: its id, the start of its id, or its name
        room: String,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
    /// Say something in a room
    Say {
        /// The room: its id, the start of its id, or its name
        room: String,
        /// What to say; `-` reads it from standard input and drops one trailing newline
        text: String,
    },
    /// Say something to one person
    Dm {
        /// A peer or an account: its id, the start of its id, or its name
        who: String,
        /// What to say; `-` reads it from standard input and drops one trailing newline
        text: String,
    },
    /// Show the newest messages of a room, oldest first
    Log {
        /// The room: its id, the start of its id, or its name
        room: String,
        /// How many messages, without a maximum
        #[arg(long, value_name = "N", default_value_t = SHOWN_MESSAGES)]
        limit: usize,
        /// Go on with what is said next, until stopped
        #[arg(long, short)]
        follow: bool,
        /// With --json: the thumbnails of pictures, in base64
        #[arg(long)]
        thumbnails: bool,
    },
    /// Find messages that have all of some words, in every room or in one
    Search {
        /// The words; of three characters or more, what begins with them is found as well
        #[arg(required = true)]
        text: Vec<String>,
        /// Only in this room: its id, the start of its id, or its name
        #[arg(long, value_name = "ROOM")]
        room: Option<String>,
        /// How many messages, the newest of them, at most 1000
        #[arg(long, value_name = "N", default_value_t = SHOWN_MESSAGES, value_parser = found)]
        limit: usize,
    },
    /// Send pictures, files or folders to a room
    Attach(Attach),
    /// Show what was attached in a room, and how many have it
    Files {
        /// The room: its id, the start of its id, or its name
        room: String,
        /// How many, the newest of them [default: all]
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
    },
    /// Fetch what is attached to a message, from everyone who has some of it
    Fetch(Fetch),
    /// Share files and folders with whoever has the ticket that this prints, without a room
    Send(Send),
    /// Fetch what a ticket of `send` names, from its sender and all others who fetch it
    Get(Get),
    /// Show what is shared by tickets
    Shares,
    /// Stop sharing something
    Unshare {
        /// Its ticket, its content's id or the start of that, or its name
        share: String,
    },
    /// Show what is being fetched, and what lately was
    Transfers {
        /// Go on with what changes, until stopped
        #[arg(long, short)]
        follow: bool,
    },
    /// Pause, resume or cancel a transfer, or say how fast and when it goes
    Transfer {
        #[command(subcommand)]
        command: TransferCommand,
    },
    /// Show and set how fast all transfers together may be
    Limits(Limits),
    /// Keep what is attached to a message, whatever else goes for the quota
    Pin(Pin),
    /// Let what was pinned go again
    Unpin(Pin),
    /// Show and set how much of the disk pictures and files take
    Storage(Storage),
    /// Talk in a room, interactively; piped input is said line by line
    Chat {
        /// The room: its id, the start of its id, or its name
        room: String,
    },
    /// Show who is in a room
    Members {
        /// The room: its id, the start of its id, or its name
        room: String,
    },
    /// Show the peers that this node knows, and how it reaches them
    Peers,
    /// Say something in every room
    Broadcast {
        /// What to say; `-` reads it from standard input and drops one trailing newline
        text: String,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
    /// Provide a service to others, until stopped
    Provide(Provide),
    /// Ask a peer's service and print its reply
    Request {
        /// The peer: its id, the start of its id, or its name
        peer: String,
        /// The service
        name: String,
        /// What to send; `-` sends standard input as it is [default: nothing]
        // Named apart from the global option `--data`: one id has one type.
        #[arg(id = "request", value_name = "DATA")]
        data: Option<String>,
        /// Seconds to wait for the reply
        #[arg(long, value_name = "S", default_value_t = REQUEST_TIMEOUT_S, value_parser = timeout())]
        timeout: u64,
    },
    /// Open a local port that leads to a peer's service, until stopped
    Forward {
        /// The peer: its id, the start of its id, or its name
        peer: String,
        /// The service
        name: String,
        /// The port on 127.0.0.1; 0: any free one
        local_port: u16,
    },
    /// Show the services of this node, or those that a peer offers to it
    Services {
        /// The peer: its id, the start of its id, or its name
        peer: Option<String>,
    },
    /// Show how this node is
    Status,
    /// Show what is reachable and why not, in plain words
    Doctor,
    /// Watch real nodes on this machine meet, talk, lose one of them and go on
    Demo {
        /// How many nodes
        #[arg(long, value_name = "N", default_value_t = 4,
              value_parser = clap::value_parser!(u32).range(DEMO_PEERS))]
        peers: u32,
    },
    /// Print a completion script
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Print the manual page
    Man,
}

/// Commands about rooms.
#[derive(Debug, Subcommand)]
pub(crate) enum RoomCommand {
    /// Create a room
    Create {
        /// Its name
        name: String,
    },
    /// List the rooms
    List {
        /// Also those that you left or were removed from
        #[arg(long)]
        all: bool,
    },
    /// Show a room and how it is set up
    Show {
        /// The room: its id, the start of its id, or its name
        room: String,
    },
    /// Set a room up; admins and founders may
    Set {
        /// The room: its id, the start of its id, or its name
        room: String,
        /// What to set
        key: SettingKey,
        /// Its value: a text for name and topic; member, admin or founder for who-…; from-start or
        /// from-joining for history
        value: String,
    },
    /// Show and set how large a picture may be that this node fetches by itself (default 20 MiB)
    Pictures(Pictures),
    /// Print a ticket that lets others join
    Invite {
        /// The room: its id, the start of its id, or its name
        room: String,
        /// How many may join with it [default: any number]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        uses: Option<u32>,
        /// How long it can be used: 30m, 12h, 7d
        #[arg(long, value_name = "TIME", default_value = "7d", value_parser = lasting)]
        expires: Duration,
        /// What who joins with it is; a reader cannot write
        #[arg(long, value_name = "ROLE", default_value_t = Role::Member, value_parser = joining())]
        role: Role,
        /// Draw it as a QR code as well
        #[arg(long)]
        qr: bool,
    },
}

/// What of a room can be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SettingKey {
    /// Its name
    Name,
    /// What it is about; an empty text takes it away
    Topic,
    /// Who may invite: member, admin or founder, and those above
    WhoInvites,
    /// Who may post: member, admin or founder, and those above
    WhoPosts,
    /// Who may pin messages: member, admin or founder, and those above
    WhoPins,
    /// What newcomers may read: from-start, or from-joining
    History,
}

/// Commands about the members of a room.
#[derive(Debug, Subcommand)]
pub(crate) enum MemberCommand {
    /// Give someone a higher role, or one again after leaving
    Promote {
        #[command(flatten)]
        member: InRoom,
        /// The role [default: the next one, up to admin]
        #[arg(long, value_name = "ROLE", value_parser = raised())]
        to: Option<Role>,
    },
    /// Give someone a lower role
    Demote {
        #[command(flatten)]
        member: InRoom,
        /// The role [default: the next one]
        #[arg(long, value_name = "ROLE", value_parser = lowered())]
        to: Option<Role>,
    },
    /// Remove someone: they read nothing that is said from now on, and nothing they say counts
    Remove {
        #[command(flatten)]
        member: InRoom,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

/// Someone in a room.
#[derive(Debug, Args)]
pub(crate) struct InRoom {
    /// The room: its id, the start of its id, or its name
    pub(crate) room: String,
    /// The member: its id, the start of its id, or its name
    pub(crate) who: String,
}

/// Commands about invitations.
#[derive(Debug, Subcommand)]
pub(crate) enum InviteCommand {
    /// List a room's invitations, open ones first
    List {
        /// The room: its id, the start of its id, or its name
        room: String,
    },
    /// End an invitation: nobody joins with its ticket any more
    Revoke {
        /// The room: its id, the start of its id, or its name
        room: String,
        /// The invitation: its id, the start of its id, or its ticket
        invite: String,
    },
}

/// Options of `ayni up`, and of `ayni` alone.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Up {
    /// Where the page and the API listen; port 0: any free one [default: this folder's own port]
    #[arg(long, value_name = "127.0.0.1:PORT", value_parser = http_address)]
    pub(crate) http: Option<SocketAddr>,
    /// Do not open the page in a browser
    #[arg(long)]
    pub(crate) no_open: bool,
}

impl Up {
    /// Whether nothing was asked.
    pub(crate) fn is_default(&self) -> bool {
        self.http.is_none() && !self.no_open
    }

    /// What was asked before the command's name and after it, taken together.
    pub(crate) fn merge(&self, later: &Self) -> Self {
        Self { http: later.http.or(self.http), no_open: later.no_open || self.no_open }
    }
}

/// Options of `ayni provide`.
#[derive(Debug, Args)]
pub(crate) struct Provide {
    /// The service's name: lowercase letters, digits, `-`, `_` and `.`
    pub(crate) name: String,
    /// Who may call it: a peer or an account, room:ROOM, or anyone; can be repeated [default: nobody]
    #[arg(long, value_name = "WHO")]
    pub(crate) allow: Vec<String>,
    /// Pipe each call to this TCP address
    #[arg(long, value_name = "HOST:PORT", value_parser = tcp_target)]
    pub(crate) tcp: Option<String>,
    /// Seconds that one call may take; with --tcp, seconds without a byte in either direction
    #[arg(long, value_name = "S", default_value_t = ServiceLimits::TIMEOUT.as_secs(),
          value_parser = timeout())]
    pub(crate) timeout: u64,
    /// Largest request, in bytes
    #[arg(long, value_name = "B", default_value_t = ServiceLimits::MAX_REQUEST,
          value_parser = at_least_one)]
    pub(crate) max_request: usize,
    /// Largest reply, in bytes
    #[arg(long, value_name = "B", default_value_t = ServiceLimits::MAX_REPLY,
          value_parser = at_least_one)]
    pub(crate) max_reply: usize,
    /// Most calls at once
    #[arg(long, value_name = "N", default_value_t = ServiceLimits::CONCURRENCY,
          value_parser = at_least_one)]
    pub(crate) concurrency: usize,
    /// The program that answers: run once per request, which is its standard input; its standard
    /// output is the reply
    #[arg(
        last = true,
        value_name = "COMMAND",
        required_unless_present = "tcp",
        conflicts_with = "tcp"
    )]
    pub(crate) command: Vec<OsString>,
}

fn network(text: &str) -> Result<Network, String> {
    text.parse().map_err(|why: ayni::Error| why.to_string())
}

fn seconds() -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(0..=LONGEST_WAIT_S)
}

/// What takes no time at all is no call.
fn timeout() -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(1..=LONGEST_WAIT_S)
}

fn joining() -> impl TypedValueParser<Value = Role> {
    role(&[Role::Member, Role::Reader])
}

fn raised() -> impl TypedValueParser<Value = Role> {
    role(&[Role::Member, Role::Admin, Role::Founder])
}

fn lowered() -> impl TypedValueParser<Value = Role> {
    role(&[Role::Reader, Role::Member, Role::Admin])
}

/// Takes one of some roles, which shells complete.
fn role(of: &[Role]) -> impl TypedValueParser<Value = Role> {
    let names = PossibleValuesParser::new(of.iter().map(|role| role.as_str()));
    names.try_map(|name| name.parse::<Role>())
}

fn lasting(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(time) if time.as_secs() > 0 => Ok(time),
        Ok(_) => Err("shorter than a second".to_owned()),
        Err(_) => Err("a time looks like 30m, 12h or 7d".to_owned()),
    }
}

fn http_address(text: &str) -> Result<SocketAddr, String> {
    match text.parse::<SocketAddr>() {
        Ok(address) if address.ip() == std::net::Ipv4Addr::LOCALHOST => Ok(address),
        _ => Err("an address looks like 127.0.0.1:PORT; no other host is served".to_owned()),
    }
}

fn tcp_target(text: &str) -> Result<String, String> {
    match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
            Ok(text.to_owned())
        }
        _ => Err("a target looks like HOST:PORT".to_owned()),
    }
}

fn found(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..=MAX_FOUND) => Ok(number),
        _ => Err(format!("a search finds 1 to {MAX_FOUND} messages")),
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("it must be at least 1".to_owned()),
        Ok(number) => Ok(number),
        Err(_) => Err("not a number".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_grammar_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn no_argument_has_the_id_of_a_global_option() {
        fn check(command: &clap::Command, global: &[&str]) {
            for below in command.get_subcommands() {
                for argument in below.get_arguments() {
                    let id = argument.get_id().as_str();
                    assert!(!global.contains(&id), "{id} in {}", below.get_name());
                }
                check(below, global);
            }
        }
        check(&Cli::command(), &["data", "json", "network"]);
    }

    #[test]
    fn global_options_stand_before_and_after_any_command() {
        for line in
            ["ayni --json --data d --network lan id", "ayni id --network lan --json --data d"]
        {
            let cli = Cli::try_parse_from(line.split(' ')).expect("valid");
            assert!(cli.global.json, "{line}");
            assert_eq!(cli.global.data, Some("d".into()), "{line}");
            assert_eq!(cli.global.network, Some(Network::Lan), "{line}");
        }
        let cli = Cli::try_parse_from(["ayni", "room", "list", "--json"]).expect("valid");
        assert!(cli.global.json, "after a nested command");
    }

    #[test]
    fn up_takes_its_options_on_either_side() {
        let cli = Cli::try_parse_from(["ayni", "--no-open", "up", "--http", "127.0.0.1:0"])
            .expect("valid");
        let Some(Command::Up(later)) = cli.command else { panic!("up") };
        let up = cli.up.merge(&later);
        assert!(up.no_open && up.http.is_some());
    }

    #[test]
    fn a_mistyped_option_never_becomes_a_message() {
        assert!(Cli::try_parse_from(["ayni", "say", "family", "--jsno"]).is_err());
        assert!(Cli::try_parse_from(["ayni", "say", "family", "--", "--jsno"]).is_ok());
        assert!(Cli::try_parse_from(["ayni", "say", "family", "-"]).is_ok());
    }

    #[test]
    fn what_a_search_finds_has_the_limit_that_its_help_names() {
        assert_eq!(found("1000"), Ok(MAX_FOUND));
        for wrong in ["0", "1001", "-1", "many"] {
            assert!(found(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_this_machine_is_served() {
        assert!(http_address("127.0.0.1:80").is_ok());
        for address in ["0.0.0.0:80", "[::1]:80", "192.168.1.2:80", "80", "localhost:80"] {
            assert!(http_address(address).is_err(), "{address}");
        }
    }

    #[test]
    fn the_documentation_names_every_command_and_option() {
        const DOCS: &str = include_str!("../../../docs/cli.md");
        fn check(command: &clap::Command, name: &str) {
            let below: Vec<_> =
                command.get_subcommands().filter(|below| below.get_name() != "help").collect();
            if below.is_empty() {
                assert!(DOCS.contains(&format!("`{name}")), "docs/cli.md has no `{name}`");
            }
            for option in command.get_arguments().filter_map(clap::Arg::get_long) {
                let named = DOCS.contains(&format!("`--{option}"));
                assert!(named, "docs/cli.md has no --{option} ({name})");
            }
            for command in below {
                check(command, &format!("{name} {}", command.get_name()));
            }
        }
        check(&Cli::command(), "ayni");
        for preset in ["internet", "lan", "loopback"] {
            assert!(DOCS.contains(&format!("`{preset}`")), "{preset}");
        }
        for key in SettingKey::value_variants().iter().filter_map(ValueEnum::to_possible_value) {
            assert!(DOCS.contains(&format!("`{}`", key.get_name())), "{}", key.get_name());
        }
    }
}
