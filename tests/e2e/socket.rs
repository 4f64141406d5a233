//! A live socket that is cut again and again while messages arrive: it misses nothing and gets
//! nothing twice.

use std::time::Duration;

use crate::harness::{Kind, Meta, Options, World, eventually, journeys};

journeys!(
    a_socket_that_reconnects_with_its_last_number_misses_nothing,
    a_socket_without_a_right_token_does_not_open
);

/// How many messages arrive, at 200 a second.
const MESSAGES: u64 = 1000;

async fn a_socket_that_reconnects_with_its_last_number_misses_nothing(kind: Kind) {
    let world = World::start(kind, Options::default()).await;
    let agent = world.agent("admin").await;
    let meta = world.meta();
    let traffic = tokio::spawn(async move {
        let mut tick = tokio::time::interval(Duration::from_millis(5));
        let mut calls = tokio::task::JoinSet::new();
        for number in 0..MESSAGES {
            tick.tick().await;
            let meta = meta.clone();
            calls.spawn(async move {
                let phone = format!("3160001{:04}", number % 50);
                let body = Meta::whatsapp_text(&phone, &format!("wamid.SOCK{number}"), "hoi", 1_795_253_400);
                assert_eq!(meta.post("whatsapp", body.to_string()).await, Some(200));
            });
        }
        while let Some(call) = calls.join_next().await {
            call.expect("answered");
        }
    });
    let (mut seen, mut received) = (Vec::new(), 0);
    let mut cut_after = 1;
    while received < MESSAGES {
        let last = seen.last().copied().unwrap_or(0);
        let mut stream = agent.stream(last).await;
        let mut here = 0;
        // Each connection lives for a different number of events.
        cut_after = cut_after % 97 + 13;
        while here < cut_after && received < MESSAGES {
            let Some(frame) = stream.frame(Duration::from_secs(20)).await else { break };
            if frame["type"] != "event" {
                continue;
            }
            seen.push(frame["event"]["seq"].as_i64().expect("a seq"));
            here += 1;
            received += u64::from(frame["event"]["type"] == "message.received");
        }
    }
    traffic.await.expect("the traffic ran");
    world.settled(&agent).await;
    let expected: Vec<i64> = (1..=*seen.last().expect("events")).collect();
    assert_eq!(seen, expected, "each number once, in order");
    world.finish().await;
}

async fn a_socket_without_a_right_token_does_not_open(kind: Kind) {
    let world = World::start(kind, Options::default()).await;
    let mut agent = world.agent("admin").await;
    assert!(agent.try_stream(0).await.is_some());
    let good = agent.token.clone();
    for bad in ["", "los_", "x", &good[..good.len() - 1]] {
        bad.clone_into(&mut agent.token);
        assert!(agent.try_stream(0).await.is_none(), "{} characters", bad.len());
    }
    agent.token = good;
    let (status, _) = agent.look("/v1/me").await;
    assert_eq!(status, 200);
    eventually("a socket whose session ends is closed", || async {
        let mut stream = agent.try_stream(0).await?;
        let out =
            world.http().delete(world.url("/v1/sessions")).bearer_auth(&agent.token).send().await.ok()?;
        assert!(out.status().is_success());
        while stream.frame(Duration::from_secs(10)).await.is_some() {}
        Some(())
    })
    .await;
    assert_eq!(agent.look("/v1/me").await.0, 401);
}
