//! Whoever reaches the port of the webhooks may send anything: it gets an error, and nothing else comes of it.

use crate::harness::{Place, stored, turn};
use crate::support::{Room, until};
use lotest::webhook::certificates::CA_CERTIFICATE;
use serde_json::{Value, json};
use std::io::Write;
use std::net::TcpStream;

const CONVERT: &str = "/convert";
const VALIDATE: &str = "/validate-locust-io-v2-locusttest";

fn post(path: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn conversion(to: &str, objects: Value) -> Vec<u8> {
    let request = json!({"uid": "u", "desiredAPIVersion": to, "objects": objects});
    let review = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview", "request": request});
    post(CONVERT, review.to_string().as_bytes())
}

#[tokio::test]
async fn hostile_requests_get_an_error_and_harm_nothing() {
    let _turn = turn().await;
    let room = Room::new("hostile").await;
    let place = Place::new();
    let mut operator = place.operator(&room, &[]);
    let trust = until("a server", async || {
        let trust = stored(&room).await?.get(CA_CERTIFICATE)?.clone();
        place.served(&trust).map(|_| trust)
    })
    .await;
    let deep = "[".repeat(100_000);
    let mut cases = Vec::new();
    for path in [CONVERT, VALIDATE] {
        for body in [
            "",
            "what",
            "null",
            "{}",
            "[1]",
            "\u{0}",
            &deep,
            r#"{"kind": "Pod"}"#,
        ] {
            cases.push((post(path, body.as_bytes()), "400"));
        }
        let huge = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            8 * 1024 * 1024 + 1
        );
        cases.push((huge.into_bytes(), "413"));
        let endless = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        );
        cases.push((endless.into_bytes(), "411"));
        cases.push((
            format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").into_bytes(),
            "405",
        ));
    }
    cases.push((post("/", b"{}"), "404"));
    cases.push((b"what is this\r\n\r\n".to_vec(), "400"));
    cases.push((post(VALIDATE, &[b'['; 8 * 1024 * 1024]), "400"));
    for (request, code) in cases {
        let answer = place.send(&trust, &request);
        let shown: String = String::from_utf8_lossy(&request)
            .chars()
            .take(160)
            .collect();
        let wanted = format!("HTTP/1.1 {code} ");
        assert!(answer.starts_with(&wanted), "{shown:?}: {answer}");
        if code == "400" && answer.contains("application/json") {
            assert!(answer.contains(r#""kind":"Status""#), "{answer}");
        }
    }
    // Answers of the right kind to what cannot be done.
    for (to, objects) in [
        (
            "locust.io/v3",
            json!([{"apiVersion": "locust.io/v2", "kind": "LocustTest"}]),
        ),
        ("locust.io/v1", json!([1, null])),
        ("locust.io/v1", json!("all")),
        ("", json!([{"apiVersion": "v1", "kind": "Pod"}])),
    ] {
        let answer = place.send(&trust, &conversion(to, objects.clone()));
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(
            answer.contains(r#""status":"Failure""#),
            "{objects}: {answer}"
        );
    }
    // Many that say nothing, and some that speak no TLS.
    let mut silent = Vec::new();
    for n in 0..100 {
        let mut stream = TcpStream::connect((place.host.as_str(), place.port)).unwrap();
        if n % 2 == 0 {
            let _ = stream.write_all(b"GET / HTTP/1.1\r\n\r\n");
        }
        silent.push(stream);
    }
    let good = json!([{"apiVersion": "locust.io/v2", "kind": "LocustTest", "metadata": {"name": "a"}, "spec": {}}]);
    let answer = place.send(&trust, &conversion("locust.io/v1", good));
    assert!(answer.contains(r#""status":"Success""#), "{answer}");
    assert_eq!(operator.0.try_wait().unwrap(), None, "it runs");
}
