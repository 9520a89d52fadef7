//! A recording cannot be made again: what was watched is kept, whatever becomes of the directory that it was for.

use crate::mount::Directory;
use crate::support::{Room, test};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::Stdio;

/// Records a test into a directory that is a file by the end; what is printed, and the exit code.
async fn record(
    room: &Room,
    name: &str,
    case: &Path,
    temporary: &Path,
) -> (String, String, Option<i32>) {
    let mut command = room.lotest(&["record", name, case.to_str().unwrap(), "--until-done"]);
    command.env("TMPDIR", temporary);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut err = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    err.read_line(&mut said).unwrap();
    assert!(said.starts_with("recording LocustTest"), "{said}");
    fs::remove_dir(case).unwrap();
    fs::write(case, "").unwrap();
    room.create(test(name)).await;
    room.until_phase(name, "Succeeded").await;
    let ended = tokio::task::spawn_blocking(move || {
        err.read_to_string(&mut said).unwrap();
        let output = child.wait_with_output().unwrap();
        (
            String::from_utf8(output.stdout).unwrap(),
            said,
            output.status.code(),
        )
    });
    ended.await.unwrap()
}

#[tokio::test]
async fn a_recording_that_cannot_be_written_is_kept_elsewhere() {
    let room = Room::new("kept").await;
    let _operator = room.operator();
    let root = Directory::new();
    let temporary = root.0.join("tmp");
    fs::create_dir(&temporary).unwrap();

    let case = root.0.join("case");
    let (out, err, code) = record(&room, "load", &case, &temporary).await;
    assert_eq!((out.as_str(), code), ("", Some(2)), "{err}");
    assert!(
        err.contains(&format!("error: cannot make {}", case.display())),
        "{err}"
    );
    let kept = fs::read_dir(&temporary)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    assert!(
        err.contains(&format!("is {}: put it into", kept.display())),
        "{err}"
    );
    // It is a case once it is where it belongs, as the message says.
    fs::remove_file(&case).unwrap();
    fs::create_dir(&case).unwrap();
    fs::rename(&kept, case.join("timeline.yaml")).unwrap();
    let check = ["check", "--update", case.to_str().unwrap()];
    let output = room.lotest_alone(&check).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let verdicts = fs::read_to_string(case.join("verdicts.yaml")).unwrap();
    assert!(verdicts.contains("Succeeded"), "{verdicts}");

    // Where nothing can be written at all it is printed.
    let (case, nowhere) = (root.0.join("other"), root.0.join("nowhere"));
    let (out, err, code) = record(&room, "other", &case, &nowhere).await;
    assert_eq!(code, Some(2), "{err}");
    assert!(err.contains("is on standard output: put it into"), "{err}");
    assert!(
        out.starts_with("# Recorded on Kubernetes v") && out.contains("steps:"),
        "{out}"
    );
}
