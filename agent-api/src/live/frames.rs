//! What goes over an agent's socket. Both sides are closed lists; nothing that a client names is
//! looked up as a handler (`security` WS3).

use bytestring::ByteString;
use loket_backbone::random;
use loket_protocol::agent::Presence;
use loket_protocol::event::{Event, LiveSignal};
use loket_protocol::ids::ThreadId;
use serde::{Deserialize, Serialize};

use crate::cursor::Cursor;
use crate::error::Problem;

/// What a client may say.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum ClientFrame {
    /// I am writing, or no longer.
    Typing {
        /// Where.
        thread_id: ThreadId,
        /// Writing, or no longer.
        #[serde(default = "yes")]
        on: bool,
    },
    /// I have this thread before me, or no longer; said again every 20 s while it is so.
    Looking {
        /// Which.
        thread_id: ThreadId,
        /// Looking, or no longer.
        #[serde(default = "yes")]
        on: bool,
    },
    /// I am there, or not.
    Presence {
        /// Whether.
        presence: Presence,
        /// Whether I take new threads; absent: when online.
        accepting: Option<bool>,
        /// How many at once; absent: as before.
        capacity: Option<u32>,
    },
    /// Are you there? Answered by `pong`.
    Ping {},
}

fn yes() -> bool {
    true
}

/// What the server says, apart from events and live signals.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ServerFrame<'a> {
    Hello { head: i64, epoch: &'a str, cursor: String, ping_ms: u64 },
    Snapshot { head: i64, epoch: &'a str, cursor: String },
    GoingAway { resume: String, retry_ms: u64 },
    Pong,
    Problem { status: u16, code: &'a str, detail: &'a str },
}

/// A frame on its way to many sockets: the text is shared.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    /// The log seq of an event; absent on what is in no log.
    pub(crate) seq: Option<i64>,
    /// The JSON.
    pub(crate) text: ByteString,
    /// What it is, for metrics.
    pub(crate) kind: &'static str,
}

fn frame(kind: &'static str, value: &impl Serialize) -> Frame {
    // Plain data with text keys: writing it cannot fail.
    let text = serde_json::to_string(value).unwrap_or_default();
    Frame { seq: None, text: text.into(), kind }
}

#[derive(Serialize)]
struct EventFrame<'a> {
    r#type: &'static str,
    event: &'a Event,
}

/// An event of the log.
pub(crate) fn event(event: &Event) -> Frame {
    Frame { seq: Some(event.seq), ..frame("event", &EventFrame { r#type: "event", event }) }
}

/// A live signal, if it is one that agents see.
pub(crate) fn signal(signal: &LiveSignal) -> Option<Frame> {
    match signal {
        LiveSignal::Typing { .. } => Some(frame("typing", signal)),
        LiveSignal::Looking { .. } => Some(frame("looking", signal)),
        LiveSignal::Presence { .. } => Some(frame("presence", signal)),
        LiveSignal::SessionEnded { .. } | LiveSignal::VisitorTyping { .. } => None,
    }
}

/// The first frame: where the log ends, and where this socket goes on from.
pub(crate) fn hello(head: i64, cursor: &Cursor, ping_ms: u64) -> Frame {
    let epoch = cursor.epoch.as_deref().unwrap_or("");
    frame("hello", &ServerFrame::Hello { head, epoch, cursor: cursor.to_string(), ping_ms })
}

/// The client's place is of another log: read the lists again; it goes on from here.
pub(crate) fn snapshot(head: i64, cursor: &Cursor) -> Frame {
    let epoch = cursor.epoch.as_deref().unwrap_or("");
    frame("snapshot", &ServerFrame::Snapshot { head, epoch, cursor: cursor.to_string() })
}

/// This process stops: come back after a while, each at another time (`reliability-contract` §8).
pub(crate) fn going_away(cursor: &Cursor) -> Frame {
    let retry_ms = 1_000 + random::jitter_ms(29_000);
    frame("going_away", &ServerFrame::GoingAway { resume: cursor.to_string(), retry_ms })
}

/// I am here.
pub(crate) fn pong() -> Frame {
    frame("pong", &ServerFrame::Pong)
}

/// A frame of the client's was refused.
pub(crate) fn problem(problem: &Problem) -> Frame {
    let told = ServerFrame::Problem {
        status: problem.code().status(),
        code: problem.name(),
        detail: problem.detail(),
    };
    frame("problem", &told)
}

#[cfg(test)]
mod tests {
    use loket_backbone::clock::Clock;
    use loket_protocol::event::{API_VERSION, EventType};
    use loket_protocol::ids::EventId;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_clients_frames_are_a_closed_list() {
        let thread = Clock::system().id::<ThreadId>();
        let read = |text: &str| serde_json::from_str::<ClientFrame>(text);
        assert_eq!(
            read(&format!(r#"{{"type":"typing","thread_id":"{thread}"}}"#)).unwrap(),
            ClientFrame::Typing { thread_id: thread, on: true }
        );
        assert_eq!(read(r#"{"type":"ping"}"#).unwrap(), ClientFrame::Ping {});
        let deep = format!("{}{}", "[".repeat(60_000), "]".repeat(60_000));
        for bad in [
            "",
            "null",
            "[]",
            "{}",
            deep.as_str(),
            r#"{"type":"eval"}"#,
            r#"{"type":"ping","x":1}"#,
            r#"{"type":["ping"]}"#,
            r#"{"type":"typing","thread_id":7}"#,
            r#"{"type":"presence","presence":"busy"}"#,
        ] {
            assert!(read(bad).is_err(), "{}", bad.get(..40).unwrap_or(bad));
        }
    }

    #[test]
    fn an_event_frame_carries_the_event_word_for_word() {
        let clock = Clock::system();
        let log_entry = Event {
            id: clock.id::<EventId>(),
            kind: EventType::ContactCreated,
            timestamp: clock.now(),
            api_version: API_VERSION.to_owned(),
            seq: 9,
            thread: None,
            data: json!({"contact": {"id": "con_"}}),
        };
        let sent = event(&log_entry);
        assert_eq!(sent.seq, Some(9));
        let told: Value = serde_json::from_str(&sent.text).unwrap();
        assert_eq!(told, json!({"type": "event", "event": serde_json::to_value(&log_entry).unwrap()}));
    }

    #[test]
    fn what_is_not_for_agents_makes_no_frame() {
        assert!(signal(&LiveSignal::SessionEnded { principal: "x".into() }).is_none());
        let typing = LiveSignal::Typing { thread_id: Clock::system().id(), agent_id: None, on: true };
        assert_eq!(signal(&typing).unwrap().kind, "typing");
    }

    #[test]
    fn who_is_sent_away_comes_back_spread_over_half_a_minute() {
        for _ in 0..50 {
            let told: Value = serde_json::from_str(&going_away(&Cursor::new("e", 4)).text).unwrap();
            assert_eq!(told["resume"], "e:4");
            assert!((1_000..=30_000).contains(&told["retry_ms"].as_u64().unwrap()));
        }
    }
}
