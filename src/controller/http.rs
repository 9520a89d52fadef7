//! `/healthz`, `/readyz` and `/status` on one address, `/metrics` on another.

use super::metrics::Metrics;
use super::standing::Board;
use super::{Addresses, Error};
use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// Starts serving; ends with the process.
pub async fn serve(
    addresses: &Addresses,
    metrics: Arc<Metrics>,
    ready: watch::Receiver<bool>,
    board: Arc<Board>,
) -> Result<(), Error> {
    if let Some(address) = &addresses.health {
        let probes = Router::new()
            .route("/healthz", get(|| async { "ok" }))
            .route("/status", get(status))
            .route(
                "/readyz",
                get(move |query, board| readyz(query, board, ready.clone())),
            )
            .with_state(board);
        listen(address, probes).await?;
    }
    if let Some(address) = &addresses.metrics {
        let scrape = Router::new().route("/metrics", get(move || text(Arc::clone(&metrics))));
        listen(address, scrape).await?;
    }
    Ok(())
}

/// With layers that are refused the operator works on as before: it is ready, and says what is wrong. A replica that does
/// not lead is ready to.
async fn readyz(
    RawQuery(query): RawQuery,
    State(board): State<Arc<Board>>,
    ready: watch::Receiver<bool>,
) -> impl IntoResponse {
    if !*ready.borrow() {
        let waits = "the first lists of tests, children and pods are not in yet";
        return (StatusCode::SERVICE_UNAVAILABLE, waits.to_string());
    }
    let standing = board.get();
    let verbose = query.is_some_and(|q| q.split('&').any(|p| p.starts_with("verbose")));
    let standby = standing.leader.as_ref().filter(|l| !l.leads);
    let ok = standby.map_or("ok", |_| "ok: standby");
    let body = match standing.stale || verbose || !standing.webhook.is_empty() {
        true => format!("{ok}\n\n{standing}"),
        false => ok.to_string(),
    };
    (StatusCode::OK, body)
}

async fn status(State(board): State<Arc<Board>>) -> impl IntoResponse {
    match serde_json::to_string(&board.get()) {
        Ok(json) => (
            StatusCode::OK,
            [(header::CONTENT_TYPE, "application/json")],
            json,
        ),
        Err(e) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            [(header::CONTENT_TYPE, "text/plain")],
            e.to_string(),
        ),
    }
}

async fn text(metrics: Arc<Metrics>) -> impl IntoResponse {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match metrics.text() {
        Ok(text) => (StatusCode::OK, [(header::CONTENT_TYPE, kind)], text),
        Err(e) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            [(header::CONTENT_TYPE, "text/plain")],
            e.to_string(),
        ),
    }
}

/// Listens on `host:port`; `:port` is every address, as Go programs write it.
pub(crate) async fn bind(address: &str) -> Result<TcpListener, Error> {
    let error = |source| Error::Listen {
        address: address.to_string(),
        source,
    };
    let listener = match address.strip_prefix(':') {
        // IPv6 takes IPv4 with it, where there is IPv6.
        Some(port) => match TcpListener::bind(format!("[::]:{port}")).await {
            Ok(listener) => Ok(listener),
            Err(_) => TcpListener::bind(format!("0.0.0.0:{port}")).await,
        },
        None => TcpListener::bind(address).await,
    };
    listener.map_err(error)
}

async fn listen(address: &str, router: Router) -> Result<(), Error> {
    let listener = bind(address).await?;
    tokio::spawn(async move {
        if let Err(e) = axum::serve(listener, router).await {
            tracing::error!(error = %e, "an HTTP server ended");
        }
    });
    Ok(())
}
