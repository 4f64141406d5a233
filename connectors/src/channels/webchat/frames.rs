//! The frames of the socket: two closed lists (`security` WS3).

use serde::{Deserialize, Serialize};

use super::view::{VisitorAnswering, VisitorMessage};
use super::words::Page;
use crate::refusal::Refusal;

/// What a visitor's page may say.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum FromVisitor {
    /// The first frame: who it is, and the last number that the page has.
    Hello {
        /// Needed unless the upgrade carried a visitor token.
        ticket: Option<String>,
        #[serde(default)]
        after_seq: i64,
    },
    /// A message, under an id of the page's own, and from which page it is written.
    Message { client_message_id: String, text: String, page: Option<Page> },
    /// Everything up to this number is on the screen's list.
    Delivered { seq: i64 },
    /// Everything up to this number was seen.
    Read { seq: i64 },
    /// The visitor is writing, or no longer.
    Typing { on: bool },
    /// Are you there?
    Ping {},
}

impl FromVisitor {
    /// The name in metrics.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Hello { .. } => "hello",
            Self::Message { .. } => "message",
            Self::Delivered { .. } => "delivered",
            Self::Read { .. } => "read",
            Self::Typing { .. } => "typing",
            Self::Ping {} => "ping",
        }
    }
}

/// What we say to a visitor's page.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum ToVisitor<'a> {
    /// The answer to `hello`: what follows is after this number.
    Ready { after_seq: i64 },
    /// Something that stands in the thread.
    Message { message: &'a VisitorMessage },
    /// The message is safe: it will be in the thread.
    Ack { client_message_id: &'a str },
    /// Somebody of ours is writing, or no longer.
    Typing { on: bool },
    /// Who answers from now on.
    Answering { answering: Option<&'a VisitorAnswering> },
    /// We are there.
    Pong {},
    /// A frame was not taken. With `retry_after_s` the same frame may be sent again.
    Error {
        code: &'static str,
        detail: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_after_s: Option<u32>,
        #[serde(skip_serializing_if = "Option::is_none")]
        client_message_id: Option<&'a str>,
    },
    /// This process stops: open another socket after so many milliseconds, from this number.
    GoingAway { after_seq: i64, retry_ms: u64 },
}

impl<'a> ToVisitor<'a> {
    /// A refusal as a frame.
    pub(super) fn refusal(refusal: &Refusal, client_message_id: Option<&'a str>) -> Self {
        Self::Error {
            code: refusal.code(),
            detail: refusal.to_string(),
            retry_after_s: refusal.retry_after_s(),
            client_message_id,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<FromVisitor> {
        serde_json::from_str(text).ok()
    }

    #[test]
    fn known_frames_are_read_and_nothing_else() {
        assert_eq!(
            read(r#"{"type":"hello","ticket":"t","after_seq":7}"#),
            Some(FromVisitor::Hello { ticket: Some("t".to_owned()), after_seq: 7 })
        );
        assert_eq!(read(r#"{"type":"hello"}"#), Some(FromVisitor::Hello { ticket: None, after_seq: 0 }));
        assert_eq!(read(r#"{"on":true,"type":"typing"}"#), Some(FromVisitor::Typing { on: true }));
        assert_eq!(read(r#"{"type":"ping"}"#), Some(FromVisitor::Ping {}));
        let deep = format!("{}{}", "[".repeat(30_000), "]".repeat(30_000));
        let junk = [
            "",
            "null",
            "[]",
            "7",
            r#""ping""#,
            r#"{"type":"subscribe"}"#,
            r#"{"type":"Ping"}"#,
            r#"{"type":["ping"]}"#,
            r#"{"type":"ping","x":1}"#,
            r#"{"type":"typing","on":"yes"}"#,
            r#"{"type":"read","seq":1.5}"#,
            r#"{"type":"read","seq":99999999999999999999}"#,
            r#"{"type":"read"}"#,
            r#"{"type":"read","seq":1,"thread_id":"thr_1"}"#,
            r#"{"type":"message","client_message_id":1,"text":"x"}"#,
            r#"{"type":"message","client_message_id":"1","text":"\ud800"}"#,
            &deep,
        ];
        for text in junk {
            assert_eq!(read(text), None, "{}", &text[..text.len().min(80)]);
        }
    }
}
