//! How far transfers are: bars on a terminal, lines and words everywhere.
//!
//! Bars go to standard error, and only where that is a terminal: a script gets nothing of the kind.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::time::Duration;

use ayni_web::api::{Transfer, TransferState};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output::{self, clean, count, size};

/// Characters of a name before its bar: as much as leaves room for the bar and the words.
const NAME_WIDTH: usize = 28;
/// How a bar looks. The words are ours: rate and time are the node's, which sees all providers.
const BAR: &str = "{prefix} [{bar:24}] {msg}";

/// A bar for each transfer that is under way.
pub(crate) struct Bars {
    /// None where there is no terminal.
    screen: Option<MultiProgress>,
    bars: BTreeMap<u64, ProgressBar>,
}

impl Bars {
    /// Shows bars if standard error is a terminal.
    pub(crate) fn on_terminal() -> Self {
        let target = ProgressDrawTarget::stderr();
        let is_terminal = std::io::stderr().is_terminal() && !target.is_hidden();
        let screen = is_terminal.then(|| MultiProgress::with_draw_target(target));
        Self { screen, bars: BTreeMap::new() }
    }

    /// Whether anybody sees them.
    pub(crate) fn are_shown(&self) -> bool {
        self.screen.is_some()
    }

    /// Shows how far a transfer is; one that is over has no bar.
    pub(crate) fn show(&mut self, transfer: &Transfer) {
        let Some(screen) = &self.screen else { return };
        if transfer.state.is_over() {
            if let Some(bar) = self.bars.remove(&transfer.id) {
                bar.finish_and_clear();
            }
            return;
        }
        let bar = self.bars.entry(transfer.id).or_insert_with(|| {
            let style = ProgressStyle::with_template(BAR);
            let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
            screen.add(ProgressBar::new(0).with_style(style.progress_chars("=> ")))
        });
        bar.set_length(transfer.size.unwrap_or(0).max(1));
        bar.set_position(transfer.bytes);
        bar.set_prefix(shortened(&transfer.name).into_owned());
        bar.set_message(words(transfer));
    }

    /// Writes a line above the bars.
    pub(crate) fn line(&self, line: &str) {
        if let Some(screen) = &self.screen {
            // If the terminal is gone, so is who would read it.
            let _ = screen.println(line);
        }
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        self.bars.values().for_each(ProgressBar::finish_and_clear);
    }
}

/// A transfer as a line of a list.
pub(crate) fn line(transfer: &Transfer) -> String {
    format!(
        "{:>4}  {:<9}  {}  {}",
        transfer.id,
        state(transfer.state),
        clean(&transfer.name),
        words(transfer)
    )
}

/// How far a transfer is, and why it failed.
fn words(transfer: &Transfer) -> String {
    let mut words = match transfer.size {
        Some(whole) if transfer.bytes < whole => {
            let percent = u128::from(transfer.bytes) * 100 / u128::from(whole);
            format!("{} of {} ({percent} %)", size(transfer.bytes), size(whole))
        }
        _ => size(transfer.bytes),
    };
    // A String takes everything.
    if transfer.state.is_active() && transfer.state != TransferState::Placing {
        let _ = write!(words, ", {}/s", size(transfer.rate));
        if let Some(eta) = transfer.eta_s.filter(|_| transfer.size != Some(transfer.bytes)) {
            let _ = write!(words, ", {} left", output::duration(Duration::from_secs(eta)));
        }
        let _ = write!(words, ", {}", count(transfer.peers as u64, "peer"));
    }
    if let Some(error) = &transfer.error {
        let _ = write!(words, ": {}", clean(&error.message));
    }
    words
}

/// The name of a state, as JSON has it.
pub(crate) fn state(state: TransferState) -> &'static str {
    match state {
        TransferState::Waiting => "waiting",
        TransferState::Running => "running",
        TransferState::Placing => "placing",
        TransferState::Paused => "paused",
        TransferState::Done => "done",
        TransferState::Failed => "failed",
        TransferState::Cancelled => "cancelled",
        TransferState::Unknown => "unknown",
    }
}

/// A clean name, without its middle where it is long.
fn shortened(name: &str) -> Cow<'_, str> {
    let name = clean(name);
    let long = name.chars().count();
    if long <= NAME_WIDTH {
        return name;
    }
    let (start, end) = (NAME_WIDTH - NAME_WIDTH / 3 - 1, NAME_WIDTH / 3);
    let start = name.chars().take(start);
    let end = name.chars().skip(long - end);
    Cow::Owned(start.chain(['…']).chain(end).collect())
}

#[cfg(test)]
mod tests {
    use ayni::BlobId;
    use ayni_web::api::{ErrorCode, ErrorDetail, Priority};

    use super::*;

    fn transfer(bytes: u64, size: Option<u64>, state: TransferState) -> Transfer {
        Transfer {
            id: 3,
            blob: BlobId([1; 32]),
            name: "beach.png".into(),
            bytes,
            size,
            rate: 2_000_000,
            eta_s: Some(70),
            peers: 1,
            state,
            priority: Priority::Normal,
            rate_up: None,
            rate_down: None,
            error: None,
            room: None,
            event: None,
            twice: 0,
            path: None,
        }
    }

    #[test]
    fn a_line_tells_how_far_how_fast_and_from_how_many() {
        let running = transfer(12_300_000, Some(150_000_000), TransferState::Running);
        let expected =
            "   3  running    beach.png  12.3 MB of 150 MB (8 %), 2.0 MB/s, 1m 10s left, 1 peer";
        assert_eq!(line(&running), expected);
        let done = transfer(5, Some(5), TransferState::Done);
        assert_eq!(line(&done), "   3  done       beach.png  5 B");
        let message = "a full\x1b[2J disk".to_owned();
        let error = Some(ErrorDetail { code: ErrorCode::Internal, message });
        let failed = Transfer { error, ..transfer(0, None, TransferState::Failed) };
        assert_eq!(line(&failed), "   3  failed     beach.png  0 B: a full␛[2J disk");
    }

    #[test]
    fn a_bar_has_a_short_and_clean_name() {
        assert_eq!(shortened("beach.png"), "beach.png");
        let long = shortened(&"a".repeat(100)).into_owned();
        assert_eq!((long.chars().count(), long.contains('…')), (NAME_WIDTH, true));
        assert_eq!(shortened("a\x1b[2J"), "a␛[2J");
        assert!(shortened(&format!("{}.tar.gz", "ñ".repeat(60))).ends_with("ñ.tar.gz"));
    }
}
