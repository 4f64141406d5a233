//! The platform's side in these tests: a local server that writes down what was said and answers as
//! it is told.

use std::sync::{Arc, Mutex};

use loket_backbone::clock::Clock;
use loket_protocol::channel::{ChannelAccount, ChannelKind};
use loket_protocol::contact::{Handle, HandleKind};
use loket_protocol::message::Content;
use loket_protocol::outbound::{Dispatch, OUTBOUND_VERSION, OutboundMessage};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::{PAGE, built_for, settings};
use crate::channel::{Channel, SendError, Taken};
use crate::channels::messenger::KIND;
use crate::meta::GraphSettings;

pub(super) const PSID: &str = "7300000000000042";

/// Of `token|of 110000000000501` under the tests' app secret, computed elsewhere.
pub(super) const PROOF: &str = "afcb737509b416ee4795955d45609b84451b1da45ee88202293fe666e1966c72";

/// What the platform does with a request that it has read.
#[derive(Clone)]
pub(super) enum Answer {
    Json(u16, Value),
    Raw(&'static str),
    HangUp,
}

#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) line: String,
    pub(super) body: Value,
}

pub(super) struct Platform {
    pub(super) url: String,
    pub(super) seen: Arc<Mutex<Vec<Request>>>,
}

impl Platform {
    #[expect(clippy::disallowed_methods, reason = "the server ends with its test")]
    pub(super) async fn answering(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = seen.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serve(stream, &answer, &log).await;
            }
        });
        Self { url, seen }
    }

    pub(super) async fn taking() -> Self {
        Self::answering(Answer::Json(200, json!({"recipient_id": PSID, "message_id": "m_new"}))).await
    }

    pub(super) fn channel(&self, clock: &Clock) -> Arc<dyn Channel> {
        let graph = GraphSettings { url: self.url.clone(), ..GraphSettings::default() };
        built_for(settings(), &graph, clock).unwrap()
    }

    pub(super) async fn send(&self, message: &OutboundMessage) -> Result<Taken, SendError> {
        self.channel(&Clock::system()).send(message).await
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }

    /// The body of the one request that came.
    pub(super) fn said(&self) -> Value {
        let [request] = <[_; 1]>::try_from(self.requests()).unwrap();
        request.body
    }
}

async fn serve(mut stream: TcpStream, answer: &Answer, log: &Mutex<Vec<Request>>) {
    let mut bytes = Vec::new();
    let head = loop {
        if stream.read_buf(&mut bytes).await.unwrap() == 0 {
            return;
        }
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let text = String::from_utf8_lossy(&bytes[..head]).to_lowercase();
    let length =
        text.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
    while bytes.len() < head + length {
        stream.read_buf(&mut bytes).await.unwrap();
    }
    let line = String::from_utf8_lossy(&bytes[..head]).lines().next().unwrap().to_owned();
    let body = serde_json::from_slice(&bytes[head..]).unwrap_or(Value::Null);
    log.lock().unwrap().push(Request { line, body });
    let answer = match answer {
        Answer::Json(status, value) => {
            let body = value.to_string();
            let length = body.len();
            format!(
                "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            )
        }
        Answer::Raw(raw) => (*raw).to_owned(),
        Answer::HangUp => String::new(),
    };
    stream.write_all(answer.as_bytes()).await.unwrap();
}

pub(super) fn outbound(content: Content) -> OutboundMessage {
    let clock = Clock::system();
    OutboundMessage {
        v: OUTBOUND_VERSION,
        dispatch: Dispatch { message_id: clock.id(), part: 0, number: 1 },
        channel: account(PAGE),
        to: vec![Handle::new(HandleKind::Psid, PSID)],
        content,
        attachment: None,
        reply_to: None,
        written_by_person: true,
        window_closes_at: Some(clock.now().plus_millis(60_000)),
    }
}

pub(super) fn account(id: &str) -> ChannelAccount {
    ChannelAccount { kind: ChannelKind::new(KIND).unwrap(), account: id.to_owned() }
}
