//! The OpenAPI document as a judge: every answer must be one that it describes.

use loket_agent_api::AgentApi;
use serde_json::Value;

use crate::harness::Answer;

pub(crate) struct Document(Value);

impl Document {
    pub(crate) fn of_today() -> Self {
        Self(serde_json::from_str(&AgentApi::openapi()).unwrap())
    }

    fn schema(&self, name: &str) -> &Value {
        let found = &self.0["components"]["schemas"][name];
        assert!(found.is_object(), "no schema {name}");
        found
    }

    /// The operation of a method and a path, if it is documented.
    pub(crate) fn operation(&self, method: &str, path: &str) -> Option<&Value> {
        let path = path.split('?').next().unwrap();
        let fits = |template: &str| {
            let (own, given): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
            own.len() == given.len()
                && own.iter().zip(&given).all(|(own, given)| own.starts_with('{') || own == given)
        };
        let paths = self.0["paths"].as_object().unwrap();
        let exact =
            paths.get(path).or_else(|| paths.iter().find(|(own, _)| fits(own)).map(|(_, item)| item))?;
        exact.get(method.to_ascii_lowercase())
    }

    /// The example of a request's body.
    pub(crate) fn example(&self, method: &str, path: &str) -> Option<Value> {
        let body = &self.operation(method, path)?["requestBody"]["content"]["application/json"];
        body.get("example").cloned()
    }

    /// Every operation with its path and method.
    pub(crate) fn operations(&self) -> impl Iterator<Item = (&str, &str, &Value)> {
        self.0["paths"].as_object().unwrap().iter().flat_map(|(path, item)| {
            item.as_object()
                .unwrap()
                .iter()
                .map(move |(method, operation)| (path.as_str(), method.as_str(), operation))
        })
    }

    /// Fails when the document does not describe this answer.
    pub(crate) fn check(&self, method: &str, path: &str, answer: &Answer) {
        let place = format!("{method} {path} {}", answer.status);
        let Some(operation) = self.operation(method, path) else {
            assert!([404, 405].contains(&answer.status) || answer.code() == "token_in_url", "{place}");
            self.check_value("Problem", &answer.body, &place);
            return;
        };
        let described = &operation["responses"][answer.status.to_string()];
        assert!(described.is_object(), "not in the document: {place} {}", answer.body);
        let Some(content) = described.get("content") else {
            assert!(answer.bytes.is_empty(), "a body where none is described: {place}");
            return;
        };
        let (media, what) = content.as_object().unwrap().iter().next().unwrap();
        if media.ends_with("json") {
            assert!(answer.header("content-type").starts_with(media.as_str()), "{place}");
            if let Err(wrong) = self.fits(&what["schema"], &answer.body, "") {
                panic!("{place}: {wrong}\n{}", answer.body);
            }
            if answer.status >= 400 && answer.code() != "" {
                let listed = described["description"].as_str().unwrap();
                let exact = listed.contains(&format!("`{}`", answer.code()));
                assert!(exact || listed.contains("`unsendable`"), "{place}: {} is not listed", answer.code());
            }
        }
    }

    /// Fails when a value is not of a schema.
    pub(crate) fn check_value(&self, name: &str, value: &Value, place: &str) {
        if let Err(wrong) = self.fits(self.schema(name), value, "") {
            panic!("{place}: not a {name}: {wrong}\n{value}");
        }
    }

    /// The part of JSON Schema that the document uses. Stricter in one thing: a field that the
    /// schema does not name is an error, so that the document stays complete.
    fn fits(&self, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
        if let Some(name) = schema["$ref"].as_str() {
            return self.fits(self.schema(name.rsplit('/').next().unwrap()), value, at);
        }
        for one in ["anyOf", "oneOf"] {
            if let Some(choices) = schema[one].as_array() {
                let wrong: Vec<_> =
                    choices.iter().filter_map(|choice| self.fits(choice, value, at).err()).collect();
                return if wrong.len() < choices.len() { Ok(()) } else { Err(wrong.join("; or ")) };
            }
        }
        let own = kind_of(value);
        let named = |kind: &str| kind == own || (kind == "number" && own == "integer");
        let right_kind = match &schema["type"] {
            Value::String(kind) => named(kind),
            Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).any(named),
            _ => true,
        };
        if !right_kind {
            return Err(format!("{at} is {own}, not {}", schema["type"]));
        }
        if let Some(values) = schema["enum"].as_array()
            && !values.contains(value)
        {
            return Err(format!("{at} is {value}, not one of {}", schema["enum"]));
        }
        let (least, most) = (schema["minimum"].as_f64(), schema["maximum"].as_f64());
        if let Some(number) = value.as_f64()
            && (least.is_some_and(|least| number < least) || most.is_some_and(|most| number > most))
        {
            return Err(format!("{at} is {number}, out of range"));
        }
        if let Some(items) = value.as_array() {
            for (index, item) in items.iter().enumerate() {
                self.fits(&schema["items"], item, &format!("{at}[{index}]"))?;
            }
        }
        let Some(fields) = value.as_object() else { return Ok(()) };
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !fields.contains_key(name) {
                return Err(format!("{at}.{name} is missing"));
            }
        }
        let Some(properties) = schema["properties"].as_object() else { return Ok(()) };
        for (name, field) in fields {
            let own = properties.get(name).ok_or_else(|| format!("{at}.{name} is not in the schema"))?;
            self.fits(own, field, &format!("{at}.{name}"))?;
        }
        Ok(())
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[test]
fn every_example_fits_its_schema() {
    let document = Document::of_today();
    let mut seen = 0;
    for (path, method, operation) in document.operations() {
        let request = &operation["requestBody"]["content"]["application/json"];
        let answers = operation["responses"].as_object().unwrap();
        let contents = answers.values().map(|answer| &answer["content"]["application/json"]).chain([request]);
        for content in contents.filter(|content| content.is_object()) {
            let name = content["schema"]["$ref"].as_str().unwrap().rsplit('/').next().unwrap();
            if name != "OpenApi" {
                document.check_value(name, &content["example"], &format!("example of {method} {path}"));
                seen += 1;
            }
        }
    }
    assert!(seen > 30, "{seen}");
}

#[test]
fn the_judge_is_not_blind() {
    let document = Document::of_today();
    let mut message = document.operation("post", "/v1/threads/x/notes").unwrap()["responses"]["201"]["content"]
        ["application/json"]["example"]
        .clone();
    document.check_value("Message", &message, "as it is");
    for (field, wrong) in
        [("seq", Value::from("4")), ("direction", Value::from("up")), ("extra", Value::Null)]
    {
        let right = message.get(field).cloned();
        message[field] = wrong;
        assert!(document.fits(document.schema("Message"), &message, "").is_err(), "{field}");
        match right {
            Some(right) => message[field] = right,
            None => drop(message.as_object_mut().unwrap().remove(field)),
        }
    }
    message.as_object_mut().unwrap().remove("status");
    assert!(document.fits(document.schema("Message"), &message, "").is_err());
}
