//! The HTTPS server of the webhooks. Whoever reaches its port may send anything: what a request may take of memory, time
//! and connections is bounded, and what is wrong with one is answered, never a reason to end.

use super::admission;
use super::conversion;
use crate::bundle::Bundle;
use arc_swap::{ArcSwap, ArcSwapOption};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{Error as TlsError, ServerConfig};

/// Where the API server sends objects of one version to have them in another.
pub const CONVERT: &str = "/convert";
/// Where it sends tests that are about to be stored.
pub const VALIDATE: &str = "/validate-locust-io-v2-locusttest";

/// The API server stores at most 3 MiB an object, and sends two of them at most in one review.
const MAX_BODY: usize = 8 * 1024 * 1024;
/// What all bodies under way may take together; who comes later waits.
const MAX_BODIES: usize = 32 * 1024 * 1024;
const MAX_CONNECTIONS: usize = 512;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// For the headers of a request, and how long a connection may be idle: the API server keeps some, and a request that
/// meets the end of one fails.
const HEADER_TIMEOUT: Duration = Duration::from_secs(120);
/// For a turn and the whole body. The API server waits 10 seconds for a webhook when nothing else is said.
const BODY_TIMEOUT: Duration = Duration::from_secs(8);
const MAX_HEADERS: usize = 64 * 1024;
/// After this error the next connection may do better.
const ACCEPT_AGAIN: Duration = Duration::from_millis(200);

/// The certificate that connections are served with, which may change at any time.
#[derive(Debug, Default)]
pub struct Served(pub ArcSwapOption<CertifiedKey>);

impl ResolvesServerCert for Served {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load_full()
    }
}

/// What requests are answered with.
pub struct Answers {
    pub bundle: Arc<ArcSwap<Bundle>>,
    pub bodies: Arc<Semaphore>,
}

impl Answers {
    pub fn new(bundle: Arc<ArcSwap<Bundle>>) -> Answers {
        Answers {
            bundle,
            bodies: Arc::new(Semaphore::new(MAX_BODIES)),
        }
    }
}

pub fn tls(served: Arc<Served>) -> Result<TlsAcceptor, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(served);
    Ok(TlsAcceptor::from(Arc::new(config)))
}

pub fn router(answers: Answers) -> Router {
    Router::new()
        .route(CONVERT, post(convert))
        .route(VALIDATE, post(validate))
        .with_state(Arc::new(answers))
}

/// Serves until it is aborted.
pub async fn serve(listener: TcpListener, tls: TlsAcceptor, router: Router) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    // In a set, so that they end with this.
    let mut connections = JoinSet::new();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                connections.spawn(connection(stream, tls.clone(), router.clone(), place));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection to the webhook server is not accepted");
                tokio::time::sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, tls: TlsAcceptor, router: Router, _: OwnedSemaphorePermit) {
    // Small answers, for each of which somebody waits.
    let _ = stream.set_nodelay(true);
    let stream = match timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        // The API server says it to whoever asked it; others are nobody's concern.
        Ok(Err(error)) => return tracing::debug!(%error, "a TLS handshake failed"),
        Err(_) => return tracing::debug!("a TLS handshake took too long"),
    };
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection to the webhook server broke");
    }
}

async fn convert(State(answers): State<Arc<Answers>>, request: Request) -> Response {
    answer(&answers, request, conversion::review).await
}

async fn validate(State(answers): State<Arc<Answers>>, request: Request) -> Response {
    let bundle = answers.bundle.load_full();
    answer(&answers, request, |review| {
        admission::review(&bundle, review)
    })
    .await
}

async fn answer(
    answers: &Answers,
    request: Request,
    review: impl FnOnce(Value) -> Result<Value, String>,
) -> Response {
    // Kept until the answer is made: what was read takes memory until then.
    let (body, _turn) = match read(answers, request).await {
        Ok(read) => read,
        Err(refusal) => return refusal,
    };
    let review = match serde_json::from_slice::<Value>(&body) {
        Ok(sent) => review(sent),
        Err(e) => Err(format!("the body is no JSON: {e}")),
    };
    match review {
        Ok(reviewed) => (
            [(header::CONTENT_TYPE, "application/json")],
            reviewed.to_string(),
        )
            .into_response(),
        Err(message) => refuse(StatusCode::BAD_REQUEST, &message),
    }
}

/// The body of a request, as soon as there is room for it.
async fn read(
    answers: &Answers,
    request: Request,
) -> Result<(axum::body::Bytes, OwnedSemaphorePermit), Response> {
    let length = request.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|l| l.to_str().ok()?.parse::<usize>().ok());
    let Some(length) = length else {
        let message = "a review comes with its Content-Length";
        return Err(refuse(StatusCode::LENGTH_REQUIRED, message));
    };
    let room = match u32::try_from(length) {
        Ok(room) if length <= MAX_BODY => room,
        _ => {
            let message = format!("a review is at most {MAX_BODY} bytes");
            return Err(refuse(StatusCode::PAYLOAD_TOO_LARGE, &message));
        }
    };
    let turn = async {
        let bodies = Arc::clone(&answers.bodies);
        let turn = bodies.acquire_many_owned(room).await.ok()?;
        let body: Body = request.into_body();
        Some((to_bytes(body, length).await.ok()?, turn))
    };
    match timeout(BODY_TIMEOUT, turn).await {
        Ok(Some(read)) => Ok(read),
        Ok(None) => Err(refuse(StatusCode::BAD_REQUEST, "the body ends too early")),
        Err(_) => {
            let message = "the body did not come in time";
            Err(refuse(StatusCode::REQUEST_TIMEOUT, message))
        }
    }
}

/// An error as the API says it.
fn refuse(code: StatusCode, message: &str) -> Response {
    let status = json!({
        "apiVersion": "v1",
        "kind": "Status",
        "status": "Failure",
        "message": message,
        "code": code.as_u16(),
    });
    let kind = [(header::CONTENT_TYPE, "application/json")];
    (code, kind, status.to_string()).into_response()
}
