//! A room's messages: how people read them, and how they are followed without missing or repeating
//! one.

use std::collections::{HashSet, VecDeque};

use ayni::{AccountId, EventId, PeerId, RoomId};
use ayni_web::api::{Attachment, Event, Member, Message, MessageKind};
use ayni_web::client::Streaming;
use ayni_web::{Client, ClientError};
use futures_util::StreamExt as _;

use crate::output::{Moment, clean, clean_lines, count, short, size};

/// Turns messages into lines for people, with the day where it changes.
#[derive(Debug, Default)]
pub(crate) struct Printer {
    day: String,
}

impl Printer {
    /// Returns the lines for the next message. A text of several lines is one of them, moved to the
    /// right after its first.
    pub(crate) fn lines(&mut self, message: &Message) -> Vec<String> {
        self.lines_in(None, message)
    }

    /// Likewise, with the name of the message's room, where those of several stand together.
    pub(crate) fn lines_in(&mut self, room: Option<&str>, message: &Message) -> Vec<String> {
        let moment = Moment::from_unix_ms(message.time);
        let mut lines = Vec::new();
        if self.day != moment.day {
            lines.push(format!("{} (UTC)", moment.day));
            self.day.clone_from(&moment.day);
        }
        let text = match message.kind {
            MessageKind::Message => clean_lines(&message.text),
            MessageKind::Attachment => attachment_line(message),
            MessageKind::Locked => "(cannot be read yet: its key is not here)".to_owned(),
            MessageKind::Unknown => "(from a newer version of ayni)".to_owned(),
        };
        let room = room.map(|room| format!("[{}] ", clean(room))).unwrap_or_default();
        lines.push(format!("{} {room}{}: {text}", moment.time, clean(&message.name)));
        lines
    }
}

/// What comes with a message, how it is fetched, and what is said with it.
fn attachment_line(message: &Message) -> String {
    let shown = match message.attachment.as_deref() {
        Some(attachment) => what(attachment),
        None => "something attached".to_owned(),
    };
    let event = short(&message.event);
    let caption = clean_lines(&message.text);
    if caption.is_empty() {
        format!("[{event}] {shown}")
    } else {
        format!("[{event}] {shown}: {caption}")
    }
}

/// What something attached is, its name and its size: clean, for one line.
pub(crate) fn what(attachment: &Attachment) -> String {
    let kind = match attachment.media_type.split('/').next() {
        Some("image") => "picture",
        _ if attachment.files.is_some() => "folder",
        _ => "file",
    };
    let files = attachment.files.map(|files| format!("{}, ", count(files, "file")));
    let size = size(attachment.size);
    format!("{kind} {} ({}{size})", clean(&attachment.name), files.unwrap_or_default())
}

/// Something to show in a room that is being followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Update {
    /// A message.
    Message(Message),
    /// Someone became a member: the name.
    Joined(String),
    /// Someone left, or was removed.
    Left {
        /// Who.
        account: AccountId,
        /// The name.
        name: String,
        /// Whether someone else removed it.
        removed: bool,
    },
    /// A device of a member was shut out.
    ShutOut {
        /// The device.
        device: PeerId,
        /// The member's name.
        name: String,
    },
}

/// Follows one room.
///
/// Invariant: every message that is stored after the start is returned exactly once. The node's
/// events admit loss, so after a loss the store is read again, and what was seen is left out; for
/// that the ids of all messages are remembered (32 bytes each). A message that cannot be read yet is
/// held back until it can. Likewise each device that is shut out after the start is told once.
pub(crate) struct Follower {
    client: Client,
    room: RoomId,
    events: Streaming<Event>,
    seen: HashSet<EventId>,
    /// Devices known to be shut out: a few at most, since each takes a person who copied it, or lies.
    shut_out: HashSet<PeerId>,
    queue: VecDeque<Update>,
    /// Whether events were lost, so that the store has to be read.
    stale: bool,
}

impl Follower {
    /// Starts to follow; returns the newest `limit` messages as well, oldest first.
    pub(crate) async fn start(
        client: &Client,
        room: RoomId,
        limit: usize,
    ) -> Result<(Self, Vec<Message>), ClientError> {
        // Subscribed before the store is read, so that nothing falls between the two.
        let events = client.events().await?;
        let mut follower = Self {
            client: client.clone(),
            room,
            events,
            seen: HashSet::new(),
            shut_out: HashSet::new(),
            queue: VecDeque::new(),
            stale: false,
        };
        // Who was shut out before is shown by `members`, and nothing new.
        follower.compare(client.members(&room.to_string()).await?);
        follower.queue.clear();
        let mut newest = VecDeque::new();
        let mut stored = client.messages(&room.to_string(), usize::MAX, true).await?;
        while let Some(message) = stored.next().await {
            let message = message?;
            if follower.is_new(&message) {
                newest.push_back(message);
                if newest.len() > limit {
                    newest.pop_front();
                }
            }
        }
        Ok((follower, newest.into()))
    }

    /// Returns what comes next; none when the node stopped. Cancelling the wait loses nothing.
    pub(crate) async fn next(&mut self) -> Result<Option<Update>, ClientError> {
        loop {
            if let Some(update) = self.queue.pop_front() {
                return Ok(Some(update));
            }
            if self.stale {
                self.read_again().await?;
                continue;
            }
            match self.events.next().await {
                Some(Ok(event)) => self.take(event),
                // The node drops a subscriber that was too slow, and it may be there still.
                None | Some(Err(_)) => match self.client.events().await {
                    Ok(events) => {
                        self.events = events;
                        self.stale = true;
                    }
                    Err(_) => return Ok(None),
                },
            }
        }
    }

    /// Takes note of a message that was shown already.
    pub(crate) fn skip(&mut self, event: EventId) {
        self.seen.insert(event);
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Message { message } if message.room == self.room && self.is_new(&message) => {
                self.queue.push_back(Update::Message(message));
            }
            Event::Joined { room, name, .. } if room == self.room => {
                self.queue.push_back(Update::Joined(name));
            }
            Event::Left { room, account_id, name, removed } if room == self.room => {
                self.queue.push_back(Update::Left { account: account_id, name, removed });
            }
            Event::Forked { room, device, name, .. } if room == self.room => {
                self.note_shut_out(device, name);
            }
            Event::Lagged { .. } => self.stale = true,
            _ => {}
        }
    }

    /// Reads the whole store and queues what was missed.
    async fn read_again(&mut self) -> Result<(), ClientError> {
        tracing::debug!("events were lost; the store is read again");
        let room = self.room.to_string();
        let mut stored = self.client.messages(&room, usize::MAX, true).await?;
        while let Some(message) = stored.next().await {
            let message = message?;
            if self.is_new(&message) {
                self.queue.push_back(Update::Message(message));
            }
        }
        let members = self.client.members(&room).await?;
        self.compare(members);
        self.stale = false;
        Ok(())
    }

    /// Queues the devices that were shut out meanwhile.
    fn compare(&mut self, members: Vec<Member>) {
        for member in members {
            for device in member.frozen {
                self.note_shut_out(device, member.name.clone());
            }
        }
    }

    fn note_shut_out(&mut self, device: PeerId, name: String) {
        // A device whose logs fork at several places is told of several times.
        if self.shut_out.insert(device) {
            self.queue.push_back(Update::ShutOut { device, name });
        }
    }

    /// Whether a message is to be shown now; it counts as shown then.
    fn is_new(&mut self, message: &Message) -> bool {
        message.kind != MessageKind::Locked && self.seen.insert(message.event)
    }
}

#[cfg(test)]
mod tests {
    use ayni::{BlobId, Role};
    use futures_util::stream;

    use super::*;

    fn message(time: u64, kind: MessageKind, name: &str, text: &str) -> Message {
        Message {
            event: EventId([1; 32]),
            room: RoomId([2; 32]),
            author: AccountId([3; 32]),
            device: PeerId([4; 32]),
            name: name.to_owned(),
            time,
            kind,
            text: text.to_owned(),
            attachment: None,
        }
    }

    #[test]
    fn the_day_is_printed_when_it_changes() {
        let mut printer = Printer::default();
        let day = 24 * 60 * 60 * 1000;
        let mut lines = |time| printer.lines(&message(time, MessageKind::Message, "Ana", "hi"));
        assert_eq!(lines(0), ["1970-01-01 (UTC)", "00:00 Ana: hi"]);
        assert_eq!(lines(60_000), ["00:01 Ana: hi"]);
        assert_eq!(lines(day), ["1970-01-02 (UTC)", "00:00 Ana: hi"]);
    }

    #[test]
    fn names_and_texts_are_made_safe() {
        let mut printer = Printer::default();
        let fake = message(0, MessageKind::Message, "Ana\n00:00 Beto", "one\n00:00 Beto: two");
        let lines = printer.lines(&fake);
        assert_eq!(lines[1], "00:00 Ana␊00:00 Beto: one\n      00:00 Beto: two");
        let lines =
            printer.lines_in(Some("den\n00:00 [x]"), &message(0, MessageKind::Message, "A", "b"));
        assert_eq!(lines, ["00:00 [den␊00:00 [x]] A: b"]);
        let newer = message(0, MessageKind::Unknown, "Ana", "");
        assert_eq!(printer.lines(&newer), ["00:00 Ana: (from a newer version of ayni)"]);
    }

    #[test]
    fn an_attachment_is_one_line_with_what_it_is_and_is_made_safe() {
        let shown = |name: &str, media_type: &str, files, caption: &str| {
            let attachment = Attachment {
                blob: BlobId([5; 32]),
                size: 1_234_567,
                name: name.to_owned(),
                media_type: media_type.to_owned(),
                files,
                width: None,
                height: None,
                thumbhash: None,
                thumbnail: None,
            };
            let message = message(0, MessageKind::Attachment, "Ana", caption);
            let message = Message { attachment: Some(Box::new(attachment)), ..message };
            Printer::default().lines(&message).split_off(1)
        };
        let id = "0101010101010101";
        assert_eq!(
            shown("beach.png", "image/png", None, "at the sea"),
            [format!("00:00 Ana: [{id}] picture beach.png (1.2 MB): at the sea")]
        );
        assert_eq!(
            shown("holiday", "", Some(3), ""),
            [format!("00:00 Ana: [{id}] folder holiday (3 files, 1.2 MB)")]
        );
        assert_eq!(
            shown("a\n00:00 Beto: b\u{202e}\x1b[2J", "text/plain", None, "c\x1b[2J\n00:00 Beto: d"),
            [format!(
                "00:00 Ana: [{id}] file a␊00:00 Beto: b\u{fffd}␛[2J (1.2 MB): c␛[2J\n      00:00 Beto: d"
            )]
        );
    }

    #[test]
    fn a_device_that_is_shut_out_is_told_once_also_where_the_event_was_lost() {
        let (room, account_id) = (RoomId([2; 32]), AccountId([3; 32]));
        let mut follower = Follower {
            client: Client::new(([127, 0, 0, 1], 9).into(), ""),
            room,
            events: Box::pin(stream::pending()),
            seen: HashSet::new(),
            shut_out: HashSet::new(),
            queue: VecDeque::new(),
            stale: false,
        };
        let name = || "Beto".to_owned();
        let forked = |room, device| Event::Forked { room, device, account_id, name: name() };
        let [one, other, elsewhere] = [4, 5, 6].map(|n| PeerId([n; 32]));
        for event in [forked(room, one), forked(room, one), forked(RoomId([9; 32]), elsewhere)] {
            follower.take(event);
        }
        let devices = vec![one, other];
        follower.compare(vec![Member {
            account_id,
            devices: devices.clone(),
            frozen: devices,
            name: name(),
            role: Role::Member,
            founder: false,
            me: false,
            online: false,
        }]);
        let told: Vec<Update> = follower.queue.into();
        let expected = [one, other].map(|device| Update::ShutOut { device, name: name() });
        assert_eq!(told, expected);
    }
}
