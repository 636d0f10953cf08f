//! The local API, for tests that say more than a process per message could.

use std::path::Path;

use ayni_web::Client;
use ayni_web::api::Transfer;
use tokio::runtime::Runtime;

use super::{DEADLINE, Node, wait_until};

/// A blocking handle on a running node's API.
pub struct Api {
    runtime: Runtime,
    client: Client,
}

impl Api {
    /// Connects to a node that runs, as the command line does: by its data folder.
    #[track_caller]
    pub fn of(node: &Node) -> Self {
        Self::at(node.folder())
    }

    /// Connects to what serves a folder, as soon as it does.
    #[track_caller]
    pub fn at(folder: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime can be built");
        let mut client = None;
        let connected = wait_until(DEADLINE, || {
            client = runtime.block_on(Client::connect(folder)).expect("its API answers");
            client.is_some()
        });
        assert!(connected, "nothing serves {}", folder.display());
        Self { runtime, client: client.expect("just connected") }
    }

    /// Says something; returns the event's id once it is durable.
    pub fn say(&self, room: &str, text: &str) -> Result<String, String> {
        let said = self.runtime.block_on(self.client.say(room, text));
        said.map(|event| event.to_string()).map_err(|error| error.to_string())
    }

    /// Returns how many bytes came from others since the node was started.
    #[track_caller]
    pub fn taken(&self) -> u64 {
        self.runtime.block_on(self.client.status()).expect("it answers").taken
    }

    /// Returns how many bytes were given to others since the node was started.
    #[track_caller]
    pub fn given(&self) -> u64 {
        self.runtime.block_on(self.client.status()).expect("it answers").given
    }

    /// Lists the transfers.
    #[track_caller]
    pub fn transfers(&self) -> Vec<Transfer> {
        self.runtime.block_on(self.client.transfers()).expect("it answers")
    }
}
