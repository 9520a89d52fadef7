//! Every mistake in a test is said: by the API server when the test is applied, or in the test's Ready condition. And
//! what is no mistake arrives as it was written.

use crate::failing::{merge, message, until_not_ready};
use crate::older::{minor, without_newer};
use crate::shell::Shell;
use crate::support::{Room, condition, endless, test};
use kube::core::Status;
use lotest::api::v2::LocustTest;
use serde_json::{Value, json};

const SPECS: &str = include_str!("../specs.yaml");
const SPECS_V1: &str = include_str!("../specs-v1.yaml");
const EVERYTHING: &str = include_str!("../everything.yaml");

pub fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

/// RFC 7386.
fn patched(mut target: Value, patch: &Value) -> Value {
    let Some(patch) = patch.as_object() else {
        return patch.clone();
    };
    if !target.is_object() {
        target = json!({});
    }
    for (name, value) in patch {
        if value.is_null() {
            target.as_object_mut().unwrap().remove(name);
        } else {
            target[name] = patched(target[name].take(), value);
        }
    }
    target
}

/// Asks the API server to create a test, as kubectl does, without storing it.
pub async fn try_strictly(room: &Room, test: &Value) -> Result<Value, Box<Status>> {
    let path = format!(
        "/apis/{}/namespaces/{}/locusttests",
        test["apiVersion"].as_str().unwrap(),
        room.namespace
    );
    let body = serde_json::to_vec(test).unwrap();
    let mut request = kube::core::Request::new(&path)
        .create(&Default::default(), body)
        .unwrap();
    *request.uri_mut() = format!("{path}?fieldValidation=Strict&dryRun=All")
        .parse()
        .unwrap();
    match room.client.request(request).await {
        Ok(made) => Ok(made),
        Err(kube::Error::Api(error)) => Err(error),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn valid_specs_are_accepted() {
    let room = Room::new("valid").await;
    let specs = yaml(SPECS);
    for case in specs["valid"].as_array().unwrap() {
        let test = patched(specs["base"].clone(), &case["patch"]);
        if let Err(error) = try_strictly(&room, &test).await {
            panic!("{}: {}", case["name"], error.message);
        }
    }
}

/// The rules of v1 hold with no webhook. What is valid gets as far as its conversion, which needs one.
#[tokio::test]
async fn v1_is_judged_before_it_is_converted() {
    let room = Room::new("valid-v1").await;
    let specs = yaml(SPECS_V1);
    for case in specs["valid"].as_array().unwrap() {
        let test = patched(specs["base"].clone(), &case["patch"]);
        if let Err(error) = try_strictly(&room, &test).await {
            assert!(
                error
                    .message
                    .starts_with("conversion webhook for locust.io/v1"),
                "{}: {}",
                case["name"],
                error.message
            );
        }
    }
    for case in specs["invalid"].as_array().unwrap() {
        let test = patched(specs["base"].clone(), &case["patch"]);
        let name = case["name"].to_string();
        let error = try_strictly(&room, &test).await.expect_err(&name);
        assert_eq!(error.code, 422, "{name}: {}", error.message);
        for part in [&case["field"], &case["message"]] {
            assert!(
                error.message.contains(part.as_str().unwrap()),
                "{name}: {}",
                error.message
            );
        }
    }
}

#[tokio::test]
async fn invalid_specs_are_refused_where_they_are_wrong() {
    let room = Room::new("invalid").await;
    let specs = yaml(SPECS);
    let cases = specs["invalid"].as_array().unwrap();
    assert!(cases.len() >= 39);
    for case in cases {
        let test = patched(specs["base"].clone(), &case["patch"]);
        let name = &case["name"];
        let error = try_strictly(&room, &test)
            .await
            .expect_err(&name.to_string());
        // A rule shows the value it judges, which is never what the user wrote.
        for noise in ["Value: \"object\"", "Value: \"array\""] {
            assert!(!error.message.contains(noise), "{name}: {}", error.message);
        }
        let field = case.get("at").unwrap_or(&case["field"]).as_str().unwrap();
        let wanted = case["message"].as_str().unwrap();
        if wanted == "unknown field" {
            assert!(
                error
                    .message
                    .contains(&format!("unknown field \"{field}\"")),
                "{name}: {}",
                error.message
            );
            continue;
        }
        assert_eq!(error.reason, "Invalid", "{name}: {}", error.message);
        let causes = error.details.map(|d| d.causes).unwrap_or_default();
        // That the rules were not asked because the schema does not hold.
        let real: Vec<_> = causes.iter().filter(|c| c.field != "<nil>").collect();
        let [cause] = &real[..] else {
            panic!("{name}: one cause expected, not {causes:?}");
        };
        assert_eq!(cause.field, field, "{name}");
        assert!(cause.message.contains(wanted), "{name}: {}", cause.message);
    }
}

/// Rules about names bind at creation; later the operator alone finds what breaks them.
#[tokio::test]
async fn what_an_update_gets_past_the_api_server_is_said_by_the_operator() {
    let room = Room::new("late").await;
    room.create_test("load").await;
    let volume = json!([{"name": "load-master", "emptyDir": {}}]);
    merge(&room, "load", json!({"spec": {"volumes": volume}})).await;
    let _operator = room.operator();
    let refused = until_not_ready(&room, "load").await;
    assert_eq!(
        message(&refused),
        "spec.volumes[0].name: the volume names NAME-master and NAME-worker belong to the operator; give the volume another name"
    );
    assert_eq!(room.list("Job").await, [] as [Value; 0]);
    // Nothing was started: the correction is no drift.
    merge(&room, "load", json!({"spec": {"volumes": null}})).await;
    let ended = room.until_phase("load", "Succeeded").await;
    assert_eq!(condition(&ended, "SpecDrifted"), &Value::Null);
}

/// What ran nothing is nothing that could run twice: the Service alone was made, and goes with what it was made for.
#[tokio::test]
async fn a_test_whose_jobs_were_refused_starts_with_its_correction() {
    let room = Room::new("corrected").await;
    let _operator = room.operator();
    let mut bad = test("load");
    bad["spec"]["scheduling"] = json!({"nodeSelector": {"not a key": "x"}});
    room.create(bad).await;
    until_not_ready(&room, "load").await;
    let before = room.get("Service", "load-master").await.unwrap();
    merge(&room, "load", json!({"spec": {"scheduling": null}})).await;
    let ended = room.until_phase("load", "Succeeded").await;
    assert_eq!(condition(&ended, "SpecDrifted"), &Value::Null);
    let after = room.get("Service", "load-master").await.unwrap();
    assert_ne!(before["metadata"]["uid"], after["metadata"]["uid"]);
    assert_eq!(room.list("ControllerRevision").await.len(), 1);
    for job in room.list("Job").await {
        assert_eq!(job["spec"]["template"]["spec"]["nodeSelector"], Value::Null);
    }
    let events = room.events("load").await;
    assert!(
        !events.iter().any(|e| e.contains("ResourceDeleted")),
        "{events:#?}"
    );
}

/// A master that runs already is not replaced: what was refused later stays what the test was started with.
#[tokio::test]
async fn a_test_of_which_a_job_was_made_ignores_the_correction() {
    let room = Room::new("half").await;
    let _operator = room.operator();
    let mut bad = endless("load");
    bad["spec"]["worker"]["labels"] = json!({"a": "not a value"});
    room.create(bad).await;
    until_not_ready(&room, "load").await;
    let before = room.get("Job", "load-master").await.unwrap();
    merge(&room, "load", json!({"spec": {"worker": {"labels": null}}})).await;
    let drifted = |t: &Value| condition(t, "SpecDrifted")["status"] == "True";
    room.until("LocustTest", "load", drifted).await;
    room.create_test("next").await;
    room.until_phase("next", "Succeeded").await;
    let after = room.get("Job", "load-master").await.unwrap();
    assert_eq!(before["metadata"]["uid"], after["metadata"]["uid"]);
    assert_eq!(room.list("ControllerRevision").await.len(), 2);
}

/// What the schema cannot say: a patch, the child that is refused, and where in it.
const REFUSED: &[(&str, &str, &str)] = &[
    (
        r#"{"env": {"variables": [{"name": "a=b", "value": ""}]}}"#,
        "Job",
        "containers[0].env[7].name",
    ),
    (
        r#"{"env": {"variables": [{"name": "A", "value": "x", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]}}"#,
        "Job",
        "containers[0].env[7].valueFrom",
    ),
    (
        r#"{"env": {"configMapRefs": [{"name": "Not_A_Name"}]}}"#,
        "Job",
        "containers[0].envFrom[0].configMapRef.name",
    ),
    (
        r#"{"scheduling": {"tolerations": [{"key": "a", "effect": "Never"}]}}"#,
        "Job",
        "spec.tolerations[0].effect",
    ),
    (
        r#"{"scheduling": {"nodeSelector": {"not a key": "x"}}}"#,
        "Job",
        "spec.nodeSelector",
    ),
    (
        r#"{"scheduling": {"runtimeClassName": "Not_A_Name"}}"#,
        "Job",
        "spec.runtimeClassName",
    ),
    (
        r#"{"scheduling": {"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": ""}]}}}}"#,
        "Job",
        "topologyKey",
    ),
    (
        r#"{"master": {"labels": {"a": "not a value"}}}"#,
        "Job",
        "spec.template.labels",
    ),
    (
        r#"{"master": {"annotations": {"not a key": "x"}}}"#,
        "Job",
        "template.annotations",
    ),
    (
        r#"{"worker": {"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}}}"#,
        "Job",
        "containers[0].resources.requests",
    ),
    (
        r#"{"volumes": [{"name": "Not_A_Name", "emptyDir": {}}], "volumeMounts": [{"name": "Not_A_Name", "mountPath": "/a"}]}"#,
        "Job",
        "volumes[0].name",
    ),
    (
        r#"{"volumes": [{"name": "a", "emptyDir": {}, "hostPath": {"path": "/"}}], "volumeMounts": [{"name": "a", "mountPath": "/a"}]}"#,
        "Job",
        "volumes[0].hostPath",
    ),
    (
        r#"{"volumes": [{"name": "a", "emptyDir": {}}], "volumeMounts": [{"name": "a", "mountPath": "/a", "subPath": "../b"}]}"#,
        "Job",
        "volumeMounts.subPath",
    ),
    (
        r#"{"security": {"containerSecurityContext": {"runAsUser": -1}}}"#,
        "Job",
        "containers[0].securityContext.runAsUser",
    ),
    (
        r#"{"security": {"podSecurityContext": {"seccompProfile": {"type": "Localhost"}}}}"#,
        "Job",
        "securityContext.seccompProfile.localhostProfile",
    ),
];

/// The API server reads what is applied as YAML, which sees no key in a long text that is not marked as one.
#[tokio::test]
async fn a_key_of_any_length_is_refused_with_its_field() {
    let room = Room::new("long-key").await;
    let labels = json!({"k".repeat(5000): "v"});
    let long = json!({"spec": {"worker": {"labels": labels}}});
    room.create(patched(test("long"), &long)).await;
    let _operator = room.operator();
    let refused = until_not_ready(&room, "long").await;
    for part in ["Job long-worker", "spec.template.labels: Invalid value"] {
        assert!(message(&refused).contains(part), "{}", message(&refused));
    }
}

#[tokio::test]
async fn what_only_a_child_shows_is_said_with_its_field() {
    let room = Room::new("refused").await;
    for (n, (patch, ..)) in REFUSED.iter().enumerate() {
        let patch = json!({"spec": yaml(patch)});
        let made = room
            .try_create(patched(test(&format!("case-{n}")), &patch))
            .await;
        made.unwrap_or_else(|e| panic!("{patch}: {e}"));
    }
    let _operator = room.operator();
    for (n, (patch, kind, field)) in REFUSED.iter().enumerate() {
        let name = format!("case-{n}");
        let refused = until_not_ready(&room, &name).await;
        for part in [&format!("{kind} {name}-"), *field] {
            assert!(
                message(&refused).contains(part),
                "{patch}: no {part} in {}",
                message(&refused)
            );
        }
        assert_eq!(refused["status"]["phase"], "Pending");
    }
    // Workers do not wait for a master that cannot be made.
    let jobs = room.list("Job").await;
    let names: Vec<&Value> = jobs.iter().map(|j| &j["metadata"]["name"]).collect();
    assert_eq!(
        names,
        ["case-9-master"],
        "its worker is the one that is refused"
    );
    // They wait for nobody, and nobody waits for them.
    room.create_test("good").await;
    room.until_phase("good", "Succeeded").await;
}

/// Stored by both ways of applying, and read back: the same, and the defaults.
#[tokio::test]
async fn everything_is_stored_as_it_was_written() {
    let room = Room::new("everything").await;
    let shell = Shell::new(&room);
    shell.write("everything.yaml", EVERYTHING);
    let wanted = LocustTest::parse_strict(yaml(EVERYTHING))
        .unwrap()
        .to_value();
    for how in ["", "--server-side"] {
        shell.ok(&format!(
            "kubectl apply {how} --validate=strict -f everything.yaml"
        ));
        let stored = room.get("LocustTest", "every.thing").await.unwrap();
        assert_eq!(stored["spec"], wanted["spec"], "{how}");
        assert_eq!(
            shell.ok(&format!("kubectl diff {how} -f everything.yaml")),
            ""
        );
        shell.ok("kubectl delete -f everything.yaml");
    }
}

/// What Kubernetes accepts in a pod of today, with every volume mounted.
pub fn acceptable() -> Value {
    let mut test = yaml(EVERYTHING);
    let spec = &mut test["spec"];
    // What Kubernetes drops or refuses without a feature that is off by default, and what only a pod with resource
    // claims can have.
    spec["master"]["resources"]
        .as_object_mut()
        .unwrap()
        .remove("claims");
    spec["env"]["variables"]
        .as_array_mut()
        .unwrap()
        .retain(|v| v["name"] != "G");
    spec["security"]["podSecurityContext"]["seLinuxChangePolicy"] = "Recursive".into();
    let volumes = spec["volumes"].as_array_mut().unwrap();
    volumes.retain(|v| v["name"] != "img");
    for volume in volumes.iter_mut() {
        if let Some(sources) = volume.pointer_mut("/projected/sources") {
            let sources = sources.as_array_mut().unwrap();
            sources.retain(|s| s.get("clusterTrustBundle").is_none());
        }
    }
    let iscsi = volumes.iter_mut().find(|v| v["name"] == "iscsi").unwrap();
    iscsi["iscsi"]["iqn"] = "iqn.2026-01.io.locust:files".into();
    let volumes = spec["volumes"].as_array().unwrap().clone();
    let mounts = volumes.iter().map(|v| json!({"name": v["name"], "mountPath": format!("/all/{}", v["name"].as_str().unwrap())}));
    spec["volumeMounts"] = mounts.collect();
    test
}

/// Whether all of `wanted` is in `found`; the API server adds defaults, and writes numbers as the text they are.
fn holds(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => wanted
            .iter()
            .all(|(key, value)| found.get(key).is_some_and(|f| holds(f, value))),
        (Value::Array(found), Value::Array(wanted)) => {
            found.len() == wanted.len() && found.iter().zip(wanted).all(|(f, w)| holds(f, w))
        }
        (Value::String(found), Value::Number(wanted)) => *found == wanted.to_string(),
        _ => found == wanted,
    }
}

#[tokio::test]
async fn everything_arrives_in_the_pods() {
    let room = Room::new("arrives").await;
    let mut test = acceptable();
    without_newer(&mut test, minor(&room).await);
    let spec = room.create(test).await["spec"].take();
    let _operator = room.operator();
    let ready = |t: &Value| {
        !condition(t, "Ready")["message"]
            .as_str()
            .unwrap_or("being")
            .contains("being")
    };
    let test = room.until("LocustTest", "every.thing", ready).await;
    assert_eq!(
        condition(&test, "Ready")["status"],
        "True",
        "{}",
        message(&test)
    );

    for role in ["master", "worker"] {
        let job = room
            .get("Job", &format!("every-thing-{role}"))
            .await
            .unwrap();
        let pod = &job["spec"]["template"]["spec"];
        let container = &pod["containers"][0];
        let metadata = &job["spec"]["template"]["metadata"];
        let own = &spec[role];
        let nothing = json!({});
        let files = |name: &str| json!({"name": name});
        let env: Vec<&Value> = container["env"].as_array().unwrap().iter().collect();
        let find = |name: &Value| {
            env.iter()
                .find(|e| e["name"] == *name)
                .copied()
                .unwrap_or(&Value::Null)
        };
        let mut pairs = vec![
            (&container["image"], spec["image"].clone()),
            (
                &container["imagePullPolicy"],
                spec["imagePullPolicy"].clone(),
            ),
            (&pod["imagePullSecrets"], spec["imagePullSecrets"].clone()),
            (
                &metadata["labels"],
                own.get("labels").unwrap_or(&nothing).clone(),
            ),
            (
                &metadata["annotations"],
                own.get("annotations").cloned().unwrap_or(Value::Null),
            ),
            (&container["resources"], own["resources"].clone()),
            (
                &pod["nodeSelector"],
                spec["scheduling"]["nodeSelector"].clone(),
            ),
            (
                &pod["tolerations"],
                spec["scheduling"]["tolerations"].clone(),
            ),
            (&pod["affinity"], spec["scheduling"]["affinity"].clone()),
            (
                &pod["securityContext"],
                spec["security"]["podSecurityContext"].clone(),
            ),
            (
                &container["securityContext"],
                spec["security"]["containerSecurityContext"].clone(),
            ),
            (
                &container["envFrom"],
                json!([
                    {"configMapRef": files("a"), "prefix": "A_"},
                    {"secretRef": files("b")},
                ]),
            ),
        ];
        for variable in spec["env"]["variables"].as_array().unwrap() {
            let mut wanted = variable.clone();
            // The API server stores an empty value as none.
            if wanted["value"] == "" {
                wanted.as_object_mut().unwrap().remove("value");
            }
            pairs.push((find(&variable["name"]), wanted));
        }
        for (list, wanted) in [
            ("volumes", &spec["volumes"]),
            ("volumeMounts", &spec["volumeMounts"]),
        ] {
            let found = if list == "volumes" {
                &pod[list]
            } else {
                &container[list]
            };
            for wanted in wanted.as_array().unwrap() {
                let found = found
                    .as_array()
                    .unwrap()
                    .iter()
                    .find(|f| f["name"] == wanted["name"]);
                let mut wanted = wanted.clone();
                wanted.as_object_mut().unwrap().remove("target");
                if wanted["readOnly"] == false {
                    wanted.as_object_mut().unwrap().remove("readOnly");
                }
                pairs.push((found.unwrap_or(&Value::Null), wanted));
            }
        }
        for (found, wanted) in pairs {
            assert!(
                holds(found, &wanted),
                "{role}: {wanted}\nis not in\n{found}"
            );
        }
        assert_eq!(pod.get("runtimeClassName"), None, "an empty name opts out");
    }
    let master = room.get("Job", "every-thing-master").await.unwrap();
    let arguments = master["spec"]["template"]["spec"]["containers"][0]["args"].to_string();
    assert!(arguments.contains(r#""--autoquit","0""#), "{arguments}");
    assert!(!arguments.contains("--autostart"), "{arguments}");
    assert!(arguments.ends_with(r#""--csv","x"]"#), "{arguments}");
}
