//! The data folder: its lock, its format, the keys and the settings.
//!
//! Invariants: one process has a folder at a time; a folder of a newer version is left exactly as it
//! is; a file is replaced whole or not at all, and a key file is never replaced.
//!
//! Files: `lock`, `format` (a number), `config.json`, `ayni.db` (the [store](crate::store)), and in
//! `keys/` as hexadecimal text `account.key` (the 32 bytes that the 24 words stand for),
//! `device.key` (Ed25519 and X25519 secrets, a line each) and `device.cert`. All are 0600.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use ayni_core::Entropy;
use ayni_core::keys::{AccountKey, DeviceCert, DeviceKey};
use ayni_core::wire;
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::name;

/// The folder format that this version writes, and the newest that it knows.
pub(crate) const FORMAT: u32 = 1;

/// A data folder, locked for this process as long as the value lives.
#[derive(Debug)]
pub(crate) struct DataFolder {
    path: PathBuf,
    /// Two writes of one file at once would share its temporary name.
    writing: Mutex<()>,
    _lock: File,
}

/// Who this node is.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    pub(crate) account: AccountKey,
    pub(crate) device: DeviceKey,
    pub(crate) cert: DeviceCert,
}

/// The settings in `config.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Config {
    /// The name shown to others.
    #[serde(default = "default_name")]
    pub(crate) name: String,
    /// The network preset last used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) network: Option<String>,
    /// The UDP port, chosen once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) udp_port: Option<u16>,
    /// The port of the local API, chosen once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) http_port: Option<u16>,
    /// What the database's file was told by at the last start: a copy is another file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) place: Option<String>,
    /// Bytes of content a second that are given to others, and fetched, at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rate_up: Option<u64>,
    /// See [`Self::rate_up`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rate_down: Option<u64>,
    /// Bytes of the disk that pictures and files may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) quota: Option<u64>,
    /// Whether copies are made of what few have, without being asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) replicate: Option<bool>,
    /// How many devices are to have each attachment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) copies: Option<usize>,
    /// Bytes of each room that are fetched for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) replicate_bytes: Option<u64>,
    /// Rooms in which a copied folder writes nothing before it has heard of its own logs.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) unheard: BTreeSet<String>,
    /// What other versions wrote here: kept.
    #[serde(flatten)]
    other: serde_json::Map<String, serde_json::Value>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: default_name(),
            network: None,
            udp_port: None,
            http_port: None,
            place: None,
            rate_up: None,
            rate_down: None,
            quota: None,
            replicate: None,
            copies: None,
            replicate_bytes: None,
            unheard: BTreeSet::new(),
            other: serde_json::Map::new(),
        }
    }
}

impl DataFolder {
    /// Opens the folder at `path`, makes it when it is missing, and locks it. Blocking.
    ///
    /// # Errors
    /// [`Error::InUse`]; [`Error::NewerFolder`], and nothing was touched; [`Error::Store`] for a
    /// damaged `format` or a full disk; [`Error::Io`].
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let format = path.join("format");
        // Before anything is made or locked: a newer folder is not touched.
        let found = read_format(path, &format)?;
        make_folder(path)?;
        let lock = lock(path)?;
        if found.is_none() && read_format(path, &format)?.is_none() {
            replace(&format, format!("{FORMAT}\n").as_bytes())?;
        }
        Ok(Self { path: path.to_owned(), writing: Mutex::default(), _lock: lock })
    }

    /// Returns the folder's path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns where the database is.
    pub(crate) fn database(&self) -> PathBuf {
        self.path.join("ayni.db")
    }

    /// Returns the folder of pictures and files.
    pub(crate) fn contents(&self) -> PathBuf {
        self.path.join("content")
    }

    /// Checks that keys and database are both here, or both still to be made. Blocking.
    ///
    /// A device that lost its database would begin its logs again, and contradict what others have of
    /// it; a database that lost its keys would be nobody's.
    ///
    /// # Errors
    /// [`Error::Store`]; nothing was changed.
    pub(crate) fn check_whole(&self) -> Result<()> {
        let (key, database) = (self.path.join("keys").join("device.key"), self.database());
        let has_data = std::fs::metadata(&database).is_ok_and(|data| data.len() > 0);
        if has_data && !key.exists() {
            return Err(Error::Store(format!(
                "the file {} is missing, though this folder has a database: put it back, or name \
                 another folder with --data to start as someone else",
                key.display()
            )));
        }
        // The settings are first written when the database is there.
        if !has_data && key.exists() && self.path.join("config.json").exists() {
            return Err(Error::Store(format!(
                "the database {} is missing or empty, though this device wrote to it before: put \
                 it back, or name another folder with --data to start as a new device",
                database.display()
            )));
        }
        Ok(())
    }

    /// Returns the keys, made on the first start. Blocking.
    ///
    /// # Errors
    /// [`Error::Store`] for a malformed or missing file, [`Error::Io`]; no file was replaced then.
    pub(crate) fn keys(&self) -> Result<Keys> {
        let folder = self.path.join("keys");
        make_folder(&folder)?;
        let (account_file, device_file) = (folder.join("account.key"), folder.join("device.key"));
        let (account_text, device_text) = (read(&account_file)?, read(&device_file)?);
        // The account's key is made first: without it a device's key is a loss, not a first start.
        if account_text.is_none() && device_text.is_some() {
            return Err(Error::Store(format!(
                "the file {} is missing, though this device has a key: put it back, or name \
                 another folder with --data to start as someone else",
                account_file.display()
            )));
        }
        let [entropy] = match account_text {
            Some(text) => secrets_in(&account_file, &text)?,
            None => new_secrets(&account_file)?,
        };
        let account = AccountKey::from_entropy(&entropy);
        let known_device = device_text.is_some();
        let [signing, hpke] = match device_text {
            Some(text) => secrets_in(&device_file, &text)?,
            None => new_secrets(&device_file)?,
        };
        let device = DeviceKey::from_secrets(&signing, &hpke);
        let cert = certificate(&folder.join("device.cert"), &account, &device, known_device)?;
        Ok(Keys { account, device, cert })
    }

    /// Returns the settings; defaults where there are none. Blocking.
    ///
    /// # Errors
    /// [`Error::Store`] for a malformed file or name, [`Error::Io`].
    pub(crate) fn config(&self) -> Result<Config> {
        let file = self.path.join("config.json");
        let Some(text) = read(&file)? else { return Ok(Config::default()) };
        let invalid = |error: &dyn std::fmt::Display| {
            Error::Store(format!(
                "the file {} is not valid ({error}); correct it, or remove it to start with \
                 defaults",
                file.display()
            ))
        };
        let mut config: Config = serde_json::from_slice(&text).map_err(|error| invalid(&error))?;
        config.name = name::check(&config.name).map_err(|error| invalid(&error))?;
        Ok(config)
    }

    /// Replaces the settings. Blocking; durable when it returns.
    ///
    /// # Errors
    /// [`Error::Store`] when the disk is full, [`Error::Io`]; the file is as before then.
    pub(crate) fn save_config(&self, config: &Config) -> Result<()> {
        let mut text = serde_json::to_vec_pretty(config)
            .map_err(|error| Error::Store(format!("the settings cannot be written: {error}")))?;
        text.push(b'\n');
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        replace(&self.path.join("config.json"), &text)
    }
}

fn read_format(folder: &Path, file: &Path) -> Result<Option<u32>> {
    let Some(text) = read(file)? else { return Ok(None) };
    let number = std::str::from_utf8(&text).ok().and_then(|text| text.trim().parse().ok());
    let found: u32 = number.ok_or_else(|| {
        Error::Store(format!(
            "the file {} is damaged: it should hold the number {FORMAT}; nothing was changed",
            file.display()
        ))
    })?;
    if found > FORMAT {
        return Err(Error::NewerFolder { path: folder.to_owned(), found, known: FORMAT });
    }
    Ok(Some(found))
}

fn make_folder(path: &Path) -> Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(failed(path, "the folder", "be made"))
}

fn lock(folder: &Path) -> Result<File> {
    let path = folder.join("lock");
    let file = private(OpenOptions::new().write(true).create(true).truncate(false))
        .open(&path)
        .map_err(failed(&path, "the file", "be opened"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::InUse(folder.to_owned())),
        Err(TryLockError::Error(error)) => Err(failed(&path, "the file", "be locked")(error)),
    }
}

/// Reads a small file; none where there is none.
fn read(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(Zeroizing::new(bytes))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(path, "the file", "be read")(error)),
    }
}

/// Writes a file whole: beside its place, to the disk, then renamed. Private to its owner.
fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let beside = path.with_added_extension("tmp");
    let result = write_durably(&beside, path, bytes);
    if result.is_err() {
        let _ = std::fs::remove_file(&beside); // the error of the write is the one to tell
    }
    result.map_err(failed(path, "the file", "be written"))
}

fn write_durably(beside: &Path, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    // One left by a crash could have any mode.
    match std::fs::remove_file(beside) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = private(OpenOptions::new().write(true).create_new(true)).open(beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    drop(file);
    std::fs::rename(beside, path)?;
    // The name itself is durable only with its folder. Other systems cannot open a folder.
    #[cfg(unix)]
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

/// Tells what could not be done with a path.
fn failed<'a>(
    path: &'a Path,
    what: &'a str,
    done: &'a str,
) -> impl FnOnce(std::io::Error) -> Error + 'a {
    move |error| {
        let path = path.display();
        if error.kind() == ErrorKind::StorageFull {
            return Error::Store(format!(
                "the disk is full: {what} {path} cannot {done}; free some space and try again"
            ));
        }
        Error::io(format!("{what} {path} cannot {done}"))(error)
    }
}

/// Secrets of 32 bytes, wiped from memory when dropped.
type Secrets<const N: usize> = [Zeroizing<Entropy>; N];

/// Makes fresh secrets and keeps them in a new file, a line of hexadecimal digits each.
fn new_secrets<const N: usize>(file: &Path) -> Result<Secrets<N>> {
    let mut secrets: Secrets<N> = std::array::from_fn(|_| Zeroizing::new([0; 32]));
    let mut text = Zeroizing::new(String::with_capacity(N * 65));
    for secret in &mut secrets {
        getrandom::fill(&mut **secret).map_err(|error| {
            Error::Store(format!("the operating system gives no random numbers: {error}"))
        })?;
        HEXLOWER.encode_append(&**secret, &mut text);
        text.push('\n');
    }
    replace(file, text.as_bytes())?;
    Ok(secrets)
}

/// Reads the secrets of a key file.
fn secrets_in<const N: usize>(file: &Path, text: &[u8]) -> Result<Secrets<N>> {
    let lines = std::str::from_utf8(text).unwrap_or_default().lines();
    let secrets = lines.map(|line| {
        let bytes = Zeroizing::new(HEXLOWER_PERMISSIVE.decode(line.trim().as_bytes()).ok()?);
        bytes.as_slice().try_into().ok().map(Zeroizing::new)
    });
    let secrets: Option<Vec<Zeroizing<Entropy>>> = secrets.collect();
    secrets
        .and_then(|secrets| secrets.try_into().ok())
        .ok_or_else(|| damaged_key(file, &format!("{N} line(s) of 64 hexadecimal digits")))
}

fn damaged_key(file: &Path, expected: &str) -> Error {
    Error::Store(format!(
        "the file {} is damaged: it should hold {expected}; nothing was changed, so put the \
         original back",
        file.display()
    ))
}

/// Returns this device's certificate; makes it when it is missing or the device is new.
fn certificate(
    file: &Path,
    account: &AccountKey,
    device: &DeviceKey,
    known_device: bool,
) -> Result<DeviceCert> {
    if known_device && let Some(text) = read(file)? {
        let text = std::str::from_utf8(&text).unwrap_or_default().trim();
        let cert = HEXLOWER_PERMISSIVE
            .decode(text.as_bytes())
            .ok()
            .and_then(|bytes| DeviceCert::from_bytes(&bytes).ok());
        return cert
            .filter(|cert| fits(cert, account, device))
            .ok_or_else(|| damaged_key(file, "the certificate of this account for this device"));
    }
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let time_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    let cert = account.certify(device.id(), device.hpke_public(), time_ms);
    replace(file, format!("{}\n", HEXLOWER.encode(&wire::encode(&cert))).as_bytes())?;
    Ok(cert)
}

fn fits(cert: &DeviceCert, account: &AccountKey, device: &DeviceKey) -> bool {
    let claim = &cert.claim;
    claim.account == account.id()
        && claim.device == device.id()
        && claim.hpke.0 == device.hpke_public()
        && cert.verify().is_ok()
}

/// The name that the operating system knows its user by.
fn default_name() -> String {
    name_from(|variable| std::env::var_os(variable))
}

fn name_from(variable: impl Fn(&str) -> Option<OsString>) -> String {
    ["USER", "LOGNAME", "USERNAME"]
        .into_iter()
        .filter_map(|name| variable(name)?.into_string().ok())
        .find_map(|name| name::check(&name).ok())
        .unwrap_or_else(|| "someone".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("there").path();
            if path.is_dir() {
                files.extend(contents(&path));
            } else {
                files.insert(path.clone(), std::fs::read(path).expect("reads"));
            }
        }
        files
    }

    #[test]
    fn keys_are_made_once_and_private() {
        let temporary = tempfile::tempdir().expect("a folder");
        let path = temporary.path().join("new/ayni");
        let folder = DataFolder::open(&path).expect("opens");
        let keys = folder.keys().expect("made");
        assert_eq!(keys.cert.verify(), Ok(()));
        drop(folder);
        let again = DataFolder::open(&path).expect("opens").keys().expect("read");
        assert_eq!(again.account.id(), keys.account.id());
        assert_eq!(again.device.id(), keys.device.id());
        assert_eq!(again.device.hpke_public(), keys.device.hpke_public());
        assert_eq!(again.cert, keys.cert);
        let names: Vec<_> = contents(&path).into_keys().collect();
        let expected =
            ["format", "keys/account.key", "keys/device.cert", "keys/device.key", "lock"];
        assert_eq!(names, expected.map(|name| path.join(name)), "nothing temporary is left");
        #[cfg(unix)]
        for name in [".", "keys"].into_iter().chain(expected) {
            use std::os::unix::fs::PermissionsExt as _;
            let file = std::fs::metadata(path.join(name)).expect("there");
            let mode = if file.is_dir() { 0o700 } else { 0o600 };
            assert_eq!(file.permissions().mode() & 0o777, mode, "{name}");
        }
    }

    #[test]
    fn one_process_has_a_folder_at_a_time() {
        let temporary = tempfile::tempdir().expect("a folder");
        let folder = DataFolder::open(temporary.path()).expect("opens");
        assert!(matches!(DataFolder::open(temporary.path()), Err(Error::InUse(_))));
        drop(folder);
        DataFolder::open(temporary.path()).expect("free again");
    }

    #[test]
    fn a_newer_folder_is_not_touched() {
        let temporary = tempfile::tempdir().expect("a folder");
        std::fs::write(temporary.path().join("format"), "2\n").expect("writes");
        let before = contents(temporary.path());
        let error = DataFolder::open(temporary.path()).expect_err("newer");
        assert!(matches!(error, Error::NewerFolder { found: 2, known: 1, .. }), "{error}");
        assert_eq!(contents(temporary.path()), before);
        std::fs::write(temporary.path().join("format"), "one").expect("writes");
        let error = DataFolder::open(temporary.path()).expect_err("damaged").to_string();
        assert!(error.contains("is damaged") && !error.contains('\n'), "{error}");
    }

    #[test]
    fn a_malformed_key_is_told_and_kept() {
        let temporary = tempfile::tempdir().expect("a folder");
        let folder = DataFolder::open(temporary.path()).expect("opens");
        folder.keys().expect("made");
        for name in ["account.key", "device.key", "device.cert"] {
            let file = temporary.path().join("keys").join(name);
            let whole = std::fs::read_to_string(&file).expect("reads");
            let stranger = if name == "device.cert" { "00" } else { "" };
            for bad in ["", stranger, "zz", &whole[..20], &format!("{whole}{whole}{whole}")] {
                std::fs::write(&file, bad).expect("writes");
                let before = contents(temporary.path());
                let error = folder.keys().expect_err("malformed").to_string();
                assert!(error.contains(name) && !error.contains('\n'), "{error}");
                assert_eq!(contents(temporary.path()), before);
            }
            std::fs::write(&file, whole.to_uppercase()).expect("writes");
            folder.keys().expect("upper case is the same");
        }
    }

    #[test]
    fn a_lost_account_key_is_told_and_a_lost_device_key_makes_a_new_device() {
        let temporary = tempfile::tempdir().expect("a folder");
        let folder = DataFolder::open(temporary.path()).expect("opens");
        let first = folder.keys().expect("made");
        let file = |name| temporary.path().join("keys").join(name);
        let kept = std::fs::read(file("account.key")).expect("reads");
        std::fs::remove_file(file("account.key")).expect("removed");
        assert!(folder.keys().expect_err("missing").to_string().contains("is missing"));
        std::fs::write(file("account.key"), kept).expect("writes");
        std::fs::remove_file(file("device.key")).expect("removed");
        let second = folder.keys().expect("a new device");
        assert_eq!(first.account.id(), second.account.id());
        assert_ne!(first.device.id(), second.device.id());
        assert_eq!(second.cert.claim.device, second.device.id());
        // A crash before the certificate was written.
        std::fs::remove_file(file("device.cert")).expect("removed");
        assert_eq!(folder.keys().expect("certified again").device.id(), second.device.id());
    }

    #[test]
    fn settings_survive_with_what_others_wrote() {
        let temporary = tempfile::tempdir().expect("a folder");
        let folder = DataFolder::open(temporary.path()).expect("opens");
        assert_eq!(folder.config().expect("defaults"), Config::default());
        let file = temporary.path().join("config.json");
        std::fs::write(&file, r#"{"udp_port": 4000, "later": {"x": [1]}}"#).expect("writes");
        let mut config = folder.config().expect("reads");
        assert_eq!((config.udp_port, config.http_port), (Some(4000), None));
        config.name = "Ana".to_owned();
        folder.save_config(&config).expect("saved");
        assert_eq!(folder.config().expect("reads"), config);
        assert!(std::fs::read_to_string(&file).expect("reads").contains("later"));
        let long = format!(r#"{{"name": "{}"}}"#, "a".repeat(200));
        for bad in [r#"{"udp_port": "#, r#"{"name": " "}"#, r#"{"name": "a\u200bb"}"#, &long] {
            std::fs::write(&file, bad).expect("writes");
            let error = folder.config().expect_err("malformed").to_string();
            assert!(error.contains("config.json") && !error.contains('\n'), "{error}");
            assert_eq!(std::fs::read_to_string(&file).expect("reads"), bad, "kept as it is");
        }
    }

    #[test]
    fn a_name_is_found_or_made_up() {
        let of = |user: &str, logname: &str| {
            let (user, logname) = (OsString::from(user), OsString::from(logname));
            name_from(|variable| match variable {
                "USER" => Some(user.clone()),
                "LOGNAME" => Some(logname.clone()),
                _ => None,
            })
        };
        assert_eq!(of(" ana ", "x"), "ana");
        assert_eq!(of("", "ben"), "ben");
        assert_eq!(of("\u{7}", ""), "someone");
        assert_eq!(of(&"a".repeat(200), ""), "someone");
    }

    #[test]
    fn hazard_2_a_folder_without_its_database_does_not_begin_its_logs_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let data = DataFolder::open(folder.path()).expect("opens");
        data.check_whole().expect("nothing is here yet");
        let _ = data.keys().expect("made");
        data.check_whole().expect("killed before the database was made");
        std::fs::write(data.database(), b"something").expect("written");
        data.save_config(&Config::default()).expect("written");
        data.check_whole().expect("whole");
        let before = contents(folder.path());
        for lost in [data.database(), folder.path().join("keys").join("device.key")] {
            let bytes = std::fs::read(&lost).expect("reads");
            std::fs::remove_file(&lost).expect("removed");
            let error = data.check_whole().expect_err("refused").to_string();
            assert!(error.contains(&lost.display().to_string()), "{error}");
            std::fs::write(&lost, bytes).expect("put back");
        }
        std::fs::write(data.database(), b"").expect("emptied");
        assert!(data.check_whole().is_err());
        std::fs::write(data.database(), b"something").expect("put back");
        assert_eq!(contents(folder.path()), before, "nothing was changed");
    }
}
