//! The headers of idempotency and versions.

use std::fmt::Write as _;
use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::header::{self, HeaderMap};
use actix_web::{FromRequest, HttpMessage as _, HttpRequest};
use loket_hub::Idempotency;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::body::{RawBody, read_body};
use crate::error::{Code, Problem};

/// The longest `Idempotency-Key`, in characters (`reliability-contract` §10).
const IDEMPOTENCY_KEY_MAX: usize = 255;

/// The body as one text for all spellings of the same value: names sorted, no white space.
fn canonical(value: &Value, out: &mut String) {
    match value {
        Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                canonical(item, out);
            }
            out.push(']');
        }
        Value::Object(fields) => {
            let mut sorted: Vec<_> = fields.iter().collect();
            sorted.sort_by_key(|(name, _)| name.as_str());
            out.push('{');
            for (at, (name, field)) in sorted.into_iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                out.push_str(&Value::from(name.as_str()).to_string());
                out.push(':');
                canonical(field, out);
            }
            out.push('}');
        }
        plain => out.push_str(&plain.to_string()),
    }
}

/// SHA-256 of the canonical body, hexadecimal (`reliability-contract` §10).
fn fingerprint(value: &Value) -> String {
    let mut text = String::new();
    canonical(value, &mut text);
    Sha256::digest(text.as_bytes()).iter().fold(String::with_capacity(64), |mut hex, byte| {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// The `Idempotency-Key` of a request, if it has one.
pub(crate) struct IdempotencyKey(Option<Idempotency>);

impl IdempotencyKey {
    /// The scope of the write; the status is that of a first answer.
    pub(crate) fn with_status(self, status: u16) -> Option<Idempotency> {
        self.0.map(|idempotency| Idempotency { status, ..idempotency })
    }

    /// Whether there is one.
    pub(crate) fn is_given(&self) -> bool {
        self.0.is_some()
    }
}

/// The value of an `Idempotency-Key`: 1 to 255 visible ASCII characters; the draft's quoted form
/// counts as what is between the quotes.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let refuse = || {
        Problem::new(
            Code::HeaderInvalid,
            "Idempotency-Key must be one value of 1 to 255 visible ASCII characters.",
        )
        .field("Idempotency-Key")
    };
    let mut values = headers.get_all("idempotency-key");
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().map_err(|_| refuse())?.trim();
    let text = match text.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"').ok_or_else(refuse)?,
        None => text,
    };
    let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
    if text.is_empty() || text.len() > IDEMPOTENCY_KEY_MAX || !visible || values.next().is_some() {
        return Err(refuse());
    }
    Ok(Some(text.to_owned()))
}

impl FromRequest for IdempotencyKey {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        let found = idempotency_key(req.headers()).and_then(|key| {
            let Some(key) = key else { return Ok(Self(None)) };
            let bytes = req.extensions().get::<RawBody>().map(|raw| raw.0.clone()).unwrap_or_default();
            let body = read_body(req.headers(), &bytes)?;
            Ok(Self(Some(Idempotency {
                method: req.method().to_string(),
                path: req.path().to_owned(),
                key,
                fingerprint: fingerprint(&body),
                status: 0,
            })))
        });
        ready(found)
    }
}

/// The version in `If-Match`; `*` and absence both mean any.
pub(crate) struct IfMatch(pub(crate) Option<i64>);

impl FromRequest for IfMatch {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(if_match(req.headers()).map(Self))
    }
}

fn if_match(headers: &HeaderMap) -> Result<Option<i64>, Problem> {
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(None) };
    let text = value.to_str().unwrap_or("").trim();
    if text == "*" {
        return Ok(None);
    }
    let inner = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    inner.and_then(|inner| inner.parse().ok()).map(Some).ok_or_else(|| {
        let told = "If-Match must be one ETag as this API gives it, such as \"3\".";
        Problem::new(Code::HeaderInvalid, told).field("If-Match")
    })
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;
    use serde_json::json;

    use super::*;

    #[test]
    fn equal_bodies_have_one_fingerprint() {
        let one = serde_json::from_str(r#"{"b": [1, {"y":2,"x":"é"}], "a": null}"#).unwrap();
        let two = serde_json::from_str(r#"{"a":null,"b":[1,{"x":"\u00e9","y":2}]}"#).unwrap();
        assert_eq!(fingerprint(&one), fingerprint(&two));
        assert_ne!(fingerprint(&one), fingerprint(&json!({"a": null})));
        assert_ne!(fingerprint(&json!(["1"])), fingerprint(&json!([1])));
        assert_eq!(fingerprint(&json!({})).len(), 64);
    }

    #[test]
    fn an_idempotency_key_is_visible_ascii_with_or_without_quotes() {
        let long = "k".repeat(255);
        let too_long = "k".repeat(256);
        for (text, key) in [
            ("abc-1", Some("abc-1")),
            ("\"abc 1\"", None),
            ("\"abc\"", Some("abc")),
            ("\"\"", None),
            ("\"abc", None),
            ("a b", None),
            (long.as_str(), Some(long.as_str())),
            (too_long.as_str(), None),
        ] {
            let req = TestRequest::post().insert_header(("idempotency-key", text)).to_http_request();
            assert_eq!(idempotency_key(req.headers()).ok().flatten().as_deref(), key, "{text}");
        }
        let none = TestRequest::post().to_http_request();
        assert_eq!(idempotency_key(none.headers()), Ok(None));
    }

    #[test]
    fn if_match_is_one_of_our_etags() {
        for (text, version) in [
            ("\"3\"", Ok(Some(3))),
            ("*", Ok(None)),
            ("3", Err(())),
            ("W/\"3\"", Err(())),
            ("\"a\"", Err(())),
            ("\"1\", \"2\"", Err(())),
        ] {
            let req = TestRequest::post().insert_header(("if-match", text)).to_http_request();
            assert_eq!(if_match(req.headers()).map_err(drop), version, "{text}");
        }
    }
}
