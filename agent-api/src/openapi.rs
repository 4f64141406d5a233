//! The OpenAPI 3.1 document, made from the list of doors and the schemas. A copy is committed as
//! `agent-api/openapi.json`; a test holds it against this.

use std::collections::{BTreeMap, BTreeSet};

use actix_web::http::Method;
use serde_json::{Map, Value, json};

use crate::auth::{Access, Scope};
use crate::cookie;
use crate::doors::{Carries, Class, Door};
use crate::error::Code;
use crate::routes;
use crate::schema;

const ABOUT: &str = "One thread per customer over every channel. Log in with `POST /v1/sessions` or use an \
    API key, and send the token as `Authorization: Bearer`. Lists are pages `{items, next_cursor}`. Every \
    POST takes an `Idempotency-Key`. Every error is `application/problem+json` with a stable `code`. New \
    fields, enum values and event types may come without a new version: ignore what you do not know.";

/// The kinds of ids by the first part of their path.
const IDS: &[(&str, &str)] = &[
    ("/v1/threads/", "thr_"),
    ("/v1/contacts/", "con_"),
    ("/v1/events/", "evt_"),
    ("/v1/agents/", "agt_"),
    ("/v1/api-keys/", "key_"),
    ("/v1/parked/", "prk_"),
];

/// The document as text.
pub(crate) fn text() -> String {
    let mut text = serde_json::to_string_pretty(&document()).unwrap_or_default();
    text.push('\n');
    text
}

/// The path as OpenAPI writes it: `{file:.*}` is `{file}`.
pub(crate) fn plain_path(path: &str) -> String {
    path.replace(":.*}", "}")
}

fn document() -> Value {
    let doors = routes::doors().list();
    let mut paths = Map::new();
    let mut tags: Vec<&str> = Vec::new();
    for door in &doors {
        if !tags.contains(&door.tag) {
            tags.push(door.tag);
        }
        let item = paths.entry(plain_path(door.path)).or_insert_with(|| json!({}));
        if let Some(item) = item.as_object_mut() {
            item.insert(door.method.as_str().to_ascii_lowercase(), operation(door));
        }
    }
    let scopes: Map<String, Value> =
        Scope::ALL.iter().map(|scope| (scope.as_str().to_owned(), scope_row(*scope))).collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Loket agent API",
            "description": ABOUT,
            "version": loket_protocol::event::API_VERSION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": tags.iter().map(|tag| json!({"name": tag})).collect::<Vec<_>>(),
        "paths": paths,
        "components": {
            "schemas": schema::components(),
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A session's token (los_…) or an API key (lok_…). The role decides the scopes; see x-scopes.",
                },
                "cookie": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": cookie::NAME,
                    "description": format!("The inbox's session. Writes come from the same origin and repeat csrf_token in {}.", cookie::CSRF_HEADER),
                },
            },
        },
        "x-scopes": scopes,
        "x-problem-codes": Code::ALL
            .iter()
            .map(|code| json!({"code": code.as_str(), "status": code.status(), "meaning": code.meaning()}))
            .collect::<Vec<_>>(),
    })
}

fn scope_row(scope: Scope) -> Value {
    let roles: Vec<_> = scope.roles().iter().map(|role| role.as_str()).collect();
    json!({"description": scope.meaning(), "roles": roles})
}

fn header(name: &str, about: &str, pattern: &str) -> Value {
    json!({
        "name": name, "in": "header", "required": false, "description": about,
        "schema": {"type": "string", "pattern": pattern},
    })
}

fn operation(door: &Door) -> Value {
    let doc = &door.doc;
    let mut parameters = Vec::new();
    if door.path.contains("{id}") {
        let prefix =
            IDS.iter().find(|(start, _)| door.path.starts_with(start)).map_or("", |(_, prefix)| prefix);
        parameters.push(json!({
            "name": "id", "in": "path", "required": true,
            "schema": {"type": "string", "pattern": format!("^{prefix}[0-7][0-9A-HJKMNP-TV-Z]{{25}}$")},
        }));
    }
    if door.path.contains("{file:.*}") {
        parameters
            .push(json!({"name": "file", "in": "path", "required": true, "schema": {"type": "string"}}));
    }
    parameters.extend(doc.query.iter().cloned());
    if door.method == Method::POST && door.class == Class::Write {
        parameters.push(header(
            "Idempotency-Key",
            "1 to 255 visible ASCII characters: the same key for a repeat, a new key for a new request. Kept 48 hours.",
            "^[!#-~][!-~]{0,254}$",
        ));
    }
    if doc.if_match {
        parameters.push(header(
            "If-Match",
            "The ETag as last read; refused with 412 when it was changed meanwhile.",
            "^(\\*|\"[0-9]{1,15}\")$",
        ));
    }
    let mut operation = json!({
        "operationId": doc.id,
        "tags": [door.tag],
        "summary": doc.summary,
        "parameters": parameters,
        "responses": responses(door),
        "security": [],
    });
    let Some(fields) = operation.as_object_mut() else { return operation };
    if !doc.about.is_empty() {
        fields.insert("description".to_owned(), json!(doc.about));
    }
    if let Some((name, example, required)) = &doc.body {
        let body = json!({
            "required": required,
            "content": {"application/json": {
                "schema": {"$ref": format!("#/components/schemas/{name}")},
                "example": example,
            }},
        });
        fields.insert("requestBody".to_owned(), body);
    }
    match door.access {
        Access::Public => {}
        Access::Scope(scope) => {
            fields.insert(
                "security".to_owned(),
                json!([{"bearer": [scope.as_str()]}, {"cookie": [scope.as_str()]}]),
            );
        }
        Access::Fresh(scope) => {
            fields.insert(
                "security".to_owned(),
                json!([{"bearer": [scope.as_str()]}, {"cookie": [scope.as_str()]}]),
            );
            fields.insert("x-fresh-login".to_owned(), json!(true));
        }
        Access::Person(scope) => {
            fields.insert(
                "security".to_owned(),
                json!([{"bearer": [scope.as_str()]}, {"cookie": [scope.as_str()]}]),
            );
            fields.insert("x-person".to_owned(), json!(true));
        }
    }
    operation
}

/// The problems that follow from a door's form, and its own.
pub(crate) fn codes(door: &Door) -> BTreeMap<u16, BTreeSet<&'static str>> {
    let mut all =
        vec![Code::QueryInvalid, Code::TokenInUrl, Code::UriTooLong, Code::Internal, Code::Unavailable];
    if door.class != Class::Probe {
        all.extend([Code::Overloaded, Code::Deadline]);
    }
    if door.access != Access::Public {
        all.extend([Code::TwoCredentials, Code::Unauthenticated, Code::Forbidden, Code::TooMany]);
        if door.method != Method::GET {
            all.push(Code::Forged);
        }
    }
    if matches!(door.access, Access::Person(_)) {
        all.push(Code::AgentRequired);
    }
    if matches!(door.access, Access::Fresh(_)) {
        all.push(Code::FreshAuthRequired);
    }
    if door.path.contains("{id}") {
        all.push(Code::NotFound);
    }
    if door.doc.body.is_some() {
        all.extend([
            Code::BodyMalformed,
            Code::BodyTimeout,
            Code::BodyTooLarge,
            Code::UnsupportedMediaType,
            Code::Invalid,
        ]);
    }
    if door.class == Class::Write || door.class == Class::Login {
        all.push(Code::DiskFull);
        all.push(Code::Invalid);
    }
    if door.method == Method::POST && door.class == Class::Write {
        all.push(Code::HeaderInvalid);
    }
    if door.doc.replays {
        all.extend([Code::IdempotencyInFlight, Code::IdempotencyMismatch]);
    }
    if door.doc.if_match {
        all.push(Code::Stale);
    }
    all.extend(door.doc.codes.iter().copied());
    let mut by_status: BTreeMap<u16, BTreeSet<&'static str>> = BTreeMap::new();
    for code in all {
        by_status.entry(code.status()).or_default().insert(code.as_str());
    }
    by_status
}

fn responses(door: &Door) -> Value {
    let (status, about, carries) = &door.doc.answer;
    let mut good = json!({"description": about});
    if let Some(good) = good.as_object_mut() {
        match carries {
            Carries::Nothing => {}
            Carries::Json(name, example) => {
                let content = json!({"application/json": {
                    "schema": {"$ref": format!("#/components/schemas/{name}")},
                    "example": example,
                }});
                good.insert("content".to_owned(), content);
            }
            Carries::Other(media, what) => {
                good.insert(
                    "content".to_owned(),
                    json!({*media: {"schema": {"type": "string", "description": what}}}),
                );
            }
        }
        let mut headers = Map::new();
        if door.doc.etag {
            headers.insert(
                "ETag".to_owned(),
                json!({"description": "For If-Match.", "schema": {"type": "string"}}),
            );
        }
        if door.doc.replays {
            headers.insert(
                "Idempotency-Replayed".to_owned(),
                json!({"description": "`true` when this is the first answer again.", "schema": {"type": "string", "enum": ["true"]}}),
            );
        }
        if !headers.is_empty() {
            good.insert("headers".to_owned(), Value::Object(headers));
        }
    }
    let mut all = Map::new();
    all.insert(status.to_string(), good);
    for (status, codes) in codes(door) {
        let list = codes.iter().map(|code| format!("`{code}`")).collect::<Vec<_>>().join(", ");
        let problem = json!({
            "description": format!("A problem: {list}."),
            "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
        });
        all.insert(status.to_string(), problem);
    }
    Value::Object(all)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_committed_copy_is_the_document_of_today() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        let today = text();
        if committed != today {
            std::fs::write(path, &today).unwrap();
            panic!("openapi.json was of another day; it is written anew: look at it and commit it");
        }
    }

    #[test]
    fn it_is_openapi_and_every_reference_is_there() {
        let whole = document();
        for (name, schema) in whole["components"]["schemas"].as_object().unwrap() {
            let read: Result<utoipa::openapi::RefOr<utoipa::openapi::Schema>, _> =
                serde_json::from_value(schema.clone());
            assert!(read.is_ok(), "{name} is no schema: {schema}");
        }
        let parsed: utoipa::openapi::OpenApi = serde_json::from_value(whole.clone()).unwrap();
        assert!(parsed.paths.paths.len() > 25);
        let mut wanted = HashSet::new();
        references(&whole, &mut wanted);
        for name in &wanted {
            assert!(whole["components"]["schemas"].get(name).is_some(), "no schema {name}");
        }
        for name in whole["components"]["schemas"].as_object().unwrap().keys() {
            let of_the_socket = ["ServerFrame", "ClientFrame"].contains(&name.as_str());
            assert!(of_the_socket || wanted.contains(name), "nothing uses the schema {name}");
        }
    }

    fn references(value: &Value, found: &mut HashSet<String>) {
        match value {
            Value::Object(fields) => {
                if let Some(name) = fields.get("$ref").and_then(Value::as_str) {
                    found.insert(name.rsplit('/').next().unwrap().to_owned());
                }
                fields.values().for_each(|field| references(field, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }

    #[test]
    fn doors_document_and_declarations_are_one_list() {
        let whole = document();
        let mut documented = 0;
        let mut ids = HashSet::new();
        for door in routes::doors().list() {
            let operation = &whole["paths"][plain_path(door.path)][door.method.as_str().to_ascii_lowercase()];
            assert!(operation.is_object(), "{} {} is not in the document", door.method, door.path);
            assert!(ids.insert(operation["operationId"].to_string()), "an operation id twice: {}", door.path);
            let declared = match door.access {
                Access::Public => json!([]),
                Access::Scope(scope) | Access::Person(scope) | Access::Fresh(scope) => {
                    json!([{"bearer": [scope.as_str()]}, {"cookie": [scope.as_str()]}])
                }
            };
            assert_eq!(operation["security"], declared, "{} {}", door.method, door.path);
            documented += 1;
        }
        let operations: usize =
            whole["paths"].as_object().unwrap().values().map(|item| item.as_object().unwrap().len()).sum();
        assert_eq!(operations, documented);
    }

    #[test]
    fn what_needs_no_token_is_a_short_list() {
        let public: Vec<_> = routes::doors()
            .list()
            .iter()
            .filter(|door| door.access == Access::Public)
            .map(|door| format!("{} {}", door.method, door.path))
            .collect();
        assert_eq!(
            public,
            [
                "POST /v1/sessions",
                "GET /v1/event-types",
                "GET /",
                "GET /inbox",
                "GET /inbox/{file:.*}",
                "GET /openapi.json",
                "GET /docs",
                "GET /docs/{file:.*}",
                "GET /health/live",
                "GET /health/ready",
                "GET /metrics",
            ]
        );
    }
}
