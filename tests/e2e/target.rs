//! What is put under load: a server that knows which users came, and when the last request did.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What was seen so far.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    pub requests: usize,
    /// As `locustfile.py` names them: one that is started again has another name.
    pub users: BTreeSet<String>,
    /// The pods that they ran in.
    pub pods: BTreeSet<String>,
    pub last: Option<Instant>,
}

/// Serves until it is dropped.
pub struct Target {
    /// Where pods reach it.
    pub url: String,
    seen: Arc<Mutex<Seen>>,
    serving: JoinHandle<()>,
}

impl Target {
    /// A server that answers `/` with 200 and `/broken` with 500.
    pub async fn start() -> Target {
        let host =
            std::env::var("LOTEST_E2E_HOST").expect("LOTEST_E2E_HOST: see tests/e2e/README.md");
        let any = SocketAddr::from(([0, 0, 0, 0], 0));
        let listener = TcpListener::bind(any).await.unwrap();
        let url = format!("http://{host}:{}", listener.local_addr().unwrap().port());
        let seen = Arc::new(Mutex::new(Seen::default()));
        let all = Arc::clone(&seen);
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&all)));
            }
        });
        Target { url, seen, serving }
    }

    pub fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Answers the requests of one connection.
async fn serve(stream: TcpStream, seen: Arc<Mutex<Seen>>) {
    let mut stream = BufReader::new(stream);
    let mut path = String::new();
    let mut line = String::new();
    loop {
        line.clear();
        match stream.read_line(&mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        if let Some((_, rest)) = line.split_once(' ').filter(|_| line.starts_with("GET ")) {
            path = rest.split(' ').next().unwrap_or_default().to_string();
        }
        if line.trim_end().is_empty() {
            note(&path, &seen);
            let status = match path.starts_with("/broken") {
                true => "500 Internal Server Error",
                false => "200 OK",
            };
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nok");
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}

fn note(path: &str, seen: &Mutex<Seen>) {
    let value = |key: &str| {
        let (_, query) = path.split_once('?')?;
        query
            .split('&')
            .find_map(|p| p.strip_prefix(key))
            .map(str::to_string)
    };
    let mut seen = seen.lock().unwrap();
    seen.requests += 1;
    seen.last = Some(Instant::now());
    seen.users.extend(value("user="));
    seen.pods.extend(value("pod="));
}
