//! One call of the Send API per message or sign, and the word for what became of it
//! (`messenger` §11, `reliability-contract` §3).

use loket_protocol::asks::{Signal, SignalReply};
use loket_protocol::contact::{Handle, HandleKind};
use loket_protocol::delivery::SendClass;
use loket_protocol::outbound::OutboundMessage;
use loket_protocol::time::Timestamp;
use serde_json::{Value, json};

use super::{Messenger, Page, codes, compose};
use crate::channel::{SendError, Taken};
use crate::meta::{self, GraphFailure};

/// Fields of the Page that we cannot work without.
const FIELDS_NEEDED: &[&str] =
    &["messages", "messaging_postbacks", "message_echoes", "message_deliveries", "message_reads"];

/// All fields that are read, for whoever subscribes (`messenger` §3).
const FIELDS: &str = "messages,messaging_postbacks,message_echoes,message_deliveries,message_reads,message_edits,\
                      message_reactions,messaging_referrals,messaging_optins,messaging_handovers,standby,\
                      messaging_policy_enforcement,messaging_account_linking,send_cart";

impl Messenger {
    /// Sends one message, once.
    pub(super) async fn send_message(&self, message: &OutboundMessage) -> Result<Taken, SendError> {
        let (page, users) = self.accounts.sender(&message.channel.account).ok_or_else(|| {
            refused("This Page is not configured here any more; choose another channel.".to_owned())
        })?;
        let recipient = recipient(&message.to, users)
            .ok_or_else(|| refused("The contact has no address that Messenger knows.".to_owned()))?;
        let body = request(message, &recipient, self.clock.now()).map_err(refused)?;
        let answer = self.post(page, "messages", &body).await;
        let answer = answer.map_err(|failure| failure.into_send_error(codes::send_error))?;
        let Some(external_id) = meta::id(&answer, "message_id") else {
            return Err(SendError::Unconfirmed("the answer has no message_id".to_owned()));
        };
        let learnt = meta::id(&answer, "recipient_id").map(|id| Handle::new(users, id));
        let learnt = learnt.into_iter().filter(|handle| !message.to.contains(handle)).collect();
        Ok(Taken { external_id, learnt })
    }

    /// Sends a sender action: alone with its recipient, never together with a message.
    pub(super) async fn send_action(&self, signal: &Signal) -> SignalReply {
        let (channel, to, action) = match signal {
            Signal::MarkRead { channel, to, .. } => (channel, to, "mark_seen"),
            Signal::Typing { channel, to, on: true, .. } => (channel, to, "typing_on"),
            Signal::Typing { channel, to, on: false, .. } => (channel, to, "typing_off"),
        };
        let Some((page, users)) = self.accounts.sender(&channel.account) else {
            return SignalReply::NotDone;
        };
        let Some(recipient) = recipient(to, users) else {
            return SignalReply::NotDone;
        };
        let body = json!({ "recipient": recipient, "sender_action": action });
        match self.post(page, "messages", &body).await {
            Ok(_) => SignalReply::Done,
            Err(_) => SignalReply::NotDone,
        }
    }

    /// Asks which apps the Page tells about its messages: that shows whether the token works, and
    /// whether callbacks come at all.
    pub(super) async fn probe_account(&self, account: &str) -> Result<(), String> {
        let (page, _) = self
            .accounts
            .sender(account)
            .ok_or_else(|| format!("messenger:{account} is not configured; add it to messenger.accounts."))?;
        let path = self.path(page, "subscribed_apps");
        let answer = self.graph.get_json(&path, &page.token).await.map_err(|failure| match failure {
            GraphFailure::NotSent { sentence, .. } => sentence,
            GraphFailure::Refused(error) => codes::sentence(&error),
            GraphFailure::Unconfirmed(why) => {
                format!("The Graph API gave no usable answer: {why}; try again later.")
            }
        })?;
        let apps = meta::list(&answer, "data");
        let ours =
            apps.iter().find(|app| meta::id(app, "id").as_deref() == Some(self.accounts.app_id.as_str()));
        let Some(app) = ours else {
            return Err(format!(
                "The Page {} does not send its messages to our app: subscribe it with POST /{}/subscribed_apps?subscribed_fields={FIELDS}.",
                page.name, page.id,
            ));
        };
        let subscribed = meta::list(app, "subscribed_fields");
        let missing: Vec<&str> = FIELDS_NEEDED
            .iter()
            .copied()
            .filter(|field| !subscribed.iter().any(|one| one.as_str() == Some(field)))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(format!(
            "The Page {} does not tell us of {}: subscribe these fields too.",
            page.name,
            missing.join(", ")
        ))
    }

    async fn post(&self, page: &Page, edge: &str, body: &Value) -> Result<Value, GraphFailure> {
        self.graph.post_json(&self.path(page, edge), &page.token, body).await
    }

    /// The path of an edge of the Page, with the token and its proof as parameters.
    fn path(&self, page: &Page, edge: &str) -> String {
        let token = escaped(page.token.expose());
        let proof = self.proof(&page.token);
        format!("{}/{edge}?access_token={token}&appsecret_proof={proof}", page.id)
    }
}

/// Percent-encodes everything but unreserved characters.
fn escaped(value: &str) -> String {
    use std::fmt::Write as _;
    value.bytes().fold(String::with_capacity(value.len()), |mut escaped, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            escaped.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
        escaped
    })
}

/// The address to send to: the person's own id, else the plug-in's stand-in for it.
fn recipient(to: &[Handle], users: HandleKind) -> Option<Value> {
    let of = |kind: HandleKind| to.iter().find(|handle| handle.kind == kind && !handle.value.is_empty());
    of(users)
        .map(|handle| json!({ "id": handle.value }))
        .or_else(|| of(HandleKind::UserRef).map(|handle| json!({ "user_ref": handle.value })))
}

/// The whole request body; the error is the sentence why it cannot be said.
fn request(message: &OutboundMessage, recipient: &Value, now: Timestamp) -> Result<Value, String> {
    let mut said = compose::message(message)?;
    if let Some(members) = said.as_object_mut() {
        members.insert("metadata".to_owned(), Value::from(message.dispatch.outbox_id()));
    }
    let mut body = json!({ "recipient": recipient, "message": said });
    let Some(members) = body.as_object_mut() else { return Ok(body) };
    let is_open = message.window_closes_at.is_some_and(|closes_at| closes_at > now);
    let (messaging_type, tag) = if message.content.kind == "template" {
        ("UTILITY", None)
    } else if !is_open && message.written_by_person {
        ("MESSAGE_TAG", Some("HUMAN_AGENT"))
    } else {
        // Closed and not a person's words: the platform may know of a longer window than we do
        // (after an ad, `messenger` §11), so it decides.
        ("RESPONSE", None)
    };
    members.insert("messaging_type".to_owned(), Value::from(messaging_type));
    if let Some(tag) = tag {
        members.insert("tag".to_owned(), Value::from(tag));
    }
    if let Some(mid) = message.reply_to.as_deref().filter(|mid| !mid.is_empty()) {
        members.insert("reply_to".to_owned(), json!({ "mid": mid }));
    }
    Ok(body)
}

/// What cannot be sent at all, found out before anything left the house.
fn refused(sentence: String) -> SendError {
    SendError::NotSent { class: SendClass::Final, code: None, subcode: None, retry_after_ms: None, sentence }
}
