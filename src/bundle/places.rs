//! Where in a YAML file a field is, for mistakes that are found in the data and not by the parser.

use super::lines::Lines;
use super::problem::Problem;
use super::tree;
use crate::api::FieldError;

/// The mistakes in one document of a file (the first is 0), each with the line that it is in.
pub fn problems(
    file: &str,
    source: &str,
    document: usize,
    mistakes: &[FieldError],
) -> Vec<Problem> {
    let documents = tree::parse_all(file, source, 0).unwrap_or_default();
    let lines = Lines::of(source);
    let problem = |mistake: &FieldError| {
        let problem = Problem::new(file, mistake.to_string());
        match documents.get(document).and_then(|d| d.place(&mistake.path)) {
            Some(at) => problem.within(&lines, at.place()),
            None => problem,
        }
    };
    mistakes.iter().map(problem).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_is_placed_at_its_field_or_around_it() {
        let source = "a: 1\n---\nspec:\n  volumes:\n  - {name: x}\n  - name: y\n    at: null\n  labels: {a.b/c: true}\n";
        for (path, line, column) in [
            ("spec.volumes[0].name", 5, 6),
            ("spec.volumes[1].name", 6, 5),
            ("spec.volumes[1].missing", 6, 5),
            ("spec.labels[a.b/c]", 8, 12),
            ("spec.missing.deep", 3, 1),
            ("missing", 0, 0),
        ] {
            let found = problems("x.yaml", source, 1, &[FieldError::new(path, "wrong")]);
            assert_eq!((found[0].line, found[0].column), (line, column), "{path}");
        }
    }
}
