//! Meta's side of the callbacks, signed, without the simulator: for bodies of one's own choice.

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

/// The app secret of every world; also that of the fixtures' signatures.
pub(crate) const APP_SECRET: &str = "loket-test-secret";
/// The first WhatsApp number.
pub(crate) const PHONE_NUMBER: &str = "305000000000201";
/// The second one.
pub(super) const OTHER_PHONE_NUMBER: &str = "305000000000202";
/// The first Page.
pub(super) const PAGE: &str = "110000000000501";
/// The second one.
pub(super) const OTHER_PAGE: &str = "110000000000502";
/// The Instagram account.
pub(super) const INSTAGRAM: &str = "178400000000000501";
/// Our own app.
pub(super) const APP_ID: &str = "900000000000001";

/// Signs and posts callbacks.
#[derive(Clone)]
pub(crate) struct Meta {
    http: reqwest::Client,
    callbacks: String,
}

impl Meta {
    pub(super) fn new(http: reqwest::Client, callbacks: String) -> Self {
        Self { http, callbacks }
    }

    /// The header's value for a body.
    pub(crate) fn signature(body: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(APP_SECRET.as_bytes()).expect("any key fits");
        mac.update(body);
        let digest = mac.finalize().into_bytes();
        let hex: Vec<String> = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("sha256={}", hex.concat())
    }

    /// Posts a body with its right signature; the status, or nothing when the connection broke.
    pub(crate) async fn post(&self, channel: &str, body: impl Into<Vec<u8>>) -> Option<u16> {
        let body = body.into();
        let signature = Self::signature(&body);
        self.post_signed(channel, body, Some(&signature)).await
    }

    /// Posts a body with a signature of one's own choice.
    pub(crate) async fn post_signed(
        &self,
        channel: &str,
        body: Vec<u8>,
        signature: Option<&str>,
    ) -> Option<u16> {
        let mut request = self
            .http
            .post(format!("{}/{channel}", self.callbacks))
            .header("Content-Type", "application/json")
            .body(body);
        if let Some(signature) = signature {
            request = request.header("X-Hub-Signature-256", signature);
        }
        request.send().await.ok().map(|answer| answer.status().as_u16())
    }

    /// A WhatsApp text of a customer.
    pub(crate) fn whatsapp_text(phone: &str, id: &str, text: &str, seconds: i64) -> Value {
        Self::whatsapp(
            phone,
            &json!({"from": phone, "id": id, "timestamp": seconds.to_string(), "type": "text", "text": {"body": text}}),
        )
    }

    /// A WhatsApp callback with one message item.
    pub(crate) fn whatsapp(phone: &str, message: &Value) -> Value {
        json!({"object": "whatsapp_business_account", "entry": [{"id": "215000000000101", "changes": [{
        "field": "messages", "value": {
            "messaging_product": "whatsapp",
            "metadata": {"display_phone_number": "12025550100", "phone_number_id": PHONE_NUMBER},
            "contacts": [{"profile": {"name": format!("Klant {phone}")}, "wa_id": phone}],
            "messages": [message],
        }}]}]})
    }
}
