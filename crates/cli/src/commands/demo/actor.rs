//! One node of the demonstration: its process, and what it is asked through the command line.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};

/// Who plays. Beyond them actors are numbered.
const NAMES: [&str; 8] = ["Ana", "Beto", "Carla", "Dino", "Elena", "Félix", "Gloria", "Hugo"];
/// What they say, in turn.
const PHRASES: [&str; 5] = [
    "today for you, tomorrow for me",
    "who has the pictures of the harvest?",
    "I kept them, here they come",
    "no server was asked",
    "see you at the assembly",
];
/// Longest time for one command. Far beyond what it takes; the story's own limit comes first.
const COMMAND_TIME: Duration = Duration::from_secs(30);

/// One line of a log, as far as it is compared.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Line {
    pub(super) event: String,
    pub(super) text: String,
}

/// A node, running or killed.
pub(super) struct Actor {
    pub(super) name: String,
    program: PathBuf,
    folder: PathBuf,
    node: Option<Child>,
}

impl Actor {
    /// Prepares an actor with a folder of its own below `folders`.
    pub(super) fn new(folders: &Path, number: usize) -> anyhow::Result<Self> {
        let name = match NAMES.get(number) {
            Some(name) => (*name).to_owned(),
            None => format!("Peer-{}", number + 1),
        };
        let program = std::env::current_exe().context("find this program's own file")?;
        Ok(Self { folder: folders.join(number.to_string()), name, program, node: None })
    }

    /// Starts the node and waits until it is ready.
    pub(super) async fn start(&mut self) -> anyhow::Result<()> {
        let mut up = self.command(&["up", "--http", "127.0.0.1:0", "--no-open"]);
        let mut node = up.stdin(Stdio::null()).spawn().context("start a node")?;
        let stdout = node.stdout.take().context("read a node's output")?;
        let first = node_ready(BufReader::new(stdout));
        tokio::time::timeout(COMMAND_TIME, first).await.context("a node is not ready")??;
        self.node = Some(node);
        self.ask(&["name", &self.name]).await?;
        Ok(())
    }

    /// Kills the node (SIGKILL) and waits until it is gone.
    pub(super) async fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut node) = self.node.take() {
            node.kill().await.context("kill a node")?;
        }
        Ok(())
    }

    /// Makes a room and returns its id.
    pub(super) async fn create_room(&self, name: &str) -> anyhow::Result<String> {
        self.field(&["room", "create", name], "room").await
    }

    /// Makes a ticket.
    pub(super) async fn invite(&self, room: &str) -> anyhow::Result<String> {
        self.field(&["room", "invite", room], "ticket").await
    }

    /// Joins and waits until the room is here.
    pub(super) async fn join(&self, ticket: &str) -> anyhow::Result<()> {
        self.ask(&["join", ticket]).await.map(|_| ())
    }

    /// Says `count` things at once, and returns event and text of the first `heard` of them as they
    /// were acknowledged. The others are on their way then.
    pub(super) async fn talk(
        &self,
        room: &str,
        count: usize,
        heard: usize,
    ) -> anyhow::Result<Vec<(String, String)>> {
        let mut chat = self.command(&["chat", room]);
        let mut chat = chat.stdin(Stdio::piped()).spawn().context("start to talk")?;
        let mut stdin = chat.stdin.take().context("talk")?;
        let stdout = chat.stdout.take().context("listen")?;
        let phrases = PHRASES.iter().cycle().take(count);
        let texts: Vec<String> = phrases.map(|phrase| format!("{}: {phrase}", self.name)).collect();
        stdin.write_all((texts.join("\n") + "\n").as_bytes()).await.context("talk")?;
        let mut lines = BufReader::new(stdout).lines();
        let mut said = Vec::new();
        for text in texts.into_iter().take(heard) {
            let reply = tokio::time::timeout(COMMAND_TIME, lines.next_line()).await;
            let reply = reply.context("nothing was acknowledged in time")?.context("listen")?;
            let reply = reply.with_context(|| format!("{} was not heard", self.name))?;
            said.push((text_of(&serde_json::from_str(&reply)?, "event")?, text));
        }
        Ok(said)
    }

    /// Returns the whole log.
    pub(super) async fn log(&self, room: &str) -> anyhow::Result<Vec<Line>> {
        let lines = self.ask(&["log", room, "--limit", "1000000"]).await?;
        lines.into_iter().map(|line| Ok(serde_json::from_value(line)?)).collect()
    }

    /// Runs one command and returns one text of its only object.
    async fn field(&self, args: &[&str], key: &str) -> anyhow::Result<String> {
        let objects = self.ask(args).await?;
        text_of(objects.first().context("a command printed nothing")?, key)
    }

    /// Runs one command to its end and returns the objects that it printed.
    async fn ask(&self, args: &[&str]) -> anyhow::Result<Vec<serde_json::Value>> {
        let what = || format!("`ayni {}` of {}", args.first().unwrap_or(&""), self.name);
        let mut command = self.command(args);
        let running = command.stdin(Stdio::null()).stderr(Stdio::piped()).output();
        let output = tokio::time::timeout(COMMAND_TIME, running).await.with_context(what)?;
        let output = output.with_context(what)?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{}: {}", what(), complaint.trim());
        let text = String::from_utf8(output.stdout).with_context(what)?;
        text.lines().map(|line| serde_json::from_str(line).with_context(what)).collect()
    }

    /// A process of this program, with this actor's folder, that dies with its handle.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(args).args(["--json", "--network", "loopback", "--data"]).arg(&self.folder);
        command.env_remove("AYNI_DATA").env_remove("AYNI_NETWORK").env_remove("AYNI_LOG");
        command.stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        command
    }
}

/// Waits for the line that says that a node is ready.
async fn node_ready(mut stdout: impl tokio::io::AsyncBufRead + Unpin) -> anyhow::Result<()> {
    let mut line = String::new();
    stdout.read_line(&mut line).await.context("read a node's output")?;
    ensure!(line.contains("peer_id"), "a node ended before it was ready");
    Ok(())
}

fn text_of(object: &serde_json::Value, key: &str) -> anyhow::Result<String> {
    let text = object.get(key).and_then(serde_json::Value::as_str);
    Ok(text.with_context(|| format!("no {key} in a command's result"))?.to_owned())
}
