//! Finding rooms and people by what a person types: an id, the start of one, or a name.

use std::collections::{BTreeMap, BTreeSet};

use ayni_core::id::{AccountId, PeerId, RoomId};

use crate::error::{Error, Result};
use crate::inner::Inner;
use crate::node::Who;

/// Fewest digits that count as the start of an id.
const MIN_PREFIX: usize = 4;

/// Finds a room.
pub(crate) fn room(inner: &Inner, text: &str) -> Result<RoomId> {
    if let Ok(id) = text.parse::<RoomId>() {
        return inner.room(&id).map(|_| id).ok_or_else(|| missing("room", text));
    }
    let rooms = inner.rooms();
    let rooms = rooms.iter().map(|room| (room.id(), room.info(inner).name));
    choose("room", text, rooms.map(|(id, name)| (id, id.to_string(), vec![name])))
}

/// Finds a peer.
pub(crate) fn peer(inner: &Inner, text: &str) -> Result<PeerId> {
    if let Ok(id) = text.parse::<PeerId>() {
        return Ok(id);
    }
    choose("peer", text, peers(inner).into_iter().map(|(id, names)| (id, id.to_string(), names)))
}

/// Finds a person.
pub(crate) fn who(inner: &Inner, text: &str) -> Result<Who> {
    let accounts = accounts(inner);
    if let Ok(id) = text.parse::<AccountId>() {
        return Ok(if accounts.contains_key(&id) {
            Who::Account(id)
        } else {
            Who::Peer(PeerId(id.0))
        });
    }
    // The devices of one account are one person: prefer accounts, so that a name names one.
    let mut candidates: Vec<(Who, String, Vec<String>)> = accounts
        .into_iter()
        .map(|(id, names)| (Who::Account(id), id.to_string(), names.into_iter().collect()))
        .collect();
    for (id, names) in peers(inner) {
        match inner.account_of(&id) {
            // By the start of its device's id the same person is meant.
            Some(account) => candidates.push((Who::Account(account), id.to_string(), vec![])),
            None => candidates.push((Who::Peer(id), id.to_string(), names)),
        }
    }
    choose("person", text, candidates.into_iter())
}

/// Returns all peers known, with their names.
fn peers(inner: &Inner) -> BTreeMap<PeerId, Vec<String>> {
    let mut peers: BTreeMap<PeerId, Vec<String>> = BTreeMap::new();
    for known in inner.book.all() {
        peers.entry(known.addr.peer).or_default().extend(known.name);
    }
    for room in inner.rooms() {
        let state = room.lock();
        for (_, info) in state.room.members().accounts() {
            for device in info.devices.keys() {
                let names = peers.entry(*device).or_default();
                names.extend(info.name().map(str::to_owned));
            }
        }
    }
    peers.remove(&inner.me());
    peers
}

/// Returns all accounts known, with their names.
fn accounts(inner: &Inner) -> BTreeMap<AccountId, BTreeSet<String>> {
    let mut accounts: BTreeMap<AccountId, BTreeSet<String>> = BTreeMap::new();
    for known in inner.book.all() {
        if let Some(account) = known.account {
            accounts.entry(account).or_default().extend(known.name);
        }
    }
    for room in inner.rooms() {
        let state = room.lock();
        for (account, info) in state.room.members().accounts() {
            let names = accounts.entry(*account).or_default();
            names.extend(info.name().map(str::to_owned));
        }
    }
    accounts.remove(&inner.keys.account.id());
    accounts
}

/// Chooses the one that `text` names: an exact name first, then the start of an id.
fn choose<T: Copy + PartialEq>(
    what: &str,
    text: &str,
    candidates: impl Iterator<Item = (T, String, Vec<String>)>,
) -> Result<T> {
    let candidates: Vec<_> = candidates.collect();
    let named = candidates.iter().filter(|(_, _, names)| names.iter().any(|name| name == text));
    let mut found: Vec<T> = Vec::new();
    for (id, _, _) in named {
        if !found.contains(id) {
            found.push(*id);
        }
    }
    let digits = text.len() >= MIN_PREFIX && text.bytes().all(|b| b.is_ascii_hexdigit());
    if found.is_empty() && digits {
        let start = text.to_ascii_lowercase();
        for (id, hex, _) in &candidates {
            if hex.starts_with(&start) && !found.contains(id) {
                found.push(*id);
            }
        }
    }
    match found.as_slice() {
        [one] => Ok(*one),
        [] => Err(missing(what, text)),
        many => Err(Error::Invalid(format!(
            "{text:?} fits {} of them: give more of the id of the {what}",
            many.len()
        ))),
    }
}

fn missing(what: &str, text: &str) -> Error {
    let hint = if text.len() < MIN_PREFIX && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        " (the start of an id needs four digits)"
    } else {
        ""
    };
    Error::NotFound(format!("there is no {what} {text:?} here{hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(text: &str) -> Result<u8> {
        let all = [
            (1, "aabbccdd".to_owned(), vec!["ana".to_owned()]),
            (2, "aabb0000".to_owned(), vec!["beto".to_owned(), "cafe".to_owned()]),
            (3, "cafe0000".to_owned(), vec!["ana".to_owned()]),
        ];
        choose("peer", text, all.into_iter())
    }

    #[test]
    fn names_come_before_starts_of_ids_and_doubts_are_told() {
        assert_eq!(find("beto").ok(), Some(2));
        assert_eq!(find("cafe").ok(), Some(2), "a name that looks like an id");
        assert_eq!(find("aabbc").ok(), Some(1));
        assert_eq!(find("AABB00").ok(), Some(2));
        assert!(matches!(find("ana"), Err(Error::Invalid(_))));
        assert!(matches!(find("aabb"), Err(Error::Invalid(_))));
        assert!(matches!(find("aab"), Err(Error::NotFound(_))), "too short");
        assert!(matches!(find("nobody"), Err(Error::NotFound(_))));
    }
}
