//! The simulator as its users see it: over HTTP, with a receiver of callbacks that writes down what
//! it gets.
#![expect(clippy::disallowed_methods, reason = "tests make their own clients")]

mod callbacks;
mod channels;
mod faults;
mod messenger;
mod own_api;
mod whatsapp;

use std::collections::VecDeque;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use bytes::Bytes;
use loket_backbone::clock::Clock;
use loket_backbone::secret::Secret;
use loket_backbone::tasks::Tasks;
use serde_json::{Value, json};

use super::{NewCustomer, Number, Page, Platform, Rules, Settings, run};

pub(super) const NUMBER: &str = "305000000000201";
pub(super) const WABA: &str = "215000000000101";
pub(super) const PAGE: &str = "110000000000501";
pub(super) const PSID: &str = "7300000000000042";
pub(super) const SANNE: &str = "31600000042";
pub(super) const SANNE_BSUID: &str = "NL.25086514285491037391";
pub(super) const MILA_BSUID: &str = "NL.59025070390671455864";
pub(super) const WA_TOKEN: &str = "whatsapp-token";
pub(super) const PAGE_TOKEN: &str = "page-token";
pub(super) const SECRET: &str = "loket-test-secret";

/// One callback, as it arrived.
#[derive(Clone, Debug)]
pub(super) struct Got {
    pub(super) path: String,
    pub(super) signature: Option<String>,
    pub(super) body: Bytes,
}

impl Got {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

#[derive(Default)]
pub(super) struct Receiver {
    got: Mutex<Vec<Got>>,
    /// What the next callbacks are answered; then always 200.
    answers: Mutex<VecDeque<u16>>,
}

async fn receive(request: HttpRequest, body: Bytes, receiver: web::Data<Receiver>) -> HttpResponse {
    let challenge =
        web::Query::<std::collections::BTreeMap<String, String>>::from_query(request.query_string());
    if request.method() == "GET" {
        let query = challenge.unwrap();
        return match query.get("hub.verify_token").map(String::as_str) {
            Some("right") => HttpResponse::Ok().body(query["hub.challenge"].clone()),
            _ => HttpResponse::Forbidden().finish(),
        };
    }
    let signature = request.headers().get("x-hub-signature-256");
    let signature = signature.map(|value| value.to_str().unwrap().to_owned());
    receiver.got.lock().unwrap().push(Got { path: request.path().to_owned(), signature, body });
    let status = receiver.answers.lock().unwrap().pop_front().unwrap_or(200);
    HttpResponse::build(StatusCode::from_u16(status).unwrap()).finish()
}

/// A simulator with a number, a Page, three customers, and somebody who gets its callbacks.
pub(super) struct Bench {
    pub(super) base: String,
    pub(super) clock: Clock,
    client: reqwest::Client,
    receiver: Arc<Receiver>,
    tasks: Tasks,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.tasks.stop_sign().cancel();
    }
}

pub(super) fn settings(callbacks: &str) -> Settings {
    let rules =
        Rules { sent_ms: 1, delivered_ms: 1, read_ms: 1, retry_ms: 5, retry_ms_max: 20, ..Rules::default() };
    let customer = |id: &str, name: &str| NewCustomer {
        id: Some(id.to_owned()),
        name: Some(name.to_owned()),
        ..NewCustomer::default()
    };
    Settings {
        listen: "127.0.0.1:0".to_owned(),
        public_url: None,
        callback_whatsapp: format!("{callbacks}/callbacks/whatsapp"),
        callback_messenger: format!("{callbacks}/callbacks/messenger"),
        app_secret_whatsapp: Secret::new(SECRET),
        app_secret_messenger: Secret::new(SECRET),
        numbers: vec![Number {
            phone_number_id: NUMBER.to_owned(),
            display: "31201234567".to_owned(),
            waba_id: WABA.to_owned(),
            token: Secret::new(WA_TOKEN),
        }],
        pages: vec![Page {
            page_id: PAGE.to_owned(),
            token: Secret::new(PAGE_TOKEN),
            app_id: "900000000000001".to_owned(),
        }],
        customers: vec![
            NewCustomer {
                phone: Some(SANNE.to_owned()),
                bsuid: Some(SANNE_BSUID.to_owned()),
                ..customer("sanne", "Sanne de Wit")
            },
            NewCustomer {
                username: Some("mila.bakt".to_owned()),
                bsuid: Some(MILA_BSUID.to_owned()),
                hides_phone: true,
                ..customer("mila", "Mila")
            },
            NewCustomer {
                platform: Some(Platform::Messenger),
                psid: Some(PSID.to_owned()),
                ..customer("lotte", "Lotte Visser")
            },
        ],
        rules,
        shop: None,
    }
}

impl Bench {
    pub(super) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(super) async fn start_with(change: impl FnOnce(&mut Settings)) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let receiver = Arc::new(Receiver::default());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let data = web::Data::from(Arc::clone(&receiver));
        let server = HttpServer::new(move || {
            let any = web::to(receive);
            App::new().app_data(data.clone()).app_data(web::PayloadConfig::new(8 << 20)).default_service(any)
        });
        let server = server.workers(1).disable_signals().listen(listener).unwrap().run();
        let tasks = Tasks::new();
        tasks.spawn("receiver", async move {
            let _ = server.await;
        });
        let mut settings = settings(&format!("http://{address}"));
        change(&mut settings);
        let clock = Clock::movable();
        let running = run(settings, clock.clone(), &tasks).await.unwrap();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { base: format!("http://{}", running.address), clock, client, receiver, tasks }
    }

    /// The next callbacks are answered so; then 200.
    pub(super) fn will_answer(&self, statuses: &[u16]) {
        self.receiver.answers.lock().unwrap().extend(statuses);
    }

    pub(super) fn got(&self) -> Vec<Got> {
        self.receiver.got.lock().unwrap().clone()
    }

    pub(super) fn forget(&self) {
        self.receiver.got.lock().unwrap().clear();
    }

    /// Waits until `look` finds something; fails after five seconds.
    pub(super) async fn eventually<T>(&self, what: &str, look: impl Fn(&[Got]) -> Option<T>) -> T {
        let waiting = async {
            loop {
                if let Some(found) = look(&self.got()) {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let got = tokio::time::timeout(Duration::from_secs(5), waiting).await;
        got.unwrap_or_else(|_| panic!("{what}; got {:?}", self.got()))
    }

    /// The items at `pointer` of all callbacks, in order of arrival.
    pub(super) fn items(got: &[Got], pointer: &str) -> Vec<Value> {
        got.iter().filter_map(|got| got.json().pointer(pointer).cloned()).collect()
    }

    /// Waits for the statuses of a WhatsApp message to be these.
    pub(super) async fn statuses(&self, id: &str, wanted: &[&str]) -> Vec<Value> {
        self.eventually(&format!("statuses {wanted:?} of {id}"), |got| {
            let mut own = Self::items(got, "/entry/0/changes/0/value/statuses/0");
            own.retain(|status| status["id"] == id);
            let words: std::collections::BTreeSet<_> =
                own.iter().map(|status| status["status"].as_str().unwrap().to_owned()).collect();
            (words.len() == wanted.len() && wanted.iter().all(|word| words.contains(*word))).then_some(own)
        })
        .await
    }

    pub(super) async fn call(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: Option<&Value>,
    ) -> Result<(u16, Value), reqwest::Error> {
        let url = format!("{}{path}", self.base);
        let mut request = self.client.request(method.parse().unwrap(), url);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await?;
        let status = answer.status().as_u16();
        let text = answer.text().await?;
        Ok((status, serde_json::from_str(&text).unwrap_or(Value::String(text))))
    }

    /// Our own API; anything but 2xx fails the test.
    pub(super) async fn own(&self, method: &str, path: &str, body: Value) -> Value {
        let body = (!body.is_null()).then_some(&body);
        let (status, answer) = self.call(method, &format!("/sim/v1{path}"), None, body).await.unwrap();
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        answer
    }

    /// A customer does something; answers the first id.
    pub(super) async fn say(&self, who: &str, say: Value) -> String {
        let answer = self.own("POST", &format!("/phones/{who}/messages"), say).await;
        answer["message_ids"][0].as_str().unwrap().to_owned()
    }

    /// A WhatsApp call to `/messages`.
    pub(super) async fn whatsapp(&self, body: Value) -> (u16, Value) {
        let mut body = body;
        body["messaging_product"] = json!("whatsapp");
        let path = format!("/v26.0/{NUMBER}/messages");
        self.call("POST", &path, Some(WA_TOKEN), Some(&body)).await.unwrap()
    }

    /// A WhatsApp send to Sanne that is taken; answers the id.
    pub(super) async fn send(&self, body: Value) -> String {
        let mut body = body;
        if body.get("to").is_none() && body.get("recipient").is_none() {
            body["to"] = json!(format!("+{SANNE}"));
        }
        let (status, answer) = self.whatsapp(body).await;
        assert_eq!(status, 200, "{answer}");
        answer["messages"][0]["id"].as_str().unwrap().to_owned()
    }

    /// A Messenger call to `/messages`.
    pub(super) async fn messenger(&self, body: Value) -> (u16, Value) {
        let path = format!("/v26.0/{PAGE}/messages?access_token={PAGE_TOKEN}");
        self.call("POST", &path, None, Some(&body)).await.unwrap()
    }

    pub(super) async fn faults(&self, faults: Value) {
        self.own("PUT", "/faults", faults).await;
    }

    /// Changes some rules.
    pub(super) async fn rules(&self, change: Value) {
        let mut rules = self.own("GET", "/rules", Value::Null).await;
        rules.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        self.own("PUT", "/rules", rules).await;
    }

    /// The bubbles of a phone's first conversation.
    pub(super) async fn bubbles(&self, who: &str) -> Vec<Value> {
        let phone = self.own("GET", &format!("/phones/{who}"), Value::Null).await;
        phone["conversations"][0]["messages"].as_array().cloned().unwrap_or_default()
    }
}

/// The code of a Graph error.
pub(super) fn code(answer: &(u16, Value)) -> (u16, i64, Option<i64>) {
    let error = &answer.1["error"];
    (answer.0, error["code"].as_i64().unwrap_or(-1), error["error_subcode"].as_i64())
}
