//! An operator that the API server reaches: on an address of the loopback network of its own, which the
//! CustomResourceDefinition and the ValidatingWebhookConfiguration name.

use crate::operators::{Operator, operator_command};
use crate::support::{Room, until};
use k8s_openapi::ByteString;
use kube::Client;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams,
};
use lotest::api::crd;
use lotest::webhook::certificates::{CA_CERTIFICATE, Data};
use lotest::webhook::server::{CONVERT, VALIDATE};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;
use tokio::sync::{Mutex, MutexGuard};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, crypto::ring,
};

/// The operator's namespace, and what deploy/base calls the rest.
pub const NAMESPACE: &str = "lotest-system";
pub const SECRET: &str = "lotest-webhook-certs";
pub const CONFIGURATION: &str = "lotest-validating";
pub const DEFINITION: &str = "locusttests.locust.io";

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

static TURN: Mutex<()> = Mutex::const_new(());

/// One test at a time.
pub async fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().await
}

/// Where an operator listens.
#[derive(Debug, Clone)]
pub struct Place {
    pub host: String,
    pub port: u16,
}

impl Place {
    /// A new address, which no operator before had.
    pub fn new() -> Place {
        static LAST: AtomicU8 = AtomicU8::new(1);
        let host = format!("127.0.1.{}", LAST.fetch_add(1, Ordering::Relaxed));
        let port = TcpListener::bind((host.as_str(), 0))
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        Place { host, port }
    }

    pub fn url(&self, path: &str) -> String {
        format!("https://{}:{}{path}", self.host, self.port)
    }

    /// An operator that serves here, with the rights of deploy/base, for the tests of a room.
    pub fn operator(&self, room: &Room, more: &[&str]) -> Operator {
        self.operator_in(NAMESPACE, room, more)
    }

    pub fn operator_in(&self, namespace: &str, room: &Room, more: &[&str]) -> Operator {
        let mut command = operator_command(&[("POD_NAMESPACE", namespace)]);
        command.args(["--namespace", &room.namespace]);
        command.args([
            "--webhook-bind-address",
            &format!("{}:{}", self.host, self.port),
        ]);
        command.args(["--webhook-host", &self.host]);
        for flag in ["--health-probe-bind-address", "--metrics-bind-address"] {
            if !more.contains(&flag) {
                command.args([flag, "0"]);
            }
        }
        Operator(command.args(more).spawn().unwrap())
    }

    /// A TLS connection to a server that these certificates vouch for; nothing when there is none, or another.
    pub fn connect(&self, trust: &[u8]) -> Option<StreamOwned<ClientConnection, TcpStream>> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(trust) {
            roots.add(certificate.ok()?).ok()?;
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut stream = TcpStream::connect((self.host.as_str(), self.port)).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let name = ServerName::try_from(self.host.clone()).unwrap();
        let mut session = ClientConnection::new(Arc::new(config), name).unwrap();
        while session.is_handshaking() {
            session.complete_io(&mut stream).ok()?;
        }
        Some(StreamOwned::new(session, stream))
    }

    /// The certificate that is served to a client that trusts these.
    pub fn served(&self, trust: &[u8]) -> Option<Vec<u8>> {
        let stream = self.connect(trust)?;
        Some(stream.conn.peer_certificates()?.first()?.to_vec())
    }

    /// Sends bytes over TLS; what comes back until the end of the connection.
    pub fn send(&self, trust: &[u8], request: &[u8]) -> String {
        let mut stream = self.connect(trust).expect("the webhook server");
        // It may answer and close before it has read everything.
        let _ = stream.write_all(request);
        let _ = stream.flush();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }
}

/// What a server without TLS on 127.0.0.1 says.
pub fn get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

pub fn all(client: &Client, group: &str, kind: &str) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind));
    Api::all_with(client.clone(), &resource)
}

pub fn definitions(room: &Room) -> Api<DynamicObject> {
    all(
        &room.client,
        "apiextensions.k8s.io",
        "CustomResourceDefinition",
    )
}

pub fn configurations(room: &Room) -> Api<DynamicObject> {
    let group = "admissionregistration.k8s.io";
    all(&room.client, group, "ValidatingWebhookConfiguration")
}

pub fn secrets(room: &Room) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Secret"));
    Api::namespaced_with(room.client.clone(), NAMESPACE, &resource)
}

/// Version 1 of the tests of a room.
pub fn version_1(room: &Room) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("locust.io", "v1", "LocustTest"));
    Api::namespaced_with(room.client.clone(), &room.namespace, &resource)
}

/// Has the API server convert and ask here, and waits until version 1 works.
pub async fn install(room: &Room, place: &Place) {
    lead_to(room, place).await;
    until("certificates that the API server trusts", async || {
        let all = trusted(room).await;
        all.iter().all(|trust| !trust.is_empty()).then_some(())
    })
    .await;
    until_version_1(room).await;
}

/// Has the API server convert and ask here.
pub async fn lead_to(room: &Room, place: &Place) {
    let definitions = definitions(room);
    let mut wanted = crd()["spec"].take();
    let client = json!({"url": place.url(CONVERT)});
    wanted["conversion"]["webhook"]["clientConfig"] = client;
    until("a definition that leads to the operator", async || {
        let mut object = definitions.get(DEFINITION).await.unwrap();
        object.data["spec"] = wanted.clone();
        definitions
            .replace(DEFINITION, &PostParams::default(), &object)
            .await
            .ok()
    })
    .await;
    let text = include_str!("../../deploy/base/webhook.yaml");
    let (_, text) = text.split_once("---\n").unwrap();
    let mut configuration: Value = serde_saphyr::from_str(text).unwrap();
    assert_eq!(configuration["metadata"]["name"], CONFIGURATION);
    configuration["webhooks"][0]["clientConfig"] = json!({"url": place.url(VALIDATE)});
    // One that nobody answers is ignored; here it is to be noticed.
    configuration["webhooks"][0]["timeoutSeconds"] = 10.into();
    let configurations = configurations(room);
    let _ = configurations
        .delete(CONFIGURATION, &DeleteParams::default())
        .await;
    let object = serde_json::from_value(configuration).unwrap();
    configurations
        .create(&PostParams::default(), &object)
        .await
        .unwrap();
}

/// Waits until a test of version 1 can be stored: a list of none needs no conversion.
pub async fn until_version_1(room: &Room) {
    let api = version_1(room);
    let probe = json!({
        "apiVersion": "locust.io/v1",
        "kind": "LocustTest",
        "metadata": {"name": "probe"},
        "spec": {"masterCommandSeed": "a", "workerCommandSeed": "a", "image": "a"},
    });
    let probe = serde_json::from_value(probe).unwrap();
    let parameters = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    until("version 1 of the API", async || {
        api.create(&parameters, &probe).await.ok()
    })
    .await;
}

/// The data of the operators' Secret.
pub async fn stored(room: &Room) -> Option<Data> {
    let secret = secrets(room).get_opt(SECRET).await.unwrap()?;
    let data: std::collections::BTreeMap<String, ByteString> =
        serde_json::from_value(secret.data["data"].clone()).ok()?;
    Some(data.into_iter().map(|(k, v)| (k, v.0)).collect())
}

/// Writes data into the operators' Secret; null removes a part.
pub async fn store(room: &Room, data: &Data) {
    let data: Value = data
        .iter()
        .map(|(k, v)| {
            (
                k.clone(),
                serde_json::to_value(ByteString(v.clone())).unwrap(),
            )
        })
        .collect::<serde_json::Map<_, _>>()
        .into();
    let patch = Patch::Merge(json!({"data": data}));
    secrets(room)
        .patch(SECRET, &PatchParams::default(), &patch)
        .await
        .unwrap();
}

/// The CAs that the API server is told to trust, of the definition and of the configuration.
pub async fn trusted(room: &Room) -> [Vec<u8>; 2] {
    let definition = definitions(room).get(DEFINITION).await.unwrap();
    let configuration = configurations(room).get(CONFIGURATION).await.unwrap();
    let of = |config: Option<&Value>| {
        let bundle = config.map(|c| c["caBundle"].clone()).unwrap_or_default();
        serde_json::from_value::<ByteString>(bundle)
            .unwrap_or_default()
            .0
    };
    [
        of(definition
            .data
            .pointer("/spec/conversion/webhook/clientConfig")),
        of(configuration.data.pointer("/webhooks/0/clientConfig")),
    ]
}

/// Waits until what is stored is as wanted, is served, and is what the API server trusts.
pub async fn until_good(room: &Room, place: &Place, wanted: impl Fn(&Data) -> bool) -> Data {
    let good = until("certificates that are good", async || {
        let data = stored(room).await.filter(|data| wanted(data))?;
        let trust = data.get(CA_CERTIFICATE)?;
        let served = place.served(trust)?;
        let first = CertificateDer::from_pem_slice(data.get("tls.crt")?).ok()?;
        let all = trusted(room).await.iter().all(|t| t == trust);
        (all && served == first.to_vec()).then_some(data)
    })
    .await;
    until_version_1(room).await;
    good
}
