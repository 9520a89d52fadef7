//! What somebody reads who made a mistake in a bundle. One snapshot for each kind of mistake: the edit, and all of
//! the text that comes of it.
//!
//! `INSTA_UPDATE=always cargo test --test pure` writes them; read them as that somebody would.

use std::fmt::Write;

use lotest::api::v2::LocustTest;
use lotest::bundle::problem::Problem;
use lotest::bundle::{Bundle, Files, Layer};
use lotest::engine::render::render;

use crate::support::{base, settings};

/// In this file of the built-in bundle, this text becomes that; no text means the whole file.
type Edit<'a> = (&'a str, &'a str, &'a str);

fn edited(edits: &[Edit]) -> Files {
    let mut files = Layer::built_in().files;
    for (file, from, to) in edits {
        let text = files.entry(file.to_string()).or_default();
        if from.is_empty() {
            *text = to.to_string();
        } else {
            assert!(text.contains(from), "{file} has no {from:?}");
            *text = text.replacen(from, to, 1);
        }
    }
    files
}

/// The mistakes that loading finds, or the one that rendering meets.
fn problems(files: &Files, variables: &[&str]) -> Vec<Problem> {
    let bundle = match Bundle::load(&[files.clone().into()], &settings(variables)) {
        Ok((bundle, _)) => bundle,
        Err(problems) => return problems,
    };
    let mut test = base();
    test["metadata"]["namespace"] = "perf".into();
    let test = LocustTest::parse_strict(test).unwrap().to_value();
    match render(&bundle, &test) {
        Ok(_) => vec![],
        Err(problem) => vec![*problem],
    }
}

fn report(edits: &[Edit]) -> String {
    let mut text = String::new();
    for (file, from, to) in edits {
        let _ = writeln!(text, "in {file}");
        for (sign, lines) in [("-", from), ("+", to)] {
            for line in lines.lines() {
                let _ = writeln!(text, "  {sign} {line}");
            }
        }
    }
    for problem in problems(&edited(edits), &[]) {
        let _ = write!(text, "\n{problem}\n");
    }
    text
}

macro_rules! mistakes {
    ($($name:ident: $($edit:expr),+;)+) => {
        $(
            #[test]
            fn $name() {
                let text = report(&[$($edit),+]);
                assert!(text.contains("\nerror: "), "nobody complains:\n{text}");
                insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
                    insta::assert_snapshot!(stringify!($name), text);
                });
            }
        )+
    };
}

const SIGNALS: &str = "rules/signals.yaml";
const PHASE: &str = "rules/phase.yaml";
const CONDITIONS: &str = "rules/conditions.yaml";
const STATUS: &str = "rules/status.yaml";
const SERVICE: &str = "templates/service.yaml";
const POD: &str = "templates/_pod.yaml";
const DELETED: &str = "when: {path: $.metadata.deletionTimestamp, exists: true}";

mistakes! {
    // YAML.
    yaml_bracket_not_closed: (SIGNALS, "on: {each: pod}", "on: {each: pod");
    yaml_indentation: (SIGNALS, "  reason: BeingDeleted", "   reason: BeingDeleted");
    yaml_tab: (SIGNALS, "  reason: BeingDeleted", "\treason: BeingDeleted");
    yaml_key_given_twice: (SIGNALS, "  reason: BeingDeleted", "  reason: BeingDeleted\n  reason: Deleted");
    yaml_unknown_alias: (SIGNALS, "on: {each: pod}", "on: *pods");
    yaml_wrong_type: (SIGNALS, "priority: 990", "priority: high");
    yaml_map_instead_of_list: (STATUS, "", "field: phase\n");
    yaml_in_values: ("values.yaml", "  pods: 2m\n", "  pods: 2m: 3m\n");
    values_are_a_list: ("values.yaml", "", "- a\n");

    // Fields.
    unknown_field: (SIGNALS, "  reason: BeingDeleted", "  reasn: BeingDeleted");
    unknown_field_like_no_other: (SIGNALS, "  reason: BeingDeleted", "  x: 1\n  reason: BeingDeleted");
    unknown_operator: (SIGNALS, DELETED, "when: {path: $.metadata.deletionTimestamp, exist: true}");
    unknown_field_in_a_map: (PHASE, "terminal: [Succeeded, Failed]", "terminals: [Succeeded, Failed]");
    missing_field: (SIGNALS, "  reason: BeingDeleted\n", "");
    unknown_severity: (SIGNALS, "severity: ignore", "severity: ignored");
    types_unknown_type: ("types.yaml", "integer: [ttl", "int: [ttl");
    environment_unknown_value: ("environment.yaml", ": ttlSecondsAfterFinished", ": ttlSeconds");

    environment_sets_a_map: ("environment.yaml", ": ttlSecondsAfterFinished", ": pods.labels");
    environment_sets_a_list: ("environment.yaml", ": ttlSecondsAfterFinished", ": pods.tolerations");

    // Files.
    unknown_rule_file: ("rules/signal.yaml", "", "[]\n");
    unknown_rule_file_like_no_other: ("rules/x.yaml", "", "[]\n");
    unknown_file: ("template/service.yaml", "", "a: b\n");

    // Rules.
    rule_id_used_twice: (SIGNALS, "- id: disrupted", "- id: being-deleted");
    rule_id_used_in_two_files: (PHASE, "- id: running", "- id: being-deleted");
    priority_used_twice: (SIGNALS, "priority: 980", "priority: 990");
    role_that_no_template_makes: (SIGNALS, "on: {each: pod}", "on: {each: pod, role: [master-jab]}");
    transition_out_of_a_terminal_phase: (PHASE, "from: [Running]", "from: [Running, Failed]");
    field_without_a_source: (STATUS, "  path: $.test.metadata.generation\n", "");
    field_with_two_sources: (STATUS, "  now: true", "  now: true\n  path: $.phase");

    // Paths.
    path_not_jsonpath: (SIGNALS, DELETED, "when: {path: '$.metadata.[deletionTimestamp', exists: true}");
    path_without_dollar: (SIGNALS, DELETED, "when: {path: metadata.deletionTimestamp, exists: true}");
    path_of_everything: (SIGNALS, DELETED, "when: {path: $, exists: true}");
    path_unknown_root: (SIGNALS, DELETED, "when: {path: $.metdata.deletionTimestamp, exists: true}");
    path_unknown_root_like_no_other: (SIGNALS, DELETED, "when: {path: $.test.name, exists: true}");
    path_unknown_root_in_operand: (CONDITIONS, "gte: {path: \"$.children", "gte: {path: \"$.childs");
    path_unknown_root_in_message: (SIGNALS, "message: the pod is being deleted", "message: 'pod {{ metdata.name }} is going'");
    path_bad_in_message: (SIGNALS, "message: the pod is being deleted", "message: 'pod {{ metadata..[ }} is going'");
    message_not_closed: (SIGNALS, "message: the pod is being deleted", "message: 'pod {{ metadata.name is going'");

    // Clauses and operands.
    clause_with_two_operators: (SIGNALS, DELETED, "when: {path: $.metadata.name, eq: a, prefix: b}");
    clause_without_operator: (SIGNALS, DELETED, "when: {path: $.metadata.name}");
    clause_without_path: (SIGNALS, DELETED, "when: {eq: a}");
    clause_of_two_kinds: (SIGNALS, DELETED, "when: {path: $.metadata.name, eq: a, any: []}");
    regular_expression: (SIGNALS, DELETED, "when: {path: $.metadata.name, matches: 'a(b'}");
    duration: (SIGNALS, "for: $.values.grace.hopeless", "for: 2 minuts");
    duration_without_unit: (SIGNALS, "for: $.values.grace.hopeless", "for: 120");
    duration_negative: (SIGNALS, "for: $.values.grace.hopeless", "for: -2m");
    duration_below_a_second: (SIGNALS, "for: $.values.grace.hopeless", "for: 500ms");
    duration_with_part_of_a_second: ("values.yaml", "hopeless: 0s", "hopeless: 1.5s");
    duration_of_a_missing_value: (SIGNALS, "for: $.values.grace.hopeless", "for: $.values.grace.unscheduled");
    duration_of_a_bad_value: ("values.yaml", "hopeless: 0s", "hopeless: soon");
    duration_from_elsewhere: (SIGNALS, "for: $.values.grace.hopeless", "for: $.metadata.grace");

    // Templates.
    text_touches_an_interpolation: (SERVICE, "name: {{ master }}", "name: svc-{{ master }}");
    quotes_around_an_interpolation: (SERVICE, "name: {{ master }}", "name: \"{{ master }}\"");
    text_after_an_interpolation: (SERVICE, "name: {{ master }}", "name: {{ master }}-svc");
    two_interpolations: (SERVICE, "name: {{ master }}", "name: {{ master }}{{ otel }}");
    template_syntax: (SERVICE, "{% elif exporter %}", "{% if not otel }");
    template_block_not_closed: (SERVICE, "  {% endif %}\n", "");
    template_unknown_filter: (SERVICE, "object_name", "objectname");
    template_unknown_test: (POD, "is defined", "is definde");
    template_unknown_function: (POD, "{% do warn(", "{% do warm(");
    template_without_kind: (SERVICE, "kind: Service\n", "");
    template_with_interpolated_kind: (SERVICE, "kind: Service\n", "kind: {{ \"Service\" }}\n");
}

// Rendering, with the smallest test.
mistakes! {
    render_undefined: (SERVICE, "name: {{ master }}", "name: {{ mastr }}");
    render_undefined_field_of_the_test: (SERVICE, "name: {{ master }}", "name: {{ test.spec.name }}");
    render_undefined_below_undefined: (SERVICE, "name: {{ master }}", "name: {{ test.spec.service.name }}");
    render_undefined_in_a_partial: (POD, "image: {{ test.spec.image }}", "image: {{ test.spec.img }}");
    render_undefined_in_a_partial_of_a_partial: ("templates/_env.yaml", "kafka.bootstrapServers", "kafka.servers.bootstrap");
    render_undefined_in_a_list: ("templates/_env.yaml", "kafka.bootstrapServers", "kafka.servers");
    render_filter_fails: (POD, "merge(own.labels)", "merge(test.spec.image)");
    render_template_not_found: (POD, "\"templates/_env.yaml\"", "\"templates/_environment.yaml\"");
    render_unknown_field: (SERVICE, "selector:", "selectors:");
    render_unknown_field_deep: (POD, "imagePullPolicy: {{ test", "imagePullPolice: {{ test");
    render_not_yaml: (SERVICE, "  selector:\n", "  selector: a: b\n");
    render_two_documents: (SERVICE, "spec:\n", "---\nspec:\n");
    render_text: (SERVICE, "", "apiVersion: v1\nkind: Service\n{% if false %}\n{% endif %}\nx\n");
    render_other_kind: (SERVICE, "", "{% if false %}\napiVersion: v1\nkind: Service\n{% endif %}\napiVersion: v1\n{# #}kind: Secret\n");
    render_no_name: (SERVICE, "  name: {{ master }}\n", "  name: \"\"\n");
    render_other_namespace: (SERVICE, "  name: {{ master }}\n", "  name: {{ master }}\n  namespace: other\n");
    render_owner_references: (SERVICE, "  name: {{ master }}\n", "  name: {{ master }}\n  ownerReferences: []\n");
    render_endless_loop: (SERVICE, "spec:\n", "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}\nspec:\n");
    render_includes_itself: (POD, "\"templates/_env.yaml\"", "\"templates/_pod.yaml\"");
}

mistakes! {
    five_mistakes_in_three_files:
        (SIGNALS, "priority: 980", "priority: 990"),
        (SIGNALS, "for: $.values.grace.hopeless", "for: soon"),
        (PHASE, "$.worst.severity", "$.wurst.severity"),
        (SERVICE, "object_name", "objectname"),
        (SERVICE, "name: {{ master }}", "name: svc-{{ master }}");
}

/// All mistakes at once, each where it is.
#[test]
fn every_mistake_has_its_place() {
    let files = edited(&[
        (SIGNALS, "priority: 980", "priority: 990"),
        (SIGNALS, "for: $.values.grace.hopeless", "for: soon"),
        (PHASE, "$.worst.severity", "$.wurst.severity"),
        (SERVICE, "object_name", "objectname"),
        (SERVICE, "name: {{ master }}", "name: svc-{{ master }}"),
    ]);
    let found = problems(&files, &[]);
    assert_eq!(found.len(), 5);
    let expected = ["$.wurst", "990", "soon", "objectname", "{{ master }}"];
    for (problem, begin) in found.iter().zip(expected) {
        let line = files[&problem.file].lines().nth(problem.line - 1).unwrap();
        let at: String = line.chars().skip(problem.column - 1).collect();
        assert!(at.starts_with(begin), "{problem}");
        let text = problem.to_string();
        let shown: Vec<&str> = text.lines().collect();
        let excerpt = shown.iter().position(|l| l.ends_with(line)).unwrap();
        let caret = shown[excerpt + 1].find('^').unwrap();
        assert!(shown[excerpt][caret..].starts_with(&at), "{problem}");
    }
}
