//! Who takes part in a room and who does not: this account, which left or was removed, and devices
//! that are shut out because they were copied.

use ayni::PeerId;
use ayni_web::Client;
use ayni_web::api::{Member, RoomDetails, RoomRef, Standing};

use crate::exit::{Code, failure, note};
use crate::output::{clean, short};

/// Finds the room that a word names, for what only its members do.
pub(crate) async fn joined(client: &Client, word: &str) -> anyhow::Result<RoomRef> {
    let room = client.room(word).await?;
    match (out_words(&room), room.frozen) {
        (Some(words), _) => {
            Err(failure(Code::Denied, format!("{words}; an invitation lets you in")))
        }
        (None, true) => Err(failure(Code::Denied, own_device_words(&room.name))),
        (None, false) => Ok(RoomRef { room: room.room, name: room.name }),
    }
}

/// Says on standard error that what is shown ends somewhere, where this account is out or this device
/// is shut out.
pub(crate) fn note_standing(room: &RoomDetails) {
    if let Some(words) = out_words(room) {
        note(&format!("{words}: nothing that happened since is here"));
    } else if room.frozen {
        note(&own_device_words(&room.name));
    }
}

fn out_words(room: &RoomDetails) -> Option<String> {
    match room.standing {
        Standing::Joined => None,
        Standing::Left => Some(format!("you left {}", room.name)),
        Standing::Removed => Some(format!("you were removed from {}", room.name)),
        Standing::Unknown => Some(format!("you are no member of {} now", room.name)),
    }
}

/// Says that a device is shut out, why, and what to do: to its owner where it is `mine`, else to the
/// others. One sentence for a line of its own, not yet clean.
pub(crate) fn shut_out_words(room: &str, device: &PeerId, name: &str, mine: bool) -> String {
    if mine {
        return own_device_words(room);
    }
    format!(
        "device {} of {name} is shut out of {room}: it signed two different things in one place, so it \
         was copied, or it lies; nothing that it wrote from there on counts. {name} comes back with a \
         new data folder and a new ticket, and `ayni member remove` puts out the account that it has \
         here",
        short(device),
    )
}

/// The same on the device itself.
fn own_device_words(room: &str) -> String {
    format!(
        "this device is shut out of {room}: it was copied, and both copies wrote in one place; nothing \
         that it wrote from there on counts, and nothing that happened since is here. Start with a new \
         data folder (`--data`) and join with a new ticket"
    )
}

/// What follows in a member's line, if devices of it are shut out.
pub(crate) fn shut_out_mark(member: &Member) -> Option<String> {
    let devices: Vec<String> = member.frozen.iter().map(short).collect();
    let comes =
        if member.me { "you come".into() } else { format!("{} comes", clean(&member.name)) };
    (!devices.is_empty()).then(|| {
        let devices = devices.join(", ");
        format!(
            "shut out: {devices} (copied, or lying); {comes} back with a new data folder and a new \
             ticket"
        )
    })
}

#[cfg(test)]
mod tests {
    use ayni::{AccountId, Role};

    use super::*;

    fn member(frozen: &[PeerId]) -> Member {
        Member {
            account_id: AccountId([1; 32]),
            devices: vec![PeerId([0xaa; 32]), PeerId([0xbb; 32])],
            frozen: frozen.to_vec(),
            name: "Beto\n\x1b[2J".to_owned(),
            role: Role::Member,
            founder: false,
            me: false,
            online: false,
        }
    }

    #[test]
    fn a_mark_names_the_devices_and_what_to_do_and_is_safe() {
        assert_eq!(shut_out_mark(&member(&[])), None);
        let one = shut_out_mark(&member(&[PeerId([0xbb; 32])])).expect("a mark");
        assert!(one.starts_with("shut out: bbbbbbbbbbbbbbbb (copied, or lying); Beto␊␛[2J comes"));
        let both = shut_out_mark(&member(&[PeerId([0xaa; 32]), PeerId([0xbb; 32])]));
        assert!(both.expect("a mark").contains(": aaaaaaaaaaaaaaaa, bbbbbbbbbbbbbbbb ("));
        let mine = shut_out_mark(&Member { me: true, ..member(&[PeerId([0xaa; 32])]) });
        assert!(mine.expect("a mark").contains("; you come back with a new data folder"));
    }

    #[test]
    fn the_owner_and_the_others_are_told_what_each_can_do() {
        let device = PeerId([0xaa; 32]);
        let others = shut_out_words("family", &device, "Beto", false);
        assert!(others.starts_with("device aaaaaaaaaaaaaaaa of Beto is shut out of family: "));
        assert!(others.contains("`ayni member remove`"));
        let own = shut_out_words("family", &device, "Beto", true);
        assert!(own.starts_with("this device is shut out of family: it was copied"));
        assert!(own.contains("a new data folder") && !own.contains("remove"));
    }
}
