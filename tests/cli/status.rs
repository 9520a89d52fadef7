//! `lotest status`, asked of a server that is no operator.

use super::{Ran, lotest};
use serde_json::json;
use std::io::{Read, Write};
use std::net::TcpListener;

/// What is printed about an answer.
fn printed(head: &str, body: &str) -> Ran {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                request.extend(byte);
            }
            write!(stream, "{head}\r\n\r\n{body}").unwrap();
        });
        Ran::of(lotest(&["status", &address]).output().unwrap())
    })
}

#[test]
fn what_a_server_says_does_not_reach_the_terminal_as_it_is() {
    let evil = "\u{1b}[2J\u{202e}evil";
    let standing = json!({
        "bundle": evil,
        "since": "2026-01-01T00:00:00Z",
        "layers": [{"name": evil, "used": true}],
        "stale": true,
        "leader": {"lease": evil, "holder": evil, "identity": evil, "leads": false},
        "mistakes": [
            {"file": "x", "line": 0, "column": 0, "message": "", "text": format!("one\n{evil}")},
        ],
    });
    let answers = [
        ("HTTP/1.0 200 OK", standing.to_string(), 1),
        ("HTTP/1.0 200 OK", format!("{{\"{evil}\": 1}}"), 2),
        (&format!("HTTP/1.0 500 {evil}"), String::new(), 2),
    ];
    for (head, body, code) in answers {
        let ran = printed(head, &body);
        assert_eq!(ran.code, code, "{}", ran.err);
        for text in [&ran.out, &ran.err] {
            assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text:?}");
        }
        assert!(code != 1 || ran.out.contains("one\n"), "{}", ran.out);
        assert!(
            code != 1 || ran.out.contains("evil (standby)\n"),
            "{}",
            ran.out
        );
    }
}
