//! The contract on the embedded bus, and the clauses that are its own (B15, B16).

use std::path::PathBuf;

use super::*;
use crate::bus::contract::{self, Fixture, Limits, Process, Role, SUBJECTS, TOPICS};

/// A directory, removed with the fixture that made it.
struct Directory {
    dir: PathBuf,
    _home: Option<tempfile::TempDir>,
}

#[async_trait]
impl Fixture for Directory {
    const CHILD: &'static str = concat!(module_path!(), "::child");

    async fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        Self { dir: home.path().join("bus"), _home: Some(home) }
    }

    fn place(&self) -> String {
        self.dir.to_str().unwrap().to_owned()
    }

    fn at(place: &str) -> Self {
        Self { dir: place.into(), _home: None }
    }

    async fn open_with(&self, limits: Limits) -> Result<Arc<dyn Bus>, BusError> {
        let default = Options::default();
        let options = Options {
            items_max: limits.items_max.unwrap_or(default.items_max),
            bytes_max: limits.bytes_max.unwrap_or(default.bytes_max),
            // A machine may well keep its temporary files in memory; here only processes die.
            volatile_allowed: true,
            ..default
        };
        open(&self.dir, options, Clock::system(), TOPICS, SUBJECTS).await
    }
}

contract::bus_contract!(Directory);

#[tokio::test]
async fn b16_a_second_process_is_refused() {
    let fixture = Directory::new().await;
    let mut other = Process::start(&fixture, Role::Hold);
    assert_eq!(other.hear().await, "open");
    let refused = fixture.open_with(Limits::default()).await.map(|_| ()).unwrap_err();
    assert!(matches!(&refused, BusError::Refused(_)), "{refused}");
    assert!(refused.to_string().contains("another process already uses"), "{refused}");
    other.kill().await;
    fixture.open().await.close().await;
}
