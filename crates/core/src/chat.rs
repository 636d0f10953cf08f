//! What is inside a sealed chat body.
//!
//! A kind that this version does not know is kept, served and shown as "from a newer version".

use minicbor::{Decode, Encode};

use crate::attachment::Attachment;
use crate::limits::{MAX_CAPTION, MAX_TEXT};
use crate::wire::{self, WireError};

/// Something said in a room.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Chat {
    /// A text message.
    Message(String),
    /// A picture, a file or a folder, with a caption (empty: none).
    Attachment(Box<Attachment>, String),
    /// A kind from a newer version.
    Unknown(u32),
}

/// Why a text cannot be a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// It has no characters.
    #[error("the text is empty")]
    Empty,
    /// It is longer than what is named second ([`MAX_TEXT`], [`MAX_CAPTION`]).
    #[error("the text has {0} bytes, and there it has at most {1}")]
    TooLong(usize, usize),
}

const MESSAGE: u32 = 0;
const ATTACHMENT: u32 = 1;

/// The body on the wire: a kind and the fields of all kinds.
#[derive(Debug, Encode, Decode)]
#[cbor(map)]
struct Body {
    #[n(0)]
    kind: u32,
    #[n(1)]
    text: Option<String>,
    #[n(2)]
    attachment: Option<Attachment>,
}

impl Chat {
    /// Makes a message of a text.
    ///
    /// # Errors
    /// [`TextError`].
    pub fn message(text: &str) -> Result<Self, TextError> {
        match text.len() {
            0 => Err(TextError::Empty),
            len if len > MAX_TEXT => Err(TextError::TooLong(len, MAX_TEXT)),
            _ => Ok(Self::Message(text.to_owned())),
        }
    }

    /// Makes an attachment with a caption; an empty one is none.
    ///
    /// # Errors
    /// [`TextError::TooLong`]: with the attachment, caption and body are to stay below the limit of a body.
    pub fn attachment(attachment: Attachment, caption: &str) -> Result<Self, TextError> {
        Self::check_caption(caption)?;
        Ok(Self::Attachment(Box::new(attachment), caption.to_owned()))
    }

    /// Checks what is to be said with an attachment, which may take long to take in.
    ///
    /// # Errors
    /// As [`Self::attachment`].
    pub fn check_caption(caption: &str) -> Result<(), TextError> {
        match caption.len() {
            len if len > MAX_CAPTION => Err(TextError::TooLong(len, MAX_CAPTION)),
            _ => Ok(()),
        }
    }

    /// Returns the plain body, as it is sealed.
    pub fn to_bytes(&self) -> Vec<u8> {
        let body = |kind| Body { kind, text: None, attachment: None };
        wire::encode(&match self {
            Self::Message(text) => Body { text: Some(text.clone()), ..body(MESSAGE) },
            Self::Attachment(it, caption) => Body {
                text: Some(caption.clone()).filter(|text| !text.is_empty()),
                attachment: Some((**it).clone()),
                ..body(ATTACHMENT)
            },
            Self::Unknown(kind) => body(*kind),
        })
    }

    /// Reads a plain body, after it was opened.
    ///
    /// # Errors
    /// [`WireError`]: not a body, or a text above its limit.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, WireError> {
        let body: Body = wire::decode(bytes)?;
        match (body.kind, body.text, body.attachment) {
            (MESSAGE, Some(text), _) => {
                wire::check_len("text", text.len(), MAX_TEXT)?;
                Ok(Self::Message(text))
            }
            (MESSAGE, None, _) => Err(WireError::Malformed("a message without text".into())),
            (ATTACHMENT, caption, Some(attachment)) => {
                let caption = caption.unwrap_or_default();
                wire::check_len("caption", caption.len(), MAX_CAPTION)?;
                attachment.check()?;
                Ok(Self::Attachment(Box::new(attachment), caption))
            }
            (ATTACHMENT, _, None) => Err(WireError::Malformed("an attachment of nothing".into())),
            (kind, ..) => Ok(Self::Unknown(kind)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_have_limits() {
        assert_eq!(Chat::message(""), Err(TextError::Empty));
        assert!(Chat::message(&"x".repeat(MAX_TEXT)).is_ok());
        assert_eq!(
            Chat::message(&"x".repeat(MAX_TEXT + 1)),
            Err(TextError::TooLong(MAX_TEXT + 1, MAX_TEXT))
        );
    }

    #[test]
    fn bodies_round_trip_and_newer_kinds_are_kept_apart() {
        let hello = Chat::message("hello").expect("short");
        assert_eq!(Chat::from_bytes(&hello.to_bytes()), Ok(hello));
        // {0: 9, 5: "new"}: an unknown kind with an unknown field.
        assert_eq!(
            Chat::from_bytes(&[0xa2, 0x00, 0x09, 0x05, 0x63, b'n', b'e', b'w']),
            Ok(Chat::Unknown(9))
        );
        assert!(Chat::from_bytes(b"\xff").is_err());
    }
}
