//! One account as a room knows it: its terms, roles, devices and name.

use std::collections::{BTreeMap, BTreeSet};

use super::settings::Said;
use crate::id::{AccountId, PeerId};
use crate::keys::DeviceCert;
use crate::room::reduce::Reduction;
use crate::room::role::Role;
use crate::room::statements::Statements;

/// One account, as the room knows it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MemberInfo {
    /// Whether the genesis names it.
    pub founder: bool,
    /// Terms of its membership, and its role in each.
    pub terms: BTreeMap<u32, Role>,
    /// Its devices and their certificates.
    pub devices: BTreeMap<PeerId, DeviceCert>,
    pub(super) name: Option<Said<String>>,
    /// Terms that ended, and whether by a removal.
    pub(super) ended: BTreeMap<u32, bool>,
}

impl MemberInfo {
    /// Returns the term in force, if it is a member now.
    pub fn current_term(&self) -> Option<u32> {
        let last = self.terms.last_key_value().map(|(term, _)| *term);
        last.filter(|term| !self.ended.contains_key(term))
    }

    /// Whether it is a member now: it has a term that did not end.
    pub fn is_member(&self) -> bool {
        self.current_term().is_some()
    }

    /// Returns its role, if it is a member now.
    pub fn role(&self) -> Option<Role> {
        self.terms.get(&self.current_term()?).copied()
    }

    /// Whether its last term was ended by someone else.
    pub fn was_removed(&self) -> bool {
        let last = self.terms.last_key_value().map(|(term, _)| *term);
        last.is_some_and(|term| self.ended.get(&term) == Some(&true))
    }

    /// Returns the name it gave itself.
    pub fn name(&self) -> Option<&str> {
        self.name.as_ref().map(|said| said.what.as_str())
    }
}

/// Returns the accounts as they stand after a reduction, without their names.
pub(super) fn accounts(all: &Statements, reduction: &Reduction) -> BTreeMap<AccountId, MemberInfo> {
    let seated: BTreeSet<AccountId> = reduction.seats.keys().map(|(account, _)| *account).collect();
    let infos = seated.into_iter().map(|it| Some((it, account_info(all, reduction, it)?)));
    infos.flatten().collect()
}

/// Returns one account as it stands after a reduction, without its name.
pub(super) fn account_info(
    all: &Statements,
    reduction: &Reduction,
    account: AccountId,
) -> Option<MemberInfo> {
    let mut info = MemberInfo::default();
    for ((_, term), role) in reduction.seats.range((account, 0)..=(account, u32::MAX)) {
        info.terms.insert(*term, *role);
        let ends = reduction.ends_of(all, (account, *term));
        if !ends.is_empty() {
            info.ended.insert(*term, ends.iter().any(|end| !all.is_leaving(*end)));
        }
    }
    info.devices = all.certs_of(account);
    info.founder = all.genesis().is_some_and(|genesis| genesis.founders.contains(&account));
    (!info.terms.is_empty()).then_some(info)
}
