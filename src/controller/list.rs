//! Lists for a bundle that is about to run: everything that its rules have not seen yet, beside the watches.

use super::children::is_refusal;
use super::object::Object;
use super::queue::backoff;
use super::watch::{First, Watches, What};
use kube::api::{Api, ApiResource, ListParams};
use serde_json::Value;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// So many objects are asked for at a time.
const PAGE: u32 = 200;

/// An API server that has not answered by then is late.
const PATIENCE: Duration = Duration::from_secs(30);

/// After a failure it is asked again after this time at most.
const LAST_RETRY: Duration = Duration::from_secs(15);

/// So many parts wait to be taken in: a page of pods takes some MiB.
const PARTS: usize = 1;

/// What comes of the lists.
#[derive(Debug)]
pub enum Part {
    /// The watches of kinds that are new have begun, and the lists begin.
    Begins,
    /// The next list is asked for as soon as this is answered: it is younger than whatever was seen before.
    Asks(oneshot::Sender<()>),
    Objects(What, Vec<Value>),
    /// One of them fails, for this reason; it is asked for again.
    Late(String),
    Complete,
    /// They were complete a while ago.
    Overdue,
}

/// What is to be listed.
pub struct Lists {
    pub watches: Watches,
    /// What the lists wait for.
    pub firsts: Vec<First>,
    /// Children before pods, so that each pod finds where it belongs.
    pub order: Vec<What>,
}

/// Nobody asks for what is listed any more.
struct Dropped;

impl Lists {
    /// A place for the parts, and what fills it.
    pub fn begin(self) -> (mpsc::Receiver<Part>, impl Future<Output = ()>) {
        let (parts, incoming) = mpsc::channel(PARTS);
        let run = async move {
            let _ = self.run(&parts).await;
        };
        (incoming, run)
    }

    async fn run(self, parts: &mpsc::Sender<Part>) -> Result<(), Dropped> {
        for mut first in self.firsts {
            // The watch says itself what it fails for; one that hears nothing at all has nothing to say.
            while tokio::time::timeout(PATIENCE, &mut first).await.is_err() {
                let silent = "the API server does not answer the request for a list".to_string();
                send(parts, Part::Late(silent)).await?;
            }
        }
        send(parts, Part::Begins).await?;
        for what in &self.order {
            for namespace in self.watches.scopes() {
                let api = self.watches.api(&what.resource(), namespace.as_deref());
                list(what, &api, parts).await?;
            }
        }
        send(parts, Part::Complete).await
    }
}

async fn send(parts: &mpsc::Sender<Part>, part: Part) -> Result<(), Dropped> {
    parts.send(part).await.map_err(|_| Dropped)
}

/// Lists one thing, however often it has to be asked for.
async fn list(what: &What, api: &Api<Object>, parts: &mpsc::Sender<Part>) -> Result<(), Dropped> {
    let resource = what.resource();
    let mut failures = 0;
    let mut next = Some(String::new());
    while let Some(page) = next.take() {
        if page.is_empty() {
            let (go, may_go) = oneshot::channel();
            send(parts, Part::Asks(go)).await?;
            may_go.await.map_err(|_| Dropped)?;
        }
        match page_of(what, api, &resource, &page).await {
            Ok((objects, token)) => {
                send(parts, Part::Objects(what.clone(), objects)).await?;
                next = token;
            }
            // As for a watch: what is refused is not waited for.
            Err(Failed::Api(kube::Error::Api(e)))
                if matches!(what, What::Children(_)) && is_refusal(e.code) && e.code != EXPIRED => {
            }
            Err(failed) => {
                let why = failed.text();
                let wait = backoff(failures).min(LAST_RETRY);
                failures += 1;
                let kind = &resource.plural;
                tracing::warn!(kind, retry_in = ?wait, error = why, "a list for the next bundle fails");
                send(parts, Part::Late(format!("{kind} cannot be listed: {why}"))).await?;
                tokio::time::sleep(wait).await;
                // From the beginning: what was seen is not seen twice.
                next = Some(String::new());
            }
        }
    }
    Ok(())
}

/// The answer to a request for the next page of a list that is too old.
const EXPIRED: u16 = 410;

enum Failed {
    Api(kube::Error),
    Silent,
}

impl Failed {
    fn text(&self) -> String {
        match self {
            Failed::Api(e) => super::with_causes(e),
            Failed::Silent => format!("no answer within {} s", PATIENCE.as_secs()),
        }
    }
}

/// One page, and the token of the next.
async fn page_of(
    what: &What,
    api: &Api<Object>,
    resource: &ApiResource,
    page: &str,
) -> Result<(Vec<Value>, Option<String>), Failed> {
    let params = ListParams {
        label_selector: what.selector(),
        limit: Some(PAGE),
        continue_token: Some(page.to_string()).filter(|p| !p.is_empty()),
        ..ListParams::default()
    };
    let asked = tokio::time::timeout(PATIENCE, api.list(&params)).await;
    let list = asked.map_err(|_| Failed::Silent)?.map_err(Failed::Api)?;
    let token = list.metadata.continue_.filter(|token| !token.is_empty());
    let objects = list.items.into_iter().map(|o| o.into_value(resource));
    Ok((objects.collect(), token))
}
