//! The smallest chat: two lines start it, and everything else is the library.
//!
//! ```text
//! cargo run --release -p ayni --example chat                  # prints a ticket
//! cargo run --release -p ayni --example chat -- TICKET        # joins, in another terminal
//! ```
//! Each runs a node of its own in a temporary folder, on this machine and its local network.

use std::time::Duration;

use anyhow::Context;
use ayni::{Event, InviteOptions, Network, Node, Ticket};
use tokio::io::{AsyncBufReadExt, BufReader};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let node = Node::builder().data(folder.path()).network(Network::Lan).start().await?;
    let room = if let Some(ticket) = std::env::args().nth(1) {
        let ticket: Ticket = ticket.parse().context("the argument is not a ticket")?;
        node.join(&ticket, Duration::from_secs(30)).await?
    } else {
        let room = node.create_room("chat example").await?;
        println!("{}", node.invite(room.room, InviteOptions::default()).await?);
        room
    };
    println!("in {:?} as {}; type to talk, end with Ctrl-D", room.name, node.identity().name);

    let mut events = node.subscribe();
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    loop {
        tokio::select! {
            line = lines.next_line() => match line? {
                Some(line) if line.is_empty() => {}
                Some(line) => drop(node.say(room.room, &line).await?),
                None => break,
            },
            event = events.next() => match event {
                Event::Message(message) if !message.mine => {
                    println!("{}: {}", message.name, message.text);
                }
                Event::Joined { name, .. } => println!("* {name} joined"),
                Event::Lagged(missed) => println!("* {missed} events were not shown"),
                Event::Closed => break,
                _ => {}
            },
        }
    }
    node.shutdown().await;
    Ok(())
}
