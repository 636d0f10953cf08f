//! The grammar of pictures, files and transfers.

use std::path::PathBuf;

use ayni_web::api::{self, Existing, Priority};
use bytesize::ByteSize;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::{Args, Subcommand};

/// How long `fetch` waits while nothing comes, in seconds: longer than it takes to find someone who
/// was just away, and to notice that one who stalls does.
const FETCH_PATIENCE_S: u64 = 60;

/// Options of `ayni attach`.
#[derive(Debug, Args)]
pub(crate) struct Attach {
    /// The room: its id, the start of its id, or its name
    pub(crate) room: String,
    /// Pictures, files or folders; each is a message of its own
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// What is said with the first of them; `-` reads it from standard input
    #[arg(long, value_name = "CAPTION")]
    pub(crate) text: Option<String>,
    /// Leave in pictures what they tell of place, device and times
    #[arg(long)]
    pub(crate) keep_metadata: bool,
    /// Copy files into the data folder instead of reading them from where they are
    #[arg(long)]
    pub(crate) copy: bool,
}

/// Options of `ayni fetch`.
#[derive(Debug, Args)]
pub(crate) struct Fetch {
    /// The room: its id, the start of its id, or its name
    pub(crate) room: String,
    /// The message that it came with: its id, or the start of it
    pub(crate) event: String,
    /// Where to write it: a folder that exists, or else the new file [default: this folder]
    #[arg(long, short, value_name = "PATH")]
    pub(crate) output: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) over: Over,
    /// Seconds to wait while nothing comes
    #[arg(long, value_name = "S", default_value_t = FETCH_PATIENCE_S,
          value_parser = super::timeout())]
    pub(crate) timeout: u64,
}

/// Options of `ayni send`.
#[derive(Debug, Args)]
pub(crate) struct Send {
    /// Files and folders; `-` alone: what standard input brings, to its end
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// Draw the ticket as a QR code as well
    #[arg(long)]
    pub(crate) qr: bool,
    /// Copy files into the data folder instead of reading them from where they are
    #[arg(long)]
    pub(crate) copy: bool,
}

/// Options of `ayni get`.
#[derive(Debug, Args)]
pub(crate) struct Get {
    /// The ticket, as `ayni send` or another iroh tool prints it
    pub(crate) ticket: String,
    /// The folder to write it into, made if it is missing; `-` writes the only file of the ticket to
    /// standard output [default: this folder]
    #[arg(long, short, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) over: Over,
    /// Seconds to wait while nothing comes
    #[arg(long, value_name = "S", default_value_t = FETCH_PATIENCE_S,
          value_parser = super::timeout())]
    pub(crate) timeout: u64,
}

/// What is done where something has the name already.
#[derive(Debug, Args)]
pub(crate) struct Over {
    /// Replace what has the name already
    #[arg(long, group = "existing")]
    overwrite: bool,
    /// Choose another name where something has it already
    #[arg(long, group = "existing")]
    rename: bool,
    /// Leave what has the name already as it is: nothing is written
    #[arg(long, group = "existing")]
    skip: bool,
}

impl Over {
    /// What is to be done where something is there already.
    pub(crate) fn existing(&self) -> Existing {
        match (self.overwrite, self.rename, self.skip) {
            (true, ..) => Existing::Overwrite,
            (_, true, _) => Existing::Rename,
            (.., true) => Existing::Skip,
            _ => Existing::Refuse,
        }
    }
}

/// Commands about a transfer.
#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum TransferCommand {
    /// Fetch no more of it until it is resumed
    Pause {
        /// Its number, as `ayni transfers` shows it
        id: u64,
    },
    /// Let it go on, or try again where it failed
    Resume {
        /// Its number, as `ayni transfers` shows it
        id: u64,
    },
    /// End it; what is written already stays
    Cancel {
        /// Its number, as `ayni transfers` shows it
        id: u64,
    },
    /// Say how important it is: what is more important goes first
    Priority {
        /// Its number, as `ayni transfers` shows it
        id: u64,
        /// How important
        #[arg(value_parser = PossibleValuesParser::new(["low", "normal", "high"]).map(priority))]
        level: Priority,
    },
    /// Show or set how fast it is fetched, and given to others meanwhile, beside `ayni limits`
    Limit {
        /// Its number, as `ayni transfers` shows it
        id: u64,
        #[command(flatten)]
        rates: Limits,
    },
}

/// Options of `ayni limits` and `ayni transfer limit`.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Limits {
    /// Bytes a second that others get, like 500k or 2MiB; `none`: no limit
    #[arg(long, value_name = "RATE", value_parser = Amount::parse)]
    pub(crate) up: Option<Amount>,
    /// Bytes a second that are fetched, like 500k or 2MiB; `none`: no limit
    #[arg(long, value_name = "RATE", value_parser = Amount::parse)]
    pub(crate) down: Option<Amount>,
}

impl Limits {
    /// Whether something is to be changed.
    pub(crate) fn is_some(&self) -> bool {
        self.up.is_some() || self.down.is_some()
    }

    /// Returns what was set, changed by these.
    pub(crate) fn over(&self, now: &api::Limits) -> api::Limits {
        let up = self.up.map_or(now.up, |amount| amount.0);
        let down = self.down.map_or(now.down, |amount| amount.0);
        api::Limits { up, down }
    }
}

/// Options of `ayni pin` and `ayni unpin`.
#[derive(Debug, Args)]
pub(crate) struct Pin {
    /// The room: its id, the start of its id, or its name
    pub(crate) room: String,
    /// The message that it came with: its id, or the start of it
    pub(crate) event: String,
}

/// Options of `ayni storage`.
#[derive(Debug, Args)]
pub(crate) struct Storage {
    /// Set how much of the disk pictures and files may take, like 20GB; `none`: as much as there is
    #[arg(long, value_name = "SIZE", value_parser = Amount::parse)]
    pub(crate) quota: Option<Amount>,
    /// Let go of what was fetched by a ticket and kept in the data folder: its id, or the start of it
    #[arg(long, value_name = "BLOB")]
    pub(crate) discard: Option<String>,
    /// Set whether this node fetches by itself what few others have
    #[arg(long, value_name = "yes|no", value_parser = PossibleValuesParser::new(["yes", "no"]).map(|it| it == "yes"))]
    pub(crate) replicate: Option<bool>,
    /// Set how many devices of members are to have each file
    #[arg(long, value_name = "N")]
    pub(crate) copies: Option<usize>,
    /// Set how much of each room is fetched so, like 4GB
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    pub(crate) room_bytes: Option<u64>,
}

/// Reads a number of bytes, with or without a unit.
fn bytes(text: &str) -> Result<u64, String> {
    let size = text.parse::<ByteSize>();
    size.map(|size| size.as_u64())
        .map_err(|_| "say a number of bytes, like 500k or 2MiB".to_owned())
}

/// Options of `ayni room pictures`.
#[derive(Debug, Args)]
pub(crate) struct Pictures {
    /// The room: its id, the start of its id, or its name
    pub(crate) room: String,
    /// The size, like 20MiB; 0: none are fetched by themselves
    #[arg(value_parser = bytes)]
    pub(crate) size: Option<u64>,
}

/// So many bytes, or `none`: no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Amount(pub(crate) Option<u64>);

impl Amount {
    /// Reads `none`, a number of bytes, or one with a unit: `k`, `kB`, `KiB`, `M`, ...
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.eq_ignore_ascii_case("none") {
            return Ok(Self(None));
        }
        let size = text.parse::<ByteSize>();
        let size =
            size.map_err(|_| "say a number of bytes, like 500k or 2MiB, or none".to_owned())?;
        match size.as_u64() {
            0 => Err("0 would let nothing through: say none for no limit".into()),
            bytes => Ok(Self(Some(bytes))),
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "what a parser of clap gives")]
fn priority(level: String) -> Priority {
    match level.as_str() {
        "low" => Priority::Low,
        "high" => Priority::High,
        _ => Priority::Normal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_units_or_are_none() {
        let amount = |text: &str| Amount::parse(text).map(|amount| amount.0);
        assert_eq!(amount("none"), Ok(None));
        assert_eq!(amount("512"), Ok(Some(512)));
        assert_eq!(amount("500k"), Ok(Some(500_000)));
        assert_eq!(amount("2MiB"), Ok(Some(2 << 20)));
        assert_eq!(amount("1.5 GB"), Ok(Some(1_500_000_000)));
        assert!(amount("0").is_err() && amount("fast").is_err() && amount("-1").is_err());
    }
}
