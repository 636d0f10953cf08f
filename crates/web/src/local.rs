//! A node and its API inside this process.

use std::net::{Ipv4Addr, SocketAddr};

use ayni::{Builder, Node};

use crate::client::{Client, ClientError};
use crate::server::{ServeOptions, Server, serve};

/// A node that lives as long as one command, with a client of its API: the same path as with a node
/// that was running before.
///
/// While it runs, other commands find it through the data folder, as they find any node; an offline
/// one they do not find, since it could not do what they ask.
#[derive(Debug)]
pub struct Local {
    /// The client of the API.
    pub client: Client,
    /// The node itself.
    pub node: Node,
    server: Server,
}

impl Local {
    /// Starts the node and its API on any free port.
    ///
    /// # Errors
    /// As [`Builder::start`] and [`serve`].
    pub async fn start(builder: Builder) -> Result<Self, ClientError> {
        let node = builder.start().await?;
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        match Self::serve(&node, any_port).await {
            Ok(server) => Ok(Self { client: server.client(), node, server }),
            Err(error) => {
                node.shutdown().await;
                Err(error.into())
            }
        }
    }

    async fn serve(node: &Node, http: SocketAddr) -> ayni::Result<Server> {
        let publish = !node.status().await?.offline;
        serve(node.clone(), ServeOptions { http, publish, passing: true }).await
    }

    /// Stops the API, then the node; returns when the folder is unlocked.
    pub async fn stop(self) {
        self.server.shutdown().await;
        self.node.shutdown().await;
    }
}
