//! One node in a process of its own.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use ayni::{InviteOptions, MessageQuery, Network, Node, RoomId, Ticket};

use crate::common::child;

/// Longest wait for anything: only a hang meets it.
const DEADLINE: Duration = Duration::from_mins(15);
/// A word that about one message in 1,700 has, and the beginning of words that one in forty has.
const RARE: &str = "aakami";
const COMMON: &str = "aaa";
/// How often a newcomer looks whether it has everything.
const LOOK: Duration = Duration::from_millis(20);

/// Is one node, until its standard input ends.
pub(crate) async fn run(arguments: &[String]) -> Result<()> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let node = match words[..] {
        ["serve", folder] => start(folder, false).await?,
        ["join", folder, ticket, events, index] => {
            let begun = Instant::now();
            let index = index == "index";
            let node = start(folder, index).await?;
            join(&node, &ticket.parse()?, events.parse()?, begun).await?;
            if index {
                find(&node, begun).await?;
            }
            node
        }
        ["open", folder] => {
            let node = start(folder, false).await?;
            open(&node).await?;
            node
        }
        _ => bail!("a node does not know {words:?}"),
    };
    let mut asked = child::asked();
    while let Some(line) = asked.recv().await {
        answer(&node, &line).await?;
    }
    node.shutdown().await;
    Ok(())
}

async fn start(folder: &str, index: bool) -> Result<Node> {
    let builder = Node::builder().data(Path::new(folder)).network(Network::Loopback);
    Ok(builder.index_messages(index).start().await?)
}

fn room(node: &Node) -> Result<RoomId> {
    Ok(node.rooms().first().context("a room")?.room)
}

async fn answer(node: &Node, asked: &str) -> Result<()> {
    match asked {
        "invite" => println!("{}", node.invite(room(node)?, InviteOptions::default()).await?),
        "compare" => {
            ayni::bench::compare(node, room(node)?)?;
            println!("compared");
        }
        _ => bail!("a node does not know {asked:?}"),
    }
    Ok(())
}

/// Says after how many milliseconds there was something to look at, and after how many all was here.
async fn join(node: &Node, ticket: &Ticket, events: u64, begun: Instant) -> Result<()> {
    node.join(ticket, DEADLINE).await?;
    println!("{}", begun.elapsed().as_millis());
    while node.status().await?.events < events {
        ensure!(begun.elapsed() < DEADLINE, "only {} came", node.status().await?.events);
        tokio::time::sleep(LOOK).await;
    }
    println!("{}", begun.elapsed().as_millis());
    Ok(())
}

/// Says after how many milliseconds all words were indexed, and how many microseconds two searches
/// take: for a word that few have, and for what many words begin with.
async fn find(node: &Node, begun: Instant) -> Result<()> {
    while node.search(RARE, None, 1, None).await?.behind > 0 {
        ensure!(begun.elapsed() < DEADLINE, "the index does not get on");
        tokio::time::sleep(LOOK).await;
    }
    println!("{}", begun.elapsed().as_millis());
    let mut calls = Vec::new();
    for word in [RARE, COMMON] {
        let begun = Instant::now();
        let found = node.search(word, None, 50, None).await?;
        calls.push(begun.elapsed().as_micros().to_string());
        ensure!(!found.messages.is_empty(), "nothing is found for {word}");
    }
    println!("{}", calls.join(" "));
    Ok(())
}

/// Says how many microseconds the newest messages took to be read, the first time and again.
async fn open(node: &Node) -> Result<()> {
    let mut calls = Vec::new();
    for _ in 0..2 {
        let begun = Instant::now();
        let page = node.messages(room(node)?, MessageQuery { limit: 50, before: None }).await?;
        calls.push(begun.elapsed().as_micros().to_string());
        ensure!(page.messages.len() == 50, "{} messages", page.messages.len());
        let readable = page.messages.iter().all(|message| !message.text.is_empty());
        ensure!(readable, "messages that cannot be read");
    }
    println!("{}", calls.join(" "));
    Ok(())
}
