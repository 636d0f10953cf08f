//! What must hold for any bytes: shared with the fuzz target.

use ayni_picture::{Limits, SNIFF_LEN, StripError, describe, kind, media_type, strip};

/// Nothing panics; what is stripped stays what it was, and is left alone the second time.
pub fn picture(data: &[u8]) {
    let first = data.get(..SNIFF_LEN).unwrap_or(data);
    assert_eq!(kind(first), kind(data));
    assert!(media_type(data, "name.txt").contains('/'));
    // Small, so that many can be tried.
    let limits = Limits { pixels: 1 << 20, bytes: 1 << 26 };
    let _ = describe(data, &limits);
    match strip(data) {
        Ok(once) => {
            assert_eq!(kind(&once.bytes), Some(once.kind));
            assert_eq!(strip(&once.bytes).as_ref(), Ok(&once));
        }
        Err(error) => assert_eq!(error == StripError::NotAPicture, kind(data).is_none()),
    }
}
