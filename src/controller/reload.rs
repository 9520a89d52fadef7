//! Taking layers up again when their files change: read, compared, admitted, and offered to the controller, or refused
//! with everything that is wrong.

use super::Offers;
use super::events;
use super::layers::{self, Contents, Stack, Start};
use super::mounts::Mounts;
use super::queue::backoff;
use super::rights::{self, Refusal};
use super::standing::{Board, Used};
use crate::bundle::problem::Problem;
use crate::bundle::rules::EventType;
use crate::bundle::{Bundle, Layer};
use crate::engine::notice::Notice;
use crate::engine::text::escape;
use kube::Client;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// After a refusal that has to do with the cluster, it is asked again after this time.
const ASK_AGAIN: Duration = Duration::from_secs(15);

/// A bundle for the controller to run.
#[derive(Debug)]
pub struct Offer {
    pub bundle: Arc<Bundle>,
    pub layers: Vec<Used>,
    /// See [`Board::number`].
    pub number: u64,
}

/// Everything that a reload needs.
pub struct Reload {
    client: Client,
    namespaces: Vec<String>,
    stack: Arc<Stack>,
    board: Arc<Board>,
    offers: watch::Sender<Option<Arc<Offer>>>,
    /// What events about the bundle are about: the operator's pod.
    pod: Option<Value>,
    /// As last read.
    contents: Arc<Contents>,
    /// What was offered last.
    bundle: Arc<Bundle>,
    /// The layers that it is made of.
    layers: Vec<Layer>,
    /// Why the cluster does not allow what was last read, and when it is asked again.
    asked: Option<(Refusal, Instant)>,
    /// What is still to be said; in a set, so that it ends with this.
    telling: JoinSet<()>,
}

impl Reload {
    /// Begins with what the operator starts with; takes away from it what its Role does not allow. While the cluster
    /// does not say what it allows, this waits.
    pub async fn new(
        client: Client,
        namespaces: Vec<String>,
        stack: Stack,
        mut start: Start,
        pod: Option<Value>,
        board: Arc<Board>,
    ) -> Result<(Reload, Offers), Vec<Problem>> {
        let mut asked = None;
        let mut unknown = None;
        let mut failures = 0;
        // Of one layer there is nothing to take away, and a second bundle takes memory that is not given back.
        let built_in =
            (start.used > 1).then(|| Bundle::load(&[Layer::built_in()], &stack.settings));
        while start.used > 1
            && let Some(Ok((least, _))) = &built_in
            && let Err(refusal) = rights::check(&client, &namespaces, &start.bundle, least).await
        {
            if let Refusal::Unknown(problem) = &refusal {
                let wait = backoff(failures).min(ASK_AGAIN);
                failures += 1;
                tracing::warn!(retry_in = ?wait, "the layers wait:\n{problem}");
                if unknown.as_ref() != Some(problem) {
                    board.refused(std::slice::from_ref(problem));
                    unknown = Some(problem.clone());
                }
                tokio::time::sleep(wait).await;
                continue;
            }
            for problem in refusal.problems() {
                if !start.problems.contains(problem) {
                    start.problems.push(problem.clone());
                }
            }
            asked = Some((refusal, Instant::now() + ASK_AGAIN));
            start = stack.start_below(start.used, start.contents, start.problems)?;
        }
        board.begins(start.bundle.digest(), stack.used(start.used));
        let (offers, offered) = watch::channel(None);
        let mut layers = layers::layers(&start.contents);
        layers.truncate(start.used);
        let reload = Reload {
            client,
            namespaces,
            stack: Arc::new(stack),
            board,
            offers,
            pod,
            contents: Arc::new(start.contents),
            bundle: start.bundle,
            layers,
            asked,
            telling: JoinSet::new(),
        };
        for warning in &start.warnings {
            tracing::warn!("{}", escape(warning));
        }
        if !start.problems.is_empty() {
            reload.refuse(&start.problems).await;
        }
        Ok((reload, offered))
    }

    pub fn bundle(&self) -> Arc<Bundle> {
        Arc::clone(&self.bundle)
    }

    /// Takes up changes until it is aborted.
    pub async fn run(mut self) {
        let mut mounts = Mounts::new(&self.stack.directories);
        loop {
            self.look().await;
            let at = self.asked.as_ref().map(|(_, at)| *at);
            tokio::select! {
                () = mounts.changed() => {}
                () = ask_again(at) => {}
            }
            // Before the files are read, so that no change falls between.
            mounts = Mounts::new(&self.stack.directories);
        }
    }

    /// Reads the layers. When it is time to ask the cluster again it does not matter whether they have changed.
    async fn look(&mut self) {
        let at = self.asked.as_ref().map(|(_, at)| *at);
        let again = at.is_some_and(|at| at <= Instant::now());
        let (stack, last) = (Arc::clone(&self.stack), Arc::clone(&self.contents));
        let running = self.layers.clone();
        // Off the thread on which everything else waits.
        let read = tokio::task::spawn_blocking(move || {
            let contents = stack.read();
            if contents == *last && !again {
                return None;
            }
            let is_running =
                layers::layers(&contents) == running && contents.len() == running.len();
            let admitted = (!is_running).then(|| stack.admit(&contents));
            Some((contents, admitted))
        });
        let (contents, admitted) = match read.await {
            Ok(Some(read)) => read,
            Ok(None) => return,
            Err(error) => {
                // The next change may do better.
                self.asked = None;
                return self.refuse(&[broken(&error.to_string())]).await;
            }
        };
        self.contents = Arc::new(contents);
        let bundle = match admitted {
            // As they were before the last change.
            None => Arc::clone(&self.bundle),
            Some(Err(problems)) => {
                self.asked = None;
                return self.refuse(&problems).await;
            }
            Some(Ok((bundle, warnings))) => {
                for warning in warnings {
                    tracing::warn!("{}", escape(&warning));
                }
                let checked = rights::check(&self.client, &self.namespaces, &bundle, &self.bundle);
                if let Err(refusal) = checked.await {
                    let last = self.asked.take();
                    if last.is_none_or(|(last, _)| last != refusal) {
                        self.refuse(refusal.problems()).await;
                    }
                    self.asked = Some((refusal, Instant::now() + ASK_AGAIN));
                    return;
                }
                Arc::new(bundle)
            }
        };
        self.asked = None;
        self.offer(bundle);
    }

    fn offer(&mut self, bundle: Arc<Bundle>) {
        self.bundle = Arc::clone(&bundle);
        self.layers = layers::layers(&self.contents);
        let offer = Offer {
            layers: self.stack.used(self.contents.len()),
            number: self.board.number(),
            bundle,
        };
        let digest = offer.bundle.digest().to_string();
        let number = offer.number;
        self.offers.send_replace(Some(Arc::new(offer)));
        let board = Arc::clone(&self.board);
        let about = (self.client.clone(), self.pod.clone());
        while self.telling.try_join_next().is_some() {}
        // Said when it is so; until then another may come in its place.
        self.telling.spawn(async move {
            if board.until_runs(number).await {
                tracing::info!(bundle = digest, "layers taken");
                let message = format!("The layers are taken as bundle {digest}");
                tell(
                    &about.0,
                    about.1.as_ref(),
                    EventType::Normal,
                    "BundleLoaded",
                    message,
                )
                .await;
            }
        });
    }

    async fn refuse(&self, problems: &[Problem]) {
        self.board.refused(problems);
        let bundle = self.bundle.digest();
        for problem in problems {
            tracing::error!(
                bundle,
                "the layers are refused, the bundle stays:\n{problem}"
            );
        }
        let lines: Vec<String> = problems.iter().map(Problem::one_line).collect();
        let message = format!(
            "The layers are refused, bundle {bundle} stays: {}",
            lines.join("; ")
        );
        let (client, pod) = (&self.client, self.pod.as_ref());
        tell(client, pod, EventType::Warning, "BundleRefused", message).await;
    }
}

/// Says something about the bundle in an event of the operator's pod.
async fn tell(
    client: &Client,
    pod: Option<&Value>,
    kind: EventType,
    reason: &str,
    message: String,
) {
    let Some(pod) = pod else {
        return;
    };
    let notice = Notice {
        kind,
        reason: reason.to_string(),
        message,
        occurrence: None,
    };
    let occurrence = jiff::Timestamp::now().as_microsecond().to_string();
    events::send_about(client, pod, &occurrence, &notice).await;
}

/// Waits until the cluster is to be asked again.
async fn ask_again(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Looks after the layers in a task of its own; never ends, so that tests are looked after whatever becomes of it.
pub async fn keep_looking(looking: impl Future<Output = ()> + Send + 'static, board: &Board) {
    // In a set, so that it ends with this.
    let mut tasks = JoinSet::new();
    tasks.spawn(looking);
    if let Some(ended) = tasks.join_next().await {
        let why = ended.map_or_else(|error| error.to_string(), |()| "it has ended".to_string());
        let problem = broken(&why).help("restart the operator");
        tracing::error!("changes of the layers are not taken any more:\n{problem}");
        board.refused(&[problem]);
    }
    std::future::pending().await
}

fn broken(why: &str) -> Problem {
    let message = format!("the layers cannot be looked at, lotest itself is wrong: {why}");
    Problem::new("layers", message)
}

#[cfg(test)]
mod tests {
    use super::super::layers::Start;
    use super::super::metrics::Metrics;
    use super::*;
    use axum::Router;
    use axum::http::StatusCode;
    use axum::routing::{get, post};
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const NETWORK_POLICY: &str = "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: {{ test.metadata.name }}}
spec: {podSelector: {}}
";

    /// An API server that allows everything, as soon as it answers at all.
    async fn client(fails: usize) -> Client {
        let asked = Arc::new(AtomicUsize::new(0));
        let review = move || {
            let answer = match asked.fetch_add(1, Ordering::Relaxed) < fails {
                true => (StatusCode::INTERNAL_SERVER_ERROR, ""),
                false => (
                    StatusCode::CREATED,
                    r#"{"metadata": {}, "spec": {}, "status": {"allowed": true}}"#,
                ),
            };
            std::future::ready(answer)
        };
        let reviews = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        let policies = "/apis/networking.k8s.io/v1/networkpolicies";
        let list = r#"{"metadata": {}, "items": []}"#;
        let server = Router::new()
            .route(reviews, post(review))
            .route(policies, get(async move || list));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, server).await });
        let uri = format!("http://{address}").parse().unwrap();
        Client::try_from(kube::Config::new(uri)).unwrap()
    }

    fn stack_and_start() -> (Stack, Start) {
        let stack = Stack {
            directories: vec!["/layers/team".into()],
            settings: BTreeMap::new(),
        };
        let mut layer = Layer {
            name: "/layers/team".into(),
            ..Layer::default()
        };
        let template = "templates/network-policy.yaml";
        layer.files.insert(template.into(), NETWORK_POLICY.into());
        let contents = vec![Ok(Layer::built_in()), Ok(layer)];
        let (bundle, warnings) = stack.admit(&contents).unwrap();
        let start = Start {
            contents,
            used: 2,
            bundle: Arc::new(bundle),
            warnings,
            problems: Vec::new(),
        };
        (stack, start)
    }

    fn board() -> Arc<Board> {
        Arc::new(Board::new(Arc::new(Metrics::default()), "", Vec::new()))
    }

    #[tokio::test]
    async fn a_layer_waits_for_an_api_server_that_cannot_say_what_it_allows() {
        let (stack, start) = stack_and_start();
        let digest = start.bundle.digest().to_string();
        let board = board();
        let client = client(1).await;
        let begun = Reload::new(client, Vec::new(), stack, start, None, Arc::clone(&board));
        let (reload, _) = begun.await.unwrap();
        assert_eq!(reload.bundle().digest(), digest);
        let standing = board.get();
        assert!(standing.layers.iter().all(|layer| layer.used), "{standing}");
        assert!(!standing.stale, "{standing}");
    }

    #[tokio::test]
    async fn a_bundle_is_taken_when_it_runs() {
        let board = board();
        let (first, second) = (board.number(), board.number());
        let overtaken = board.until_runs(first);
        let runs = async {
            tokio::task::yield_now().await;
            board.runs(second, "second", &[]);
        };
        assert!(!tokio::join!(overtaken, runs).0);
        assert!(board.until_runs(second).await);
    }

    #[tokio::test]
    async fn that_nobody_looks_after_the_layers_any_more_is_shown() {
        let board = board();
        let looking = keep_looking(async { panic!("broken") }, &board);
        let shown = async {
            while !board.get().stale {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = looking => unreachable!("it goes on"),
            () = shown => {}
        }
        assert!(board.get().mistakes[0].text.contains("broken"));
    }
}
