//! Web chat over real TCP, on a real bus, with the hub's side scripted.

mod faces;
mod rest;
mod sockets;

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use loket_backbone::bus::Wire;
use loket_backbone::disk::Disks;
use loket_backbone::tasks::Tasks;
use loket_protocol::asks::{Answering, VisitorWake, WebchatAsk, WebchatReply};
use loket_protocol::channel::{ChannelAccount, ChannelKind};
use loket_protocol::contact::Customer;
use loket_protocol::ids::{AgentId, MessageId, ThreadId, VisitorId};
use loket_protocol::inbound::{Fact, InboundEvent};
use loket_protocol::message::{Author, AuthorType, Content, Direction, Message};
use loket_protocol::topics::{INBOUND, WAKE_VISITOR, WEBCHAT};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::testing::{Ground, disk, eventually, http, serve};
use crate::{Connectors, ConnectorsSettings};

const SHOP: &str = "https://shop.example.org";
const OTHER: &str = "https://a.other.example.org";
/// The most messages in one answer of the hub.
const PAGE: usize = 100;
/// The most bytes of text in one: the bus carries no answer over 1 MiB.
const PAGE_BYTES: usize = 500_000;

/// What the hub would keep.
#[derive(Default)]
struct Kept {
    visitors: HashMap<(String, String), VisitorId>,
    threads: HashMap<VisitorId, Vec<Message>>,
    /// The last number of each thread's log.
    heads: HashMap<VisitorId, i64>,
    /// When messages were changed, in numbers of their thread's log.
    changes: HashMap<(VisitorId, i64), i64>,
    /// How often history was asked for.
    looks: usize,
    keys: BTreeSet<String>,
    events: Vec<InboundEvent>,
    /// Whose conversations changed, in order: the log.
    log: Vec<VisitorId>,
    /// Who answers, in all of them.
    answering: Option<Answering>,
    /// It does not answer questions for news.
    tells_no_news: bool,
    /// It does not answer.
    silent: bool,
}

/// A house with web chat and a hub that is scripted.
struct World {
    ground: Ground,
    tasks: Tasks,
    address: SocketAddr,
    hub: Arc<Mutex<Kept>>,
}

impl World {
    async fn new() -> Self {
        Self::with(json!({})).await
    }

    /// With these rates in the settings.
    async fn with(rates: Value) -> Self {
        Self::on(Ground::new().await, &rates, Disks::none())
    }

    /// With a kv that refuses every call.
    async fn without_kv() -> Self {
        let mut ground = Ground::new().await;
        ground.kv = loket_backbone::kv::open("none:", ground.clock.clone()).unwrap();
        Self::on(ground, &json!({}), Disks::none())
    }

    /// On disks of the test's own.
    async fn with_disks(disks: Disks) -> Self {
        Self::on(Ground::new().await, &json!({}), disks)
    }

    fn on(ground: Ground, rates: &Value, disks: Disks) -> Self {
        let sites =
            json!({"shop": {"origins": [SHOP]}, "other": {"origins": ["https://*.other.example.org"]}});
        let section = json!({"sites": sites, "rates": rates});
        let settings = ConnectorsSettings {
            channels: [("webchat".to_owned(), section)].into(),
            ..ConnectorsSettings::default()
        };
        let (wire, kv, clock) = (ground.wire.clone(), ground.kv.clone(), ground.clock.clone());
        let connectors = Connectors::build(&settings, wire, kv, clock, disks).unwrap();
        let tasks = Tasks::new();
        connectors.start(&tasks);
        let address = serve(move |service| connectors.configure(service));
        let hub: Arc<Mutex<Kept>> = Arc::default();
        let world = Self { ground, tasks, address, hub };
        world.start_hub();
        world
    }

    fn start_hub(&self) {
        let (wire, hub, stop) = (self.ground.wire.clone(), Arc::clone(&self.hub), self.tasks.stop_sign());
        let clock = self.ground.clock.clone();
        self.tasks.spawn("hub asks", async move {
            loop {
                let questions = tokio::select! {
                    () = stop.cancelled() => return,
                    questions = wire.questions(&WEBCHAT, 16) => questions,
                };
                let Ok(questions) = questions else { return };
                for question in questions {
                    let ask: WebchatAsk = Wire::read(question.as_ref()).unwrap();
                    let reply = {
                        let mut hub = hub.lock().unwrap();
                        (!hub.silent).then(|| answer(&mut hub, ask, clock.id()))
                    };
                    if let Some(reply) = reply {
                        Wire::reply(question, &reply).await.unwrap();
                    }
                }
            }
        });
        let (wire, hub, stop) = (self.ground.wire.clone(), Arc::clone(&self.hub), self.tasks.stop_sign());
        let clock = self.ground.clock.clone();
        self.tasks.spawn("hub ingest", async move {
            loop {
                let leases = tokio::select! {
                    () = stop.cancelled() => return,
                    leases = wire.lease(&INBOUND, 64) => leases,
                };
                let Ok(leases) = leases else { return };
                for lease in leases {
                    let event: InboundEvent = Wire::read(lease.as_ref()).unwrap();
                    ingest(&mut hub.lock().unwrap(), event, clock.id());
                    lease.ack().await.unwrap();
                }
            }
        });
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/webchat/v1{path}", self.address)
    }

    /// A request of a page of the shop.
    fn request(&self, method: Method, path: &str, token: Option<&str>) -> RequestBuilder {
        let request = http().request(method, self.url(path)).header("Origin", SHOP);
        match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    async fn post(&self, path: &str, token: Option<&str>, body: Value) -> Answer {
        Answer::of(self.request(Method::POST, path, token).json(&body)).await
    }

    async fn get(&self, path: &str, token: Option<&str>) -> Answer {
        Answer::of(self.request(Method::GET, path, token)).await
    }

    /// A new visitor of the shop.
    async fn visitor(&self) -> Visitor {
        let answer = self.post("/visits", None, json!({"site": "shop"})).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        Visitor {
            id: answer.body["visitor_id"].as_str().unwrap().parse().unwrap(),
            token: answer.body["visitor_token"].as_str().unwrap().to_owned(),
            ticket: answer.body["ticket"].as_str().unwrap().to_owned(),
        }
    }

    /// Somebody of ours writes; the visitor's page is not woken.
    fn agent_writes(&self, visitor: VisitorId, text: &str) -> i64 {
        let author = Author {
            kind: AuthorType::Agent,
            id: Some(self.ground.clock.id::<AgentId>().to_string()),
            name: Some("Noor".to_owned()),
        };
        append(&mut self.hub.lock().unwrap(), visitor, self.ground.clock.id(), |message| {
            message.direction = Direction::Out;
            message.author = author;
            message.content = Content::text(text);
        })
    }

    async fn wake(&self, visitor: VisitorId, typing: Option<bool>) {
        let wake = serde_json::to_vec(&VisitorWake { visitor, typing }).unwrap();
        self.ground.kv.wake(WAKE_VISITOR, Bytes::from(wake)).await.unwrap();
    }

    /// What the hub has ingested, once there are so many events.
    async fn ingested(&self, many: usize) -> Vec<InboundEvent> {
        eventually("the events", async || {
            let events = self.hub.lock().unwrap().events.clone();
            (events.len() >= many).then_some(events)
        })
        .await
    }
}

#[derive(Debug)]
struct Visitor {
    id: VisitorId,
    token: String,
    ticket: String,
}

#[derive(Debug)]
struct Answer {
    status: u16,
    headers: reqwest::header::HeaderMap,
    body: Value,
}

impl Answer {
    async fn of(request: RequestBuilder) -> Self {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        assert_eq!(headers.get("x-content-type-options").unwrap(), "nosniff");
        assert_eq!(headers.get("cache-control").unwrap(), "no-store");
        let body = response.bytes().await.unwrap();
        let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() };
        if status >= 400 {
            assert_eq!(headers.get("content-type").unwrap(), "application/problem+json");
            assert_eq!(body["status"], status);
        }
        Self { status, headers, body }
    }

    /// Status and code of a refusal.
    fn refusal(&self) -> (u16, &str) {
        (self.status, self.body["code"].as_str().unwrap_or_default())
    }

    fn allowed_origin(&self) -> Option<&str> {
        self.headers.get("access-control-allow-origin").map(|value| value.to_str().unwrap())
    }
}

fn answer(hub: &mut Kept, ask: WebchatAsk, fresh: VisitorId) -> WebchatReply {
    let known =
        |visitor, is_new| WebchatReply::Visitor { visitor, is_new, thread_id: None, contact_id: None };
    match ask {
        WebchatAsk::Visit { site, token_hash, new_token_hash } => {
            let old = token_hash.and_then(|hash| hub.visitors.get(&(site.clone(), hash)).copied());
            old.map_or_else(
                || {
                    hub.visitors.insert((site, new_token_hash), fresh);
                    known(fresh, true)
                },
                |visitor| known(visitor, false),
            )
        }
        WebchatAsk::Visitor { site, token_hash } => {
            let found = hub.visitors.get(&(site, token_hash)).copied();
            found.map_or(WebchatReply::Unknown, |visitor| known(visitor, false))
        }
        WebchatAsk::History { site, visitor, after_seq, .. } => {
            hub.looks += 1;
            if !hub.visitors.iter().any(|((of, _), known)| *of == site && *known == visitor) {
                return WebchatReply::Unknown;
            }
            let thread = hub.threads.get(&visitor).map(Vec::as_slice).unwrap_or_default();
            let head = hub.heads.get(&visitor).copied().unwrap_or_default();
            let mut messages: Vec<_> = thread.iter().filter(|m| m.seq > after_seq).cloned().collect();
            let mut bytes = 0;
            let fits = messages.iter().take(PAGE).take_while(|message| {
                bytes += message.content.text.as_ref().map_or(0, String::len);
                bytes < PAGE_BYTES
            });
            let fits = fits.count();
            let more = messages.len() > fits;
            messages.truncate(fits);
            let up_to = if more { messages.last().map_or(after_seq, |last| last.seq) } else { head };
            let changed = |seq: &i64| hub.changes.get(&(visitor, *seq)).is_some_and(|at| *at > after_seq);
            let mut all: Vec<_> =
                thread.iter().filter(|m| m.seq <= after_seq && changed(&m.seq)).cloned().collect();
            all.append(&mut messages);
            let answering = hub.answering.clone();
            WebchatReply::History { messages: all, more, up_to_seq: Some(up_to), thread: None, answering }
        }
        WebchatAsk::Link { channel, .. } if channel == "whatsapp" => WebchatReply::Link {
            address: "https://wa.me/31201234567?text=Hallo".to_owned(),
            expires_at: loket_protocol::time::Timestamp::from_millis(1_795_253_400_000),
        },
        WebchatAsk::Link { .. } => WebchatReply::NoLink,
        WebchatAsk::Claim { email: Some(email), .. } if !email.contains('@') => {
            WebchatReply::BadClaim { field: "email".to_owned() }
        }
        WebchatAsk::Claim { .. } => WebchatReply::Claimed,
        WebchatAsk::News { .. } if hub.tells_no_news => WebchatReply::Unknown,
        WebchatAsk::News { after } => {
            let up_to = i64::try_from(hub.log.len()).unwrap();
            let skip = after.map_or(hub.log.len(), |after| usize::try_from(after).unwrap());
            let visitors: BTreeSet<_> = hub.log.iter().skip(skip).copied().collect();
            WebchatReply::News { visitors: visitors.into_iter().collect(), up_to, more: false }
        }
    }
}

/// A message is taken back; that is an entry of its thread's log, with the next number.
fn revoke(hub: &mut Kept, visitor: VisitorId, seq: i64) {
    let head = hub.heads.entry(visitor).or_default();
    *head += 1;
    hub.changes.insert((visitor, seq), *head);
    let message = hub.threads.get_mut(&visitor).unwrap().iter_mut().find(|m| m.seq == seq).unwrap();
    message.content = Content { kind: "text".to_owned(), ..Content::default() };
    message.revoked_at = Some(message.created_at);
    hub.log.push(visitor);
}

fn ingest(hub: &mut Kept, event: InboundEvent, id: MessageId) {
    if !hub.keys.insert(event.key()) {
        return;
    }
    if let Fact::Message(fact) = &event.fact {
        let handle = event.customer.as_ref().and_then(Customer::user_id).unwrap();
        let (content, external_id) = (fact.content.clone(), fact.external_id.clone());
        append(hub, handle.value.parse().unwrap(), id, |message| {
            message.content = content;
            message.external_id = external_id;
        });
    }
    hub.events.push(event);
}

/// Appends to the visitor's thread; its numbers leave gaps, as a log with other entries has.
fn append(hub: &mut Kept, visitor: VisitorId, id: MessageId, fill: impl FnOnce(&mut Message)) -> i64 {
    let thread = hub.threads.entry(visitor).or_default();
    let head = hub.heads.entry(visitor).or_default();
    let seq = *head + 2;
    *head = seq;
    hub.log.push(visitor);
    let clock = loket_backbone::clock::Clock::system();
    let mut message = Message {
        id,
        seq,
        thread_id: clock.id::<ThreadId>(),
        copied_from: None,
        direction: Direction::In,
        author: Author { kind: AuthorType::Contact, id: Some("con_1".to_owned()), name: None },
        channel: Some(ChannelAccount {
            kind: ChannelKind::new("webchat").unwrap(),
            account: "shop".to_owned(),
        }),
        identity_id: Some(clock.id()),
        content: Content::default(),
        attachments: Vec::new(),
        reply_to: None,
        external_id: None,
        status: None,
        status_detail: None,
        reactions: Vec::new(),
        late: false,
        edited_at: None,
        revoked_at: None,
        provider_time: None,
        created_at: clock.now(),
    };
    fill(&mut message);
    thread.push(message);
    seq
}

/// A UUID with this number in it.
fn uuid(number: usize) -> String {
    format!("0f8b4c1e-2c33-4f0e-9d43-{number:012x}")
}
