//! `lotest operator`: runs the controller until it is told to stop.

use super::{Failure, election, input, webhook};
use crate::controller::{self, Addresses, Scope, Stack};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

/// Run the operator against the cluster of the kubeconfig or of its own pod
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  lotest operator                                    in a pod, as its ServiceAccount
  KUBECONFIG=dev.yaml lotest operator                from a workstation
  lotest operator -n team-a -n team-b                for two namespaces alone
  lotest operator --layer /layers/platform --layer /layers/cluster
                                                     with layers on the built-in one, the lowest first
  RUST_LOG=warn lotest operator                      with less to read

The settings are the environment variables that environment.yaml names. Layers are watched: what changes in them is
checked and taken up within seconds, or refused, and then the operator goes on with what it had. It starts with as many
layers as are in order. `lotest status` says where it stands; events about it are sent where POD_NAME and POD_NAMESPACE
say which pod it is. With --leader-elect several replicas may run: one writes, and the others know all that it takes to
go on.")]
pub struct Arguments {
    /// Look after the tests of this namespace only; repeat it for several. Default: the whole cluster
    #[arg(short, long = "namespace", value_name = "NAMESPACE")]
    namespaces: Vec<String>,

    #[command(flatten)]
    layers: input::Layers,

    /// Where /healthz, /readyz and /status are served; 0 is off
    #[arg(long, value_name = "HOST:PORT", default_value = ":8081")]
    health_probe_bind_address: String,

    /// Where /metrics is served, without TLS; 0 is off
    #[arg(long, value_name = "HOST:PORT", default_value = ":8080")]
    metrics_bind_address: String,

    #[command(flatten)]
    webhook: webhook::Flags,

    #[command(flatten)]
    election: election::Flags,

    /// Log one JSON object a line
    #[arg(long)]
    log_json: bool,
}

pub fn run(arguments: Arguments) -> Result<(), Failure> {
    log(arguments.log_json);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::Other(format!("cannot start: {e}")))?;
    // Before anything that takes time: the first process of a container gets only those signals that it asked for.
    let signals = {
        let _inside = runtime.enter();
        signals()
    };
    let stack = Stack {
        directories: arguments.layers.layers,
        settings: input::settings(),
    };
    let start = stack.start().map_err(Failure::Problems)?;
    let addresses = Addresses {
        health: address(arguments.health_probe_bind_address),
        metrics: address(arguments.metrics_bind_address),
    };
    let scope = Scope {
        namespaces: arguments.namespaces,
        addresses,
        pod: pod(&stack.settings),
        webhook: arguments.webhook.settings(&stack.settings),
        election: arguments.election.settings(&stack.settings)?,
    };
    let result = runtime.block_on(async {
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(wait_for_signal(signals, stop));
        let config = kube::Config::infer()
            .await
            .map_err(|e| Failure::Other(format!("cannot reach a cluster: {e}")))?;
        tracing::info!(cluster = %config.cluster_url, "connecting");
        let connect = |lead: &_| controller::client_of(config, lead);
        let run = controller::run_layers(connect, stack, start, scope, stopped);
        run.await.map_err(|e| Failure::Other(e.to_string()))
    });
    // Layers that are just being checked are not waited for: what comes of it, nobody asks any more.
    runtime.shutdown_background();
    result
}

/// The operator's own pod, as the downward API names it in the variables of deploy/base/operator.yaml.
fn pod(settings: &BTreeMap<String, String>) -> Option<Value> {
    let name = settings.get("POD_NAME")?;
    let namespace = settings.get("POD_NAMESPACE")?;
    let uid = settings.get("POD_UID").map_or("", String::as_str);
    Some(json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "uid": uid},
    }))
}

fn address(written: String) -> Option<String> {
    Some(written).filter(|a| a != "0")
}

/// What says that the operator is to stop: SIGTERM (Kubernetes) and SIGINT (a person at a terminal).
fn signals() -> std::io::Result<[Signal; 2]> {
    let terminate = signal(SignalKind::terminate())?;
    Ok([terminate, signal(SignalKind::interrupt())?])
}

async fn wait_for_signal(signals: std::io::Result<[Signal; 2]>, stop: watch::Sender<bool>) {
    let Ok([mut terminate, mut interrupt]) = signals else {
        tracing::error!("signals cannot be received; the operator stops only when it is killed");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    stop.send_replace(true);
}

fn log(json: bool) {
    // What the client says of a failed request is that it failed; the operator says which it was.
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("info,kube_client::client=off"));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    if json {
        subscriber.json().init();
    } else {
        use std::io::IsTerminal;
        let colour = std::io::stderr().is_terminal();
        subscriber.with_ansi(colour).init();
    }
}
