//! A client whose writes are counted, so that a test can step in at any of them.

use axum::http::{Method, Request, Response};
use futures::future::BoxFuture;
use kube::client::Body;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use tokio::sync::Notify;
use tower::{Layer, Service};

/// Where something happens to the operator.
#[derive(Debug, Clone, Copy)]
pub enum Point {
    /// The write was answered; the operator never learns of it.
    Answered(usize),
    /// The write was sent, and arrives while the next operator may be running.
    Sent(usize),
    /// The write was answered, and the answer comes when it is let go. The operator lives on.
    Held(usize),
    /// The write is sent when it is let go. The operator lives on.
    Delayed(usize),
}

/// Counts the writes of a client and says when the point is reached. Where the operator is to
/// be killed, nothing goes through from then on.
#[derive(Clone)]
pub struct Writes {
    point: Point,
    count: Arc<AtomicUsize>,
    pub reached: Arc<Notify>,
    pub release: Arc<Notify>,
}

impl Writes {
    pub fn until(point: Point) -> Writes {
        Writes {
            point,
            count: Arc::default(),
            reached: Arc::default(),
            release: Arc::default(),
        }
    }
}

impl<S> Layer<S> for Writes {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted {
            inner,
            writes: self.clone(),
        }
    }
}

pub struct Counted<S> {
    inner: S,
    writes: Writes,
}

impl<S, B> Service<Request<Body>> for Counted<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    B: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<B>, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if request.method() == Method::GET {
            return Box::pin(self.inner.call(request));
        }
        let Writes {
            point,
            count,
            reached,
            release,
        } = self.writes.clone();
        let (Point::Answered(last) | Point::Sent(last) | Point::Held(last) | Point::Delayed(last)) =
            point;
        let number = count.fetch_add(1, Ordering::SeqCst) + 1;
        if number > last && !matches!(point, Point::Held(_) | Point::Delayed(_)) {
            return Box::pin(pending());
        }
        // A request of the client is sent when its future is first asked.
        let answer = self.inner.call(request);
        if number != last {
            return Box::pin(answer);
        }
        Box::pin(async move {
            match point {
                Point::Answered(_) => drop(answer.await),
                Point::Held(_) => {
                    let answer = answer.await;
                    reached.notify_one();
                    release.notified().await;
                    return answer;
                }
                Point::Delayed(_) => {
                    reached.notify_one();
                    release.notified().await;
                    return answer.await;
                }
                Point::Sent(_) => drop(tokio::spawn(async move { drop(answer.await) })),
            }
            reached.notify_one();
            pending().await
        })
    }
}
