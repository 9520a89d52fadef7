//! The client of all requests.

use super::Error;
use super::lead::Lead;
use hyper::rt::Executor;
use kube::client::ClientBuilder;
use kube::client::retry::RetryPolicy;
use kube::{Client, Config};
use std::sync::Arc;
use tower::buffer::BufferLayer;
use tower::retry::RetryLayer;

/// A client that retries what the API server was too busy for.
pub fn client(config: Config) -> Result<Client, Error> {
    client_of(config, &Lead::always())
}

/// The same, of a replica: its connections end with the term in which it leads.
pub fn client_of(config: Config, lead: &Arc<Lead>) -> Result<Client, Error> {
    let connections = Connections(Arc::clone(lead));
    let builder = ClientBuilder::try_from((config, connections));
    let builder = builder.map_err(|e| Error::Config(e.to_string()))?;
    Ok(builder
        .with_layer(&BufferLayer::new(256))
        .with_layer(&RetryLayer::new(RetryPolicy::default()))
        .build())
}

/// Runs what moves the requests over the connections.
#[derive(Clone)]
struct Connections(Arc<Lead>);

impl<C: Future<Output = ()> + Send + 'static> Executor<C> for Connections {
    fn execute(&self, connection: C) {
        let lead = Arc::clone(&self.0);
        tokio::spawn(async move { lead.connected(connection).await });
    }
}
