//! The JSON Schema of the plan file, for editors: completion, explanation and errors while typing.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use crate::plan::Plan;

/// The schema (draft 2020-12) of the plan file.
pub fn plan_schema() -> Value {
    let mut schema =
        SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Plan>().to_value();
    tidy(&mut schema);
    if let Value::Object(map) = &mut schema {
        map.insert("title".to_owned(), Value::from("Lifeboat plan"));
        // Which `include`s hold the rest is not known to an editor.
        map.remove("required");
    }
    schema
}

/// TOML has no null, and a default of nothing says nothing.
fn tidy(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(tidy),
        Value::Object(map) => {
            without_null(map);
            describe_choice(map);
            let empty = |default: &Value| !matches!(default, Value::Bool(_) | Value::String(_));
            if map.get("default").is_some_and(empty) {
                map.remove("default");
            }
            map.values_mut().for_each(tidy);
        }
        _ => {}
    }
}

fn without_null(map: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = map.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            map.insert("type".to_owned(), only);
        }
    }
    let Some(Value::Array(choices)) = map.get_mut("anyOf") else { return };
    choices.retain(|choice| choice.get("type").is_none_or(|kind| kind != "null"));
    if let [only] = choices.as_slice() {
        let only = only.clone();
        map.remove("anyOf");
        if let Value::Object(only) = only {
            for (key, value) in only {
                map.entry(key).or_insert(value);
            }
        }
    }
}

/// A choice of kinds is described at the choice; editors look at its key.
fn describe_choice(map: &mut Map<String, Value>) {
    let Some(description) = map.get("description").cloned() else { return };
    let one = map.get("required").and_then(Value::as_array).filter(|keys| keys.len() == 1);
    let Some(key) = one.and_then(|keys| keys[0].as_str()).map(ToOwned::to_owned) else { return };
    let Some(Value::Object(properties)) = map.get_mut("properties") else { return };
    if properties.len() == 1
        && let Some(Value::Object(property)) = properties.get_mut(&key)
    {
        property.entry("description").or_insert(description);
    }
}
