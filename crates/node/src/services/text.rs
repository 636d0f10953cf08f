//! Sentences that cross the network.

/// Longest failure text sent or shown: a sentence with some detail, never a log file.
pub(super) const MAX_FAILURE: usize = 512;

/// Makes a text safe to show on one line: no line breaks, no terminal control, no marks that turn
/// the direction of writing, at most [`MAX_FAILURE`] bytes.
///
/// Used on what we send, and again on what a peer sent: a failure text is the peer's choice.
pub(super) fn one_line(text: &str) -> String {
    let mut line = String::new();
    for c in text.trim().chars() {
        let c = if c.is_control() || misleads(c) { ' ' } else { c };
        if line.len() + c.len_utf8() > MAX_FAILURE {
            break;
        }
        line.push(c);
    }
    line
}

/// Whether a character changes how its neighbors are shown: line and paragraph separators, and the
/// bidirectional marks, embeddings, overrides and isolates of Unicode annex 9.
fn misleads(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hazard_28_a_failure_is_one_harmless_line() {
        assert_eq!(one_line("  no\nsuch\tfile \u{1b}[2J\u{202e}x \n"), "no such file  [2J x");
        assert_eq!(one_line("größe"), "größe");
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let cut = one_line(&"ü".repeat(MAX_FAILURE));
        assert_eq!(cut.chars().count(), MAX_FAILURE / 2);
        assert_eq!(one_line(&format!("x{}", "ü".repeat(MAX_FAILURE))).len(), MAX_FAILURE - 1);
    }
}
