//! Load over real sockets: signed callbacks on keep-alive connections, as fast as they are answered or
//! at a rate.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The app secret of all loads.
pub(crate) const APP_SECRET: &str = "loket-bench-secret";
/// The number that all messages go to.
pub(crate) const PHONE_NUMBER: &str = "305000000000201";
/// How many customers write.
const SENDERS: u64 = 200;

/// A WhatsApp callback body with one text, as the platform sends it.
pub(crate) fn body(number: u64, run: &str, text: &str) -> String {
    let phone = 31_600_100_000 + number % SENDERS;
    format!(
        r#"{{"object":"whatsapp_business_account","entry":[{{"id":"215000000000101","changes":[{{"value":{{"messaging_product":"whatsapp","metadata":{{"display_phone_number":"12025550100","phone_number_id":"{PHONE_NUMBER}"}},"contacts":[{{"profile":{{"name":"Klant {phone}"}},"wa_id":"{phone}","user_id":"NL.{phone}"}}],"messages":[{{"from":"{phone}","from_user_id":"NL.{phone}","id":"wamid.{run}{number:08}HBgLMzE2MDAwMDAwNDIVAgASGBRDNDQ3QTUyQzdCNUE","timestamp":"1795253400","text":{{"body":"{text}"}},"type":"text"}}]}},"field":"messages"}}]}}]}}"#
    )
}

/// A callback with one item of the platform's own form under `key`, of customer `who`.
pub(crate) fn callback(field: &str, key: &str, who: u64, items: &str) -> String {
    let phone = phone(who);
    format!(
        r#"{{"object":"whatsapp_business_account","entry":[{{"id":"215000000000101","changes":[{{"value":{{"messaging_product":"whatsapp","metadata":{{"display_phone_number":"12025550100","phone_number_id":"{PHONE_NUMBER}"}},"contacts":[{{"profile":{{"name":"Klant {phone}"}},"wa_id":"{phone}","user_id":"NL.{phone}"}}],"{key}":[{items}]}},"field":"{field}"}}]}}]}}"#
    )
}

/// The number of a customer.
pub(crate) fn phone(who: u64) -> u64 {
    31_600_100_000 + who
}

/// A text of customer `who`, sent at `seconds`.
pub(crate) fn message(id: &str, who: u64, text: &str, seconds: u64) -> String {
    let phone = phone(who);
    let item = format!(
        r#"{{"from":"{phone}","from_user_id":"NL.{phone}","id":"wamid.{id}","timestamp":"{seconds}","text":{{"body":"{text}"}},"type":"text"}}"#
    );
    callback("messages", "messages", who, &item)
}

/// What became of a message of ours to customer `who`.
pub(crate) fn status(id: &str, who: u64, status: &str, seconds: u64) -> String {
    let phone = phone(who);
    let item = format!(
        r#"{{"id":"wamid.{id}","status":"{status}","timestamp":"{seconds}","recipient_id":"{phone}","recipient_user_id":"NL.{phone}"}}"#
    );
    callback("messages", "statuses", who, &item)
}

/// Messages that the company wrote to customer `who` on its phone: outgoing ones without a send.
pub(crate) fn echoes(ids: &[String], who: u64, seconds: u64) -> String {
    let phone = phone(who);
    let items: Vec<String> = ids
        .iter()
        .map(|id| {
            format!(
                r#"{{"from":"12025550100","to":"{phone}","to_user_id":"NL.{phone}","id":"wamid.{id}","timestamp":"{seconds}","type":"text","text":{{"body":"Uw pakket is onderweg."}}}}"#
            )
        })
        .collect();
    callback("smb_message_echoes", "message_echoes", who, &items.join(","))
}

/// Seconds since 1970.
pub(crate) fn now_seconds() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs()
}

/// The whole request: head, signature, body.
fn request(path: &str, body: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(APP_SECRET.as_bytes()).expect("any key fits");
    mac.update(body.as_bytes());
    let mut signature = String::new();
    for byte in mac.finalize().into_bytes() {
        write!(signature, "{byte:02x}").expect("text");
    }
    format!(
        "POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nX-Hub-Signature-256: sha256={signature}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// A keep-alive connection.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects.
    pub(crate) async fn open(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("it listens");
        stream.set_nodelay(true).expect("a socket");
        Self { stream, buffer: Vec::new() }
    }

    /// Posts a callback and reads the whole answer; its status.
    pub(crate) async fn post(&mut self, path: &str, body: &str) -> u16 {
        self.stream.write_all(&request(path, body)).await.expect("it is open");
        self.buffer.clear();
        loop {
            self.stream.read_buf(&mut self.buffer).await.expect("an answer");
            if let Some(status) = whole(&self.buffer) {
                return status;
            }
        }
    }
}

/// The status of an answer that has come in whole.
fn whole(answer: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(answer).ok()?;
    let (head, rest) = text.split_once("\r\n\r\n")?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    (rest.len() >= length.unwrap_or(0)).then(|| head.split(' ').nth(1)?.parse().ok())?
}

/// Posts as fast as it is answered, over `connections`, first for `warm_up` and then for `time`; how
/// many a second were answered 200 in `time`. On a thread of its own, so that the load shares no
/// scheduler with what it measures.
pub(crate) async fn full(
    port: u16,
    path: &'static str,
    connections: usize,
    warm_up: Duration,
    time: Duration,
) -> f64 {
    let work = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(post_all(port, path, connections, Instant::now() + warm_up, time))
    };
    tokio::task::spawn_blocking(work).await.expect("no panic")
}

async fn post_all(port: u16, path: &'static str, connections: usize, begin: Instant, time: Duration) -> f64 {
    let next = Arc::new(AtomicU64::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..connections {
        let next = Arc::clone(&next);
        tasks.spawn(async move {
            let mut connection = Connection::open(port).await;
            let mut done = 0u64;
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let status =
                    connection.post(path, &body(number, "FULL", "Is het pakket al verzonden?")).await;
                assert_eq!(status, 200, "every callback is answered 200");
                let now = Instant::now();
                if now > begin + time {
                    return done;
                }
                done += u64::from(now >= begin);
            }
        });
    }
    let mut answered = 0;
    while let Some(done) = tasks.join_next().await {
        answered += done.expect("no panic");
    }
    rate(answered, time)
}

/// So many a second.
pub(crate) fn rate(count: u64, time: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a count of messages")]
    let count = count as f64;
    count / time.as_secs_f64()
}
