//! What a message says of the picture, file or folder that comes with it.
//!
//! The content itself is not here: it is named by its hash and fetched from whoever has it. What is
//! here is enough to show a timeline at once: name, size, and of a picture a thumbnail.
//!
//! Everything in it is what its author says. Name and paths are cleaned before they are used
//! ([`crate::file_name`]), sizes and the hash are checked while the content comes.

use minicbor::{Decode, Encode};

use crate::id::BlobId;
use crate::limits::{MAX_FILE_NAME, MAX_MEDIA_TYPE, MAX_PIXEL_SIDE, MAX_THUMBHASH, MAX_THUMBNAIL};
use crate::wire::{WireError, check_len};

/// A picture, a file or a folder.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Attachment {
    /// The content: of a folder, the list of its files.
    #[n(0)]
    pub blob: BlobId,
    /// Bytes of the file, or of all files of the folder together.
    #[n(1)]
    pub size: u64,
    /// Its name, as its author gave it.
    #[n(2)]
    pub name: String,
    /// Its media type, found by its content; empty for a folder.
    #[n(3)]
    pub media_type: String,
    /// How many files a folder has; none for a file.
    #[n(4)]
    pub files: Option<u64>,
    /// What shows of a picture before it is here.
    #[n(5)]
    pub picture: Option<Picture>,
}

/// What shows of a picture before it is here.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Picture {
    /// Pixels from left to right, as it is shown; 0 where it could not be decoded.
    #[n(0)]
    pub width: u32,
    /// Pixels from top to bottom.
    #[n(1)]
    pub height: u32,
    /// A thumbhash: a blurred picture in about 25 bytes; empty where it could not be decoded.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub thumbhash: Vec<u8>,
    /// A small JPEG; empty where it could not be decoded.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub thumbnail: Vec<u8>,
}

impl Attachment {
    /// Whether it is a folder.
    pub fn is_folder(&self) -> bool {
        self.files.is_some()
    }

    /// Checks every length.
    ///
    /// # Errors
    /// [`WireError`] for one above its limit.
    pub fn check(&self) -> Result<(), WireError> {
        check_len("name", self.name.len(), MAX_FILE_NAME)?;
        check_len("media type", self.media_type.len(), MAX_MEDIA_TYPE)?;
        if self.is_folder() && self.picture.is_some() {
            return Err(WireError::Malformed("a folder that is a picture".into()));
        }
        let Some(picture) = &self.picture else { return Ok(()) };
        check_len("thumbhash", picture.thumbhash.len(), MAX_THUMBHASH)?;
        check_len("thumbnail", picture.thumbnail.len(), MAX_THUMBNAIL)?;
        let side = picture.width.max(picture.height);
        check_len("side of a picture", usize::try_from(side).unwrap_or(usize::MAX), MAX_PIXEL_SIDE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::Chat;
    use crate::limits::{MAX_BODY, MAX_CAPTION};

    fn largest() -> Attachment {
        Attachment {
            blob: BlobId([7; 32]),
            size: u64::MAX,
            name: "n".repeat(MAX_FILE_NAME),
            media_type: "m".repeat(MAX_MEDIA_TYPE),
            files: None,
            picture: Some(Picture {
                width: 1 << 16,
                height: 1 << 16,
                thumbhash: vec![1; MAX_THUMBHASH],
                thumbnail: vec![2; MAX_THUMBNAIL],
            }),
        }
    }

    #[test]
    fn the_largest_fits_into_a_body() {
        let chat = Chat::attachment(largest(), &"c".repeat(MAX_CAPTION)).expect("at the limit");
        assert!(chat.to_bytes().len() + 64 < MAX_BODY);
        assert_eq!(Chat::from_bytes(&chat.to_bytes()), Ok(chat));
        assert!(Chat::attachment(largest(), &"c".repeat(MAX_CAPTION + 1)).is_err());
    }

    #[test]
    fn every_length_has_a_limit() {
        let picture = largest().picture.expect("one");
        let wrong = [
            Attachment { name: "n".repeat(MAX_FILE_NAME + 1), ..largest() },
            Attachment { media_type: "m".repeat(MAX_MEDIA_TYPE + 1), ..largest() },
            Attachment { files: Some(1), ..largest() },
            Attachment {
                picture: Some(Picture { thumbnail: vec![0; MAX_THUMBNAIL + 1], ..picture.clone() }),
                ..largest()
            },
            Attachment {
                picture: Some(Picture { thumbhash: vec![0; MAX_THUMBHASH + 1], ..picture.clone() }),
                ..largest()
            },
            Attachment { picture: Some(Picture { width: u32::MAX, ..picture }), ..largest() },
        ];
        for attachment in wrong {
            let chat = Chat::Attachment(Box::new(attachment), String::new());
            assert!(Chat::from_bytes(&chat.to_bytes()).is_err(), "{chat:?}");
        }
    }
}
