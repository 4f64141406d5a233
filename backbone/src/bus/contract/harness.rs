//! What the clauses are told with: items, leases with a deadline, and processes to kill.

use std::collections::HashMap;
use std::fmt::Display;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::Fixture;
use crate::bus::{Bus, BusError, Item, Lease};

/// How long a test waits for something that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// How long a test watches that something does not happen.
const GLANCE: Duration = Duration::from_millis(50);

pub(crate) fn item(id: impl Display + Copy, key: impl Display + Copy) -> Item {
    let id = id.to_string();
    let payload = format!("payload of {id}").into();
    Item { id, key: key.to_string(), payload, trace: "trace".to_owned() }
}

pub(crate) fn items(count: usize, keys: usize) -> Vec<Item> {
    (0..count).map(|number| item(number, number % keys)).collect()
}

/// Leases of a topic, which must come.
pub(crate) async fn lease(bus: &dyn Bus, topic: &str, group: &str, max: usize) -> Vec<Box<dyn Lease>> {
    let leased = tokio::time::timeout(PATIENCE, bus.lease(topic, group, max)).await;
    leased.expect("nothing was leased in time").unwrap()
}

/// So many leases of a topic, which must come, in one go or in several.
pub(crate) async fn lease_many(bus: &dyn Bus, topic: &str, group: &str, count: usize) -> Vec<Box<dyn Lease>> {
    let mut leases = Vec::new();
    while leases.len() < count {
        leases.extend(lease(bus, topic, group, count - leases.len()).await);
    }
    leases
}

/// The one lease that is ready.
pub(crate) async fn lease_one(bus: &dyn Bus, topic: &str, group: &str) -> Box<dyn Lease> {
    lease(bus, topic, group, 1).await.pop().unwrap()
}

/// Nothing is ready.
pub(crate) async fn assert_none_ready(bus: &dyn Bus, topic: &str, group: &str) {
    let leased = tokio::time::timeout(GLANCE, bus.lease(topic, group, 10)).await;
    let ids: Option<Vec<_>> =
        leased.ok().map(|leases| leases.unwrap().iter().map(|lease| lease.item().id.clone()).collect());
    assert_eq!(ids, None);
}

/// Leases and acknowledges until nothing is left; what came, in the order in which it came.
pub(crate) async fn drain(bus: &dyn Bus, topic: &str, group: &str) -> Vec<(Item, bool)> {
    let mut came = Vec::new();
    while bus.depth(topic, group).await.unwrap().items > 0 {
        for lease in lease(bus, topic, group, 64).await {
            came.push((lease.item().clone(), lease.leased_before()));
            lease.ack().await.unwrap();
        }
    }
    came
}

pub(crate) fn ids(came: &[(Item, bool)]) -> Vec<String> {
    came.iter().map(|(item, _)| item.id.clone()).collect()
}

/// The keys and their items, in the order in which they stand.
pub(crate) fn lanes(items: &[Item]) -> HashMap<String, Vec<Item>> {
    let mut lanes: HashMap<String, Vec<Item>> = HashMap::new();
    for item in items {
        lanes.entry(item.key.clone()).or_default().push(item.clone());
    }
    lanes
}

/// The ids of every key in the order in which they came.
pub(crate) fn by_key(came: &[(Item, bool)]) -> HashMap<String, Vec<String>> {
    let mut lanes: HashMap<String, Vec<String>> = HashMap::new();
    for (item, _) in came {
        lanes.entry(item.key.clone()).or_default().push(item.id.clone());
    }
    lanes
}

/// Waits until `holds` says yes.
pub(crate) async fn eventually<F, A>(what: &str, mut holds: F)
where
    F: FnMut() -> A,
    A: Future<Output = bool>,
{
    let wait = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, wait).await.is_ok(), "never: {what}");
}

/// A clause that hangs is broken.
pub(crate) async fn within_reason(clause: impl Future<Output = ()>) {
    tokio::time::timeout(PATIENCE * 3, clause).await.expect("it hangs");
}

/// Lets so much time pass as a clause speaks of.
pub(crate) async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

/// Tells a [`Process`] what to be.
pub(crate) const CHILD_ENV: &str = "LOKET_TEST_CHILD";

/// What another process does. Each says something about everything it has done, and then stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Publishes numbers, one by one, for ever, and says each one that is confirmed.
    Publish,
    /// Leases 10 items and says them.
    Lease,
    /// Leases 10 items, acknowledges them and says them.
    Acknowledge,
    /// Leases an item, publishes it to the topic `aside`, and says it.
    SetAside,
    /// Opens the bus.
    Hold,
}

const ROLES: [Role; 5] = [Role::Publish, Role::Lease, Role::Acknowledge, Role::SetAside, Role::Hold];

/// Another process with the bus of a fixture, killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    said: Lines<BufReader<ChildStdout>>,
}

impl Process {
    pub(crate) fn start<F: Fixture>(fixture: &F, role: Role) -> Self {
        // Tests are named without their crate.
        let (_, test) = F::CHILD.split_once("::").unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([test, "--exact", "--ignored", "--nocapture"])
            .env(CHILD_ENV, format!("{role:?} {}", fixture.place()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, said }
    }

    /// The next thing that it says.
    pub(crate) async fn hear(&mut self) -> String {
        let hear = async {
            while let Some(line) = self.said.next_line().await.unwrap() {
                if let Some((_, said)) = line.split_once("said: ") {
                    return said.to_owned();
                }
            }
            panic!("the process ended");
        };
        tokio::time::timeout(PATIENCE, hear).await.expect("the process says nothing")
    }

    pub(crate) async fn hear_many(&mut self, count: usize) -> Vec<String> {
        let mut heard = Vec::new();
        for _ in 0..count {
            heard.push(self.hear().await);
        }
        heard
    }

    /// SIGKILL; what it had said before that is answered.
    pub(crate) async fn kill(mut self) -> Vec<String> {
        self.child.kill().await.unwrap();
        let mut last = Vec::new();
        while let Some(line) = self.said.next_line().await.unwrap() {
            if let Some((_, said)) = line.split_once("said: ") {
                last.push(said.to_owned());
            }
        }
        last
    }
}

fn say(what: &str) {
    println!("said: {what}");
}

/// The other process.
pub(crate) async fn be_child<F: Fixture>() {
    let Some(order) = std::env::var_os(CHILD_ENV) else { return };
    let order = order.into_string().unwrap();
    let (role, place) = order.split_once(' ').unwrap();
    let role = ROLES.into_iter().find(|known| format!("{known:?}") == role).unwrap();
    let bus = F::at(place).open().await;
    match role {
        Role::Publish => {
            let begun = bus.depth("line", "crew").await.unwrap().items;
            for number in begun.. {
                match bus.publish("line", &[item(number, number % 3)]).await {
                    Ok(()) => say(&number.to_string()),
                    Err(BusError::Deadline) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
        Role::Lease => {
            let leases = lease_many(&*bus, "line", "crew", 10).await;
            for lease in &leases {
                say(&lease.item().id);
            }
            std::future::pending::<()>().await;
            drop(leases);
        }
        Role::Acknowledge => {
            for lease in lease_many(&*bus, "line", "crew", 10).await {
                let id = lease.item().id.clone();
                lease.ack().await.unwrap();
                say(&id);
            }
            std::future::pending::<()>().await;
        }
        Role::SetAside => {
            let lease = lease_one(&*bus, "line", "crew").await;
            bus.publish("aside", &[lease.item().clone()]).await.unwrap();
            say(&lease.item().id);
            std::future::pending::<()>().await;
            drop(lease);
        }
        Role::Hold => {
            say("open");
            std::future::pending::<()>().await;
        }
    }
}
