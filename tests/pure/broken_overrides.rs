//! What somebody reads whose override is broken: one snapshot for each kind of mistake in a layer on top of the built-in
//! one. `INSTA_UPDATE=always cargo test --test pure` writes them; read them as that somebody would.
//!
//! That the operator goes on with what it had is tested in tests/cluster/reload.rs.

use lotest::bundle::Layer;
use lotest::engine::admit::admit;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

/// The files of an override, and everything that is said of them.
fn report(files: &[(&str, &str)]) -> String {
    let mut text = String::new();
    let mut layer = Layer {
        name: "cluster".into(),
        ..Layer::default()
    };
    for (file, content) in files {
        let _ = writeln!(text, "cluster/{file}:");
        for line in content.lines() {
            let _ = writeln!(text, "  | {line}");
        }
        layer.files.insert(file.to_string(), content.to_string());
    }
    match admit(&[Layer::built_in(), layer], &BTreeMap::new()) {
        Ok(_) => text.push_str("\nnobody complains\n"),
        Err(problems) => {
            for problem in problems {
                let _ = write!(text, "\n{problem}\n");
            }
        }
    }
    text
}

macro_rules! broken {
    ($($name:ident: $($file:expr => $content:expr),+;)+) => {
        $(
            #[test]
            fn $name() {
                let text = report(&[$(($file, $content)),+]);
                assert!(text.contains("\nerror: "), "{text}");
                insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true, snapshot_path => "snapshots/overrides" }, {
                    insta::assert_snapshot!(stringify!($name), text);
                });
            }
        )+
    };
}

const VALUES: &str = "values.yaml";
const SIGNALS: &str = "rules/signals.yaml";
const CONDITIONS: &str = "rules/conditions.yaml";
const PHASE: &str = "rules/phase.yaml";
const SERVICE: &str = "templates/service.yaml";
const POD: &str = "templates/_pod.yaml";

/// A Service as an override may write it whole.
macro_rules! service {
    ($rest:expr) => {
        concat!(
            "apiVersion: v1\nkind: Service\nmetadata:\n  name: {{ test.metadata.name ~ \"-master\" }}\n",
            $rest
        )
    };
}

broken! {
    // Values.
    values_syntax: VALUES => "grace:\n  pods: 5m\n room: 1h\n";
    values_unknown_key: VALUES => "grace:\n  pod: 5m\n";
    values_unknown_key_like_no_other: VALUES => "ingressHost: load.example.com\n";
    values_string_for_a_boolean: VALUES => "affinityInjection: \"no\"\n";
    values_bad_duration: VALUES => "grace: {pods: soon}\n";
    values_bad_quantity: VALUES => "resources: {common: {requests: {cpu: 1 core}}}\n";
    values_number_for_a_string: VALUES => "kafka:\n  bootstrapServers: 9092\n";
    values_scalar_for_a_map: VALUES => "grace: 5m\n";
    values_list: VALUES => "- grace\n";

    // Rules.
    rule_unknown_id: SIGNALS => "- id: image-pul\n  for: 5m\n";
    rule_unknown_id_like_no_other: SIGNALS => "- id: zzz\n  severity: warn\n";
    rule_unknown_id_disabled: SIGNALS => "- id: image-pulls\n  disable: true\n";
    rule_disabled_and_changed: SIGNALS => "- id: image-pull\n  disable: true\n  for: 5m\n";
    rule_disable_what: SIGNALS => "- id: image-pull\n  disable: yes\n";
    rule_changed_twice: SIGNALS => "- id: image-pull\n  for: 5m\n- id: image-pull\n  severity: warn\n";
    rule_bad_path: SIGNALS => "- id: image-pull\n  when: {path: '$.state.[waiting', exists: true}\n";
    rule_bad_operator: SIGNALS => "- id: image-pull\n  when: {path: $.state.waiting.reason, equals: ImagePullBackOff}\n";
    rule_type_error: SIGNALS => "- id: image-pull\n  priority: high\n";
    rule_priority_taken: SIGNALS => "- id: too-slow\n  on: {each: pod}\n  when: {path: $.status.phase, eq: Pending}\n  reason: TooSlow\n  severity: warn\n  priority: 990\n  message: still pending\n";
    rule_required_field_removed: SIGNALS => "- id: image-pull\n  reason: null\n";
    rule_file_of_another_name: "rules/signal.yaml" => "[]\n";
    rules_are_a_map: SIGNALS => "image-pull: {for: 5m}\n";
    rules_of_many_aliases: SIGNALS => "- &a [x, x, x, x, x, x, x, x, x, x]\n- &b [*a, *a, *a, *a, *a, *a, *a, *a, *a, *a]\n- &c [*b, *b, *b, *b, *b, *b, *b, *b, *b, *b]\n- &d [*c, *c, *c, *c, *c, *c, *c, *c, *c, *c]\n- &e [*d, *d, *d, *d, *d, *d, *d, *d, *d, *d]\n- &f [*e, *e, *e, *e, *e, *e, *e, *e, *e, *e]\n- &g [*f, *f, *f, *f, *f, *f, *f, *f, *f, *f]\n- [*g, *g, *g, *g, *g, *g, *g, *g, *g, *g]\n";
    condition_case_unknown: CONDITIONS => "- type: Ready\n  cases:\n  - id: redy\n    message: fine\n";
    condition_unknown: CONDITIONS => "- type: Redy\n  cases: []\n- type: PodHealthy\n  final: true\n";
    transition_out_of_an_end: PHASE => "transitions:\n- id: again\n  from: [Failed]\n  to: Running\n  when: {path: $.phase, eq: Failed}\n";
    duration_of_a_rule: SIGNALS => "- id: image-pull\n  for: two minutes\n";

    // Templates.
    template_syntax: SERVICE => service!("spec: {% if test %}{}\n");
    template_half_written: SERVICE => "apiVersion: v1\nkind: Service\nmetadata:\n  name: {{ test.meta";
    template_empty: SERVICE => "";
    template_extends_nothing: "templates/ingress.yaml" => "{% extends \"templates/ingres.yaml\" %}\n";
    template_extends_itself: "templates/ingress.yaml" => "{% extends \"templates/ingress.yaml\" %}\n";
    templates_extend_each_other:
        "templates/_a.yaml" => "{% extends \"templates/_b.yaml\" %}\n",
        "templates/_b.yaml" => "{% extends \"templates/_a.yaml\" %}\n";
    template_without_an_end: SERVICE => service!("spec:\n{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}\n");
    template_of_gigabytes: SERVICE => service!("spec:\n  x: {{ \"x\" * 6000000000 }}\n");
    template_that_doubles: SERVICE => service!("{% set ns = namespace(x=\"aaaa\") %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}\n");
    template_undefined: SERVICE => service!("spec:\n  x: {{ values.extra.host }}\n");
    template_unknown_field: SERVICE => service!("spec:\n  selectr: {}\n");
    template_glued: SERVICE => service!("spec:\n  externalName: x-{{ test.metadata.name }}\n");
    template_two_objects: SERVICE => service!("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n");
    partial_removed: POD => "remove: true\n";

    // Golden cases and files.
    golden_differs:
        "golden/small/test.yaml" => "apiVersion: locust.io/v2\nkind: LocustTest\nmetadata: {name: small}\nspec:\n  image: locustio/locust:2.20.0\n  master: {command: --locustfile /x.py}\n  worker: {command: --locustfile /x.py, replicas: 1}\n",
        "golden/small/children.yaml" => "apiVersion: v1\nkind: Service\n";
    golden_output_missing:
        "golden/small/timeline.yaml" => "test:\n  apiVersion: locust.io/v2\n  kind: LocustTest\n  metadata: {name: small}\n  spec:\n    image: locustio/locust:2.20.0\n    master: {command: --locustfile /x.py}\n    worker: {command: --locustfile /x.py, replicas: 1}\nsteps: []\n";
    unknown_file: "template/service.yaml" => "remove: true\n";
    values_under_another_name: "value.yaml" => "grace: {pods: 5m}\n";
    three_mistakes_in_three_files:
        VALUES => "grace: {pods: soon}\n",
        SIGNALS => "- id: image-pul\n  for: 5m\n",
        SERVICE => "apiVersion: v1\nkind: Service\nmetadata: {name: {{ test.metadata.nam | objectname }}}\n";
}

/// Files that cannot be read are mistakes like others.
#[test]
fn files_that_are_no_text() {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("no-text");
    let _ = fs::remove_dir_all(&root);
    fs::create_dir_all(root.join("templates")).unwrap();
    fs::write(root.join("values.yaml"), b"grace:\n  pods: \xff\xfe5m\n").unwrap();
    fs::write(root.join("templates/service.yaml"), vec![0u8; 5 << 20]).unwrap();
    std::os::unix::fs::symlink("nowhere", root.join("templates/x.yaml")).unwrap();
    std::os::unix::fs::symlink("..", root.join("templates/loop")).unwrap();
    let problems = lotest::layer_files::read(&root).unwrap_err();
    let text: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let text = text.join("\n\n").replace(root.to_str().unwrap(), "cluster");
    for expected in [
        "the file is not UTF-8 text\n  --> cluster/values.yaml:2:9",
        "cannot be read: it is larger than 4 MiB\n  --> cluster/templates/service.yaml",
        "cannot be read: No such file or directory (os error 2)\n  --> cluster/templates/x.yaml",
    ] {
        assert!(text.contains(expected), "{expected}\n{text}");
    }
    let missing = lotest::layer_files::read(&root.join("nothing")).unwrap_err();
    assert!(missing[0].to_string().contains("no-text/nothing"));
}
