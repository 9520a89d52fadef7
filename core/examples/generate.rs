//! Prints what is made of the Rust types and kept in the repository: `crd` for crds/locusttests.locust.io.yaml, `types` for
//! src/engine/types.json. `make crds` writes both.

fn main() -> Result<(), String> {
    match std::env::args().nth(1).as_deref() {
        Some("crd") => print!("{}", lotest_core::api::crd_yaml()),
        Some("types") => print!("{}", lotest_core::engine::types::types_json()),
        _ => return Err("say what to print: crd or types".into()),
    }
    Ok(())
}
