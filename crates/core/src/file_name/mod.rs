//! Names of files that come from others, or go to them.
//!
//! Invariant: what [`clean`] returns is one component that exists on every common system and stays in
//! the folder that it is put into; [`clean_path`] returns such components alone. Both leave alone what
//! they returned once. A name is shown as it will be written.
//!
//! Source of what Windows reserves: "Naming Files, Paths, and Namespaces", Microsoft Learn.

mod paths;

pub use self::paths::Paths;
use crate::limits::{MAX_FILE_NAME, MAX_FILE_PATH, MAX_PATH_DEPTH};

/// What a file is called whose name has nothing that can stay.
const NAMELESS: &str = "file";

/// Whether a character is obeyed instead of shown: a control, or one that reorders or hides what is
/// around it (Unicode Technical Report 36). Whoever shows a text of others makes these visible.
///
/// U+200C and U+200D are not among them: scripts and emoji need these.
pub fn deceives(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{61c}'
                | '\u{200b}'
                | '\u{200e}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// Returns a name for one file or folder, made of another one: without separators and what deceives,
/// not reserved anywhere, [`MAX_FILE_NAME`] bytes at most; a long name keeps its extension.
pub fn clean(name: &str) -> String {
    let kept: String = name.chars().filter(|c| !deceives(*c)).map(writable).collect();
    // Windows drops dots and spaces at the end, so that two names would be one.
    let kept = kept.trim_start().trim_end_matches(['.', ' ']).trim_end();
    if kept.is_empty() {
        return NAMELESS.into();
    }
    let kept = if is_reserved(kept) { format!("_{kept}") } else { kept.to_owned() };
    shorten(&kept)
}

/// Returns the components of a relative path, each clean, at most [`MAX_PATH_DEPTH`] of them; none
/// where nothing is left, or all together are longer than [`MAX_FILE_PATH`] bytes.
///
/// Both separators separate, and `.` and `..` are left out: nothing leads upwards.
pub fn clean_path(path: &str) -> Option<Vec<String>> {
    let parts = path.split(['/', '\\']).map(str::trim);
    let parts: Vec<String> =
        parts.filter(|part| !matches!(*part, "" | "." | "..")).map(clean).collect();
    let len: usize = parts.iter().map(|part| part.len() + 1).sum();
    (!parts.is_empty() && parts.len() <= MAX_PATH_DEPTH && len <= MAX_FILE_PATH).then_some(parts)
}

/// Returns a clean name as it is put into a folder that its user keeps: there a name that begins with dots
/// would be hidden, and might be obeyed by a program (`.bashrc`, `.envrc`), so `_` takes their place.
pub fn unhidden(name: &str) -> String {
    let shown = name.trim_start_matches('.');
    if shown.len() == name.len() { name.to_owned() } else { clean(&format!("_{shown}")) }
}

/// Returns a name that comes `n`th among those that would be the same: `a (2).txt` for `a.txt`.
pub fn numbered(name: &str, n: u32) -> String {
    let (stem, extension) = split(name);
    let suffix = format!(" ({n}){extension}");
    let stem = cut(stem, MAX_FILE_NAME.saturating_sub(suffix.len()));
    format!("{stem}{suffix}")
}

fn writable(c: char) -> char {
    match c {
        '/' | '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|'
        // Look like a separator, and are one nowhere.
        | '\u{2044}' | '\u{2215}' | '\u{29f8}' | '\u{ff0f}' | '\u{ff3c}' => '_',
        c => c,
    }
}

/// Whether Windows takes a name for a device, whatever its extension.
fn is_reserved(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or(name).trim_end().to_ascii_uppercase();
    let numbered = |prefix: &str| {
        let digit = stem.strip_prefix(prefix);
        digit.is_some_and(|it| {
            matches!(it, "\u{b9}" | "\u{b2}" | "\u{b3}")
                || (it.len() == 1 && it.bytes().all(|byte| byte.is_ascii_digit()))
        })
    };
    matches!(stem.as_str(), "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$")
        || numbered("COM")
        || numbered("LPT")
}

fn shorten(name: &str) -> String {
    if name.len() <= MAX_FILE_NAME {
        return name.to_owned();
    }
    let (stem, extension) = split(name);
    let stem = cut(stem, MAX_FILE_NAME - extension.len());
    format!("{}{extension}", stem.trim_end_matches(['.', ' ']))
}

/// Splits the extension off, with its dot, if it is one of at most 16 bytes.
fn split(name: &str) -> (&str, &str) {
    match name.rfind('.') {
        Some(at) if at > 0 && name.len() - at <= 16 => name.split_at(at),
        _ => (name, ""),
    }
}

fn cut(text: &str, limit: usize) -> &str {
    let mut end = limit.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.split_at(end).0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hazard_28_no_name_leaves_its_folder_or_misleads() {
        let cases = [
            ("photo.jpg", "photo.jpg"),
            ("../../etc/passwd", ".._.._etc_passwd"),
            ("/etc/passwd", "_etc_passwd"),
            ("C:\\Windows\\win.ini", "C__Windows_win.ini"),
            ("a\0b", "ab"),
            ("..", "file"),
            (".", "file"),
            ("", "file"),
            (" . . ", "file"),
            ("nul", "_nul"),
            ("COM1.txt", "_COM1.txt"),
            ("com\u{b9}", "_com\u{b9}"),
            ("lpt9 .tar.gz", "_lpt9 .tar.gz"),
            ("console.log", "console.log"),
            ("COM10", "COM10"),
            ("stream.txt:hidden", "stream.txt_hidden"),
            ("gpj.\u{202e}exe", "gpj.exe"),
            ("in\u{200b}visible\u{feff}", "invisible"),
            ("line\nbreak\r\u{1b}[2J", "linebreak[2J"),
            ("trailing. . .", "trailing"),
            (".bashrc", ".bashrc"),
            ("a\u{2044}b\u{ff0f}c", "a_b_c"),
            ("שלום.txt", "שלום.txt"),
            ("نامه\u{200c}ای.pdf", "نامه\u{200c}ای.pdf"),
        ];
        for (given, expected) in cases {
            assert_eq!(clean(given), expected, "{given:?}");
        }
    }

    #[test]
    fn hazard_28_paths_lead_down_only() {
        let joined = |path: &str| clean_path(path).map(|parts| parts.join("/"));
        assert_eq!(joined("a/b/c.txt").as_deref(), Some("a/b/c.txt"));
        assert_eq!(joined("/a//./b").as_deref(), Some("a/b"));
        assert_eq!(joined("../../a/../b").as_deref(), Some("a/b"));
        assert_eq!(joined("..\\..\\a\\nul").as_deref(), Some("a/_nul"));
        assert_eq!(joined(".. /a").as_deref(), Some("a"));
        assert_eq!(joined("a/.. ./b").as_deref(), Some("a/file/b"));
        assert_eq!(joined("../.."), None);
        assert_eq!(joined(&"d/".repeat(MAX_PATH_DEPTH + 1)), None);
        assert_eq!(
            joined(&"d".repeat(MAX_FILE_NAME).repeat(2)).map(|it| it.len()),
            Some(MAX_FILE_NAME)
        );
        assert_eq!(joined(&format!("{}/", "d".repeat(200)).repeat(MAX_FILE_PATH / 200 + 1)), None);
    }

    #[test]
    fn hazard_28_no_name_hides_in_a_folder_that_its_user_keeps() {
        let cases = [(".bashrc", "_bashrc"), ("..a", "_a"), ("a.txt", "a.txt"), ("...", "_")];
        for (given, expected) in cases {
            assert_eq!(unhidden(given), expected, "{given:?}");
        }
    }

    #[test]
    fn a_long_name_keeps_its_extension_and_is_cut_between_characters() {
        let long = clean(&format!("{}.jpeg", "ñ".repeat(300)));
        assert!(long.len() <= MAX_FILE_NAME && long.ends_with("ñ.jpeg"), "{long}");
        assert_eq!(numbered("a.txt", 2), "a (2).txt");
        assert_eq!(numbered(".bashrc", 3), ".bashrc (3)");
        let again = numbered(&long, 10);
        assert!(again.len() <= MAX_FILE_NAME && again.ends_with(" (10).jpeg"), "{again}");
    }

    proptest! {
        #[test]
        fn hazard_28_whatever_comes_stays_below_its_folder(path in "\\PC{0,40}|[./\\\\:\u{0}-\u{20}a\u{202e}]{0,60}") {
            let name = clean(&path);
            prop_assert!(!name.is_empty() && name.len() <= MAX_FILE_NAME && name != "." && name != "..");
            let refused = |c: char| deceives(c) || writable(c) != c;
            prop_assert!(!name.chars().any(refused));
            prop_assert!(!name.ends_with(['.', ' ']) && !is_reserved(&name));
            prop_assert_eq!(clean(&name), name);
            for part in clean_path(&path).into_iter().flatten() {
                prop_assert_eq!(clean(&part), part);
            }
        }
    }
}
