//! Names of people and rooms, as this node gives them.

use ayni_core::file_name::deceives;
use ayni_core::limits::MAX_NAME;

use crate::error::{Error, Result};

/// Returns the name without spaces around it.
///
/// # Errors
/// [`Error::Invalid`] for what can be no name.
pub(crate) fn check(name: &str) -> Result<String> {
    let name = name.trim();
    if name.is_empty() {
        return Err(Error::Invalid("a name needs at least one character".into()));
    }
    if name.len() > MAX_NAME {
        return Err(Error::Invalid(format!("a name has at most {MAX_NAME} bytes")));
    }
    if name.chars().any(deceives) {
        return Err(Error::Invalid("a name has no control or invisible characters".into()));
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hides_or_reorders_is_in_no_name() {
        let hidden = "\0\n\u{7f}\u{85}\u{ad}\u{61c}\u{200b}\u{200e}\u{200f}\u{202e}\u{2060}\u{2064}\
                      \u{2066}\u{feff}\u{e0041}";
        for c in hidden.chars() {
            assert!(check(&format!("an{c}a")).is_err(), "{}", c.escape_unicode());
        }
        assert!(check(" ").is_err());
        assert!(check(&"ñ".repeat(65)).is_err());
    }

    #[test]
    fn names_of_any_script_are_names() {
        for name in ["Ana", "Yuyaychay ñan", "שלום עולם", "نامه\u{200c}ای", "👩‍👩‍👧 🇵🇪", "日本語"]
        {
            assert_eq!(check(&format!(" {name} ")).ok().as_deref(), Some(name));
        }
    }
}
