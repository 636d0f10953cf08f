//! The `ayni` command: a table of contents.
//!
//! - [`args`]: the grammar. [`commands`]: one module a subject. [`session`]: the node that answers.
//! - [`exit`]: exit codes and the one line of complaint. [`output`]: what is printed, made safe.
//! - [`stop`]: Ctrl-C and SIGTERM. [`ask`]: questions and texts from the terminal.
//! - [`program`]: services that are programs. [`timeline`]: a room's messages as they come.
//! - [`progress`]: how far transfers are. [`qr`]: tickets as QR codes.
//!
//! Goals: scripts can rely on every code and key of `docs/cli.md`; what peers wrote cannot harm a
//! terminal. Non-goals: anything that the node or its API should do for the page as well.

mod args;
mod ask;
mod commands;
mod exit;
mod output;
mod program;
mod progress;
mod qr;
mod session;
mod stop;
mod timeline;

use std::process::ExitCode;

use anyhow::Context as _;
use ayni_web::api;
use clap::Parser as _;

use crate::args::{Cli, Command, InviteCommand, MemberCommand, RoomCommand};
use crate::commands::{
    about, chat, demo, files, invite, log, member, room, say, search, service, share, shell,
    storage, transfer, up,
};
use crate::session::Session;

/// The environment variable that says what to log.
const LOG_VARIABLE: &str = "AYNI_LOG";

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return exit::report_usage(&error),
    };
    exit::keep_panics_short();
    match std::panic::catch_unwind(|| start(cli)) {
        Ok(done) => exit::report(done),
        Err(_) => exit::Code::Other.into(),
    }
}

/// Runs the command on a runtime, which does not wait for threads that read a terminal.
fn start(cli: Cli) -> anyhow::Result<()> {
    log_to_stderr()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.context("start the program's threads")?;
    let done = runtime.block_on(run(cli));
    runtime.shutdown_background();
    done
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    let session = &mut Session::new(cli.global, stop::on_signal());
    if !cli.up.is_default() && !matches!(cli.command, None | Some(Command::Up(_))) {
        let told = "--http and --no-open belong to `ayni up` (see `ayni --help`)";
        return Err(exit::failure(exit::Code::Invalid, told));
    }
    match cli.command {
        None => up::bare(session, cli.up).await,
        Some(Command::Up(later)) => up::up(session, cli.up.merge(&later)).await,
        Some(Command::Id) => about::id(session).await,
        Some(Command::Name { new_name }) => about::name(session, &new_name).await,
        Some(Command::Room { command }) => run_room(session, command).await,
        Some(Command::Member { command }) => run_member(session, command).await,
        Some(Command::Invite { command: InviteCommand::List { room } }) => {
            invite::list(session, &room).await
        }
        Some(Command::Invite { command: InviteCommand::Revoke { room, invite } }) => {
            invite::revoke(session, &room, &invite).await
        }
        Some(Command::Look { ticket, wait }) => room::look(session, &ticket, wait).await,
        Some(Command::Join { ticket, yes, wait }) => room::join(session, &ticket, yes, wait).await,
        Some(Command::Leave { room, yes }) => room::leave(session, &room, yes).await,
        Some(Command::Members { room }) => room::members(session, &room).await,
        Some(Command::Say { room, text }) => say::say(session, &room, text).await,
        Some(Command::Dm { who, text }) => say::dm(session, &who, text).await,
        Some(Command::Broadcast { text, yes }) => say::broadcast(session, text, yes).await,
        Some(Command::Log { room, limit, follow, thumbnails }) => {
            log::log(session, &room, limit, thumbnails, follow).await
        }
        Some(Command::Search { text, room, limit }) => {
            search::search(session, &text, room.as_deref(), limit).await
        }
        Some(Command::Attach(what)) => files::attach(session, what).await,
        Some(Command::Files { room, limit }) => files::files(session, &room, limit).await,
        Some(Command::Fetch(what)) => transfer::fetch(session, what).await,
        Some(Command::Send(what)) => share::send(session, what).await,
        Some(Command::Get(what)) => share::get(session, what).await,
        Some(Command::Shares) => share::shares(session).await,
        Some(Command::Unshare { share }) => share::unshare(session, &share).await,
        Some(Command::Transfers { follow: false }) => transfer::transfers(session).await,
        Some(Command::Transfers { follow: true }) => transfer::follow(session).await,
        Some(Command::Transfer { command }) => transfer::transfer(session, command).await,
        Some(Command::Limits(limits)) => storage::limits(session, limits).await,
        Some(Command::Pin(what)) => storage::pin(session, &what).await,
        Some(Command::Unpin(what)) => storage::unpin(session, &what).await,
        Some(Command::Storage(change)) => storage::storage(session, change).await,
        Some(Command::Chat { room }) => chat::chat(session, &room).await,
        Some(Command::Peers) => about::peers(session).await,
        Some(Command::Provide(offer)) => service::provide(session, offer).await,
        Some(Command::Request { peer, name, data, timeout }) => {
            service::request(session, &peer, &name, data, timeout).await
        }
        Some(Command::Forward { peer, name, local_port }) => {
            service::forward(session, &peer, &name, local_port).await
        }
        Some(Command::Services { peer }) => service::services(session, peer.as_deref()).await,
        Some(Command::Status) => about::status(session).await,
        Some(Command::Doctor) => about::doctor(session).await,
        Some(Command::Demo { peers }) => demo::demo(session, peers).await,
        Some(Command::Completions { shell }) => shell::completions(session, shell),
        Some(Command::Man) => shell::man(session),
    }
}

async fn run_room(session: &mut Session, command: RoomCommand) -> anyhow::Result<()> {
    match command {
        RoomCommand::Create { name } => room::create(session, &name).await,
        RoomCommand::List { all } => room::list(session, all).await,
        RoomCommand::Show { room } => room::show(session, &room).await,
        RoomCommand::Set { room, key, value } => room::set(session, &room, key, value).await,
        RoomCommand::Pictures(change) => storage::pictures(session, &change).await,
        RoomCommand::Invite { room, uses, expires, role, qr } => {
            let invitation = api::Invite { uses, expires_s: expires.as_secs(), role };
            invite::make(session, &room, &invitation, qr).await
        }
    }
}

async fn run_member(session: &mut Session, command: MemberCommand) -> anyhow::Result<()> {
    match command {
        MemberCommand::Promote { member, to } => member::promote(session, &member, to).await,
        MemberCommand::Demote { member, to } => member::demote(session, &member, to).await,
        MemberCommand::Remove { member, yes } => member::remove(session, &member, yes).await,
    }
}

/// Logs to standard error what `AYNI_LOG` asks for, and nothing otherwise.
fn log_to_stderr() -> anyhow::Result<()> {
    let Some(wanted) = std::env::var_os(LOG_VARIABLE).filter(|wanted| !wanted.is_empty()) else {
        return Ok(());
    };
    let filter =
        tracing_subscriber::EnvFilter::try_new(wanted.to_string_lossy()).map_err(|_| {
            let told = format!("{LOG_VARIABLE} is not a filter; try `info` or `ayni=debug`");
            exit::failure(exit::Code::Invalid, told)
        })?;
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    Ok(())
}
