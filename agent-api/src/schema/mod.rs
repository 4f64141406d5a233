//! The schemas of `components`, by hand: the nouns come from `loket_protocol`, which stays plain
//! data. Tests hold them against real values of every noun, both ways.

pub(crate) mod examples;
mod joins;
mod nouns;
mod operation;
mod requests;

use serde_json::{Map, Value, json};

/// The pattern of ids after their kind.
const ID_DIGITS: &str = "[0-7][0-9A-HJKMNP-TV-Z]{25}";

/// All of them by name, sorted.
pub(crate) fn components() -> Map<String, Value> {
    let mut all = Map::new();
    for (name, schema) in
        nouns::all().into_iter().chain(joins::all()).chain(operation::all()).chain(requests::all())
    {
        all.insert(name.to_owned(), schema);
    }
    all
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn id(prefix: &str, about: &str) -> Value {
    json!({"type": "string", "pattern": format!("^{prefix}{ID_DIGITS}$"), "description": about})
}

fn time(about: &str) -> Value {
    json!({"type": "string", "format": "date-time", "description": about})
}

fn string(about: &str) -> Value {
    json!({"type": "string", "description": about})
}

/// Text in a request: its length in characters, and no U+0000.
fn text(least: u32, most: u32, about: &str) -> Value {
    json!({
        "type": "string",
        "minLength": least,
        "maxLength": most,
        "pattern": "^[^\\u0000]*$",
        "description": about,
    })
}

/// Whatever a provider gave: any JSON.
fn anything(about: &str) -> Value {
    json!({"type": ["array", "boolean", "null", "number", "object", "string"], "description": about})
}

fn names(values: &[&str], about: &str) -> Value {
    json!({"type": "string", "enum": values, "description": about})
}

fn whole(about: &str) -> Value {
    json!({"type": "integer", "minimum": 0, "maximum": 9_007_199_254_740_991_i64, "description": about})
}

fn yes_or_no(about: &str) -> Value {
    json!({"type": "boolean", "description": about})
}

fn list(items: &Value, about: &str) -> Value {
    json!({"type": "array", "items": items, "description": about})
}

fn or_null(mut schema: Value) -> Value {
    if let Some(fields) = schema.as_object_mut() {
        let plain = fields.get("type").and_then(Value::as_str).map(str::to_owned);
        if let (Some(kind), false) = (plain, fields.contains_key("enum")) {
            fields.insert("type".to_owned(), json!([kind, "null"]));
            return schema;
        }
    }
    json!({"anyOf": [schema, {"type": "null"}]})
}

/// A field of an object: its name, whether it is always there, its schema.
type Field = (&'static str, bool, Value);

fn always(name: &'static str, schema: Value) -> Field {
    (name, true, schema)
}

fn maybe(name: &'static str, schema: Value) -> Field {
    (name, false, schema)
}

/// An object of an answer; fields may be added later.
fn object(about: &str, fields: Vec<Field>) -> Value {
    let required: Vec<_> = fields.iter().filter(|(_, always, _)| *always).map(|(name, _, _)| *name).collect();
    let properties: Map<String, Value> =
        fields.into_iter().map(|(name, _, schema)| (name.to_owned(), schema)).collect();
    let mut whole = json!({"type": "object", "description": about, "properties": properties});
    if let (Some(whole), false) = (whole.as_object_mut(), required.is_empty()) {
        whole.insert("required".to_owned(), json!(required));
    }
    whole
}

/// An object of a request: other fields are refused.
fn closed(about: &str, fields: Vec<Field>) -> Value {
    let mut whole = object(about, fields);
    if let Some(whole) = whole.as_object_mut() {
        whole.insert("additionalProperties".to_owned(), json!(false));
    }
    whole
}

fn page(of: &str) -> Value {
    object(
        "A page of a list.",
        vec![
            always("items", list(&reference(of), "The items.")),
            always("next_cursor", or_null(string("Where the next page begins; null on the last."))),
        ],
    )
}
