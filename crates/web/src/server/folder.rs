//! What the API keeps in the data folder: the bearer token, and where it is served.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::{fmt, process};

use ayni::Error;
use data_encoding::HEXLOWER;

use crate::api::Address;
use crate::client::ADDRESS_FILE;

/// The file that has the bearer token.
const TOKEN_FILE: &str = "token";
/// Bytes of randomness in a token: as hard to guess as any key here.
const TOKEN_BYTES: usize = 32;
/// Its length as text.
const TOKEN_TEXT: usize = 2 * TOKEN_BYTES;

/// The bearer token: 64 hexadecimal digits that only this user can read.
pub(super) struct Token(String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

impl Token {
    /// Reads the folder's token; makes a new one where there is none, where it is malformed, and
    /// where others were able to read it.
    pub(super) fn open(data: &Path) -> ayni::Result<Self> {
        let path = data.join(TOKEN_FILE);
        if let Some(token) = fs::read_to_string(&path).ok().filter(|_| is_private(&path)) {
            let token = token.trim();
            if token.len() == TOKEN_TEXT && HEXLOWER.decode(token.as_bytes()).is_ok() {
                return Ok(Self(token.to_owned()));
            }
        }
        let mut bytes = [0; TOKEN_BYTES];
        getrandom::fill(&mut bytes).map_err(|error| Error::Io {
            what: "the system gave no randomness for the API's token".into(),
            source: io::Error::other(error),
        })?;
        let token = HEXLOWER.encode(&bytes);
        replace(&path, token.as_bytes())?;
        Ok(Self(token))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is this token, in a time that tells nothing of where it differs.
    pub(super) fn is(&self, given: &[u8]) -> bool {
        let own = self.0.as_bytes();
        if own.len() != given.len() {
            return false;
        }
        let differences = own.iter().zip(given).fold(0, |sum, (a, b)| {
            // Hidden from the optimizer, which could end the loop early.
            std::hint::black_box(sum | (a ^ b))
        });
        differences == 0
    }
}

/// The file `api.json`; dropping it removes the file.
#[derive(Debug)]
pub(super) struct Published {
    path: PathBuf,
}

impl Published {
    pub(super) fn write(data: &Path, addr: SocketAddr, passing: bool) -> ayni::Result<Self> {
        let path = data.join(ADDRESS_FILE);
        let address = Address {
            http: format!("http://{addr}"),
            pid: process::id(),
            token_file: token_file(data),
            passing,
        };
        let json = serde_json::to_vec(&address).expect("the API's shapes are plain data");
        replace(&path, &json)?;
        Ok(Self { path })
    }
}

impl Drop for Published {
    fn drop(&mut self) {
        // The node holds the folder's lock, so the file is this server's own.
        let _ = fs::remove_file(&self.path);
    }
}

/// Returns the token's file as `api.json` names it: absolute, for scripts that read it from
/// elsewhere; beside `api.json` where the folder's name is not Unicode, which JSON cannot carry.
fn token_file(data: &Path) -> String {
    let folder = fs::canonicalize(data).unwrap_or_else(|_| data.to_owned());
    folder.join(TOKEN_FILE).into_os_string().into_string().unwrap_or_else(|_| TOKEN_FILE.to_owned())
}

/// Writes a file of this user alone, whole or not at all.
fn replace(path: &Path, content: &[u8]) -> ayni::Result<()> {
    let half = path.with_extension("new");
    let written = (|| {
        // A leftover could have other permissions.
        match fs::remove_file(&half) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = create_private(&half)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&half, path)
    })();
    written.map_err(|source| {
        let _ = fs::remove_file(&half);
        Error::Io { what: format!("the file {} could not be written", path.display()), source }
    })
}

fn create_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options.open(path)
}

#[cfg(unix)]
fn is_private(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    // The six bits of group and others are zero.
    fs::metadata(path).is_ok_and(|file| file.permissions().mode().trailing_zeros() >= 6)
}

/// Elsewhere the folder's own permissions protect it.
#[cfg(not(unix))]
fn is_private(_: &Path) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().expect("a temporary folder")
    }

    #[test]
    fn a_token_is_kept_over_restarts() {
        let folder = folder();
        let first = Token::open(folder.path()).expect("writable");
        let second = Token::open(folder.path()).expect("readable");
        assert_eq!(first.as_str(), second.as_str());
        assert_eq!(first.as_str().len(), TOKEN_TEXT);
    }

    #[test]
    fn a_damaged_token_is_replaced() {
        let folder = folder();
        for damaged in ["", "short", &"z".repeat(TOKEN_TEXT)] {
            fs::write(folder.path().join(TOKEN_FILE), damaged).expect("writable");
            let token = Token::open(folder.path()).expect("writable");
            assert!(HEXLOWER.decode(token.as_str().as_bytes()).is_ok());
        }
    }

    #[test]
    fn a_token_is_equal_to_itself_only() {
        let token = Token("a".repeat(TOKEN_TEXT));
        assert!(token.is("a".repeat(TOKEN_TEXT).as_bytes()));
        assert!(!token.is("a".repeat(TOKEN_TEXT - 1).as_bytes()));
        assert!(!token.is(format!("{}b", "a".repeat(TOKEN_TEXT - 1)).as_bytes()));
        assert!(!token.is(b""));
    }

    #[cfg(unix)]
    #[test]
    fn files_are_the_users_own_and_an_exposed_token_is_replaced() {
        use std::os::unix::fs::PermissionsExt;
        let folder = folder();
        let first = Token::open(folder.path()).expect("writable");
        let addr = ([127, 0, 0, 1], 7).into();
        let published = Published::write(folder.path(), addr, false).expect("ok");
        for name in [TOKEN_FILE, ADDRESS_FILE] {
            let mode = fs::metadata(folder.path().join(name)).expect("there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        drop(published);
        assert!(!folder.path().join(ADDRESS_FILE).exists());

        let open = fs::Permissions::from_mode(0o644);
        fs::set_permissions(folder.path().join(TOKEN_FILE), open).expect("own file");
        let second = Token::open(folder.path()).expect("writable");
        assert_ne!(first.as_str(), second.as_str());
    }
}
