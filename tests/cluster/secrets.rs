//! The API server quotes what it refuses; a credential that is configured is in nothing that comes of that.

use crate::mount::{Directory, Live};
use crate::support::{Room, condition, test};

/// Of characters that are quoted in more than one way, and that no label may have.
const PASSWORD: &str = "hunt<er> \"2\" & m4rk'd";

/// A child that the API server refuses, as it has the credential for a label.
const QUOTING: &str = "apiVersion: v1
kind: Service
metadata:
  name: {{ test.metadata.name ~ \"-quoting\" }}
  labels: {password: {{ values.kafka.password }}}
spec: {ports: [{port: 80}]}
";

#[tokio::test]
async fn a_credential_in_an_answer_of_the_api_server_is_not_passed_on() {
    let room = Room::new("quoting").await;
    let layer = Directory::new();
    let password = serde_json::to_string(PASSWORD).unwrap();
    let values = format!("kafka: {{password: {password}}}\n");
    layer.write(&[
        ("values.yaml", &values),
        ("templates/quoting.yaml", QUOTING),
    ]);
    let live = Live::new(&room, &[&layer]).await;
    room.create(test("load")).await;
    let refused = |t: &serde_json::Value| {
        let ready = &condition(t, "Ready")["message"];
        ready
            .as_str()
            .is_some_and(|m| m.starts_with("Service load-quoting: "))
    };
    let refused = room.until("LocustTest", "load", refused).await;
    let message = condition(&refused, "Ready")["message"].as_str().unwrap();
    assert!(message.contains("Invalid value: \"***\": "), "{message}");
    let log = live.log();
    assert!(
        log.contains("children cannot be made: Service load-quoting: "),
        "{log}"
    );
    let events = room.events("load").await.join("\n");
    for said in [refused["status"].to_string(), log, events] {
        assert!(!said.contains("m4rk") && !said.contains("hunt"), "{said}");
    }
}
