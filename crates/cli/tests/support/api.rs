//! The local API, for tests that say more than a process per message could.

use ayni_web::Client;
use tokio::runtime::Runtime;

use super::Node;

/// A blocking handle on a running node's API.
pub struct Api {
    runtime: Runtime,
    client: Client,
}

impl Api {
    /// Connects to a node that runs, as the command line does: by its data folder.
    #[track_caller]
    pub fn of(node: &Node) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime can be built");
        let client = runtime.block_on(Client::connect(node.folder()));
        let client = client.expect("its API answers").expect("it runs");
        Self { runtime, client }
    }

    /// Says something; returns the event's id once it is durable.
    pub fn say(&self, room: &str, text: &str) -> Result<String, String> {
        let said = self.runtime.block_on(self.client.say(room, text));
        said.map(|event| event.to_string()).map_err(|error| error.to_string())
    }
}
