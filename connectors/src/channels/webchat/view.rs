//! What a visitor sees of a message: a type of its own, so that nothing of ours alone can slip
//! through (`security` Z3).

use loket_protocol::asks::Answering;
use loket_protocol::handoff::Holder;
use loket_protocol::message::{AuthorType, Button, Content, Direction, Message};
use loket_protocol::time::Timestamp;
use serde::Serialize;

use super::words;

/// Who wrote a message, as the visitor sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum From {
    Visitor,
    Agent,
    Bot,
    System,
}

/// Who answers, as the visitor sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct VisitorAnswering {
    /// `bot`, `agent`, or `waiting`: nobody yet.
    kind: Holder,
    /// The person's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
}

impl VisitorAnswering {
    /// The visitor's view.
    pub(super) fn of(Answering { holder, name }: Answering) -> Self {
        Self { kind: holder, name }
    }
}

/// A message as the visitor sees it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct VisitorMessage {
    pub(super) id: String,
    /// Its number in the thread: what a page resumes from and reports as delivered and read.
    pub(super) seq: i64,
    pub(super) from: From,
    /// The name of the colleague; absent on the visitor's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// The page's own id of the message, on those that it sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_message_id: Option<String>,
    #[serde(rename = "type")]
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    buttons: Vec<VisitorButton>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attachments: Vec<VisitorAttachment>,
    at: Timestamp,
    edited: bool,
    revoked: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct VisitorButton {
    title: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct VisitorAttachment {
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    mime: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    filename: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
}

impl VisitorMessage {
    /// The visitor's view; `None` for a note, which the hub does not hand out and this does not
    /// pass on.
    pub(super) fn of(message: Message) -> Option<Self> {
        let from = match (message.direction, message.author.kind) {
            (Direction::Note, _) => return None,
            (Direction::In, _) => From::Visitor,
            (Direction::Out, AuthorType::Bot) => From::Bot,
            (Direction::Out, AuthorType::System) => From::System,
            (Direction::Out, AuthorType::Agent | AuthorType::Contact) => From::Agent,
        };
        let Content { kind, text, buttons, .. } = message.content;
        let is_own = from == From::Visitor;
        let attachments = message.attachments.into_iter().map(|attachment| VisitorAttachment {
            kind: attachment.kind,
            mime: attachment.mime,
            size: attachment.size,
            filename: attachment.filename,
            url: attachment.url,
        });
        Some(Self {
            id: message.id.to_string(),
            seq: message.seq,
            from,
            name: message.author.name.filter(|_| !is_own),
            client_message_id: message
                .external_id
                .filter(|_| is_own)
                .and_then(|id| words::client_message_id(&id).map(str::to_owned)),
            kind,
            text,
            buttons: buttons
                .into_iter()
                .map(|Button { title, url, .. }| VisitorButton { title, url })
                .collect(),
            attachments: attachments.collect(),
            at: message.provider_time.unwrap_or(message.created_at),
            edited: message.edited_at.is_some(),
            revoked: message.revoked_at.is_some(),
        })
    }
}
