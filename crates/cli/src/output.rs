//! Where results go: one buffered writer of standard output, and how text becomes safe to show.
//!
//! Invariant: no text that a peer wrote reaches a terminal unchanged. Control characters could move
//! the cursor, set the window's title or fake a line of someone else; [`clean`] makes them visible.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, BufWriter, Stdout, Write};
use std::time::{Duration, SystemTime};

use serde::Serialize;

/// The last second that the calendar below can show (the end of the year 9999).
const LAST_SECOND: u64 = 253_402_300_799;
/// How far the second and later lines of a message are moved to the right: under the name.
const INDENT: &str = "      ";

/// Standard output could not be written. Apart from other IO errors, because a reader that went
/// away ends a command quietly, while a peer that went away does not.
#[derive(Debug)]
pub(crate) struct Unwritten(io::Error);

impl Unwritten {
    /// Whether nobody reads any more.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        self.0.kind() == io::ErrorKind::BrokenPipe
    }
}

impl fmt::Display for Unwritten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("standard output cannot be written")
    }
}

impl std::error::Error for Unwritten {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

impl From<io::Error> for Unwritten {
    fn from(error: io::Error) -> Self {
        Self(error)
    }
}

/// The result of writing.
pub(crate) type Result<T = ()> = std::result::Result<T, Unwritten>;

/// Standard output, in the form that was asked for.
pub(crate) struct Out {
    json: bool,
    writer: BufWriter<Stdout>,
}

impl Out {
    /// Writes objects when `json`, text for people otherwise.
    pub(crate) fn new(json: bool) -> Self {
        Self { json, writer: BufWriter::new(io::stdout()) }
    }

    /// Whether JSON was asked for.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Writes a result: the object, or the line for people, which must be clean already.
    pub(crate) fn result(&mut self, object: &impl Serialize, line: &str) -> Result {
        if self.json { self.object(object) } else { self.line(line) }
    }

    /// Writes one object on one line.
    pub(crate) fn object(&mut self, object: &impl Serialize) -> Result {
        let json = serde_json::to_string(object).map_err(io::Error::from)?;
        self.line(&escape_beyond_ascii_controls(&json))
    }

    /// Writes one line.
    pub(crate) fn line(&mut self, line: &str) -> Result {
        self.writer.write_all(line.as_bytes())?;
        Ok(self.writer.write_all(b"\n")?)
    }

    /// Writes bytes as they are.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> Result {
        Ok(self.writer.write_all(bytes)?)
    }

    /// Hands everything to the operating system.
    pub(crate) fn flush(&mut self) -> Result {
        Ok(self.writer.flush()?)
    }
}

/// Makes a text of one line safe to show: control characters become their pictures, characters
/// that reorder or hide others become U+FFFD.
pub(crate) fn clean(text: &str) -> Cow<'_, str> {
    if !text.chars().any(|c| picture(c).is_some()) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().map(|c| picture(c).unwrap_or(c)).collect())
}

/// Makes a message's text safe to show: like [`clean`], but it keeps its lines, moved to the right
/// so that none can pass for a message of its own.
pub(crate) fn clean_lines(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for (number, line) in text.lines().enumerate() {
        if number > 0 {
            shown.push('\n');
            shown.push_str(INDENT);
        }
        shown.extend(line.chars().map(|c| if c == '\t' { ' ' } else { picture(c).unwrap_or(c) }));
    }
    shown
}

/// What to show instead of a character that a terminal would obey.
fn picture(c: char) -> Option<char> {
    match c {
        '\0'..='\x1f' => char::from_u32(0x2400 + u32::from(c)),
        '\x7f' => Some('\u{2421}'),
        _ if ayni::deceives(c) => Some('\u{fffd}'),
        _ => None,
    }
}

/// Escapes the control characters that JSON leaves as they are. They stand in strings only.
fn escape_beyond_ascii_controls(json: &str) -> Cow<'_, str> {
    let obeyed = |c: char| matches!(c, '\u{7f}'..='\u{9f}');
    if !json.contains(obeyed) {
        return Cow::Borrowed(json);
    }
    let mut escaped = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if obeyed(c) {
            let _ = fmt::Write::write_fmt(&mut escaped, format_args!("\\u{:04x}", u32::from(c)));
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

/// A moment as people read it, in UTC, so that everyone in a room sees the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Moment {
    /// `2026-03-01`.
    pub(crate) day: String,
    /// `12:01`.
    pub(crate) time: String,
}

impl Moment {
    /// Reads Unix milliseconds. What lies after the year 9999 is shown as its end.
    pub(crate) fn from_unix_ms(ms: u64) -> Self {
        let seconds = (ms / 1000).min(LAST_SECOND);
        let moment = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let text = humantime::format_rfc3339_seconds(moment).to_string();
        let (day, time) = text.split_once('T').unwrap_or((&text, ""));
        Self { day: day.to_owned(), time: time.chars().take("HH:MM".len()).collect() }
    }
}

/// A duration for people: its two largest units.
pub(crate) fn duration(time: Duration) -> String {
    let whole = Duration::from_secs(time.as_secs());
    let text = humantime::format_duration(whole).to_string();
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

/// A number of bytes for people: three digits and a decimal unit.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    let (mut unit, mut tenths) = ("B", u128::from(bytes) * 10);
    for larger in UNITS {
        if tenths < 10_000 {
            break;
        }
        (unit, tenths) = (larger, tenths / 1000);
    }
    match (unit, tenths) {
        ("B", _) | (_, 1000..) => format!("{} {unit}", tenths / 10),
        _ => format!("{}.{} {unit}", tenths / 10, tenths % 10),
    }
}

/// The start of an id: long enough to be typed back, short enough to be read.
pub(crate) fn short(id: &impl fmt::Display) -> String {
    id.to_string().chars().take(16).collect()
}

/// One or many: `1 room`, `2 rooms`.
pub(crate) fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Several words as one of them: `a, b or c`.
pub(crate) fn or(words: &[&str]) -> String {
    match words {
        [first @ .., last] if !first.is_empty() => format!("{} or {last}", first.join(", ")),
        words => words.concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_escapes_become_visible() {
        assert_eq!(clean("\x1b]0;owned\x07 \x1b[2J"), "␛]0;owned␇ ␛[2J");
        assert_eq!(clean("a\u{9b}31mb\u{202e}c\x7f"), "a\u{fffd}31mb\u{fffd}c␡");
        assert_eq!(clean("two\nlines"), "two␊lines");
        assert_eq!(clean("a\u{200b}na\u{200f}\u{ad}"), "a\u{fffd}na\u{fffd}\u{fffd}");
    }

    #[test]
    fn ordinary_text_of_any_script_is_left_alone() {
        for text in ["hello", "Yuyaychay ñan", "שלום עולם", "👩‍👩‍👧 🇵🇪", "日本語"]
        {
            assert!(matches!(clean(text), Cow::Borrowed(same) if same == text));
        }
    }

    #[test]
    fn a_message_cannot_fake_another() {
        assert_eq!(clean_lines("hi\r\n12:00 bob: me too\r"), "hi\n      12:00 bob: me too␍");
    }

    #[test]
    fn json_holds_no_character_that_a_terminal_obeys() {
        let json = serde_json::to_string("\x1b\u{9b}\x7f").expect("a string");
        let escaped = escape_beyond_ascii_controls(&json);
        assert!(!escaped.chars().any(char::is_control), "{escaped}");
        let back: String = serde_json::from_str(&escaped).expect("still JSON");
        assert_eq!(back, "\x1b\u{9b}\x7f");
    }

    #[test]
    fn moments_are_utc_and_any_number_has_one() {
        let moment = Moment::from_unix_ms(1_772_366_460_999);
        assert_eq!((moment.day.as_str(), moment.time.as_str()), ("2026-03-01", "12:01"));
        assert_eq!(Moment::from_unix_ms(0).day, "1970-01-01");
        assert_eq!(Moment::from_unix_ms(u64::MAX).day, "9999-12-31");
    }

    #[test]
    fn words_are_joined() {
        assert_eq!(or(&["a"]), "a");
        assert_eq!(or(&["a", "b"]), "a or b");
        assert_eq!(or(&["a", "b", "c"]), "a, b or c");
    }

    #[test]
    fn sizes_have_up_to_three_digits() {
        let sizes = [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (1234, "1.2 kB"),
            (99_949, "99.9 kB"),
            (100_000, "100 kB"),
            (999_999, "999 kB"),
            (1_000_000, "1.0 MB"),
            (20_000_000_000, "20.0 GB"),
            (u64::MAX, "18.4 EB"),
        ];
        for (bytes, text) in sizes {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn durations_have_two_units() {
        assert_eq!(duration(Duration::from_millis(93_784_005)), "1day 2h");
        assert_eq!(duration(Duration::from_millis(1_999)), "1s");
    }
}
