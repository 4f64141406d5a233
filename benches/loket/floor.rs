//! The floor of the whole road, as a process: HTTP, HMAC, parse, a SQLite group commit before the 200,
//! a second one for message, key and log entry, and a socket. No product.

use std::path::PathBuf;
use std::time::Duration;

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use sqlx::Connection as _;
use tokio::sync::{broadcast, mpsc, oneshot};

use crate::{load, raw};

/// The most rows of one commit.
const GROUP: usize = 64;

type Waiting = (String, oneshot::Sender<()>);

/// Serves `/callback` and `/stream` until it is killed.
pub(crate) async fn serve(folder: PathBuf, port: u16) {
    let (to_bus, from_http) = mpsc::channel::<Waiting>(4096);
    let (to_store, from_bus) = mpsc::channel::<String>(65_536);
    let (to_sockets, _) = broadcast::channel::<String>(65_536);
    actix_web::rt::spawn(bus(folder.join("bus.db"), from_http, to_store));
    actix_web::rt::spawn(store(folder.join("store.db"), from_bus, to_sockets.clone()));
    let state = web::Data::new((to_bus, to_sockets));
    HttpServer::new(move || {
        App::new()
            .app_data(state.clone())
            .route("/callback", web::post().to(callback))
            .route("/stream", web::get().to(stream))
    })
    .workers(2)
    .tcp_nodelay(true)
    .bind(("127.0.0.1", port))
    .expect("a port")
    .run()
    .await
    .expect("it serves");
}

type State = web::Data<(mpsc::Sender<Waiting>, broadcast::Sender<String>)>;

/// Whether the body has its right signature.
pub(crate) fn is_signed(request: &HttpRequest, body: &[u8]) -> bool {
    let mut mac = Hmac::<Sha256>::new_from_slice(load::APP_SECRET.as_bytes()).expect("any key fits");
    mac.update(body);
    let given = request.headers().get("X-Hub-Signature-256").and_then(|value| value.to_str().ok());
    let given = given.and_then(|text| text.strip_prefix("sha256=")).unwrap_or_default();
    let bytes: Vec<u8> = (0..given.len() / 2)
        .filter_map(|at| u8::from_str_radix(&given[at * 2..at * 2 + 2], 16).ok())
        .collect();
    mac.verify_slice(&bytes).is_ok()
}

async fn callback(request: HttpRequest, body: web::Bytes, state: State) -> HttpResponse {
    if !is_signed(&request, &body) {
        return HttpResponse::Unauthorized().finish();
    }
    let parsed: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
    let message = &parsed["entry"][0]["changes"][0]["value"]["messages"][0];
    let (done, committed) = oneshot::channel();
    state.0.send((message.to_string(), done)).await.expect("the bus runs");
    committed.await.expect("a commit");
    HttpResponse::Ok().body("EVENT_RECEIVED")
}

async fn bus(path: PathBuf, mut from_http: mpsc::Receiver<Waiting>, to_store: mpsc::Sender<String>) {
    let mut file = raw::bare(&path).await;
    let mut group = Vec::with_capacity(GROUP);
    while from_http.recv_many(&mut group, GROUP).await > 0 {
        let rows: Vec<_> = group.iter().map(|(payload, _)| ("key".to_owned(), payload.clone())).collect();
        let mut tx = file.begin().await.expect("a transaction");
        raw::insert(&mut tx, "bus", &rows).await;
        tx.commit().await.expect("a commit");
        for (payload, done) in group.drain(..) {
            // The caller may have gone away meanwhile.
            let _gone = done.send(());
            to_store.send(payload).await.expect("the store runs");
        }
    }
}

async fn store(path: PathBuf, mut from_bus: mpsc::Receiver<String>, to_sockets: broadcast::Sender<String>) {
    let mut file = raw::bare(&path).await;
    let mut group = Vec::with_capacity(GROUP);
    while from_bus.recv_many(&mut group, GROUP).await > 0 {
        let rows: Vec<_> = group.iter().map(|payload| ("key".to_owned(), payload.clone())).collect();
        let keys: Vec<_> = group.iter().map(|_| ("m|whatsapp:305|wamid".to_owned(), String::new())).collect();
        let mut tx = file.begin().await.expect("a transaction");
        raw::insert(&mut tx, "inbox", &keys).await;
        raw::insert(&mut tx, "messages", &rows).await;
        raw::insert(&mut tx, "log", &rows).await;
        tx.commit().await.expect("a commit");
        for payload in group.drain(..) {
            // Nobody listens yet.
            let _nobody = to_sockets.send(payload);
        }
    }
}

async fn stream(request: HttpRequest, body: web::Payload, state: State) -> actix_web::Result<HttpResponse> {
    let (answer, mut session, _messages) = actix_ws::handle(&request, body)?;
    let mut events = state.1.subscribe();
    actix_web::rt::spawn(async move {
        while let Ok(event) = events.recv().await {
            if session.text(event).await.is_err() {
                return;
            }
        }
    });
    Ok(answer)
}

/// How long a child process may take to listen.
pub(crate) const START: Duration = Duration::from_secs(10);
