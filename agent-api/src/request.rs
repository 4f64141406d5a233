//! What handlers read from a request: ids in the path, the query, the JSON body, and the headers of
//! idempotency and versions. Everything is checked here and named in the refusal.

use std::fmt::Write as _;
use std::future::{Ready, ready};
use std::ops::RangeInclusive;
use std::str::FromStr;

use actix_web::dev::Payload;
use actix_web::http::header::{self, HeaderMap};
use actix_web::{FromRequest, HttpMessage as _, HttpRequest, web};
use bytes::Bytes;
use loket_hub::{Idempotency, PAGE_MAX};
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::error::{Code, Problem};

/// The size of a page when the client names none.
pub(crate) const PAGE_DEFAULT: u32 = 50;
/// The longest `Idempotency-Key`, in characters (`reliability-contract` §10).
const IDEMPOTENCY_KEY_MAX: usize = 255;
/// The longest cursor that is looked at.
const CURSOR_CHARS_MAX: usize = 512;

/// The id in a path. A wrong form is an unknown thing.
pub(crate) struct PathId<T>(pub(crate) T);

impl<T: FromStr + 'static> FromRequest for PathId<T> {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        let id = req.match_info().get("id").and_then(|text| text.parse().ok());
        ready(id.map(Self).ok_or_else(|| Problem::of(Code::NotFound)))
    }
}

/// The query as pairs. The gate has checked the names; the getters check the values.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Splits a query; a name may stand once.
    pub(crate) fn parse(text: &str) -> Result<Self, Problem> {
        let pairs = web::Query::<Vec<(String, String)>>::from_query(text)
            .map_err(|_| Problem::new(Code::QueryInvalid, "The query is not name=value pairs."))?
            .into_inner();
        for (at, (name, value)) in pairs.iter().enumerate() {
            if pairs.iter().take(at).any(|(earlier, _)| earlier == name) {
                let told = format!("The parameter {name:?} stands there twice.");
                return Err(Problem::new(Code::QueryInvalid, told).field(name.as_str()));
            }
            if value.contains('\0') {
                let told = format!("The parameter {name:?} contains U+0000.");
                return Err(Problem::new(Code::QueryInvalid, told).field(name.as_str()));
            }
        }
        Ok(Self(pairs))
    }

    /// The pairs.
    pub(crate) fn pairs(&self) -> &[(String, String)] {
        &self.0
    }

    /// Refuses names that a door does not have.
    pub(crate) fn only<'a>(&self, known: impl Iterator<Item = &'a str> + Clone) -> Result<(), Problem> {
        for (name, _) in &self.0 {
            if !known.clone().any(|known| known == name) {
                let list = known.collect::<Vec<_>>().join(", ");
                let told = if list.is_empty() {
                    format!("There is no parameter {name:?}; this path takes none.")
                } else {
                    format!("There is no parameter {name:?}; there are {list}.")
                };
                return Err(Problem::new(Code::QueryInvalid, told).field(name.as_str()));
            }
        }
        Ok(())
    }

    fn refuse(name: &str, must: &str) -> Problem {
        Problem::new(Code::QueryInvalid, format!("{name} must be {must}.")).field(name)
    }

    /// The text of a parameter.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The text of a parameter, 1 to so many characters.
    pub(crate) fn short_text(&self, name: &str, most: usize) -> Result<Option<&str>, Problem> {
        match self.text(name) {
            Some(text) if text.is_empty() || text.chars().count() > most => {
                Err(Self::refuse(name, &format!("1 to {most} characters")))
            }
            text => Ok(text),
        }
    }

    /// The cursor.
    pub(crate) fn cursor(&self) -> Result<Option<&str>, Problem> {
        match self.text("cursor") {
            Some(cursor)
                if cursor.is_empty()
                    || cursor.len() > CURSOR_CHARS_MAX
                    || !cursor.bytes().all(|byte| byte.is_ascii_graphic()) =>
            {
                Err(Self::refuse("cursor", "the next_cursor of an earlier page"))
            }
            cursor => Ok(cursor),
        }
    }

    /// A whole number in a range.
    pub(crate) fn number(&self, name: &str, range: RangeInclusive<i64>) -> Result<Option<i64>, Problem> {
        let must =
            || Self::refuse(name, &format!("a whole number from {} to {}", range.start(), range.end()));
        let Some(text) = self.text(name) else { return Ok(None) };
        let digits_only = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = digits_only.then(|| text.parse::<i64>().ok()).flatten().ok_or_else(must)?;
        if range.contains(&number) { Ok(Some(number)) } else { Err(must()) }
    }

    /// The size of the page, with a limit of its own.
    pub(crate) fn limit_up_to(&self, most: u32) -> Result<u32, Problem> {
        let limit = self.number("limit", 1..=i64::from(most))?;
        Ok(limit.and_then(|limit| u32::try_from(limit).ok()).unwrap_or(PAGE_DEFAULT))
    }

    /// The size of the page.
    pub(crate) fn limit(&self) -> Result<u32, Problem> {
        self.limit_up_to(PAGE_MAX)
    }

    /// `true` or `false`.
    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, Problem> {
        match self.text(name) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(_) => Err(Self::refuse(name, "true or false")),
        }
    }

    /// One of a list of names.
    pub(crate) fn one_of<T: Copy>(&self, name: &str, known: &[(&str, T)]) -> Result<Option<T>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let found = known.iter().find(|(known, _)| *known == text).map(|(_, value)| *value);
        let must = || {
            let list = known.iter().map(|(known, _)| *known).collect::<Vec<_>>().join(", ");
            Self::refuse(name, &format!("one of {list}"))
        };
        found.map(Some).ok_or_else(must)
    }

    /// Anything that is read from text.
    pub(crate) fn parsed<T: FromStr>(&self, name: &str, must: &str) -> Result<Option<T>, Problem> {
        self.text(name).map(str::parse).transpose().map_err(|_| Self::refuse(name, must))
    }
}

impl FromRequest for Query {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Self::parse(req.query_string()))
    }
}

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
fn read_body(headers: &HeaderMap, bytes: &[u8]) -> Result<Value, Problem> {
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
    use serde::Deserialize;
    use serde_json::json;

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

    #[test]
    fn query_values_are_checked_and_named() {
        let query = Query::parse("limit=201&unread=yes&status=open&after=-1&x=%00").unwrap_err();
        assert_eq!(query.code(), Code::QueryInvalid);
        let query = Query::parse("limit=201&unread=yes&status=opened&after=-1&cursor=").unwrap();
        assert!(query.limit().is_err());
        assert!(query.flag("unread").is_err());
        assert!(query.one_of("status", &[("open", 1)]).is_err());
        assert!(query.number("after", 0..=9).is_err());
        assert!(query.cursor().is_err());
        assert!(query.only(["limit", "unread"].into_iter()).is_err());
        let query = Query::parse("limit=200&unread=true&status=open").unwrap();
        assert_eq!(query.limit(), Ok(200));
        assert_eq!(query.flag("unread"), Ok(Some(true)));
        assert_eq!(query.one_of("status", &[("open", 1)]), Ok(Some(1)));
        assert_eq!(Query::parse("").unwrap().limit(), Ok(PAGE_DEFAULT));
        assert!(Query::parse("a=1&a=2").is_err());
    }
}
