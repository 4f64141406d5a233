//! Good answers.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName};
use loket_hub::Written;
use serde::Serialize;
use serde_json::Value;

use crate::error::Problem;

const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// JSON with a status.
pub(crate) fn json<T: Serialize>(status: u16, value: &T) -> Result<HttpResponse, Problem> {
    let body = serde_json::to_vec(value).map_err(|error| Problem::internal(error.to_string()))?;
    raw(status, body)
}

fn raw(status: u16, body: Vec<u8>) -> Result<HttpResponse, Problem> {
    let status = StatusCode::from_u16(status).map_err(|error| Problem::internal(error.to_string()))?;
    Ok(HttpResponse::build(status).content_type("application/json").body(body))
}

/// Nothing more to say.
pub(crate) fn nothing() -> HttpResponse {
    HttpResponse::NoContent().finish()
}

/// The outcome of a write, done now or told again.
pub(crate) fn written<T: Serialize>(status: u16, outcome: Written<T>) -> Result<HttpResponse, Problem> {
    match outcome {
        Written::Done(value) => json(status, &value),
        Written::Replayed { status, body } => {
            let mut response = raw(status, body.into_bytes())?;
            response.headers_mut().insert(REPLAYED, header::HeaderValue::from_static("true"));
            Ok(response)
        }
    }
}

/// Puts the version of a thing on an answer, for `If-Match`.
pub(crate) fn with_etag(mut response: HttpResponse, version: i64) -> Result<HttpResponse, Problem> {
    let etag = header::HeaderValue::from_str(&format!("\"{version}\""))
        .map_err(|error| Problem::internal(error.to_string()))?;
    response.headers_mut().insert(header::ETAG, etag);
    Ok(response)
}

/// The outcome of a write to something with a `version`.
pub(crate) fn written_versioned<T: Serialize>(
    outcome: Written<T>,
    version_of: impl Fn(&T) -> i64,
) -> Result<HttpResponse, Problem> {
    let version = match &outcome {
        Written::Done(value) => Some(version_of(value)),
        Written::Replayed { body, .. } => serde_json::from_str::<Value>(body)
            .ok()
            .and_then(|body| body.get("version").and_then(Value::as_i64)),
    };
    let response = written(200, outcome)?;
    match version {
        Some(version) => with_etag(response, version),
        None => Ok(response),
    }
}
