//! A history in short lines, for whoever reads a failure.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use ayni_core::event::Event;
use ayni_core::id::{AccountId, EventId};
use ayni_core::room::{Control, Cut};

use super::history::DEVICES;
use crate::kit::Person;

/// Tells a history in short lines: who says what, knowing what.
pub(crate) fn account(people: &[Person], events: &[Event]) -> String {
    let names: BTreeMap<EventId, usize> =
        events.iter().enumerate().map(|(nth, event)| (event.id(), nth)).collect();
    let name = |id: &EventId| names.get(id).map_or_else(|| "?".to_owned(), |nth| format!("e{nth}"));
    let who = |account: &AccountId| {
        let at = people.iter().position(|person| person.account() == *account);
        at.map_or_else(|| account.short(), |at| format!("account {}", DEVICES[at].0))
    };
    let device = |event: &Event| {
        let at = people.iter().position(|person| person.id() == event.header().device);
        at.map_or_else(|| "?".to_owned(), |at| format!("device {}", DEVICES[at].1))
    };
    let cut = |cut: &Cut| {
        let logs = cut.logs.iter().map(|end| {
            let at = people.iter().position(|person| person.id() == end.log.device);
            let of = at.map_or(0, |at| DEVICES[at].1);
            format!("{:?} {of}/{}: {}", end.log.lane, end.log.term, end.len)
        });
        logs.collect::<Vec<_>>().join(", ")
    };
    let mut text = String::new();
    for (nth, event) in events.iter().enumerate() {
        let header = event.header();
        let control = event.body().and_then(Control::from_bytes);
        let cites = control.as_ref().and_then(Control::cites).map(|id| name(&id));
        let what = match &control {
            Some(Control::Remove(it)) => {
                format!(
                    "removes {} {} then {:?} [{}]",
                    who(&it.account),
                    it.term,
                    it.then,
                    cut(&it.cut)
                )
            }
            Some(Control::Grant(it)) => {
                format!("makes {} {} a {}", who(&it.account), it.term, it.role)
            }
            Some(Control::Leave(it)) => format!("leaves [{}]", cut(it)),
            Some(Control::Admit(it)) => {
                let claim = &it.claim.cert.claim;
                format!("admits {} {} by {}", who(&claim.account), it.term, it.claim.invite.short())
            }
            Some(Control::Invite(it)) => format!("invites by {}", it.key.short()),
            Some(Control::Revoke(it)) => format!("revokes {}", it.invite.short()),
            Some(Control::Fork(_)) => "proves a fork".to_owned(),
            Some(Control::Genesis(_)) => "founds".to_owned(),
            Some(Control::Epoch(it)) => format!("mints {:02x}", it.commitment.0[0]),
            other => format!("{other:?}"),
        };
        let knows: Vec<String> = header.deps.iter().map(name).collect();
        let cites = cites.map(|id| format!(", citing {id}")).unwrap_or_default();
        let _ = writeln!(
            text,
            "e{nth}: {} term {} #{} {what}{cites}; knows {}",
            device(event),
            header.term,
            header.seq,
            knows.join(" ")
        );
    }
    text
}
