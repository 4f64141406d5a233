//! The JSON body of a request.

use std::fmt::Write as _;
use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::header::{self, HeaderMap};
use actix_web::{FromRequest, HttpMessage as _, HttpRequest};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{Code, Problem};

/// The bytes of a body, read by the gate.
pub(crate) struct RawBody(pub(crate) Bytes);

/// A JSON body as a request type, which refuses unknown fields.
pub(crate) struct Body<T>(pub(crate) T);

impl<T: DeserializeOwned + 'static> FromRequest for Body<T> {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        let bytes = req.extensions().get::<RawBody>().map(|raw| raw.0.clone()).unwrap_or_default();
        ready(read_body(req.headers(), &bytes).and_then(|value| typed(&value)).map(Self))
    }
}

/// Reads a body as JSON. No body at all reads as an empty object, so that `POST …/resolve` needs
/// none; whatever is required is then missed by name.
pub(super) fn read_body(headers: &HeaderMap, bytes: &[u8]) -> Result<Value, Problem> {
    if bytes.is_empty() {
        return Ok(Value::Object(serde_json::Map::new()));
    }
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let essence = kind.split(';').next().unwrap_or("").trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        return Err(Problem::of(Code::UnsupportedMediaType));
    }
    let value: Value = serde_json::from_slice(bytes)
        .map_err(|error| Problem::new(Code::BodyMalformed, format!("The body is not JSON: {error}.")))?;
    match nul_in(&value, &mut String::new()) {
        Some(path) => {
            let told = "It contains U+0000, which no channel can carry; leave it out.";
            Err(Problem::new(Code::Invalid, told).field(path))
        }
        None => Ok(value),
    }
}

/// The path of the first text or name with U+0000 in it, which neither store nor channels can
/// carry. The depth is limited by the parser.
fn nul_in(value: &Value, path: &mut String) -> Option<String> {
    match value {
        Value::String(text) => text.contains('\0').then(|| path.clone()),
        Value::Array(items) => items.iter().enumerate().find_map(|(at, item)| {
            let length = path.len();
            // Writing to a String cannot fail.
            let _ = write!(path, "[{at}]");
            let found = nul_in(item, path);
            path.truncate(length);
            found
        }),
        Value::Object(fields) => fields.iter().find_map(|(name, field)| {
            if name.contains('\0') {
                return Some(path.clone());
            }
            let length = path.len();
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(name);
            let found = nul_in(field, path);
            path.truncate(length);
            found
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

fn typed<T: DeserializeOwned>(value: &Value) -> Result<T, Problem> {
    if !value.is_object() {
        return Err(Problem::new(Code::Invalid, "The body must be a JSON object."));
    }
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        let problem = Problem::new(Code::Invalid, format!("{}.", error.inner()));
        if path == "." { problem } else { problem.field(path) }
    })
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        name: String,
        #[serde(default)]
        place: Option<Place>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Place {
        x: i64,
    }

    fn read(bytes: &[u8]) -> Result<Sample, Problem> {
        let req = TestRequest::post().insert_header(("content-type", "application/json")).to_http_request();
        read_body(req.headers(), bytes).and_then(|value| typed(&value))
    }

    #[test]
    fn a_bad_body_is_refused_by_kind_and_names_its_field() {
        let deep = [b"[".repeat(100_000), b"]".repeat(100_000)].concat();
        let cases: &[(&[u8], Code, Option<&str>)] = &[
            (b"{", Code::BodyMalformed, None),
            (b"\xff\xfe", Code::BodyMalformed, None),
            (br#"{"name":"\ud800"}"#, Code::BodyMalformed, None),
            (br#"{"name":"a"} x"#, Code::BodyMalformed, None),
            (&deep, Code::BodyMalformed, None),
            (b"[]", Code::Invalid, None),
            (b"null", Code::Invalid, None),
            (b"", Code::Invalid, None),
            (br#"{"name":1}"#, Code::Invalid, Some("name")),
            (br#"{"name":"a","nmae":1}"#, Code::Invalid, Some("nmae")),
            (br#"{"name":"a","place":{"x":"1"}}"#, Code::Invalid, Some("place.x")),
            (br#"{"name":"a\u0000b"}"#, Code::Invalid, Some("name")),
            (br#"{"name":"a","place":{"x":1,"\u0000":1}}"#, Code::Invalid, Some("place")),
        ];
        for (bytes, code, field) in cases {
            let problem = read(bytes).unwrap_err();
            let shown = String::from_utf8_lossy(bytes.get(..40.min(bytes.len())).unwrap());
            assert_eq!(problem.code(), *code, "{shown}");
            let told: Value = {
                use actix_web::body::MessageBody as _;
                serde_json::from_slice(&problem.answer("t").into_body().try_into_bytes().unwrap()).unwrap()
            };
            assert_eq!(told.get("field").and_then(Value::as_str), *field, "{shown}: {told}");
        }
        assert_eq!(read(br#"{"name":"a"}"#).unwrap(), Sample { name: "a".into(), place: None });
    }

    #[test]
    fn only_json_is_a_body() {
        for (kind, fine) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("text/plain", false),
            ("application/x-www-form-urlencoded", false),
            ("", false),
        ] {
            let req = TestRequest::post().insert_header(("content-type", kind)).to_http_request();
            assert_eq!(read_body(req.headers(), b"{}").is_ok(), fine, "{kind}");
        }
    }
}
