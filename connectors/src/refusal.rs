//! Refusals and the only map from them to HTTP: every error answer of callbacks and web chat is
//! `application/problem+json` with a stable `code`.

use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use actix_web::middleware::DefaultHeaders;
use actix_web::{HttpResponse, ResponseError};
use serde_json::json;

use crate::channel::Rejected;

/// What a provider is told to wait when a callback could not be made safe
/// (`reliability-contract` §2).
pub const CALLBACK_RETRY_AFTER_S: u32 = 30;

/// Why a request is not served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The channel refuses the callback.
    #[error(transparent)]
    Callback(#[from] Rejected),
    /// There is nothing at this path.
    #[error("there is nothing at this path")]
    UnknownPath,
    /// The path takes other methods only, which are named.
    #[error("this path takes {0} only")]
    Method(&'static str),
    /// The body is over so many bytes.
    #[error("the body is over {0} bytes")]
    TooLarge(usize),
    /// The body did not come within its time.
    #[error("the body did not come in time")]
    Slow,
    /// The connection broke off inside the body, or the body's framing is wrong.
    #[error("the body broke off")]
    BrokenOff,
    /// A limit of what is in hand at once is reached; again after so many seconds.
    #[error("too much is in hand at the moment")]
    Busy(u32),
    /// It could not be made durable, so it was not taken; again after so many seconds.
    #[error("it could not be made safe and was not taken; send it again")]
    NotSafe(u32),
    /// The disk is nearly full, so nothing new is taken; again after so many seconds.
    #[error("there is no room on the disk, so it was not taken; send it again")]
    DiskFull(u32),
    /// The hub does not answer; again after so many seconds.
    #[error("the conversation cannot be reached at the moment; try again")]
    Away(u32),
    /// Web chat: there is no site of that name.
    #[error("there is no site of that name")]
    UnknownSite,
    /// Web chat: the page's origin is not on the site's list.
    #[error("this page's origin is not on the site's list `origins`")]
    Origin,
    /// Web chat: the visitor token is missing, or nobody's.
    #[error("a visitor token is needed in `Authorization: Bearer …`, and this one is missing or unknown")]
    VisitorToken,
    /// The request cannot be read; the sentence says what is wrong, without quoting it.
    #[error("{0}")]
    Malformed(&'static str),
    /// The request can be read, and what it asks for cannot be done: code and sentence.
    #[error("{1}")]
    Invalid(&'static str, &'static str),
    /// A rate is passed; again after so many seconds.
    #[error("too many requests")]
    TooMany(u32),
}

impl Refusal {
    /// The stable code that programs go by.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Callback(Rejected::Signature) => "callback.signature",
            Self::Callback(Rejected::NotJson(_)) => "callback.not_json",
            Self::Callback(Rejected::VerifyToken) => "callback.verify_token",
            Self::Callback(Rejected::Handshake(_)) => "callback.handshake",
            Self::UnknownPath => "request.unknown_path",
            Self::Method(_) => "request.method",
            Self::TooLarge(_) => "request.too_large",
            Self::Slow => "request.slow",
            Self::BrokenOff => "request.broken_off",
            Self::Busy(_) => "overloaded",
            Self::NotSafe(_) => "not_safe",
            Self::DiskFull(_) => "disk_full",
            Self::Away(_) => "unavailable",
            Self::UnknownSite => "webchat.unknown_site",
            Self::Origin => "webchat.origin",
            Self::VisitorToken => "webchat.visitor_token",
            Self::Malformed(_) => "request.malformed",
            Self::Invalid(code, _) => code,
            Self::TooMany(_) => "rate_limited",
        }
    }

    /// After how many seconds it may be tried again, where that helps.
    pub fn retry_after_s(&self) -> Option<u32> {
        match self {
            Self::Busy(s) | Self::NotSafe(s) | Self::DiskFull(s) | Self::Away(s) | Self::TooMany(s) => {
                Some(*s)
            }
            _ => None,
        }
    }
}

impl ResponseError for Refusal {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::Callback(Rejected::Signature) | Self::VisitorToken => StatusCode::UNAUTHORIZED,
            Self::Callback(Rejected::VerifyToken) | Self::Origin => StatusCode::FORBIDDEN,
            Self::Callback(Rejected::NotJson(_) | Rejected::Handshake(_))
            | Self::BrokenOff
            | Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::UnknownPath | Self::UnknownSite => StatusCode::NOT_FOUND,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::Invalid(..) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Busy(_) | Self::NotSafe(_) | Self::DiskFull(_) | Self::Away(_) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }

    fn error_response(&self) -> HttpResponse {
        let status = self.status_code();
        let mut response = HttpResponse::build(status);
        response.insert_header((CONTENT_TYPE, "application/problem+json"));
        if let Some(seconds) = self.retry_after_s() {
            response.insert_header((RETRY_AFTER, seconds.to_string()));
        }
        if let Self::Method(allowed) = self {
            response.insert_header((ALLOW, *allowed));
        }
        response.body(
            json!({
                "type": "about:blank",
                "title": status.canonical_reason().unwrap_or("Error"),
                "status": status.as_u16(),
                "code": self.code(),
                "detail": self.to_string(),
            })
            .to_string(),
        )
    }
}

/// What stands on every answer of this crate, errors too (`security` B2, B7).
pub(crate) fn security_headers() -> DefaultHeaders {
    DefaultHeaders::new()
        .add(("X-Content-Type-Options", "nosniff"))
        .add(("Cache-Control", "no-store"))
        .add(("Referrer-Policy", "no-referrer"))
        .add(("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_its_own_code_and_an_error_status() {
        let all = [
            Refusal::Callback(Rejected::Signature),
            Refusal::Callback(Rejected::NotJson("x".to_owned())),
            Refusal::Callback(Rejected::VerifyToken),
            Refusal::Callback(Rejected::Handshake("x".to_owned())),
            Refusal::UnknownPath,
            Refusal::Method("GET"),
            Refusal::TooLarge(1),
            Refusal::Slow,
            Refusal::BrokenOff,
            Refusal::Busy(1),
            Refusal::NotSafe(30),
            Refusal::DiskFull(30),
            Refusal::Away(2),
            Refusal::UnknownSite,
            Refusal::Origin,
            Refusal::VisitorToken,
            Refusal::Malformed("x"),
            Refusal::Invalid("message.empty", "x"),
            Refusal::TooMany(60),
        ];
        let mut codes = std::collections::BTreeSet::new();
        for refusal in &all {
            assert!(codes.insert(refusal.code()), "{refusal:?}");
            assert!(refusal.status_code().as_u16() >= 400, "{refusal:?}");
            let response = refusal.error_response();
            assert_eq!(response.headers().get("content-type").unwrap(), "application/problem+json");
            let waits = response.headers().contains_key("retry-after");
            assert_eq!(waits, matches!(refusal.status_code().as_u16(), 429 | 503), "{refusal:?}");
        }
    }
}
