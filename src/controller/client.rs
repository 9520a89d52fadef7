//! The client of all requests.

use super::Error;
use kube::client::ClientBuilder;
use kube::client::retry::RetryPolicy;
use kube::{Client, Config};
use tower::buffer::BufferLayer;
use tower::retry::RetryLayer;

/// A client that retries what the API server was too busy for.
pub fn client(config: Config) -> Result<Client, Error> {
    let builder = ClientBuilder::try_from(config).map_err(|e| Error::Config(e.to_string()))?;
    Ok(builder
        .with_layer(&BufferLayer::new(256))
        .with_layer(&RetryLayer::new(RetryPolicy::default()))
        .build())
}
