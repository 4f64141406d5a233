//! Which backends cannot be reached from here, found out without opening them: for `check-config`,
//! which changes nothing anywhere. `doctor` goes on and opens them.

use std::time::Duration;

use crate::roles::Needs;
use crate::{Config, app};

/// How long a connection may take.
const CONNECT_DEADLINE: Duration = Duration::from_secs(3);

/// Tries to connect to every backend that is reached over the network; its setting and a sentence for
/// each that does not let us. User names and passwords are not in it.
pub async fn unreachable(config: &Config) -> anyhow::Result<Vec<(&'static str, String)>> {
    let mut sentences = Vec::new();
    for what in [Needs::Bus, Needs::Store, Needs::Kv] {
        let Some((host, port)) = place(&app::url_of(config, what)?) else { continue };
        let connecting = tokio::net::TcpStream::connect((host.as_str(), port));
        let why = match tokio::time::timeout(CONNECT_DEADLINE, connecting).await {
            Ok(Ok(_)) => continue,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} s", CONNECT_DEADLINE.as_secs()),
        };
        sentences.push((what.setting(), format!("{host}:{port} cannot be reached from here: {why}")));
    }
    Ok(sentences)
}

/// Host and port of an address; nothing for what is not over the network, such as a socket's file.
fn place(url: &str) -> Option<(String, u16)> {
    let (scheme, rest) = url.split_once("://")?;
    let usual = match scheme {
        "amqp" => 5672,
        "amqps" => 5671,
        "postgres" | "postgresql" => 5432,
        "redis" | "rediss" => 6379,
        _ => return None,
    };
    let authority = rest.split(['/', '?', '#']).next()?;
    let hosts = authority.rsplit_once('@').map_or(authority, |(_, hosts)| hosts);
    // Of several, the first one.
    let host = hosts.split(',').next()?;
    if let Some((six, port)) = host.strip_prefix('[').and_then(|host| host.split_once(']')) {
        let port = port.strip_prefix(':').map_or(Some(usual), |port| port.parse().ok())?;
        return Some((six.to_owned(), port));
    }
    let (name, port) = match host.split_once(':') {
        Some((name, port)) => (name, port.parse().ok()?),
        None => (host, usual),
    };
    (!name.is_empty()).then(|| (name.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(urls: &[&str]) -> Config {
        let sets: Vec<String> = urls.iter().map(|set| (*set).to_owned()).collect();
        Config::from_layers(None, Vec::new(), &sets).unwrap()
    }

    #[test]
    fn a_place_is_host_and_port_and_nothing_secret() {
        for (url, host, port) in [
            ("amqp://loket:hunter2@broker/vhost", "broker", 5672),
            ("amqps://loket:hunter2@broker:1/%2f", "broker", 1),
            ("postgres://loket:hunter2@db.example:6000/loket?sslmode=require", "db.example", 6000),
            ("postgresql://db/loket", "db", 5432),
            ("redis://:hunter2@[::1]:7000/0", "::1", 7000),
            ("rediss://[::1]", "::1", 6379),
            ("amqp://a,b", "a", 5672),
        ] {
            assert_eq!(place(url), Some((host.to_owned(), port)), "{url}");
        }
        for url in ["embedded:var/bus", "sqlite:x", "memory:", "postgres:///loket?host=/run/pg", "amqp://h:x"]
        {
            assert_eq!(place(url), None, "{url}");
        }
    }

    #[tokio::test]
    async fn each_backend_that_is_away_is_named_without_its_password() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let there = taken.local_addr().unwrap().port();
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let gone = free.local_addr().unwrap().port();
        drop(free);
        let away = config(&[
            &format!("bus.url=amqp://loket:hunter2@127.0.0.1:{gone}/%2f"),
            &format!("store.url=postgres://loket:hunter2@127.0.0.1:{there}/loket"),
            &format!("kv.url=redis://:hunter2@127.0.0.1:{gone}/"),
        ]);
        let sentences = unreachable(&away).await.unwrap();
        assert_eq!(sentences.len(), 2, "{sentences:?}");
        assert_eq!((sentences[0].0, sentences[1].0), ("bus.url", "kv.url"), "{sentences:?}");
        assert!(!format!("{sentences:?}").contains("hunter2"), "{sentences:?}");
        assert_eq!(unreachable(&config(&[])).await.unwrap(), [], "embedded ones are here");
    }
}
