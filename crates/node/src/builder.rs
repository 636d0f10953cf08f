//! How to start a node.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::node::Node;

/// Where a node looks for others, and where it lets itself be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Network {
    /// Everything this version has: the local network and direct addresses from tickets.
    #[default]
    Internet,
    /// The local network, found by multicast DNS.
    Lan,
    /// 127.0.0.1 only, for tests and demonstrations.
    Loopback,
}

impl Network {
    /// Returns the name used on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Internet => "internet",
            Self::Lan => "lan",
            Self::Loopback => "loopback",
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Network {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        [Self::Internet, Self::Lan, Self::Loopback]
            .into_iter()
            .find(|network| network.name() == text)
            .ok_or_else(|| {
                Error::Invalid(format!("unknown network {text:?}: internet, lan or loopback"))
            })
    }
}

/// Configures and starts a [`Node`].
#[derive(Debug, Clone, Default)]
pub struct Builder {
    pub(crate) data: Option<PathBuf>,
    pub(crate) network: Option<Network>,
    pub(crate) offline: bool,
    pub(crate) keep_network: bool,
    pub(crate) skip_index: bool,
}

impl Builder {
    /// Sets the data folder. Default: `AYNI_DATA`, else the platform's own.
    #[must_use]
    pub fn data(mut self, folder: impl Into<PathBuf>) -> Self {
        self.data = Some(folder.into());
        self
    }

    /// Sets the network preset. Default: the one kept in the folder, else `internet`.
    #[must_use]
    pub fn network(mut self, network: Network) -> Self {
        self.network = Some(network);
        self
    }

    /// Makes the preset of this start the folder's default for later ones.
    #[must_use]
    pub fn keep_network(mut self, keep: bool) -> Self {
        self.keep_network = keep;
        self
    }

    /// Starts without a network: only what the folder alone can answer works.
    #[must_use]
    pub fn offline(mut self, offline: bool) -> Self {
        self.offline = offline;
        self
    }

    /// Sets whether messages can be found by their words ([`Node::search`]). Default: yes. Their words
    /// then lie unsealed in the data folder. If not, what was indexed before is removed.
    #[must_use]
    pub fn index_messages(mut self, index: bool) -> Self {
        self.skip_index = !index;
        self
    }

    /// Starts the node: opens and locks the folder, makes keys on first start, binds the endpoint,
    /// and begins to reconnect to known peers. Returns when it can be used.
    ///
    /// # Errors
    /// [`Error::InUse`] when another process has the folder; [`Error::NewerFolder`]; a damaged
    /// database, a full disk or an unusable port as [`Error::Store`], [`Error::Io`] or
    /// [`Error::Endpoint`]. Nothing is changed in the folder then.
    pub async fn start(self) -> Result<Node> {
        // Boxed: bringing up a node is a large future, and callers should not carry it.
        Box::pin(Node::start(self)).await
    }
}

/// Returns the data folder in force: `chosen`, else `AYNI_DATA`, else the platform's own
/// (`$XDG_DATA_HOME/ayni` on Linux).
///
/// # Errors
/// [`Error::Invalid`] when the platform names no home folder.
pub fn data_folder(chosen: Option<&Path>) -> Result<PathBuf> {
    use etcetera::BaseStrategy;
    if let Some(folder) = chosen {
        return Ok(folder.to_owned());
    }
    if let Some(folder) = std::env::var_os("AYNI_DATA").filter(|value| !value.is_empty()) {
        return Ok(folder.into());
    }
    let base = etcetera::choose_base_strategy().map_err(|_| {
        Error::Invalid("no home folder is known; name a data folder with --data".into())
    })?;
    Ok(base.data_dir().join("ayni"))
}
