//! A network that fails between Loket and the platform: what surely did not arrive is tried again, and
//! what may have arrived is never sent twice.

use std::time::{Duration, Instant};

use loket_backbone::trial::{Flow, Proxy};
use serde_json::{Value, json};

use crate::harness::{AgentClient, Kind, Options, World, eventually, free_port};

/// A world whose way to the platform leads through a proxy, and a thread to answer in.
struct Far {
    world: World,
    agent: AgentClient,
    proxy: Proxy,
    thread: String,
}

impl Far {
    async fn start() -> Self {
        // The proxy is there first, and learns afterwards where it leads.
        let simulator_port = free_port();
        let proxy = Proxy::before(format!("127.0.0.1:{simulator_port}")).await.expect("a proxy");
        let options = Options {
            simulator: true,
            simulator_port: Some(simulator_port),
            sets: vec![format!("graph.url=http://{}", proxy.address())],
        };
        let world = World::start(Kind::Embedded, options).await;
        let agent = world.agent("admin").await;
        world.simulator().types("sanne", "hallo").await;
        let thread = eventually("the thread", || async {
            let threads = agent.threads().await;
            threads.first().map(|thread| thread["id"].as_str().expect("an id").to_owned())
        })
        .await;
        Self { world, agent, proxy, thread }
    }

    /// Answers; the message's id.
    async fn answer(&self, words: &str) -> String {
        let path = format!("/v1/threads/{}/messages", self.thread);
        let body = json!({"content": {"type": "text", "text": words}, "to": "auto"});
        let (status, message) = self.agent.post(&path, &words.replace(' ', "-"), &body).await;
        assert_eq!(status, 201, "{message}");
        message["id"].as_str().expect("an id").to_owned()
    }

    async fn message(&self, id: &str) -> Value {
        let messages = self.agent.messages(&self.thread).await;
        messages.into_iter().find(|message| message["id"] == id).expect("it is in its thread")
    }

    async fn until_status(&self, id: &str, status: &str) -> Value {
        eventually(&format!("status {status}"), || async {
            let message = self.message(id).await;
            (message["status"] == status).then_some(message)
        })
        .await
    }

    /// How often each of our messages was taken there.
    async fn copies(&self) -> Vec<u64> {
        self.world.simulator().copies().await.into_values().collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_never_comes_leaves_one_copy_unconfirmed_until_its_status_comes() {
    let far = Far::start().await;
    // Statuses begin after Loket has waited in vain for the answer (15 s), so that both states are seen.
    let rules = json!({"sent_ms": 18_000, "delivered_ms": 100});
    far.world.simulator().put("/sim/v1/rules", &rules).await;
    far.proxy.set(Flow::ToServer).await;
    let id = far.answer("komt dit aan?").await;
    eventually("it is taken", || async { (far.copies().await == [1]).then_some(()) }).await;
    assert_eq!(far.message(&id).await["status"], "sending");
    let lost = far.until_status(&id, "unconfirmed").await;
    assert!(lost["external_id"].is_null(), "{lost}");
    far.proxy.set(Flow::Pass).await;
    let settled = far.until_status(&id, "delivered").await;
    assert!(settled["external_id"].is_string(), "{settled}");
    assert_eq!(far.copies().await, [1]);
    far.world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_platform_that_cannot_be_reached_is_tried_again_and_gets_one_copy() {
    let far = Far::start().await;
    far.proxy.set(Flow::Away).await;
    let id = far.answer("later dan").await;
    eventually("a try that failed", || async {
        let metrics = far.world.http().get(far.world.url("/metrics")).send().await.ok()?.text().await.ok()?;
        metrics.contains("loket_report_taken_total{outcome=\"not_sent\"}").then_some(())
    })
    .await;
    let status = far.message(&id).await["status"].clone();
    assert!(status == "queued" || status == "sending", "{status}");
    assert!(far.copies().await.is_empty());
    far.proxy.set(Flow::Pass).await;
    far.until_status(&id, "delivered").await;
    assert_eq!(far.copies().await, [1]);
    far.world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_platform_gets_one_copy_and_is_waited_for() {
    let far = Far::start().await;
    let latency = Duration::from_millis(400);
    far.proxy.set(Flow::Slow { latency, bytes_per_second: 4_000 }).await;
    let began = Instant::now();
    let id = far.answer("geduld").await;
    far.until_status(&id, "delivered").await;
    assert!(began.elapsed() >= latency, "{:?}", began.elapsed());
    assert_eq!(far.copies().await, [1]);
    far.world.finish().await;
}
