//! Reload after reload while tests run. `LOTEST_RELOADS=200 LOTEST_RELOAD_TESTS=100` is the full size.

use crate::idle::logged;
use crate::mount::{Directory, Live, until_counted, versions};
use crate::support::{Room, condition, endless, test, until};
use futures::future::join_all;
use serde_json::{Value, json};

fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable).map_or(default, |n| n.parse().unwrap())
}

/// The memory that a process has for itself in KiB, the pages of its program aside: those come as it does something for
/// the first time, and the kernel takes them back as it likes. `None` where there is no /proc.
fn resident(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("RssAnon:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The same when it has come to rest: what is left of a reload goes in its own time.
async fn resident_at_rest(process: u32) -> Option<u64> {
    let mut last = resident(process)?;
    let mut same = 0;
    until("rest of the resident memory", async || {
        let now = resident(process).unwrap();
        same = if now == last { same + 1 } else { 0 };
        last = now;
        (same == 10).then_some(last)
    })
    .await
    .into()
}

/// A short test that comes, ends and is deleted, again and again: as many tests are there at the end as at the beginning.
struct Short<'a> {
    room: &'a Room,
    name: Option<String>,
}

impl Short<'_> {
    async fn next(&mut self, name: String) {
        self.end().await;
        self.room.create(test(&name)).await;
        self.name = Some(name);
    }

    async fn end(&mut self) {
        if let Some(name) = self.name.take() {
            self.room.until_phase(&name, "Succeeded").await;
            self.room.delete("LocustTest", &name).await;
            self.room.until_gone("LocustTest", &name).await;
        }
    }
}

#[tokio::test]
async fn reloads_under_load_change_nothing_of_running_tests() {
    let reloads = number("LOTEST_RELOADS", 8);
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
        until_counted(&room, &format!("running-{n}")).await;
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
    let operator = live.operator.0.id();
    // What is made once, such as the memory for two bundles at a time, is there after these.
    let first = (reloads / 4).max(4);
    let mut memory_before = None;
    let mut digest = live.digest();
    let mut short = Short {
        room: &room,
        name: None,
    };
    let pods = room.list("Pod").await;
    for n in 1..=first + reloads {
        mount(100 + n);
        // Load: pods change, tests come and end.
        for (m, pod) in pods.iter().enumerate().filter(|(m, _)| m % 10 == n % 10) {
            let note = json!({"metadata": {"annotations": {"a-note": format!("{n}-{m}")}}});
            room.patch("Pod", pod["metadata"]["name"].as_str().unwrap(), note)
                .await;
        }
        if n % 4 == 0 {
            short.next(format!("short-{n}")).await;
        }
        digest = live.until_other(&digest).await;
        if n == first {
            short.end().await;
            memory_before = resident_at_rest(operator).await;
        }
    }
    short.end().await;
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
    assert_eq!(success as usize, first + reloads);
    if let (Some(before), Some(after)) = (memory_before, resident_at_rest(operator).await) {
        println!(
            "{tests} tests: {before} KiB after {first} reloads, {after} KiB after {reloads} more"
        );
        // A bundle is more than one and a half MiB, so that a few that were kept would be too much.
        assert!(
            after <= before + before / 10 + 1024,
            "{before} KiB became {after} KiB in {reloads} reloads"
        );
    }
}
