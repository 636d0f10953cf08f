//! One run of the command line: its options, its output, and the node that answers it.
//!
//! A command never asks whether a node was running before: it gets a client of the node that serves
//! the data folder, or of one that was started in this process for as long as the command lasts.

use std::future::Future;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use ayni::{Builder, Network, Node};
use ayni_web::api::ErrorCode;
use ayni_web::{Client, Local};
use tokio_util::sync::CancellationToken;

use crate::args::Global;
use crate::exit::{Code, failure};
use crate::output::Out;

/// How long a command waits for its turn on a folder that another short command has open.
const TURN: Duration = Duration::from_secs(10);
/// Pause between two attempts; a short command holds a folder for about as long.
const TRY_AGAIN: Duration = Duration::from_millis(25);
/// The environment variable that names a network preset.
const NETWORK_VARIABLE: &str = "AYNI_NETWORK";

/// What a command needs from the node that is started when none runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// The data folder is enough.
    Folder,
    /// Others are to be reached.
    Network,
}

/// The options and streams of this run.
pub(crate) struct Session {
    /// Standard output.
    pub(crate) out: Out,
    global: Global,
    stop: CancellationToken,
}

/// The node that answers.
pub(crate) struct Backend {
    /// A client of its API.
    pub(crate) client: Client,
    /// The node, where it was started for this command.
    local: Option<Local>,
}

/// Whose the folder is.
pub(crate) enum Claim {
    /// This process's: a node, which nobody serves yet.
    Ours(Node),
    /// Another's, which serves it.
    Served(Client),
}

impl Session {
    /// Starts a run; `stop` is cancelled when the person wants it to end.
    pub(crate) fn new(global: Global, stop: CancellationToken) -> Self {
        Self { out: Out::new(global.json), global, stop }
    }

    /// Returns the token that is cancelled when the person wants it to end.
    pub(crate) fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Returns the data folder in force.
    pub(crate) fn folder(&self) -> anyhow::Result<PathBuf> {
        Ok(ayni::data_folder(self.global.data.as_deref())?)
    }

    /// Returns how to start a node on the data folder.
    pub(crate) fn builder(&self) -> anyhow::Result<Builder> {
        let builder = Builder::default().data(self.folder()?);
        Ok(match self.network()? {
            Some(network) => builder.network(network),
            None => builder,
        })
    }

    /// Returns the preset that was asked for; none leaves it to the folder.
    fn network(&self) -> anyhow::Result<Option<Network>> {
        if self.global.network.is_some() {
            return Ok(self.global.network);
        }
        let Some(value) = std::env::var_os(NETWORK_VARIABLE).filter(|value| !value.is_empty())
        else {
            return Ok(None);
        };
        let network: Network =
            value.to_string_lossy().parse().with_context(|| format!("read {NETWORK_VARIABLE}"))?;
        Ok(Some(network))
    }

    /// Does `work`, which holds nothing open, and gives it up when asked to stop.
    pub(crate) async fn unless_stopped<T>(
        &self,
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(stopped()),
            done = work => done,
        }
    }

    /// Does `work` with a node, and gives it up when asked to stop. A node that was started for it is
    /// shut down before this returns, however it ends.
    pub(crate) async fn with_node<T>(
        &mut self,
        need: Need,
        work: impl AsyncFnOnce(&Backend, &mut Out) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        self.until_stopped(need, work).await?.ok_or_else(stopped)
    }

    /// Does `work` with a node until it ends, or until it is asked to stop, which is no failure and
    /// returns none.
    pub(crate) async fn until_stopped<T>(
        &mut self,
        need: Need,
        work: impl AsyncFnOnce(&Backend, &mut Out) -> anyhow::Result<T>,
    ) -> anyhow::Result<Option<T>> {
        let until = async |node: &Backend, out: &mut Out, stop: &CancellationToken| {
            stop.run_until_cancelled(work(node, out)).await.transpose()
        };
        self.until_its_end(need, until).await.map(Option::flatten)
    }

    /// Does `work` with a node and lets it end by itself, which it does soon after the token is
    /// cancelled; none when asked to stop before there was a node.
    pub(crate) async fn until_its_end<T>(
        &mut self,
        need: Need,
        work: impl AsyncFnOnce(&Backend, &mut Out, &CancellationToken) -> anyhow::Result<T>,
    ) -> anyhow::Result<Option<T>> {
        let stop = self.stop.clone();
        let Some(backend) = stop.run_until_cancelled(self.open(need)).await else {
            return Ok(None);
        };
        let backend = backend?;
        let done = work(&backend, &mut self.out, &stop).await;
        let flushed = self.out.flush();
        backend.close().await;
        let done = done?;
        flushed?;
        Ok(Some(done))
    }

    /// Finds the node that serves the folder, or starts one.
    async fn open(&self, need: Need) -> anyhow::Result<Backend> {
        let (folder, builder) = (self.folder()?, self.builder()?);
        let builder = builder.offline(need == Need::Folder);
        let end = Instant::now() + TURN;
        loop {
            if let Some(client) = Client::connect(&folder).await? {
                return Ok(Backend { client, local: None });
            }
            // Boxed: starting a node is a large future, and few commands come this far.
            match Box::pin(Local::start(builder.clone())).await {
                Ok(local) => {
                    return Ok(Backend { client: local.client.clone(), local: Some(local) });
                }
                // Someone has the folder: a short command, whose turn ends soon, or a node that
                // is about to serve it.
                Err(error) if error.code == ErrorCode::Denied && Instant::now() < end => {
                    tokio::time::sleep(TRY_AGAIN).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Starts a node that is to serve the folder itself, unless one serves it already.
    ///
    /// # Errors
    /// With [`Code::Denied`] when another process has the folder open for longer than [`TURN`].
    pub(crate) async fn claim(&self) -> anyhow::Result<Claim> {
        let (folder, builder) = (self.folder()?, self.builder()?.keep_network(true));
        let end = Instant::now() + TURN;
        loop {
            if let Some(running) = Client::connect(&folder).await? {
                return Ok(Claim::Served(running));
            }
            match Box::pin(builder.clone().start()).await {
                Ok(node) => return Ok(Claim::Ours(node)),
                Err(ayni::Error::InUse(_)) if Instant::now() < end => {
                    tokio::time::sleep(TRY_AGAIN).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Backend {
    /// Whether nothing leaves this machine before a node runs again.
    pub(crate) fn is_local(&self) -> bool {
        self.local.is_some()
    }

    /// Whether it ends with a command: with this one, or with another that it was started for.
    pub(crate) fn is_passing(&self) -> bool {
        self.is_local() || self.client.is_passing()
    }

    async fn close(self) {
        if let Some(local) = self.local {
            local.stop().await;
        }
    }
}

/// What is told when someone ended a command before it did what it is for.
pub(crate) fn stopped() -> anyhow::Error {
    failure(Code::Other, "stopped before it was done")
}
