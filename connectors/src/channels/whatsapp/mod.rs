//! WhatsApp through the Cloud API. What is supported stands in the README beside this file.

mod codes;
pub mod fake;
mod receive;
mod send;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use async_trait::async_trait;
use loket_backbone::secret::Secret;
use loket_protocol::asks::{Signal, SignalReply};
use loket_protocol::channel::{AccountSettings, Capabilities, ChannelAccount, ChannelKind, LinkForm};
use loket_protocol::content::SENDABLE;
use loket_protocol::outbound::OutboundMessage;
use loket_protocol::time::Timestamp;
use serde::Deserialize;
use serde_json::json;

use self::receive::Routes;
use crate::channel::{Callback, Channel, Pace, Received, Rejected, SendError, Taken};
use crate::meta::{self, AppSecrets, Graph, GraphSettings};

/// The channel's name, in paths and in the store.
pub const KIND: &str = "whatsapp";

/// The customer-service window (`whatsapp` §13).
const WINDOW_MS: i64 = 24 * 60 * 60 * 1000;
/// Messages per second of a number that was not upgraded (`whatsapp` §13).
const MESSAGES_PER_SECOND: u32 = 80;
/// How many messages one user may get at once, borrowed from the future (`whatsapp` §13).
const PAIR_BURST: u32 = 45;
/// One message in six seconds to one user (`whatsapp` §13).
const PAIR_PER_SECOND: f64 = 1.0 / 6.0;
/// What takes a text under it (`whatsapp` §9).
const CAPTIONS: [&str; 3] = ["image", "video", "document"];

/// What can be sent: all but quick replies, which are `buttons` here.
fn content_types() -> Vec<String> {
    SENDABLE.iter().filter(|kind| **kind != "quick_replies").map(|kind| (*kind).to_owned()).collect()
}

/// The settings of the channel, `[whatsapp]`: one app of the platform and its numbers.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The app's secret, which signs callbacks.
    pub app_secret: Secret,
    /// The secret before a rotation, accepted until `app_secret_previous_until`.
    pub app_secret_previous: Option<Secret>,
    /// Callbacks signed with the former secret that come later are refused (RFC 3339).
    pub app_secret_previous_until: Option<Timestamp>,
    /// What the operator enters beside the callback address; any text that nobody guesses.
    pub verify_token: Secret,
    /// The numbers, by a name of the operator's choice.
    pub accounts: BTreeMap<String, Account>,
}

/// One connected number.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// The platform's id of the number, digits: the key of the channel account (`whatsapp` §1).
    pub phone_number_id: String,
    /// The token for sending from it.
    pub access_token: Secret,
    /// The telephone number itself, with its country and in digits: a `wa.me` address leads to it.
    #[serde(default)]
    pub phone_number: Option<String>,
    /// The id of the business account that it belongs to, so that notices about that one reach it.
    #[serde(default)]
    pub waba_id: Option<String>,
    /// Named in sends when one number belongs to several messaging accounts (`whatsapp` §1).
    #[serde(default)]
    pub messaging_account_id: Option<String>,
    /// Whether people whose number is hidden are written to by user id (`whatsapp` §16).
    #[serde(default = "yes")]
    pub send_to_bsuid: bool,
    /// Messages per second: 80, or 1,000 after the platform's upgrade, or 20 for a number that is
    /// also used in the phone app.
    #[serde(default = "messages_per_second")]
    pub messages_per_second: u32,
}

fn yes() -> bool {
    true
}

fn messages_per_second() -> u32 {
    MESSAGES_PER_SECOND
}

/// The channel for these settings; `None` when no number is configured. The error is one sentence
/// that says what to change: a channel without its secrets does not start (`security` H1).
pub fn build(settings: &Settings, graph: &GraphSettings) -> Result<Option<Box<dyn Channel>>, String> {
    if settings.accounts.is_empty() {
        return Ok(None);
    }
    Ok(Some(Box::new(WhatsApp::new(settings.clone(), graph)?)))
}

struct WhatsApp {
    kind: ChannelKind,
    settings: Settings,
    secrets: AppSecrets,
    routes: Routes,
    graph: Graph,
}

impl WhatsApp {
    fn new(settings: Settings, graph: &GraphSettings) -> Result<Self, String> {
        let kind = ChannelKind::new(KIND).map_err(|error| error.to_string())?;
        let secrets = AppSecrets::new(
            KIND,
            settings.app_secret.clone(),
            settings.app_secret_previous.clone(),
            settings.app_secret_previous_until,
        )?;
        let routes = checked(&settings)?;
        Ok(Self { kind, settings, secrets, routes, graph: Graph::new(graph)? })
    }

    fn account(&self, phone_number_id: &str) -> Option<&Account> {
        self.settings.accounts.values().find(|account| account.phone_number_id == phone_number_id)
    }
}

/// The routes to the configured accounts, once every setting is known to be usable.
fn checked(settings: &Settings) -> Result<Routes, String> {
    if settings.verify_token.is_empty() {
        return Err("whatsapp.verify_token is empty: the address could not be verified".to_owned());
    }
    let is_id = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let mut routes = Routes::default();
    for (name, account) in &settings.accounts {
        let here = format!("whatsapp.accounts.{name}");
        if !is_id(&account.phone_number_id) {
            return Err(format!("{here}.phone_number_id is not an id of digits"));
        }
        if account.phone_number.as_deref().is_some_and(|number| !is_id(number)) {
            return Err(format!("{here}.phone_number is not digits alone, such as 31201234567"));
        }
        if account.waba_id.as_deref().is_some_and(|id| !is_id(id)) {
            return Err(format!("{here}.waba_id is not an id of digits"));
        }
        if account.access_token.is_empty() {
            return Err(format!("{here}.access_token is empty: nothing could be sent"));
        }
        if account.messages_per_second == 0 {
            return Err(format!("{here}.messages_per_second is 0: nothing could be sent"));
        }
        if !routes.numbers.insert(account.phone_number_id.clone()) {
            return Err(format!("{here}.phone_number_id is the same as that of another account"));
        }
        if let Some(waba) = &account.waba_id {
            routes.wabas.entry(waba.clone()).or_default().push(account.phone_number_id.clone());
        }
    }
    Ok(routes)
}

#[async_trait]
impl Channel for WhatsApp {
    fn accounts(&self) -> Vec<AccountSettings> {
        let accounts = self.settings.accounts.iter();
        accounts
            .map(|(name, account)| AccountSettings {
                channel: ChannelAccount { kind: self.kind.clone(), account: account.phone_number_id.clone() },
                name: name.clone(),
                link: account.phone_number.as_ref().map(|number| LinkForm {
                    before: format!("https://wa.me/{number}?text="),
                    carries_words: true,
                }),
                capabilities: Capabilities {
                    window_ms: Some(WINDOW_MS),
                    human_window_ms: None,
                    reads_the_thread: false,
                    text_chars_max: send::TEXT_CHARS_MAX,
                    content_types: content_types(),
                    captions: CAPTIONS.map(str::to_owned).to_vec(),
                    caption_chars_max: send::CAPTION_CHARS_MAX,
                    reactions: true,
                },
            })
            .collect()
    }

    fn handshake(&self, mode: &str, token: &str, challenge: &str) -> Result<String, Rejected> {
        meta::handshake(&self.settings.verify_token, mode, token, challenge)
    }

    fn authenticate(&self, callback: &Callback) -> Result<(), Rejected> {
        self.secrets.verify(callback)
    }

    fn receive(&self, callback: &Callback) -> Result<Received, Rejected> {
        receive::receive(&self.kind, &self.routes, callback)
    }

    async fn send(&self, message: &OutboundMessage) -> Result<Taken, SendError> {
        let Some(account) = self.account(&message.channel.account) else {
            return Err(send::refused(
                "This number is no longer connected to Loket; answer from another one.",
            ));
        };
        let body = send::body(message, account)?;
        let path = format!("{}/messages", account.phone_number_id);
        let answer = self.graph.post_json(&path, &account.access_token, &body).await;
        send::taken(&answer.map_err(|failure| failure.into_send_error(codes::send_error))?)
    }

    async fn signal(&self, signal: &Signal) -> SignalReply {
        let (channel, external_id, typing) = match signal {
            Signal::MarkRead { channel, external_id, .. } => (channel, external_id, false),
            // The sign goes away by itself, and there is none to take it away.
            Signal::Typing { channel, external_id: Some(external_id), on: true, .. } => {
                (channel, external_id, true)
            }
            Signal::Typing { .. } => return SignalReply::NotDone,
        };
        let Some(account) = self.account(&channel.account) else { return SignalReply::NotDone };
        let mut body = json!({ "messaging_product": KIND, "status": "read", "message_id": external_id });
        if typing && let Some(body) = body.as_object_mut() {
            body.insert("typing_indicator".to_owned(), json!({ "type": "text" }));
        }
        let path = format!("{}/messages", account.phone_number_id);
        match self.graph.post_json(&path, &account.access_token, &body).await {
            Ok(_) => SignalReply::Done,
            Err(_) => SignalReply::NotDone,
        }
    }

    fn pace(&self, account: &str) -> Pace {
        let per_second = self.account(account).map_or(MESSAGES_PER_SECOND, |a| a.messages_per_second);
        Pace {
            account_per_second: f64::from(per_second),
            pair_burst: PAIR_BURST,
            pair_per_second: PAIR_PER_SECOND,
        }
    }

    async fn probe(&self, account: &str) -> Result<(), String> {
        let account = self.account(account).ok_or("This number is not configured.")?;
        let path = format!("{}?fields=id", account.phone_number_id);
        match self.graph.get_json(&path, &account.access_token).await {
            Ok(answer) if meta::id(&answer, "id").as_deref() == Some(&account.phone_number_id) => Ok(()),
            Ok(_) => {
                Err("The answer of graph.url is not about this number: is it the right address?".to_owned())
            }
            Err(failure) => Err(match failure.into_send_error(codes::send_error) {
                SendError::NotSent { sentence, code: Some(code), .. } => format!("{sentence} (code {code})"),
                SendError::NotSent { sentence, .. } => sentence,
                SendError::Unconfirmed(why) => format!("WhatsApp did not answer as it should: {why}."),
            }),
        }
    }
}
