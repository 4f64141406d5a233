//! T1 and T16: callbacks made safe on RabbitMQ, against programs that do the same without the product.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};
use loket_backbone::bus::{self, Wire};
use loket_backbone::clock::Clock;
use loket_protocol::topics::{INBOUND, SUBJECTS, TOPICS};
use tokio::sync::Mutex;

use crate::load;
use crate::services::Services;
use crate::{Figures, RUNS, TIME, WARM_UP, amqp, floor, process, progress, rows};

/// Connections of the load.
const CONNECTIONS: usize = 64;
/// Messages in flight of the bare frames.
const IN_FLIGHT: u64 = 64;

/// A queue and a channel that confirms, as any program would have it.
struct Plain {
    _connection: Connection,
    channel: Channel,
    queue: String,
}

impl Plain {
    async fn open(url: &str) -> Self {
        let connection = Connection::connect(url, ConnectionProperties::default()).await.expect("a broker");
        let channel = connection.create_channel().await.expect("a channel");
        channel.confirm_select(ConfirmSelectOptions::default()).await.expect("confirms");
        let queue = format!("loket-bench-plain-{}", std::process::id());
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(queue.as_str().into(), durable, arguments).await.expect("a queue");
        Self { _connection: connection, channel, queue }
    }

    async fn publish(&self, payload: &[u8]) {
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let properties = BasicProperties::default().with_delivery_mode(2);
        let sent =
            self.channel.basic_publish("".into(), self.queue.as_str().into(), options, payload, properties);
        let confirmed = sent.await.expect("it is open").await.expect("a confirm");
        assert!(matches!(confirmed, Confirmation::Ack(None)), "the broker took it");
    }

    async fn gone(self) {
        let deleted =
            self.channel.queue_delete(self.queue.as_str().into(), QueueDeleteOptions::default()).await;
        deleted.expect("it is deleted");
    }
}

/// How the floor publishes.
#[derive(Clone, Copy)]
enum Manner {
    /// The event and the body, both in flight at once, and with everybody else's.
    Both,
    /// The event alone, likewise.
    Event,
    /// The event alone, and nobody publishes before its confirm is there.
    Serial,
}

struct FloorState {
    plain: Plain,
    manner: Manner,
    turn: Mutex<()>,
}

async fn floor_callback(
    request: HttpRequest,
    body: web::Bytes,
    state: web::Data<FloorState>,
) -> HttpResponse {
    if !floor::is_signed(&request, &body) {
        return HttpResponse::Unauthorized().finish();
    }
    let parsed: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
    let event = parsed["entry"][0]["changes"][0]["value"]["messages"][0].to_string();
    match state.manner {
        Manner::Both => {
            tokio::join!(state.plain.publish(event.as_bytes()), state.plain.publish(&body));
        }
        Manner::Event => state.plain.publish(event.as_bytes()).await,
        Manner::Serial => {
            let _turn = state.turn.lock().await;
            state.plain.publish(event.as_bytes()).await;
        }
    }
    HttpResponse::Ok().body("EVENT_RECEIVED")
}

/// Callbacks a second through the same HTTP, signature and confirmed publish, without the product.
async fn floor_per_second(url: &str, manner: Manner) -> f64 {
    let state = web::Data::new(FloorState { plain: Plain::open(url).await, manner, turn: Mutex::new(()) });
    let shared = state.clone();
    let app = move |service: &mut web::ServiceConfig| {
        service.app_data(shared.clone()).route("/callbacks/whatsapp", web::post().to(floor_callback));
    };
    let rate = served(app).await;
    if let Ok(state) = Arc::try_unwrap(state.into_inner()) {
        state.plain.gone().await;
    }
    rate
}

/// Callbacks a second that an HTTP server of this process answers, over [`CONNECTIONS`].
pub(crate) async fn served(configure: impl Fn(&mut web::ServiceConfig) + Clone + Send + 'static) -> f64 {
    let server = HttpServer::new(move || App::new().configure(configure.clone()))
        .workers(2)
        .tcp_nodelay(true)
        .disable_signals()
        .bind("127.0.0.1:0")
        .expect("a port");
    let port = server.addrs().first().expect("an address").port();
    let server = server.run();
    let handle = server.handle();
    let serving = tokio::spawn(server);
    let rate = load::full(port, "/callbacks/whatsapp", CONNECTIONS, WARM_UP, TIME).await;
    handle.stop(false).await;
    serving.await.expect("no panic").expect("it served");
    rate
}

/// Callbacks a second of the product, made safe on the broker; and the size of an event.
async fn ours_per_second(services: &Services) -> (f64, usize) {
    let opened = bus::open(&services.amqp(), Clock::system(), TOPICS, SUBJECTS).await;
    let wire = Wire::new(opened.expect("a bus"));
    let connectors = rows::connectors(&wire);
    let rate = served(move |service| connectors.configure(service)).await;
    let event = wire.bus().peek(INBOUND.name, INBOUND.group, 1).await.expect("items");
    let bytes = event.first().expect("an event").payload.len();
    wire.bus().close().await;
    services.forget_queues().await;
    (rate, bytes)
}

/// Prints T1.
pub(crate) async fn t1() {
    let (mut same, mut event, mut bare) = (Figures::default(), Figures::default(), Figures::default());
    for run in 0..RUNS {
        let Some(services) = Services::named("T1") else { return };
        progress("T1: callbacks onto RabbitMQ", run);
        let (ours, bytes) = ours_per_second(&services).await;
        same.add(ours, floor_per_second(services.broker(), Manner::Both).await);
        event.add(ours, floor_per_second(services.broker(), Manner::Event).await);
        bare.add(ours, amqp::bare(services.broker(), bytes, IN_FLIGHT, TIME).await);
    }
    same.report("T1", "callbacks made safe on RabbitMQ, event and body", rows::per_second, ">= 0.6");
    event.report("T1", "  against the event's publish alone", rows::per_second, "none");
    bare.report("T1", "  against bare confirmed frames, 64 in flight", rows::per_second, ">= 0.45");
}

/// The naive program in Node.js.
struct Node(Child);

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.0.kill();
        let _status = self.0.wait();
    }
}

async fn node_per_second(url: &str) -> Option<f64> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("benches/naive");
    if !folder.join("node_modules").is_dir() {
        println!("T16  Node.js: not measured; run npm ci in benches/naive first");
        return None;
    }
    let port = process::free_port();
    let child = Command::new("node")
        .arg(folder.join("server.js"))
        .args([url, &port.to_string(), load::APP_SECRET])
        .stdout(Stdio::null())
        .spawn()
        .expect("Node.js");
    let _node = Node(child);
    process::until_it_listens(port).await;
    Some(load::full(port, "/callbacks/whatsapp", CONNECTIONS, WARM_UP, TIME).await)
}

/// Prints T16.
pub(crate) async fn t16() {
    let (mut serial, mut node) = (Figures::default(), Figures::default());
    for run in 0..RUNS {
        let Some(services) = Services::named("T16") else { return };
        progress("T16: the same callbacks through naive programs", run);
        let (ours, _) = ours_per_second(&services).await;
        serial.add(ours, floor_per_second(services.broker(), Manner::Serial).await);
        let Some(naive) = node_per_second(services.broker()).await else { return };
        node.add(ours, naive);
    }
    serial.report("T16", "against one confirm at a time", rows::per_second, ">= 8");
    node.report("T16", "against a naive Node.js program, pipelined", rows::per_second, ">= 3");
}
