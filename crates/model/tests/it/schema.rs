//! The schema says the same as the parser.

use lifeboat_model::schema::plan_schema;
use serde_json::Value;

/// Follows a reference.
fn deref<'a>(root: &'a Value, node: &'a Value) -> &'a Value {
    match node.get("$ref").and_then(Value::as_str) {
        Some(path) => root.pointer(path.trim_start_matches('#')).expect(path),
        None => node,
    }
}

fn properties<'a>(root: &'a Value, node: &'a Value, out: &mut Vec<(String, &'a Value)>) {
    let node = deref(root, node);
    if let Some(Value::Object(map)) = node.get("properties") {
        out.extend(map.iter().map(|(name, value)| (name.clone(), value)));
    }
    for choices in ["oneOf", "anyOf", "allOf"] {
        for choice in node.get(choices).and_then(Value::as_array).into_iter().flatten() {
            properties(root, choice, out);
        }
    }
}

#[test]
fn is_draft_2020_12() {
    let schema = plan_schema();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(schema["additionalProperties"], false);
    assert!(!schema.to_string().contains("null"));
}

#[test]
fn every_key_is_described() {
    let schema = plan_schema();
    let definitions = schema["$defs"].as_object().expect("definitions");
    let mut seen = 0;
    for (name, node) in definitions.iter().chain([(&"Plan".to_owned(), &schema)]) {
        let mut keys = Vec::new();
        properties(&schema, node, &mut keys);
        for (key, value) in keys {
            let described = value.get("description").or(deref(&schema, value).get("description"));
            assert!(described.is_some(), "{name}.{key} has no description");
            seen += 1;
        }
    }
    assert!(seen > 150, "{seen}");
}

#[test]
fn every_table_refuses_unknown_keys() {
    let schema = plan_schema();
    for (name, node) in schema["$defs"].as_object().expect("definitions") {
        if node.get("properties").is_some() {
            let closed = node.get("additionalProperties").or(node.get("unevaluatedProperties"));
            assert_eq!(closed, Some(&Value::Bool(false)), "{name}");
        }
    }
}

/// Each key of the example is a property of the schema, so that an editor does not underline it.
#[test]
fn the_example_fits() {
    let schema = plan_schema();
    let plan: toml::Table = crate::support::EXAMPLE.parse().expect("toml");
    let value = serde_json::to_value(plan).expect("json");
    check(&schema, &schema, &value, "");
}

fn check(root: &Value, node: &Value, value: &Value, path: &str) {
    let node = deref(root, node);
    match value {
        Value::Object(map) => {
            let mut known = Vec::new();
            properties(root, node, &mut known);
            for (key, inner) in map {
                let path = format!("{path}.{key}");
                match known.iter().find(|(name, _)| name == key) {
                    Some((_, property)) => check(root, property, inner, &path),
                    None => match node.get("additionalProperties") {
                        Some(entry) if entry != false => check(root, entry, inner, &path),
                        _ => panic!("{path} is not in the schema"),
                    },
                }
            }
        }
        Value::Array(items) => {
            let list = node.get("items").cloned().or_else(|| {
                let choices = node.get("anyOf")?.as_array()?;
                choices.iter().find_map(|choice| choice.get("items").cloned())
            });
            let list = list.unwrap_or_else(|| panic!("{path} is no list in the schema"));
            items.iter().for_each(|item| check(root, &list, item, path));
        }
        _ => {}
    }
}
