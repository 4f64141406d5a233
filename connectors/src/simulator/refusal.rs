//! How Graph says no: one shape for both platforms (`whatsapp` §14, `messenger` §12).

use loket_backbone::random;
use serde::Serialize;
use serde_json::{Value, json};

use super::phone::Platform;

/// An error of the Graph API, as an HTTP answer or inside a `failed` status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Refusal {
    /// The HTTP status of the answer, when it is one.
    #[serde(skip)]
    pub(crate) http: u16,
    /// Graph's `type`.
    #[serde(skip)]
    pub(crate) kind: &'static str,
    /// The code on which clients decide.
    pub(crate) code: i64,
    /// The sub-code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) subcode: Option<i64>,
    /// The text, without the code in front.
    pub(crate) message: String,
    /// `error_data.details`: only WhatsApp has them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) details: Option<String>,
}

impl Refusal {
    /// A refusal with HTTP 400, as Graph has nearly always: throttling comes as 400 too.
    pub(crate) fn new(code: i64, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { http: 400, kind: "OAuthException", code, subcode: None, message, details: None }
    }

    /// With another HTTP status.
    pub(crate) fn http(mut self, http: u16) -> Self {
        self.http = http;
        self
    }

    /// With a sub-code.
    pub(crate) fn subcode(mut self, subcode: i64) -> Self {
        self.subcode = Some(subcode);
        self
    }

    /// With details.
    pub(crate) fn details(mut self, details: impl Into<String>) -> Self {
        self.details = Some(details.into());
        self
    }

    /// The object does not exist for this token (100/33).
    pub(crate) fn unknown_object(method: &str, object: &str) -> Self {
        let verb = if method == "GET" { "get" } else { "post" };
        let mut refusal = Self::new(
            100,
            format!(
                "Unsupported {verb} request. Object with ID '{object}' does not exist, cannot be loaded due \
                 to missing permissions, or does not support this operation"
            ),
        )
        .subcode(33);
        refusal.kind = "GraphMethodException";
        refusal
    }

    /// The token is missing, wrong or over (190).
    pub(crate) fn token(message: &str) -> Self {
        Self::new(190, message).http(401)
    }

    /// A path that Graph does not know.
    pub(crate) fn unknown_path(path: &str) -> Self {
        Self::new(2500, format!("Unknown path components: {path}"))
    }

    /// The answer's body.
    pub(crate) fn body(&self, platform: Platform) -> Value {
        let is_plain = matches!(self.code, 190 | 2500) || self.subcode == Some(33);
        let message =
            if is_plain { self.message.clone() } else { format!("(#{}) {}", self.code, self.message) };
        let mut error = json!({
            "message": message,
            "type": self.kind,
            "code": self.code,
            "fbtrace_id": format!("A{}", random::hex::<11>()),
        });
        if let Some(fields) = error.as_object_mut() {
            if let Some(subcode) = self.subcode {
                fields.insert("error_subcode".to_owned(), subcode.into());
            }
            if let (Platform::Whatsapp, Some(details)) = (platform, &self.details) {
                let data = json!({"messaging_product": "whatsapp", "details": details});
                fields.insert("error_data".to_owned(), data);
            }
        }
        json!({ "error": error })
    }
}
