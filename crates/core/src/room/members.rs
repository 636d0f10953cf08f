//! Who belongs to a room: a reduction of its control events.
//!
//! Invariant: every rule is monotone (statements are added, never taken back), and the result is a
//! function of the set of statements; so every order of delivery gives the same members. Events are
//! applied after the dependencies that they name, but nothing here relies on it: an author may name
//! fewer than it saw (there is a limit), or than it should. So an admission waits for its invite.

use std::collections::{BTreeMap, BTreeSet};

use super::control::{Admit, Control, Cut, EpochBody, GenesisBody, Invite};
use super::epochs::{EpochInfo, Epochs};
use super::genesis::{Genesis, Kind};
use crate::clock::{Hlc, Millis};
use crate::epoch::epoch_id;
use crate::event::Header;
use crate::id::{AccountId, EpochId, EventId, InviteKey, PeerId};
use crate::keys::DeviceCert;
use crate::log::{Lane, LogId};

/// One account, as the room knows it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MemberInfo {
    /// Whether the genesis names it.
    pub founder: bool,
    /// Terms of its membership.
    pub terms: BTreeSet<u32>,
    /// Its devices and their certificates.
    pub devices: BTreeMap<PeerId, DeviceCert>,
    name: Option<Said>,
    /// Terms that it ended by leaving, and where its chat logs end.
    left: BTreeMap<u32, Ends>,
}

impl MemberInfo {
    /// Returns the term in force, if it is a member now.
    pub fn current_term(&self) -> Option<u32> {
        self.terms.last().copied().filter(|term| !self.left.contains_key(term))
    }

    /// Whether it is a member now: it has a term that it did not end.
    pub fn is_member(&self) -> bool {
        self.current_term().is_some()
    }

    /// Returns the name it gave itself.
    pub fn name(&self) -> Option<&str> {
        self.name.as_ref().map(|said| said.text.as_str())
    }

    /// Returns the terms that it ended.
    pub(super) fn ended_terms(&self) -> impl Iterator<Item = u32> + '_ {
        self.left.keys().copied()
    }
}

/// Something said that the next one replaces.
///
/// What was said in knowledge of another replaces it, whatever the clocks say: who dates a name to
/// the far future does not pin it. Between what was said at once, time and id decide.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Said {
    generation: u64,
    time: Hlc,
    event: EventId,
    text: String,
}

/// Where a log ends: how many of its events count, and the last of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct LogEnd {
    pub(super) len: u64,
    pub(super) last: Option<EventId>,
}

type Ends = BTreeMap<LogId, LogEnd>;

/// One device: the accounts that certify it, and what it said for its account.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct DeviceInfo {
    /// One, unless it agreed to more; it speaks for the lowest.
    accounts: BTreeSet<AccountId>,
    name: Option<Said>,
    left: BTreeMap<u32, Ends>,
    /// Lengths of its control logs that ended with its leaving.
    ended: BTreeMap<u32, u64>,
}

/// An invitation that stands in the room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InviteInfo {
    /// The event.
    pub event: EventId,
    /// Its text.
    pub invite: Invite,
    /// Who invites.
    pub inviter: AccountId,
    /// The accounts that were admitted by it.
    pub admitted: BTreeSet<AccountId>,
    device: PeerId,
}

impl InviteInfo {
    /// Whether it is past its time.
    pub fn is_expired(&self, now: Millis) -> bool {
        now >= self.invite.expires_ms
    }

    /// Whether one more account would be too many.
    pub fn is_used_up(&self) -> bool {
        self.invite.uses.is_some_and(|uses| self.admitted.len() >= uses as usize)
    }
}

/// A control event, as it is reduced.
#[derive(Debug, Clone, Copy)]
pub(super) struct Statement<'a> {
    pub(super) header: &'a Header,
    pub(super) id: EventId,
    /// Length of the longest chain of control events that leads to it.
    pub(super) generation: u64,
    pub(super) control: &'a Control,
}

/// The members, invites, epochs and name of a room.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Members {
    genesis: Option<Genesis>,
    accounts: BTreeMap<AccountId, MemberInfo>,
    devices: BTreeMap<PeerId, DeviceInfo>,
    invites: BTreeMap<InviteKey, InviteInfo>,
    /// Admissions that hold and whose invite is not here yet: certificate and term.
    early: BTreeMap<InviteKey, Vec<(DeviceCert, u32)>>,
    epochs: Epochs,
    name: Option<Said>,
}

impl Members {
    /// Returns the genesis, once a founder's first event is here.
    pub fn genesis(&self) -> Option<&Genesis> {
        self.genesis.as_ref()
    }

    /// Returns the room's name.
    pub fn room_name(&self) -> Option<&str> {
        self.name.as_ref().map(|said| said.text.as_str())
    }

    /// Returns every account that is or was a member, in order.
    pub fn accounts(&self) -> impl Iterator<Item = (&AccountId, &MemberInfo)> {
        self.accounts.iter()
    }

    /// Returns the accounts that are members now.
    pub fn current(&self) -> impl Iterator<Item = (&AccountId, &MemberInfo)> {
        self.accounts.iter().filter(|(_, info)| info.is_member())
    }

    /// Returns one account.
    pub fn account(&self, account: &AccountId) -> Option<&MemberInfo> {
        self.accounts.get(account)
    }

    /// Returns the account of a device: the lowest of those that certify it.
    pub fn account_of(&self, device: &PeerId) -> Option<AccountId> {
        self.devices.get(device)?.accounts.first().copied()
    }

    /// Whether the device belongs to a member now.
    pub fn is_member_device(&self, device: &PeerId) -> bool {
        self.account_of(device)
            .and_then(|account| self.accounts.get(&account))
            .is_some_and(MemberInfo::is_member)
    }

    /// Returns the devices of the members now.
    pub fn member_devices(&self) -> impl Iterator<Item = PeerId> + '_ {
        self.current().flat_map(|(_, info)| info.devices.keys().copied())
    }

    /// Returns an invite.
    pub fn invite(&self, key: &InviteKey) -> Option<&InviteInfo> {
        self.invites.get(key)
    }

    /// Returns the epochs.
    pub fn epochs(&self) -> impl Iterator<Item = (&EpochId, &EpochInfo)> {
        self.epochs.iter()
    }

    /// Whether an event of this log may stand in the room at all: its device is certified by an
    /// account that was admitted for that term. Once true, it stays true.
    pub fn may_write(&self, log: &LogId) -> bool {
        self.accounts_of(&log.device).any(|info| info.terms.contains(&log.term))
    }

    fn accounts_of(&self, device: &PeerId) -> impl Iterator<Item = &MemberInfo> {
        let accounts = self.devices.get(device).into_iter().flat_map(|info| &info.accounts);
        accounts.filter_map(|account| self.accounts.get(account))
    }

    /// Returns where a log ends, if its account left in that term.
    pub fn end_of(&self, log: &LogId) -> Option<u64> {
        match log.lane {
            Lane::Control => self.devices.get(&log.device)?.ended.get(&log.term).copied(),
            Lane::Chat => self.chat_end(log).map(|end| end.len),
        }
    }

    /// Like [`Self::end_of`], for a chat log, with the last event that counts.
    pub(super) fn chat_end(&self, log: &LogId) -> Option<LogEnd> {
        let ends = self.accounts_of(&log.device).filter_map(|info| info.left.get(&log.term));
        ends.map(|ends| ends.get(log).copied().unwrap_or_default()).min()
    }

    /// Returns the term that an admission of `account` now should give it.
    pub fn next_term(&self, account: &AccountId) -> u32 {
        let last = self.accounts.get(account).and_then(|info| info.terms.last().copied());
        last.map_or(0, |term| term.saturating_add(1))
    }

    /// Whether the first event of a log may introduce its own device: a founder's genesis.
    pub(super) fn introduces_itself(header: &Header, control: &Control) -> bool {
        let Control::Genesis(GenesisBody { genesis, cert }) = control else { return false };
        genesis.is_valid()
            && genesis.id() == header.room
            && header.seq == 0
            && header.term == 0
            && cert.claim.device == header.device
            && genesis.founders.contains(&cert.claim.account)
            && cert.verify().is_ok()
    }

    /// Returns the accounts whose membership a statement may change.
    pub(super) fn concerned(&self, statement: Statement<'_>) -> Vec<AccountId> {
        match statement.control {
            Control::Genesis(body) => body.genesis.founders.clone(),
            Control::Admit(admit) => vec![admit.claim.cert.claim.account],
            Control::Invite(invite) => {
                let early = self.early.get(&invite.key).into_iter().flatten();
                early.map(|(cert, _)| cert.claim.account).collect()
            }
            Control::Leave(_) => self.account_of(&statement.header.device).into_iter().collect(),
            Control::RoomName(_) | Control::Profile(_) | Control::Epoch(_) => vec![],
        }
    }

    /// Applies one control event of a log that may be written. What does not hold is ignored.
    pub(super) fn apply(&mut self, statement: Statement<'_>) {
        let Statement { header, id, control, .. } = statement;
        if let Control::Genesis(body) = control {
            if Self::introduces_itself(header, control) {
                self.found(body);
            }
            return;
        }
        let Some(author) = self.account_of(&header.device) else { return };
        match control {
            Control::Genesis(_) => {}
            Control::RoomName(name) => said_last(&mut self.name, statement, name),
            Control::Profile(name) => {
                let device = self.devices.entry(header.device).or_default();
                said_last(&mut device.name, statement, name);
                self.settle(&header.device);
            }
            Control::Invite(invite) => self.add_invite(invite, id, author, header.device),
            Control::Admit(admit) => self.admit(header, admit),
            Control::Epoch(epoch) => self.add_epoch(header, epoch),
            Control::Leave(cut) => self.leave(header, cut),
        }
    }

    fn found(&mut self, body: &GenesisBody) {
        self.genesis = Some(body.genesis.clone());
        for founder in &body.genesis.founders {
            let info = self.accounts.entry(*founder).or_default();
            info.founder = true;
            info.terms.insert(0);
        }
        self.add_device(&body.cert);
    }

    fn add_invite(&mut self, invite: &Invite, event: EventId, inviter: AccountId, device: PeerId) {
        let group = self.genesis.as_ref().is_some_and(|genesis| genesis.kind == Kind::Group);
        if !group {
            return;
        }
        let (invite, admitted) = (invite.clone(), BTreeSet::new());
        let info = InviteInfo { event, invite, inviter, admitted, device };
        let key = info.invite.key;
        // One key names one invite; of two events with the same key the lower id counts.
        let entry = self.invites.entry(key).or_insert_with(|| info.clone());
        if event < entry.event {
            *entry = InviteInfo { admitted: std::mem::take(&mut entry.admitted), ..info };
        }
        for (cert, term) in self.early.remove(&key).unwrap_or_default() {
            self.let_in(key, &cert, term);
        }
    }

    fn admit(&mut self, header: &Header, admit: &Admit) {
        if !admit.holds(header.room, header.device) {
            return;
        }
        let (invite, cert) = (admit.claim.invite, &admit.claim.cert);
        if self.invites.contains_key(&invite) {
            self.let_in(invite, cert, admit.term);
        } else {
            let early = self.early.entry(invite).or_default();
            let at = early.partition_point(|(other, term)| {
                (&other.signature.0, *term) < (&cert.signature.0, admit.term)
            });
            early.insert(at, (cert.clone(), admit.term));
        }
    }

    fn let_in(&mut self, invite: InviteKey, cert: &DeviceCert, term: u32) {
        let account = cert.claim.account;
        if let Some(info) = self.invites.get_mut(&invite) {
            info.admitted.insert(account);
        }
        self.accounts.entry(account).or_default().terms.insert(term);
        self.add_device(cert);
    }

    fn add_epoch(&mut self, header: &Header, epoch: &EpochBody) {
        let id = epoch_id(header.room, &epoch.commitment);
        self.epochs.add(id, &epoch.parents, header.device);
    }

    /// The device's own control log ends here, and its account's chat logs where the cut says.
    fn leave(&mut self, header: &Header, cut: &Cut) {
        let ends =
            cut.logs.iter().map(|end| (end.log, LogEnd { len: end.len, last: Some(end.last) }));
        let device = self.devices.entry(header.device).or_default();
        device.ended.entry(header.term).or_insert(header.seq.saturating_add(1));
        device.left.entry(header.term).or_insert_with(|| ends.collect());
        self.settle(&header.device);
    }

    fn add_device(&mut self, cert: &DeviceCert) {
        let (device, account) = (cert.claim.device, cert.claim.account);
        self.devices.entry(device).or_default().accounts.insert(account);
        let devices = &mut self.accounts.entry(account).or_default().devices;
        let kept = devices.entry(device).or_insert_with(|| cert.clone());
        if (cert.claim.time_ms, &cert.signature.0) > (kept.claim.time_ms, &kept.signature.0) {
            *kept = cert.clone();
        }
        self.settle(&device);
    }

    /// Computes again what the accounts of a device have from their devices.
    fn settle(&mut self, device: &PeerId) {
        let Some(changed) = self.devices.get(device) else { return };
        if let (Some(owner), 2..) = (changed.accounts.first(), changed.accounts.len()) {
            for invite in self.invites.values_mut().filter(|invite| invite.device == *device) {
                invite.inviter = *owner;
            }
        }
        for account in &changed.accounts {
            let Some(info) = self.accounts.get_mut(account) else { continue };
            let devices = info.devices.keys().filter_map(|device| self.devices.get(device));
            let own = devices.filter(|device| device.accounts.first() == Some(account));
            (info.name, info.left) = (None, BTreeMap::new());
            for device in own {
                info.name = info.name.take().max(device.name.clone());
                for (term, ends) in &device.left {
                    lowest(&mut info.left, *term, ends);
                }
            }
        }
    }
}

fn said_last(slot: &mut Option<Said>, statement: Statement<'_>, text: &str) {
    let Statement { header, id, generation, .. } = statement;
    let said = Said { generation, time: header.time, event: id, text: text.to_owned() };
    *slot = slot.take().max(Some(said));
}

/// Of concurrent cuts the lowest counts; what one of them does not list ends at nothing.
fn lowest(left: &mut BTreeMap<u32, Ends>, term: u32, ends: &Ends) {
    let Some(kept) = left.get_mut(&term) else {
        left.insert(term, ends.clone());
        return;
    };
    kept.retain(|log, end| {
        let other = ends.get(log);
        if let Some(other) = other {
            *end = (*end).min(*other);
        }
        other.is_some()
    });
}
