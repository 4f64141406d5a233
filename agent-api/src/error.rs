//! The only map from refusals to status codes. Every error that a client sees is a [`Problem`],
//! written as `application/problem+json` with a stable `code`; what is inside the house (the words
//! of a store, of a panic) goes to the log and never into an answer.

use std::fmt;

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpResponse, ResponseError};
use loket_backbone::random;
use loket_hub::HubError;
use serde::Serialize;
use serde_json::{Value, json};

/// The codes as rows: variant, code, status, title, what the caller does about it.
macro_rules! codes {
    ($($variant:ident, $code:literal, $status:literal, $title:literal, $meaning:literal;)+) => {
        /// The stable codes of problems.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $(#[doc = $meaning] $variant,)+
        }

        impl Code {
            /// Every code, in the order of their status.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The code as clients see it.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code,)+ }
            }

            /// The status that goes with it.
            pub fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)+ }
            }

            /// A short title, the same for every occurrence.
            pub fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)+ }
            }

            /// What it means and what to do.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)+ }
            }
        }
    };
}

codes! {
    BodyMalformed, "body_malformed", 400, "The body is not JSON", "The body is not JSON, or not Unicode. Nothing was done.";
    QueryInvalid, "query_invalid", 400, "A query parameter is not right", "A parameter in the query is unknown, repeated or has a value that cannot be; `field` names it.";
    HeaderInvalid, "header_invalid", 400, "A header is not right", "A header such as Idempotency-Key or If-Match has a form that cannot be; `field` names it.";
    IdempotencyRequired, "idempotency.required", 400, "An idempotency key is missing", "Sending a message needs an Idempotency-Key header or a `client_message_id`, so that repeating it is safe.";
    TwoCredentials, "two_credentials", 400, "Two credentials at once", "The request carries the inbox's cookie and an Authorization header. Send one of them.";
    Unauthenticated, "unauthenticated", 401, "Not logged in", "The token is missing, unknown, expired or revoked. Log in again.";
    TokenInUrl, "token_in_url", 401, "A token must not be in an address", "Addresses end up in logs. Send the token as Authorization: Bearer, and replace this one.";
    Credentials, "credentials", 401, "Login name or password is not right", "Which of the two is never told.";
    FreshAuthRequired, "fresh_auth_required", 401, "Log in again for this", "This needs a login within the last ten minutes: POST /v1/sessions again, and use the new token.";
    Forbidden, "forbidden", 403, "Not allowed", "The role of this token lacks the scope that the detail names.";
    AgentRequired, "agent_required", 403, "Only for a person", "This is for a logged-in agent; an API key cannot do it.";
    Forged, "forged", 403, "Not from our own page", "A write with the inbox's cookie comes from the inbox's own page and repeats `csrf_token` of `/v1/me` in X-CSRF-Token.";
    OriginNotAllowed, "origin_not_allowed", 403, "This origin may not connect", "The Origin header is neither this installation's own nor on the list in the setting `api.allowed_origins`.";
    NotFound, "not_found", 404, "There is no such thing", "It does not exist, or this token has no right to it.";
    RouteNotFound, "route_not_found", 404, "There is no such address", "The path is not one of those in /openapi.json.";
    MethodNotAllowed, "method_not_allowed", 405, "Not with this method", "The header Allow lists the methods of this path.";
    BodyTimeout, "body_timeout", 408, "The body took too long", "The body did not arrive within its time.";
    Conflict, "conflict", 409, "It does not fit what is there", "Something with this name exists already, or the present state does not allow it; the detail says which.";
    ControlLost, "control_lost", 409, "Somebody else answers now", "The `epoch` is over, or a bot spoke out of its turn; `options.control` says who answers now. Read the thread again.";
    IdempotencyInFlight, "idempotency.in_flight", 409, "The same request is still running", "The first request with this Idempotency-Key is being carried out; ask again after Retry-After.";
    CursorGone, "cursor_gone", 410, "This cursor is of another log", "The cursor is from before a restore, or too old. Read the lists again and go on from the head of the log.";
    Stale, "stale", 412, "It was changed meanwhile", "If-Match does not name the present version. Read it again.";
    BodyTooLarge, "body_too_large", 413, "The body is too large", "The detail names the limit.";
    UriTooLong, "uri_too_long", 414, "The address is too long", "Path and query together may have 8 KiB.";
    UnsupportedMediaType, "unsupported_media_type", 415, "Not this type of body", "Send Content-Type: application/json.";
    Invalid, "invalid", 422, "A field is not right", "`field` names it and the detail says what can be done.";
    Unsendable, "unsendable", 422, "It cannot be sent like this", "`options` says what would be possible. The code is often more exact: `window_closed`, `no_target`, `channel_cannot`.";
    IdempotencyMismatch, "idempotency.mismatch", 422, "This key was used for another request", "An Idempotency-Key belongs to one request; make a new key for a new one.";
    UpgradeRequired, "upgrade_required", 426, "This is a WebSocket", "Connect with the WebSocket handshake of RFC 6455, version 13.";
    TooMany, "too_many", 429, "Too many requests", "Go on after Retry-After seconds.";
    Internal, "internal", 500, "Something went wrong here", "A mistake of ours; the `trace_id` finds it in the log. Repeating with the same Idempotency-Key is safe.";
    Overloaded, "overloaded", 503, "Too busy", "Nothing was done; repeat after Retry-After seconds.";
    Unavailable, "unavailable", 503, "Not available right now", "The store or the bus is away; nothing was done. Repeat after Retry-After seconds.";
    Deadline, "deadline", 503, "It took too long", "The time for this request ran out. Repeat with the same Idempotency-Key: it is done at most once.";
    DiskFull, "disk_full", 507, "There is no room on the disk", "Reading works, writing does not, until there is room.";
}

/// Seconds that a client waits before it repeats after an overload: spread, so that they do not
/// all come back at once (`reliability-contract` §8).
const RETRY_SPREAD_S: u64 = 5;

/// What a client is told when its request cannot be done. Boxed, because it travels in every
/// `Result` and is rare.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem(Box<Told>);

#[derive(Clone, Debug, PartialEq)]
struct Told {
    code: Code,
    name: &'static str,
    detail: String,
    field: Option<String>,
    options: Option<Value>,
    retry_after_s: Option<u64>,
    allow: Option<String>,
    inside: Option<String>,
}

/// A problem as it is written.
#[derive(Serialize)]
struct ProblemBody<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    code: &'a str,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    options: Option<&'a Value>,
    trace_id: &'a str,
}

impl Problem {
    /// A problem with a sentence for the caller: what is wrong and what to do.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self(Box::new(Told {
            code,
            name: code.as_str(),
            detail: detail.into(),
            field: None,
            options: None,
            retry_after_s: None,
            allow: None,
            inside: None,
        }))
    }

    /// A problem that is told in the code's own words.
    pub fn of(code: Code) -> Self {
        Self::new(code, code.meaning())
    }

    /// A mistake of ours; the words go to the log only.
    pub fn internal(inside: impl Into<String>) -> Self {
        Self::of(Code::Internal).with_inside(inside)
    }

    fn with_inside(mut self, inside: impl Into<String>) -> Self {
        self.0.inside = Some(inside.into());
        self
    }

    /// A code that is more exact than that of the table; the status stays.
    fn named(mut self, name: &'static str) -> Self {
        self.0.name = name;
        self
    }

    /// Names the field, parameter or header.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.0.field = Some(field.into());
        self
    }

    /// Says what would be possible.
    #[must_use]
    pub fn options(mut self, options: Value) -> Self {
        self.0.options = Some(options);
        self
    }

    /// Says when to come again.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.0.retry_after_s = Some(seconds);
        self
    }

    /// Says when to come again, a little different for everybody.
    #[must_use]
    pub fn retry_soon(self) -> Self {
        self.retry_after(1 + random::jitter_ms(RETRY_SPREAD_S - 1))
    }

    /// Names the methods of the path.
    #[must_use]
    pub fn allow(mut self, methods: impl Into<String>) -> Self {
        self.0.allow = Some(methods.into());
        self
    }

    /// The code that decides the status.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// The code as clients see it.
    pub fn name(&self) -> &'static str {
        self.0.name
    }

    /// The sentence for the caller.
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// What only the log may say.
    pub fn inside(&self) -> Option<&str> {
        self.0.inside.as_deref()
    }

    /// The answer, with the id that finds this request in the log.
    pub fn answer(&self, trace_id: &str) -> HttpResponse {
        let status = StatusCode::from_u16(self.0.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = ProblemBody {
            r#type: format!("urn:loket:problem:{}", self.0.name),
            title: self.0.code.title(),
            status: self.0.code.status(),
            code: self.0.name,
            detail: &self.0.detail,
            field: self.0.field.as_deref(),
            options: self.0.options.as_ref(),
            trace_id,
        };
        let mut response = HttpResponse::build(status);
        response.content_type("application/problem+json");
        if let Some(seconds) = self.0.retry_after_s {
            response.insert_header((header::RETRY_AFTER, seconds));
        }
        if let Some(allow) = self.0.allow.as_deref().and_then(|allow| HeaderValue::from_str(allow).ok()) {
            response.insert_header((header::ALLOW, allow));
        }
        match self.0.code {
            Code::Unauthenticated | Code::TokenInUrl | Code::Credentials | Code::FreshAuthRequired => {
                response.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
            }
            Code::UpgradeRequired => {
                response.insert_header((header::UPGRADE, "websocket"));
            }
            _ => {}
        }
        response.body(serde_json::to_vec(&body).unwrap_or_default())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.name, self.0.detail)
    }
}

impl std::error::Error for Problem {}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.0.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        self.answer("")
    }
}

impl From<HubError> for Problem {
    fn from(error: HubError) -> Self {
        match error {
            HubError::NotFound(what) => Self::new(Code::NotFound, format!("There is no such {what}.")),
            HubError::Invalid { field, sentence } => Self::new(Code::Invalid, sentence).field(field),
            HubError::Unsendable { code, sentence, options } => {
                Self::new(Code::Unsendable, sentence).options(options).named(code)
            }
            HubError::ControlLost(control) => {
                Self::of(Code::ControlLost).options(json!({ "control": control }))
            }
            HubError::Stale => Self::of(Code::Stale),
            HubError::IdempotencyMismatch => Self::of(Code::IdempotencyMismatch),
            HubError::IdempotencyInFlight => Self::of(Code::IdempotencyInFlight).retry_after(1),
            HubError::Conflict(sentence) => Self::new(Code::Conflict, sentence),
            HubError::Credentials => Self::of(Code::Credentials),
            HubError::TooMany { retry_after_s } => Self::of(Code::TooMany).retry_after(retry_after_s),
            HubError::CursorGone => Self::of(Code::CursorGone),
            HubError::Unavailable(inside) => Self::of(Code::Unavailable).retry_soon().with_inside(inside),
            HubError::DiskFull => Self::of(Code::DiskFull),
            HubError::Internal(inside) => Self::internal(inside),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use actix_web::body::MessageBody as _;

    use super::*;

    fn told(problem: &Problem) -> Value {
        let body = problem.answer("t").into_body().try_into_bytes().unwrap();
        serde_json::from_slice(&body).unwrap()
    }

    #[test]
    fn codes_are_unique_sorted_by_status_and_in_the_readme() {
        let readme = include_str!("../README.md");
        let mut seen = HashSet::new();
        for code in Code::ALL {
            assert!(seen.insert(code.as_str()), "{} twice", code.as_str());
            let row = format!("| `{}` | {} | {} |", code.as_str(), code.status(), code.meaning());
            assert!(readme.contains(&row), "README.md lacks the row\n{row}");
        }
        assert!(Code::ALL.is_sorted_by_key(|code| code.status()));
    }

    #[test]
    fn what_is_inside_stays_inside() {
        for error in [HubError::Internal("table agents".into()), HubError::Unavailable("pool".into())] {
            let problem = Problem::from(error);
            assert!(problem.inside().is_some());
            let text = told(&problem).to_string();
            assert!(!text.contains("table agents") && !text.contains("pool"), "{text}");
        }
    }

    #[test]
    fn a_refused_reply_keeps_its_own_code_and_its_options() {
        let options = json!([{"kind": "template"}]);
        let problem = Problem::from(HubError::Unsendable {
            code: "window_closed",
            sentence: "The window is closed.".into(),
            options: options.clone(),
        });
        let body = told(&problem);
        assert_eq!(body["status"], 422);
        assert_eq!(body["code"], "window_closed");
        assert_eq!(body["type"], "urn:loket:problem:window_closed");
        assert_eq!(body["options"], options);
        assert_eq!(body["trace_id"], "t");
    }

    #[test]
    fn waiting_and_methods_are_in_headers() {
        let response = Problem::of(Code::MethodNotAllowed).allow("GET, POST").answer("t");
        assert_eq!(response.headers().get("allow").unwrap(), "GET, POST");
        let response = Problem::from(HubError::TooMany { retry_after_s: 7 }).answer("t");
        assert_eq!(response.headers().get("retry-after").unwrap(), "7");
        for _ in 0..50 {
            let wait = Problem::of(Code::Overloaded).retry_soon().0.retry_after_s.unwrap();
            assert!((1..=5).contains(&wait), "{wait}");
        }
    }
}
