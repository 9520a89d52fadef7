//! A client whose lists of one kind do not come, as long as a test wants.

use axum::http::{Method, Request, Response, StatusCode};
use futures::future::BoxFuture;
use kube::client::Body;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use tokio::sync::watch;
use tower::{Layer, Service};

/// What becomes of a list.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Answer {
    Passed,
    /// It comes when lists are passed again.
    Held,
    /// The API server has answered, and on the way it becomes an error.
    Broken,
}

#[derive(Clone)]
pub struct Lists {
    plural: &'static str,
    answer: Arc<watch::Sender<Answer>>,
    asked: Arc<AtomicBool>,
}

impl Lists {
    pub fn of(plural: &'static str) -> Lists {
        Lists {
            plural,
            answer: Arc::new(watch::Sender::new(Answer::Passed)),
            asked: Arc::default(),
        }
    }

    pub fn answer(&self, answer: Answer) {
        self.answer.send_replace(answer);
    }

    /// Whether a list did not come.
    pub fn was_asked(&self) -> bool {
        self.asked.load(Ordering::SeqCst)
    }

    /// Whether it is a whole list. One object is asked for to see whether the kind is there.
    fn is_one(&self, request: &Request<Body>) -> bool {
        let query = request.uri().query().unwrap_or_default();
        let has = |parameter: &str| query.split('&').any(|p| p == parameter);
        request.method() == Method::GET
            && request.uri().path().ends_with(self.plural)
            && !has("limit=1")
            && !has("watch=true")
    }
}

impl<S> Layer<S> for Lists {
    type Service = Listed<S>;

    fn layer(&self, inner: S) -> Listed<S> {
        Listed {
            inner,
            lists: self.clone(),
        }
    }
}

pub struct Listed<S> {
    inner: S,
    lists: Lists,
}

impl<S, B> Service<Request<Body>> for Listed<S>
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
        let is_one = self.lists.is_one(&request);
        let mut answers = self.lists.answer.subscribe();
        let asked = Arc::clone(&self.lists.asked);
        let answer = self.inner.call(request);
        Box::pin(async move {
            let wanted = *answers.borrow();
            if !is_one || wanted == Answer::Passed {
                return answer.await;
            }
            asked.store(true, Ordering::SeqCst);
            if wanted == Answer::Held {
                let _ = answers.wait_for(|a| *a == Answer::Passed).await;
                return answer.await;
            }
            let mut answer = answer.await?;
            *answer.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            Ok(answer)
        })
    }
}
