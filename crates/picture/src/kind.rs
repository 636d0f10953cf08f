//! What a file is, by its first bytes.

use std::fmt;

use crate::read::{array, u32_be};

/// How many bytes of a file are enough to tell what it is: nothing that is looked for begins later.
pub const SNIFF_LEN: usize = 8 * 1024;

/// Media types that only [`kind`] gives.
const OURS: &[&str] = &[
    "image/jpeg",
    "image/png",
    "image/gif",
    "image/webp",
    "image/avif",
    "image/heic",
    "image/heif",
];

/// The pictures that are recognized.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PictureKind {
    /// JPEG, with or without JFIF.
    Jpeg,
    /// PNG, also animated.
    Png,
    /// GIF, of either version.
    Gif,
    /// WebP: lossy, lossless, animated.
    WebP,
    /// AVIF: HEIF with AV1 inside.
    Avif,
    /// HEIC, and HEIF with something else than AV1 inside.
    Heic,
}

impl PictureKind {
    /// Returns the media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::Gif => "image/gif",
            Self::WebP => "image/webp",
            Self::Avif => "image/avif",
            Self::Heic => "image/heic",
        }
    }
}

impl fmt::Display for PictureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Jpeg => "JPEG",
            Self::Png => "PNG",
            Self::Gif => "GIF",
            Self::WebP => "WebP",
            Self::Avif => "AVIF",
            Self::Heic => "HEIC",
        })
    }
}

/// Tells which picture a file is, by its first bytes ([`SNIFF_LEN`] of them, or all); none for
/// other files.
pub fn kind(first: &[u8]) -> Option<PictureKind> {
    if first.starts_with(b"\xff\xd8\xff") {
        Some(PictureKind::Jpeg)
    } else if first.starts_with(b"\x89PNG\r\n\x1a\n") {
        Some(PictureKind::Png)
    } else if first.starts_with(b"GIF87a") || first.starts_with(b"GIF89a") {
        Some(PictureKind::Gif)
    } else if first.starts_with(b"RIFF") && array(first, 8) == Some(*b"WEBP") {
        Some(PictureKind::WebP)
    } else {
        heif(first)
    }
}

/// Tells the media type of any file, by its first bytes ([`SNIFF_LEN`] of them, or all); its name
/// only tells one text from another, and never makes a picture or a page of what is none.
pub fn media_type(first: &[u8], name: &str) -> &'static str {
    if let Some(kind) = kind(first) {
        return kind.media_type();
    }
    let first = first.get(..SNIFF_LEN).unwrap_or(first);
    // What is not one of our pictures is not called so either, whatever it looks like to others.
    if let Some(found) = infer::get(first).map(|found| found.mime_type())
        && !OURS.contains(&found)
    {
        return found;
    }
    if is_text(first) { text_type(name) } else { "application/octet-stream" }
}

/// A file of the ISO base media format that says that it is a HEIF picture.
fn heif(first: &[u8]) -> Option<PictureKind> {
    let size = usize::try_from(u32_be(first, 0)?).ok()?;
    if array(first, 4) != Some(*b"ftyp") {
        return None;
    }
    // The first brand, then a version of four bytes, then more brands.
    let main = first.get(8..12)?;
    let more = first.get(16..size.min(first.len())).unwrap_or_default().chunks_exact(4);
    let brands = || std::iter::once(main).chain(more.clone());
    let has = |known: &[&[u8; 4]]| brands().any(|it| known.iter().any(|known| it == *known));
    if has(&[b"avif", b"avis"]) {
        return Some(PictureKind::Avif);
    }
    // A movie may name `mif1` among others; a picture begins with such a brand.
    let heic: [&[u8; 4]; 11] = [
        b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"mif2",
        b"msf1",
    ];
    heic.iter().any(|brand| main == *brand).then_some(PictureKind::Heic)
}

fn is_text(first: &[u8]) -> bool {
    let text = match std::str::from_utf8(first) {
        Ok(text) => text,
        // The end may cut a character in two.
        Err(error) if error.error_len().is_none() => {
            let valid = first.get(..error.valid_up_to()).unwrap_or_default();
            std::str::from_utf8(valid).unwrap_or_default()
        }
        Err(_) => return false,
    };
    !text.is_empty() && !text.chars().any(|c| c.is_control() && !"\t\n\r\u{c}\u{1b}".contains(c))
}

fn text_type(name: &str) -> &'static str {
    let extension = name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
    match extension.as_deref() {
        Some("css") => "text/css",
        Some("csv") => "text/csv",
        Some("ics") => "text/calendar",
        Some("json") => "application/json",
        Some("md" | "markdown") => "text/markdown",
        Some("vcf") => "text/vcard",
        _ => "text/plain",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_decides_not_the_name() {
        let png = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR";
        assert_eq!(kind(png), Some(PictureKind::Png));
        assert_eq!(media_type(png, "holiday.jpg"), "image/png");
        assert_eq!(media_type(b"\xff\xd8\xff\xe0", "notes.txt"), "image/jpeg");
        assert_eq!(media_type(b"%PDF-1.7\n%", "a.png"), "application/pdf");
        assert_eq!(media_type(b"GIF89b", "a.gif"), "text/plain");
        assert_eq!(media_type(&[0, 1, 2, 3], "a.gif"), "application/octet-stream");
        assert_eq!(media_type(b"", "a.txt"), "application/octet-stream");
    }

    #[test]
    fn a_name_tells_texts_apart() {
        assert_eq!(media_type("# ñandú".as_bytes(), "README.MD"), "text/markdown");
        assert_eq!(media_type(b"a,b\r\n1,2\r\n", "table.csv"), "text/csv");
        assert_eq!(media_type(b"hello", "page.html"), "text/plain");
        assert_eq!(media_type(b"hello", "script.js"), "text/plain");
        assert_eq!(media_type("año".as_bytes().split_at(2).0, "cut"), "text/plain");
        assert_eq!(media_type(b"a\0b", "a.txt"), "application/octet-stream");
    }

    #[test]
    fn brands_tell_heif_pictures_from_movies() {
        let file = |main: &[u8; 4], more: &[&[u8; 4]]| {
            let size = u32::try_from(16 + 4 * more.len()).expect("small");
            let mut bytes = size.to_be_bytes().to_vec();
            bytes.extend(b"ftyp");
            bytes.extend(main);
            bytes.extend([0; 4]);
            bytes.extend(more.iter().copied().flatten());
            bytes.extend(b"avif");
            bytes
        };
        assert_eq!(kind(&file(b"avif", &[])), Some(PictureKind::Avif));
        assert_eq!(kind(&file(b"mif1", &[b"miaf", b"avif"])), Some(PictureKind::Avif));
        assert_eq!(kind(&file(b"heic", &[b"mif1"])), Some(PictureKind::Heic));
        assert_eq!(kind(&file(b"mif1", &[b"heic"])), Some(PictureKind::Heic));
        assert_eq!(kind(&file(b"isom", &[b"mp42"])), None);
        assert_eq!(media_type(&file(b"isom", &[b"mp42"]), "a.heic"), "video/mp4");
    }
}
