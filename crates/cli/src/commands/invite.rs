//! Invitations: `room invite`, `invite list`, `invite revoke`.

use std::fmt::Write as _;

use ayni_web::api::{Invitation, Invite};

use crate::exit::{Code, failure};
use crate::output::{Moment, clean, count, short};
use crate::qr;
use crate::session::{Need, Session};

/// Prints a ticket, alone on its line, and draws it when asked.
pub(crate) async fn make(
    session: &mut Session,
    room: &str,
    invitation: &Invite,
    qr: bool,
) -> anyhow::Result<()> {
    if qr && session.out.is_json() {
        return Err(failure(Code::Invalid, "--qr draws and --json does not: choose one"));
    }
    session
        .with_node(Need::Folder, async |node, out| {
            let ticket = node.client.invite(room, invitation).await?;
            out.result(&ticket, &clean(&ticket.ticket))?;
            if qr {
                // A ticket does not mind upper case.
                out.line(&qr::draw(&ticket.ticket.to_ascii_uppercase())?)?;
            }
            Ok(())
        })
        .await
}

/// Lists a room's invitations.
pub(crate) async fn list(session: &mut Session, room: &str) -> anyhow::Result<()> {
    session
        .with_node(Need::Folder, async |node, out| {
            for invitation in node.client.invites(room).await? {
                out.result(&invitation, &line(&invitation))?;
            }
            Ok(())
        })
        .await
}

/// Ends an invitation.
pub(crate) async fn revoke(session: &mut Session, room: &str, invite: &str) -> anyhow::Result<()> {
    session
        .with_node(Need::Folder, async |node, out| {
            let revoked = node.client.revoke_invite(room, invite).await?;
            let stay = match revoked.used {
                0 => "nobody joined with it".to_owned(),
                1 => "the one who joined with it stays".to_owned(),
                used => format!("the {used} who joined with it stay"),
            };
            Ok(out.result(&revoked, &format!("revoked {}; {stay}", short(&revoked.invite)))?)
        })
        .await
}

/// One line about an invitation.
fn line(invitation: &Invitation) -> String {
    let open = if invitation.open { "open" } else { "closed" };
    let mut line =
        format!("{}  {open}, for {}s, used ", short(&invitation.invite), invitation.role);
    let _ = match invitation.uses {
        Some(uses) => write!(line, "{} of {uses}", invitation.used),
        None => write!(line, "{}", count(invitation.used as u64, "time")),
    };
    let expires = Moment::from_unix_ms(invitation.expires);
    let _ = write!(line, ", until {} {} (UTC), by ", expires.day, expires.time);
    line + &clean(&invitation.name)
}

#[cfg(test)]
mod tests {
    use ayni::{AccountId, InviteKey, Role};

    use super::*;

    #[test]
    fn an_invitation_is_one_line() {
        let open = Invitation {
            invite: InviteKey([0xaa; 32]),
            inviter: AccountId([0xbb; 32]),
            name: "Ana\n".to_owned(),
            role: Role::Reader,
            uses: Some(5),
            used: 2,
            expires: 1_772_366_460_000,
            open: true,
        };
        let expected = "aaaaaaaaaaaaaaaa  open, for readers, used 2 of 5, until 2026-03-01 12:01 \
                        (UTC), by Ana␊";
        assert_eq!(line(&open), expected);
        let closed = Invitation { uses: None, used: 1, open: false, ..open };
        assert!(line(&closed).contains("closed, for readers, used 1 time, until"));
    }
}
