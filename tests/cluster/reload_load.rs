//! Reload after reload while tests run. `LOTEST_RELOADS=200 LOTEST_RELOAD_TESTS=100` is the full size.

use crate::idle::logged;
use crate::mount::{Directory, Live, versions};
use crate::support::{Room, condition, endless, test};
use futures::future::join_all;
use serde_json::{Value, json};

fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable).map_or(default, |n| n.parse().unwrap())
}

/// The resident memory of a process in KiB; `None` where there is no /proc.
fn resident(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[tokio::test]
async fn reloads_under_load_change_nothing_of_running_tests() {
    let reloads = number("LOTEST_RELOADS", 12);
    let tests = number("LOTEST_RELOAD_TESTS", 10);
    let room = Room::new("reloads").await;
    let layer = Directory::new();
    let mount = |n: usize| {
        let values =
            format!("grace: {{pods: 15s}}\nresources: {{worker: {{requests: {{cpu: {n}m}}}}}}\n");
        layer.mount(&[("values.yaml", &values)]);
    };
    mount(100);
    let live = Live::new(&room, &[&layer]).await;
    let created = (0..tests).map(|n| room.create(endless(&format!("running-{n}"))));
    join_all(created.collect::<Vec<_>>()).await;
    for n in 0..tests {
        // With its grace over: time alone changes the status no more.
        let settled = |t: &Value| {
            condition(t, "WorkersConnected")["status"] == "True"
                && condition(t, "PodsHealthy")["reason"] == "PodsHealthy"
        };
        room.until("LocustTest", &format!("running-{n}"), settled)
            .await;
        // The Job controller counts the pods of the master when it comes to it.
        for role in ["master", "worker"] {
            let counted = |job: &Value| job["status"]["ready"] == job["spec"]["parallelism"];
            room.until("Job", &format!("running-{n}-{role}"), counted)
                .await;
        }
    }
    // What all that led to is written when a test made later has been through.
    room.create_test("later").await;
    room.until_phase("later", "Succeeded").await;
    let of_running = async || {
        logged(&room).await;
        let mut writes = room.writes();
        writes.retain(|write| write.contains("/running-"));
        writes
    };
    let written = of_running().await;
    let before = versions(&room).await;
    let memory = async || {
        // What is left of the last reload goes in its own time.
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        resident(live.operator.0.id())
    };
    let warm = reloads / 4;
    let mut memory_before = None;
    let mut digest = live.digest();
    let mut short = Vec::new();
    let pods = room.list("Pod").await;
    for n in 1..=reloads {
        mount(100 + n);
        // Load: pods change, tests come and end.
        for (m, pod) in pods.iter().enumerate().filter(|(m, _)| m % 10 == n % 10) {
            let note = json!({"metadata": {"annotations": {"a-note": format!("{n}-{m}")}}});
            room.patch("Pod", pod["metadata"]["name"].as_str().unwrap(), note)
                .await;
        }
        if n % 4 == 0 {
            let name = format!("short-{n}");
            room.create(test(&name)).await;
            short.push(name);
        }
        digest = live.until_other(&digest).await;
        if n == warm {
            memory_before = memory().await;
        }
    }
    for name in &short {
        room.until_phase(name, "Succeeded").await;
    }
    let after = versions(&room).await;
    let running = |o: &&Value| o[1].as_str().unwrap().starts_with("running-");
    assert_eq!(before.iter().filter(running).count(), tests * 5);
    let changed: Vec<_> = before
        .iter()
        .filter(running)
        .filter(|o| !after.contains(o))
        .collect();
    assert!(
        changed.is_empty(),
        "{changed:#?}\nwritten: {:#?}",
        &of_running().await[written.len()..]
    );
    assert_eq!(of_running().await, written);
    let success = live.metric("lotest_bundle_reloads_total{result=\"success\"}");
    assert_eq!(success as usize, reloads);
    if let (Some(before), Some(after)) = (memory_before, memory().await) {
        println!(
            "{reloads} reloads, {tests} tests: {before} KiB after {warm}, {after} KiB at the end"
        );
        assert!(
            after < before + before / 5,
            "{before} KiB became {after} KiB"
        );
    }
}
