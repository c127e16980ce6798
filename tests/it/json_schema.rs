//! Checks JSON against a schema.

/// Asserts that a JSON text matches a JSON Schema.
pub(crate) fn assert_fits(schema: &str, text: &str) {
    let schema = jsonschema::validator_for(&serde_json::from_str(schema).unwrap()).unwrap();
    let value = serde_json::from_str(text).unwrap();
    let faults: Vec<String> = schema
        .iter_errors(&value)
        .map(|error| format!("{} {error}", error.instance_path()))
        .collect();
    assert_eq!(faults, Vec::<String>::new());
}
