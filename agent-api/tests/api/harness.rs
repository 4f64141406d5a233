//! A world: one process of Loket without connectors, its API on a port of its own, and the people
//! who use it.

use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpServer};
use loket_agent_api::{AgentApi, ApiSettings, Lent, Ready, RenderMetrics};
use loket_backbone::bus::{self, Item, Wire};
use loket_backbone::clock::Clock;
use loket_backbone::disk::Disks;
use loket_backbone::http::{self, Limits};
use loket_backbone::tasks::Tasks;
use loket_backbone::{kv, random};
use loket_hub::{Hub, HubSettings, MasterKey, NewAgent, NewKey, Reread, StoreSettings, Written};
use loket_protocol::agent::Role;
use loket_protocol::channel::{AccountSettings, Capabilities, ChannelAccount, ChannelKind, LinkForm};
use loket_protocol::contact::{Customer, Handle, HandleKind};
use loket_protocol::event::LiveSignal;
use loket_protocol::ids::VisitorId;
use loket_protocol::inbound::{Fact, INBOUND_VERSION, InboundEvent, MessageFact};
use loket_protocol::message::Content;
use loket_protocol::problem::Problem;
use loket_protocol::time::Timestamp;
use loket_protocol::topics::{INBOUND, SUBJECTS, TOPICS};
use reqwest::header::HeaderMap;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::document::Document;

/// How long anything may take to become true.
const PATIENCE: Duration = Duration::from_secs(20);

/// Nothing is parked here, so nothing is read again.
struct NoReread;

impl Reread for NoReread {
    fn receive(&self, _: &str, _: &[u8], _: Timestamp) -> Option<(Vec<InboundEvent>, Vec<Problem>)> {
        None
    }
}

pub(crate) struct World {
    pub(crate) base: String,
    pub(crate) api: AgentApi,
    pub(crate) hub: Hub,
    pub(crate) clock: Clock,
    wire: Wire,
    tasks: Tasks,
    server: ServerHandle,
    client: Client,
    document: Document,
    /// Absent in a process beside another, whose hub it shares.
    dir: Option<TempDir>,
}

/// An answer as a client sees it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
    pub(crate) bytes: Vec<u8>,
}

impl Answer {
    pub(crate) fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or("")
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
    }

    /// The body, when it is the good one.
    pub(crate) fn good(self) -> Value {
        assert!((200..300).contains(&self.status), "{} {}", self.status, self.body);
        self.body
    }
}

fn account(kind: &str, account: &str, reads_the_thread: bool) -> AccountSettings {
    AccountSettings {
        channel: ChannelAccount { kind: ChannelKind::new(kind).unwrap(), account: account.to_owned() },
        name: account.to_owned(),
        link: (kind == "whatsapp")
            .then(|| LinkForm { before: "https://wa.me/31600000000?text=".to_owned(), carries_words: true }),
        capabilities: Capabilities {
            window_ms: (!reads_the_thread).then_some(86_400_000),
            human_window_ms: None,
            reads_the_thread,
            text_chars_max: 4_096,
            content_types: vec!["text".to_owned(), "image".to_owned()],
            captions: vec!["image".to_owned()],
            caption_chars_max: 1_024,
            reactions: !reads_the_thread,
        },
    }
}

/// A process that can always do its work.
pub(crate) fn well() -> Ready {
    Arc::new(|| Box::pin(std::future::ready(Ok(()))))
}

/// Settings under which a test is not slowed down by the limits that it does not test.
pub(crate) fn roomy() -> ApiSettings {
    ApiSettings {
        requests_per_minute: 0,
        handshakes_per_minute: 0,
        allowed_origins: vec!["https://inbox.example".to_owned()],
        ..ApiSettings::default()
    }
}

fn client() -> Client {
    http::client(Limits { connect: Duration::from_secs(5), total: Duration::from_mins(1) }).unwrap()
}

/// Serves an API on a port of its own.
fn listen(api: &AgentApi) -> (String, ServerHandle) {
    let mounted = api.clone();
    let server = HttpServer::new(move || {
        let api = mounted.clone();
        App::new().configure(move |service| api.configure(service))
    })
    .workers(2)
    .tcp_nodelay(true)
    .disable_signals()
    .bind(("127.0.0.1", 0))
    .unwrap();
    let base = format!("http://{}", server.addrs()[0]);
    let running = server.run();
    let handle = running.handle();
    tokio::spawn(running);
    (base, handle)
}

impl World {
    pub(crate) async fn begin() -> Self {
        Self::with(roomy(), "memory:").await
    }

    pub(crate) async fn with(settings: ApiSettings, kv_url: &str) -> Self {
        Self::within(settings, kv_url, Arc::new(|| "# no recorder\n".to_owned()), well()).await
    }

    /// On disks of the test's own.
    pub(crate) async fn with_disks(disks: Disks) -> Self {
        let ready = well();
        let render_metrics: RenderMetrics = Arc::new(String::new);
        Self::lent(roomy(), "memory:", Lent { render_metrics, ready, reread: Arc::new(NoReread), disks })
            .await
    }

    /// In a process with figures and other roles of its own.
    pub(crate) async fn within(
        settings: ApiSettings,
        kv_url: &str,
        render_metrics: RenderMetrics,
        ready: Ready,
    ) -> Self {
        let lent = Lent { render_metrics, ready, reread: Arc::new(NoReread), disks: Disks::none() };
        Self::lent(settings, kv_url, lent).await
    }

    async fn lent(settings: ApiSettings, kv_url: &str, lent: Lent) -> Self {
        // Another test of this process may have installed it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::movable();
        let bus_url = format!("embedded:{}?durability=relaxed", dir.path().join("bus").display());
        let bus = bus::open(&bus_url, clock.clone(), TOPICS, SUBJECTS).await.unwrap();
        let wire = Wire::new(bus);
        let kv = kv::open(kv_url, clock.clone()).unwrap();
        let store = StoreSettings { url: format!("sqlite:{}", dir.path().join("loket.db").display()) };
        let hub_settings = HubSettings { store, ..HubSettings::default() };
        let accounts = vec![account("whatsapp", "100", false), account("webchat", "shop", true)];
        let hub = Hub::open(
            &hub_settings,
            MasterKey::from_bytes(&random::bytes()),
            accounts,
            wire.clone(),
            kv.clone(),
            clock.clone(),
        )
        .await
        .unwrap();
        let tasks = Tasks::new();
        hub.start(&tasks);
        let api = AgentApi::new(hub.clone(), kv, clock.clone(), settings, lent).unwrap();
        api.start(&tasks);
        let (base, server) = listen(&api);
        let (client, document) = (client(), Document::of_today());
        Self { base, api, hub, clock, wire, tasks, server, client, document, dir: Some(dir) }
    }

    /// A second process of the agent API: another port and another handle of kv, the same hub.
    pub(crate) fn beside(&self, settings: ApiSettings, kv_url: &str) -> Self {
        let (hub, clock, wire, tasks) =
            (self.hub.clone(), self.clock.clone(), self.wire.clone(), Tasks::new());
        let kv = kv::open(kv_url, clock.clone()).unwrap();
        let render_metrics: RenderMetrics = Arc::new(String::new);
        let lent = Lent { render_metrics, ready: well(), reread: Arc::new(NoReread), disks: Disks::none() };
        let api = AgentApi::new(hub.clone(), kv, clock.clone(), settings, lent).unwrap();
        api.start(&tasks);
        let (base, server) = listen(&api);
        let (client, document) = (client(), Document::of_today());
        Self { base, api, hub, clock, wire, tasks, server, client, document, dir: None }
    }

    pub(crate) async fn end(self) {
        assert!(self.api.close_sockets(Duration::from_secs(20)).await, "a socket stayed open");
        self.server.stop(false).await;
        assert!(self.tasks.stop(Duration::from_secs(20)).await, "a task did not stop");
        if self.dir.is_some() {
            self.hub.close().await;
            self.wire.bus().close().await;
        }
    }

    // ---- people ----

    /// A logged-in person of a role, with a fresh login name.
    pub(crate) async fn person(&self, role: Role) -> String {
        let login = format!("p{}", random::hex::<6>());
        let password = self.employ(&login, role).await;
        self.log_in(&login, &password).await
    }

    pub(crate) async fn employ(&self, login: &str, role: Role) -> String {
        let new = NewAgent { login: login.to_owned(), name: "Anna".to_owned(), role };
        match self.hub.create_agent(None, new, None).await.unwrap() {
            Written::Done(created) => created.password,
            Written::Replayed { .. } => unreachable!("there was no key"),
        }
    }

    pub(crate) async fn log_in(&self, login: &str, password: &str) -> String {
        let body = json!({"login": login, "password": password});
        let session = self.post("/v1/sessions").json(&body).go().await.good();
        session["token"].as_str().unwrap().to_owned()
    }

    /// A key of a role.
    pub(crate) async fn key(&self, role: Role) -> String {
        let expires_at = self.clock.now().plus_millis(86_400_000);
        let new = NewKey { name: "robot".to_owned(), role, expires_at };
        match self.hub.create_key(None, new, None).await.unwrap() {
            Written::Done(created) => created.secret,
            Written::Replayed { .. } => unreachable!("there was no key"),
        }
    }

    /// Somebody's words, as a channel reports them.
    fn words(&self, kind: &str, account: &str, handle: Handle, text: &str) -> InboundEvent {
        let now = self.clock.now();
        let name = Some(format!("customer {}", handle.value));
        let (kind, account) = (ChannelKind::new(kind).unwrap(), account.to_owned());
        InboundEvent {
            v: INBOUND_VERSION,
            channel: ChannelAccount { kind, account },
            customer: Some(Customer { handles: vec![handle], name, name_is_ours: false }),
            at: now,
            at_is_arrival: false,
            received_at: now,
            standby: false,
            opens_window: Some(true),
            fact: Fact::Message(MessageFact {
                external_id: Some(format!("wamid.{}", random::hex::<10>())),
                content: Content::text(text),
                ..MessageFact::default()
            }),
        }
    }

    /// A customer writes; the message is on the bus when this returns.
    pub(crate) async fn customer_writes(&self, who: &str, text: &str) {
        self.customers_write(&[(who, text)]).await;
    }

    pub(crate) async fn customers_write(&self, lines: &[(&str, &str)]) {
        let phone = |who: &str| Handle::new(HandleKind::Phone, who);
        let items: Vec<_> = lines
            .iter()
            .map(|(who, text)| self.words("whatsapp", "100", phone(who), text))
            .map(|event| Wire::item(event.key(), event.lane(), "t".to_owned(), &event).unwrap())
            .collect();
        self.wire.publish(&INBOUND, &items).await.unwrap();
    }

    /// A visitor of the web site writes; they have a thread when this returns.
    pub(crate) async fn visitor(&self, text: &str) -> VisitorId {
        let visitor: VisitorId = self.clock.id();
        let handle = Handle::new(HandleKind::Visitor, visitor.to_string());
        let event = self.words("webchat", "shop", handle, text);
        let item = Wire::item(event.key(), event.lane(), "t".to_owned(), &event).unwrap();
        self.wire.publish(&INBOUND, &[item]).await.unwrap();
        let typing = LiveSignal::VisitorTyping { site: "shop".to_owned(), visitor, on: true };
        eventually("the visitor has a thread", async || self.hub.hear(typing.clone()).await).await;
        visitor
    }

    /// Something comes in that this version does not understand.
    pub(crate) async fn something_foreign_comes_in(&self, payload: &[u8]) {
        let item = Item {
            id: random::hex::<8>(),
            key: "whatsapp:100".to_owned(),
            payload: payload.to_vec().into(),
            trace: "t".to_owned(),
        };
        self.wire.publish(&INBOUND, &[item]).await.unwrap();
    }

    /// The thread of a customer, once their first message is in it.
    pub(crate) async fn thread_of(&self, who: &str, text: &str) -> Value {
        self.customer_writes(who, text).await;
        let token = self.key(Role::Integrator).await;
        eventually("the message is in its thread", async || {
            let page = self.get("/v1/threads").bearer(&token).go().await.good();
            let own = |thread: &&Value| thread["last_message"]["content"]["text"] == text;
            page["items"].as_array().unwrap().iter().find(own).cloned()
        })
        .await
    }

    // ---- requests ----

    pub(crate) fn request(&self, method: Method, path: &str) -> Asking<'_> {
        let builder = self.client.request(method.clone(), format!("{}{path}", self.base));
        Asking { world: self, method, path: path.to_owned(), builder }
    }

    pub(crate) fn get(&self, path: &str) -> Asking<'_> {
        self.request(Method::GET, path)
    }

    pub(crate) fn post(&self, path: &str) -> Asking<'_> {
        self.request(Method::POST, path)
    }

    pub(crate) fn put(&self, path: &str) -> Asking<'_> {
        self.request(Method::PUT, path)
    }

    pub(crate) fn delete(&self, path: &str) -> Asking<'_> {
        self.request(Method::DELETE, path)
    }

    pub(crate) fn document(&self) -> &Document {
        &self.document
    }
}

/// A request that is being made.
pub(crate) struct Asking<'a> {
    world: &'a World,
    method: Method,
    path: String,
    builder: RequestBuilder,
}

impl Asking<'_> {
    pub(crate) fn bearer(mut self, token: &str) -> Self {
        self.builder = self.builder.bearer_auth(token);
        self
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.builder = self.builder.header(name, value);
        self
    }

    pub(crate) fn json(mut self, body: &Value) -> Self {
        self.builder = self.builder.json(body);
        self
    }

    pub(crate) fn bytes(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.builder = self.builder.body(body.into());
        self
    }

    /// Sends it, and holds the answer against the document.
    pub(crate) async fn go(self) -> Answer {
        let response = self.builder.send().await.unwrap();
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let bytes = response.bytes().await.unwrap().to_vec();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        let answer = Answer { status, headers, body, bytes };
        assert_dressed(&answer, &self.path);
        self.world.document.check(self.method.as_str(), &self.path, &answer);
        answer
    }
}

/// What every answer must wear (`security` B2, B7).
fn assert_dressed(answer: &Answer, path: &str) {
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    // The inbox's own files are the same for everybody, and kept by what is in them.
    if !(path.starts_with("/inbox/") && answer.status < 400) {
        assert_eq!(answer.header("cache-control"), "no-store");
    }
    assert_eq!(answer.header("referrer-policy"), "no-referrer");
    assert!(answer.header("content-security-policy").starts_with("default-src 'none'"));
    assert_eq!(answer.header("server"), "");
    if answer.status >= 400 {
        assert_eq!(answer.header("content-type"), "application/problem+json", "{}", answer.body);
        assert_eq!(answer.body["trace_id"].as_str().map(str::len), Some(32), "{}", answer.body);
    }
}

/// Asks until it is there; a test that waits longer than anybody would has failed.
pub(crate) async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let found = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("never: {what}"))
}
