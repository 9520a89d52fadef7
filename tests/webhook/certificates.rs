//! Certificates on a real API server: shared, and good again whatever becomes of them.

use crate::harness::*;
use crate::operators::Operator;
use crate::support::{Room, until};
use jiff::{SignedDuration, Timestamp};
use kube::api::{DeleteParams, Patch, PatchParams};
use lotest::webhook::certificates::{self, CA_CERTIFICATE, CERTIFICATE, Data, KEY, SERVING_LIFE};
use serde_json::json;
use std::path::PathBuf;

/// The names of a certificate for an operator at this place.
fn names(place: &Place) -> Vec<String> {
    let service = "lotest-webhook.lotest-system.svc";
    vec![
        format!("{service}.cluster.local"),
        service.into(),
        place.host.clone(),
    ]
}

#[tokio::test]
async fn what_becomes_of_certificates_heals() {
    let _turn = turn().await;
    let room = Room::new("heals").await;
    let place = Place::new();
    let _operator = place.operator(&room, &[]);
    install(&room, &place).await;
    let mut last = until_good(&room, &place, |_| true).await;
    // Lost.
    secrets(&room)
        .delete(SECRET, &DeleteParams::default())
        .await
        .unwrap();
    last = until_good(&room, &place, |data| *data != last).await;
    // Garbled.
    for part in [CERTIFICATE, KEY, CA_CERTIFICATE, "ca.key"] {
        let garbled = Data::from([(part.to_string(), b"what is this".to_vec())]);
        store(&room, &garbled).await;
        last = until_good(&room, &place, |data| {
            *data != last && data[part] != b"what is this"
        })
        .await;
    }
    // Expired, and of a CA that nobody knows yet.
    let now = Timestamp::now();
    let expired = certificates::fresh(&names(&place), now - SERVING_LIFE - SERVING_LIFE).unwrap();
    store(&room, &expired).await;
    last = until_good(&room, &place, |data| {
        data[CERTIFICATE] != expired[CERTIFICATE] && *data != last
    })
    .await;
    assert_eq!(
        last[CA_CERTIFICATE], expired[CA_CERTIFICATE],
        "the CA is still good"
    );
    // Another CA.
    let other = certificates::fresh(&names(&place), now).unwrap();
    store(&room, &other).await;
    last = until_good(&room, &place, |data| *data == other).await;
    // Due in a moment, when nothing happens but that time passes.
    // It begins five minutes before it is made, so its two thirds end 100 seconds earlier than those of its life.
    let third = SERVING_LIFE / 3;
    let age = third + third - SignedDuration::from_secs(100 + 3);
    let due = certificates::fresh(&names(&place), Timestamp::now() - age).unwrap();
    store(&room, &due).await;
    last = until_good(&room, &place, |data| {
        data[CERTIFICATE] != due[CERTIFICATE] && *data != last
    })
    .await;
    assert_eq!(last[CA_CERTIFICATE], due[CA_CERTIFICATE]);
    // The API server is told something else.
    let wrong = json!({"spec": {"conversion": {"webhook": {"clientConfig": {"caBundle": null}}}}});
    let parameters = PatchParams::default();
    definitions(&room)
        .patch(DEFINITION, &parameters, &Patch::Merge(wrong))
        .await
        .unwrap();
    let webhooks =
        json!({"webhooks": [{"name": "warnings.locust.io", "clientConfig": {"caBundle": null}}]});
    configurations(&room)
        .patch(CONFIGURATION, &parameters, &Patch::Strategic(webhooks))
        .await
        .unwrap();
    until_good(&room, &place, |data| *data == last).await;
}

#[tokio::test]
async fn replicas_share_one_certificate() {
    let _turn = turn().await;
    let room = Room::new("replicas").await;
    let _ = secrets(&room)
        .delete(SECRET, &DeleteParams::default())
        .await;
    let places = [Place::new(), Place::new()];
    let _operators = places.each_ref().map(|place| place.operator(&room, &[]));
    lead_to(&room, &places[0]).await;
    let good = until_good(&room, &places[0], |_| true).await;
    until("the same certificate of both", async || {
        let data = stored(&room).await?;
        let trust = data.get(CA_CERTIFICATE)?;
        let served = [places[0].served(trust)?, places[1].served(trust)?];
        (served[0] == served[1]).then_some(())
    })
    .await;
    // The one names them both by now, and both are content.
    let data = stored(&room).await.unwrap();
    assert_eq!(
        data[CA_CERTIFICATE], good[CA_CERTIFICATE],
        "only one CA was made"
    );
}

/// Version 1 of another release is not touched, and this one says that it has none.
#[tokio::test]
async fn a_definition_that_leads_elsewhere_is_left_alone() {
    let _turn = turn().await;
    let room = Room::new("elsewhere").await;
    let place = Place::new();
    let elsewhere = Place::new();
    lead_to(&room, &elsewhere).await;
    let health = Place::new().port;
    let address = format!("127.0.0.1:{health}");
    let _operator = place.operator(&room, &["--health-probe-bind-address", &address]);
    until("a word about it", async || {
        let said = get(health, "/readyz")?;
        let wanted = format!(
            "it leads to {} and is left alone",
            elsewhere.url("/convert")
        );
        (said.contains("200 OK") && said.contains(&wanted)).then_some(())
    })
    .await;
    assert_eq!(trusted(&room).await, [Vec::<u8>::new(), Vec::new()]);
}

/// No Secret may be had: version 2 works, and what is missing is said.
#[tokio::test]
async fn without_rights_the_operator_works_on() {
    let _turn = turn().await;
    let room = Room::new("rightless").await;
    let place = Place::new();
    let health = Place::new().port;
    let address = format!("127.0.0.1:{health}");
    let more = ["--health-probe-bind-address", &address];
    let _operator: Operator = place.operator_in(&room.namespace, &room, &more);
    room.create_test("load").await;
    room.until_phase("load", "Succeeded").await;
    until("a word about it", async || {
        let said = get(health, "/readyz")?;
        let wanted = "webhook certificates: Secret lotest-webhook-certs cannot be watched";
        (said.contains("200 OK") && said.contains(wanted) && said.contains("forbidden"))
            .then_some(())
    })
    .await;
}

/// Gone with what is in it when it is out of scope.
struct Directory(PathBuf);

impl Directory {
    fn new(room: &Room) -> Directory {
        let path = std::env::temp_dir().join(format!("lotest-{}", room.namespace));
        std::fs::create_dir_all(&path).unwrap();
        Directory(path)
    }

    fn write(&self, data: &Data) {
        for (name, part) in data {
            std::fs::write(self.0.join(name), part).unwrap();
        }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn certificates_of_a_directory_are_taken_up() {
    let _turn = turn().await;
    let room = Room::new("files").await;
    let place = Place::new();
    let directory = Directory::new(&room);
    let made = || {
        let mut data = certificates::fresh(&names(&place), Timestamp::now()).unwrap();
        data.remove("ca.key");
        data
    };
    let first = made();
    directory.write(&first);
    let metrics = Place::new().port;
    let address = format!("127.0.0.1:{metrics}");
    let path = directory.0.display().to_string();
    let _operator = place.operator(
        &room,
        &[
            "--metrics-bind-address",
            &address,
            "--webhook-cert-path",
            &path,
        ],
    );
    install(&room, &place).await;
    assert_eq!(
        trusted(&room).await,
        [first[CA_CERTIFICATE].clone(), first[CA_CERTIFICATE].clone()]
    );
    let expires = "lotest_webhook_certificate_expiry_timestamp_seconds ";
    let said = get(metrics, "/metrics").unwrap();
    let at = said.lines().find_map(|l| l.strip_prefix(expires)).unwrap();
    let life = at.parse::<i64>().unwrap() - Timestamp::now().as_second();
    assert!((89 * 86400..=90 * 86400).contains(&life), "{life}");
    // What is wrong is not taken.
    directory.write(&Data::from([(CERTIFICATE.to_string(), b"what".to_vec())]));
    let second = made();
    directory.write(&second);
    until("the other certificate", async || {
        place.served(&second[CA_CERTIFICATE])
    })
    .await;
    until("trust in it", async || {
        (trusted(&room).await[0] == second[CA_CERTIFICATE]).then_some(())
    })
    .await;
    until_version_1(&room).await;
}
