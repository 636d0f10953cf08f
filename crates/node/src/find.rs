//! Finding rooms and people by what a person types: an id, the start of one, or a name. What strangers
//! call themselves is none.

use std::collections::{BTreeMap, BTreeSet};

use ayni_core::id::{AccountId, BlobId, EventId, InviteKey, PeerId, RoomId};
use ayni_core::room::{Kind, MemberInfo};
use ayni_core::ticket::Ticket;

use crate::error::{Error, Result};
use crate::inner::Inner;
use crate::node::Who;
use crate::rooms::RoomHandle;

/// Fewest digits that count as the start of an id.
const MIN_PREFIX: usize = 4;
/// Digits of each id that an ambiguous word may mean: enough to be told apart and typed.
const TOLD_DIGITS: usize = 16;
/// Most of these that are told: what fits into a sentence.
const MAX_TOLD: usize = 4;

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

/// Finds an account of one room: a member, or, where nobody who is one has that name, someone who was.
/// Who else is known here is not looked at, so a name need be unique in the room only.
pub(crate) fn member(inner: &Inner, room: &RoomHandle, text: &str) -> Result<AccountId> {
    let state = room.lock();
    let members = state.room.members();
    let id = text.parse::<AccountId>().ok();
    let by_device = |id: AccountId| members.account_of(&PeerId(id.0));
    if let Some(id) = id {
        let known = members.account(&id).map(|_| id).or_else(|| by_device(id));
        return known.ok_or_else(|| missing("member", text));
    }
    let names = |account: &AccountId, info: &MemberInfo| {
        let own = info.name().map(str::to_owned);
        own.into_iter().chain(inner.book.account_name(account)).collect::<Vec<_>>()
    };
    let (current, former): (Vec<_>, Vec<_>) =
        members.accounts().partition(|(_, info)| info.is_member());
    let is_named = |(account, info): &(&AccountId, &MemberInfo)| {
        names(account, info).iter().any(|name| name == text)
    };
    let taken = current.iter().any(is_named);
    let mut candidates = Vec::new();
    for (account, info) in current.into_iter().chain(former) {
        let names = if taken && !info.is_member() { vec![] } else { names(account, info) };
        candidates.push((*account, account.to_string(), names));
        candidates.extend(info.devices.keys().map(|it| (*account, it.to_string(), vec![])));
    }
    choose("member", text, candidates.into_iter())
}

/// Finds an invitation of a room by its key, the start of it, or its ticket.
pub(crate) fn invite(room: &RoomHandle, text: &str) -> Result<InviteKey> {
    let wanted = match text.trim().parse::<Ticket>() {
        Ok(ticket) if ticket.room != room.id() => {
            return Err(Error::NotFound("this ticket is of another room".into()));
        }
        Ok(ticket) => ticket.secret().key().to_string(),
        Err(_) => text.to_owned(),
    };
    let state = room.lock();
    let invites = state.room.members().invites();
    choose("invitation", &wanted, invites.map(|(key, _)| (*key, key.to_string(), vec![])))
}

/// Returns all peers known, with the names by which they may be found.
fn peers(inner: &Inner) -> BTreeMap<PeerId, Vec<String>> {
    let named = named(inner);
    let mut peers: BTreeMap<PeerId, Vec<String>> = BTreeMap::new();
    for known in inner.book.all() {
        let names = peers.entry(known.addr.peer).or_default();
        if known.account.is_some_and(|account| named.contains_key(&account)) {
            names.extend(known.name);
        }
    }
    for room in inner.rooms() {
        let state = room.lock();
        for (account, info) in state.room.members().accounts() {
            for device in info.devices.keys() {
                let names = peers.entry(*device).or_default();
                names.extend(named.get(account).into_iter().flatten().cloned());
            }
        }
    }
    peers.remove(&inner.me());
    peers
}

/// Returns all accounts known, with the names by which they may be found.
fn accounts(inner: &Inner) -> BTreeMap<AccountId, BTreeSet<String>> {
    let mut accounts = named(inner);
    for known in inner.book.all() {
        if let Some(account) = known.account {
            accounts.entry(account).or_default();
        }
    }
    for room in inner.rooms() {
        for (account, _) in room.lock().room.members().accounts() {
            accounts.entry(*account).or_default();
        }
    }
    accounts.remove(&inner.keys.account.id());
    accounts
}

/// Returns whom a name may mean, with all of its names: members of the rooms that we are in, and the
/// other side of direct rooms. Anyone may connect and call itself like someone else; it is found by
/// its id only.
fn named(inner: &Inner) -> BTreeMap<AccountId, BTreeSet<String>> {
    let mut named: BTreeMap<AccountId, BTreeSet<String>> = BTreeMap::new();
    for room in inner.rooms() {
        let state = room.lock();
        let members = state.room.members();
        let direct = members.genesis().filter(|genesis| genesis.kind == Kind::Direct);
        let founders = direct.into_iter().flat_map(|genesis| &genesis.founders);
        let current = members.current().map(|(account, _)| account);
        let current = current.filter(|_| state.room.am_member());
        for account in founders.chain(current) {
            let info = members.account(account);
            let name = info.and_then(|info| info.name()).map(str::to_owned);
            named.entry(*account).or_default().extend(name);
        }
    }
    for known in inner.book.all() {
        if let Some(names) = known.account.and_then(|account| named.get_mut(&account)) {
            names.extend(known.name);
        }
    }
    named
}

/// Finds a message with an attachment among those that may be meant.
pub(crate) fn attachment(text: &str, candidates: BTreeSet<EventId>) -> Result<EventId> {
    let candidates = candidates.into_iter().map(|id| (id, id.to_string(), vec![]));
    choose("attachment", text, candidates)
}

/// Finds something that is shared, by its content or its name.
pub(crate) fn share(text: &str, shares: impl Iterator<Item = (BlobId, String)>) -> Result<BlobId> {
    let candidates = shares.map(|(blob, name)| (blob, blob.to_string(), vec![name]));
    choose("share", text, candidates)
}

/// Finds something that was fetched by a ticket and is kept, by its content.
pub(crate) fn kept(text: &str, kept: impl Iterator<Item = BlobId>) -> Result<BlobId> {
    choose("kept content", text, kept.map(|blob| (blob, blob.to_string(), vec![])))
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
        many => Err(ambiguous(what, text, many, &candidates)),
    }
}

/// Says what an ambiguous word may mean.
fn ambiguous<T: PartialEq>(
    what: &str,
    text: &str,
    found: &[T],
    candidates: &[(T, String, Vec<String>)],
) -> Error {
    let told = found.iter().take(MAX_TOLD).filter_map(|id| {
        let (_, hex, names) = candidates.iter().find(|(candidate, _, _)| candidate == id)?;
        let hex: String = hex.chars().take(TOLD_DIGITS).collect();
        Some(names.first().map_or_else(|| hex.clone(), |name| format!("{name} ({hex})")))
    });
    let mut told: Vec<String> = told.collect();
    if found.len() > MAX_TOLD {
        told.push(format!("{} more", found.len() - MAX_TOLD));
    }
    let told = told.join(", ");
    Error::Invalid(format!("{text:?} can be {told}: name the {what} by the start of its id"))
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
    use crate::discovery::book::Source;
    use crate::node::Node;
    use crate::rooms::contact;
    use ayni_core::room::Genesis;

    fn find(text: &str) -> Result<u8> {
        let all = [
            (1, "aabbccdd".to_owned(), vec!["ana".to_owned()]),
            (2, "aabb0000".to_owned(), vec!["beto".to_owned(), "cafe".to_owned()]),
            (3, "cafe0000".to_owned(), vec!["ana".to_owned()]),
        ];
        choose("peer", text, all.into_iter())
    }

    #[tokio::test]
    async fn strangers_are_found_by_their_id_only() {
        let folder = tempfile::tempdir().expect("a folder");
        let builder = Node::builder().data(folder.path()).offline(true);
        let node = builder.start().await.expect("starts");
        let inner = &node.inner;
        let (stranger, account) = (PeerId([7; 32]), AccountId([8; 32]));
        inner.book.learn_profile(stranger, account, "ana", Source::Stranger);
        let not_found = |error| matches!(error, Err(Error::NotFound(_)));
        assert!(not_found(peer(inner, "ana").map(drop)));
        assert!(not_found(who(inner, "ana").map(drop)));
        assert_eq!(peer(inner, "0707").ok(), Some(stranger));
        assert_eq!(who(inner, "0808").ok(), Some(Who::Account(account)));
        // With a direct room it is no stranger any more.
        let genesis = Genesis::direct(inner.keys.account.id(), account);
        contact::found(inner, &genesis, None).await.expect("founded");
        assert_eq!(peer(inner, "ana").ok(), Some(stranger));
        assert_eq!(who(inner, "ana").ok(), Some(Who::Account(account)));
        node.shutdown().await;
    }

    #[test]
    fn names_come_before_starts_of_ids_and_doubts_are_told() {
        assert_eq!(find("beto").ok(), Some(2));
        assert_eq!(find("cafe").ok(), Some(2), "a name that looks like an id");
        assert_eq!(find("aabbc").ok(), Some(1));
        assert_eq!(find("AABB00").ok(), Some(2));
        let Err(Error::Invalid(told)) = find("ana") else { panic!("ambiguous") };
        assert!(told.contains("ana (aabbccdd), ana (cafe0000)"), "{told}");
        assert!(matches!(find("aabb"), Err(Error::Invalid(_))));
        assert!(matches!(find("aab"), Err(Error::NotFound(_))), "too short");
        assert!(matches!(find("nobody"), Err(Error::NotFound(_))));
    }
}
