//! `ayni chat`: talking in a room.
//!
//! At a terminal there is a line editor below what the others say. Without one every line of
//! standard input is said as it is: a file gives no commands.

mod screen;

use std::io::IsTerminal as _;

use ayni::PeerId;
use ayni::limits::MAX_TEXT;
use ayni_web::api::{Posted, RoomRef};
use ayni_web::{Client, ClientError, api};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};

use self::screen::{Input, Screen};
use super::room;
use super::standing::{joined, shut_out_words};
use crate::args::SHOWN_MESSAGES;
use crate::exit::{Code, failure};
use crate::output::{Out, clean};
use crate::session::{Need, Session};
use crate::timeline::{Follower, Printer, Update};

const HELP: &str = "\
/members   who is here
/invite    a ticket for someone new
/help      this
/quit      end (as does Ctrl-D)
What starts with // is said with one /.
";

/// Talks in a room until the person has enough.
pub(crate) async fn chat(session: &mut Session, room: &str) -> anyhow::Result<()> {
    let is_person = std::io::stdin().is_terminal() && !session.out.is_json();
    let talked = session.until_stopped(Need::Network, async |node, out| {
        let room = joined(&node.client, room).await?;
        if is_person {
            Talk::start(&node.client, room).await?.run().await
        } else {
            say_lines(&node.client, &room, out).await
        }
    });
    talked.await.map(|_| ())
}

/// Says every line of standard input. Empty ones are left out.
async fn say_lines(client: &Client, room: &RoomRef, out: &mut Out) -> anyhow::Result<()> {
    let room = room.room.to_string();
    let mut input = BufReader::new(tokio::io::stdin());
    loop {
        let mut line = Vec::new();
        // The largest text, its newline, and one byte more, which tells that it is too large.
        let most = MAX_TEXT as u64 + 2;
        if (&mut input).take(most).read_until(b'\n', &mut line).await? == 0 {
            return Ok(());
        }
        let line = line.strip_suffix(b"\n").unwrap_or(&line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let text = std::str::from_utf8(line)
            .map_err(|_| failure(Code::Invalid, "standard input is not UTF-8 text"))?;
        if text.trim().is_empty() {
            continue;
        }
        let event = client.say(&room, text).await?;
        if out.is_json() {
            out.object(&Posted { event })?;
            out.flush()?;
        }
    }
}

/// A conversation at a terminal.
struct Talk {
    client: Client,
    room: RoomRef,
    /// This device.
    me: PeerId,
    follower: Follower,
    printer: Printer,
    screen: Screen,
}

impl Talk {
    /// Shows the history and the editor.
    async fn start(client: &Client, room: RoomRef) -> anyhow::Result<Self> {
        let (follower, history) = Follower::start(client, room.room, SHOWN_MESSAGES).await?;
        let me = client.id().await?.peer_id;
        let name = clean(&room.name).into_owned();
        let (screen, printer) = (Screen::start(&format!("{name}> "))?, Printer::default());
        let mut talk = Self { client: client.clone(), room, me, follower, printer, screen };
        talk.screen.show(format!("{name}: /help tells what you can do here\n")).await;
        for message in history {
            talk.show_message(&message).await;
        }
        talk.screen.prompt();
        Ok(talk)
    }

    async fn run(mut self) -> anyhow::Result<()> {
        loop {
            tokio::select! {
                input = self.screen.input() => match input {
                    Input::End => return Ok(()),
                    Input::Failed(why) => return Err(failure(Code::Other, why)),
                    Input::Line(line) => {
                        if self.obey(&line).await? {
                            return Ok(());
                        }
                        self.screen.prompt();
                    }
                },
                update = self.follower.next() => match update? {
                    Some(update) => self.show(update).await,
                    None => return Err(failure(Code::Unreachable, "the node stopped")),
                },
            }
        }
    }

    async fn show(&mut self, update: Update) {
        match update {
            Update::Message(message) => {
                self.show_message(&message).await;
                // Who sits before the screen reads it. If this fails, so will the next event.
                let _ = self.client.mark_read(&self.room.room.to_string()).await;
            }
            Update::Joined(name) => {
                self.screen.show(format!("      {} joined\n", clean(&name))).await;
            }
            Update::Left { name, removed, .. } => {
                let how = if removed { "was removed" } else { "left" };
                self.screen.show(format!("      {} {how}\n", clean(&name))).await;
            }
            Update::ShutOut { device, name } => {
                let mine = device == self.me;
                let words = shut_out_words(&self.room.name, &device, &name, mine);
                self.screen.show(format!("      {}\n", clean(&words))).await;
            }
        }
    }

    async fn show_message(&mut self, message: &api::Message) {
        let lines = self.printer.lines(message).join("\n");
        self.screen.show(format!("{lines}\n")).await;
    }

    /// Does what a line asks; returns whether the talk is over.
    async fn obey(&mut self, line: &str) -> anyhow::Result<bool> {
        let done = match Order::read(line) {
            Order::Nothing => Ok(String::new()),
            Order::Quit => return Ok(true),
            Order::Help => Ok(HELP.to_owned()),
            Order::Unknown(word) => Ok(format!("{} is not known; /help\n", clean(word))),
            Order::Members => self.members().await,
            Order::Invite => self.invite().await,
            Order::Say(text) => self.say(text).await,
        };
        match done {
            Ok(shown) if shown.is_empty() => {}
            Ok(shown) => self.screen.show(shown).await,
            // Told, and the talk goes on: the text can be changed, the room may come back.
            Err(error) => self.screen.show(format!("not done: {}\n", clean(&error.message))).await,
        }
        Ok(false)
    }

    async fn say(&mut self, text: &str) -> Result<String, ClientError> {
        let event = self.client.say(&self.room.room.to_string(), text).await?;
        // It stands on the screen already, where it was typed.
        self.follower.skip(event);
        Ok(String::new())
    }

    async fn members(&self) -> Result<String, ClientError> {
        let members = self.client.members(&self.room.room.to_string()).await?;
        Ok(members.iter().map(|member| room::member_line(member) + "\n").collect())
    }

    async fn invite(&self) -> Result<String, ClientError> {
        let invitation = api::Invite::default();
        let ticket = self.client.invite(&self.room.room.to_string(), &invitation).await?;
        Ok(format!("{}\n", clean(&ticket.ticket)))
    }
}

/// What a line at the terminal asks for.
#[derive(Debug, PartialEq, Eq)]
enum Order<'a> {
    Nothing,
    Say(&'a str),
    Help,
    Members,
    Invite,
    Quit,
    Unknown(&'a str),
}

impl<'a> Order<'a> {
    fn read(line: &'a str) -> Self {
        let Some(word) = line.strip_prefix('/') else {
            return if line.trim().is_empty() { Self::Nothing } else { Self::Say(line) };
        };
        match word.trim_end() {
            "help" => Self::Help,
            "members" => Self::Members,
            "invite" => Self::Invite,
            "quit" => Self::Quit,
            word if word.starts_with('/') => Self::Say(word),
            _ => Self::Unknown(line),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_start_with_a_slash_and_everything_else_is_said() {
        assert_eq!(Order::read("hello /quit"), Order::Say("hello /quit"));
        assert_eq!(Order::read("  "), Order::Nothing);
        assert_eq!(Order::read("/quit "), Order::Quit);
        assert_eq!(Order::read("/members"), Order::Members);
        assert_eq!(Order::read("//etc is a folder"), Order::Say("/etc is a folder"));
        assert_eq!(Order::read("/etc"), Order::Unknown("/etc"), "a slip is not said to everyone");
    }
}
