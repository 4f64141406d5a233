//! The roles: one table of what can run in a process of its own, what each needs open, what it
//! starts, and when it can do its work.

use std::net::SocketAddr;
use std::pin::Pin;

use loket_agent_api::AgentApi;
use loket_backbone::tasks::Tasks;
use loket_connectors::Connectors;
use loket_hub::Hub;

/// A service that a role needs open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// `bus.url`.
    Bus,
    /// `store.url`.
    Store,
    /// `kv.url`.
    Kv,
}

impl Needs {
    /// The setting that says where it is.
    pub fn setting(self) -> &'static str {
        match self {
            Self::Bus => "bus.url",
            Self::Store => "store.url",
            Self::Kv => "kv.url",
        }
    }

    /// The scheme of the backend that lives in one process, and what to write for one that several
    /// can share.
    fn embedded(self) -> (&'static str, &'static str) {
        match self {
            Self::Bus => ("embedded:", "amqp://USER:PASSWORD@HOST/VHOST (RabbitMQ)"),
            Self::Store => ("sqlite:", "postgres://USER:PASSWORD@HOST/DATABASE (PostgreSQL)"),
            Self::Kv => ("memory:", "redis://HOST/ (Redis), or none: to go without"),
        }
    }
}

/// A part of Loket that can run in a process of its own, any number of times.
pub struct Role {
    /// Its name in `--roles`.
    pub name: &'static str,
    /// What it does, in one sentence.
    pub does: &'static str,
    /// What it needs open; nothing else is opened for it.
    pub needs: &'static [Needs],
    /// Starts its workers.
    pub(crate) start: fn(&Parts, &Tasks),
    /// Whether it can do its work right now (`reliability-contract` §8).
    pub(crate) ready: fn(&Parts) -> Ready<'_>,
}

/// A readiness that is being looked up; the error is one sentence.
pub(crate) type Ready<'a> = Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'a>>;

/// What the roles of one process are made of. A part is there when a role of the process is it or
/// needs it.
#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) connectors: Option<Connectors>,
    pub(crate) hub: Option<Hub>,
    pub(crate) api: Option<AgentApi>,
}

/// The role that takes callbacks and web chat in.
pub const CONNECTORS: &str = "connectors";
/// The role whose workers write threads.
pub const HUB: &str = "hub";
/// The role that serves agents and programs.
pub const AGENT_API: &str = "agent-api";

/// All roles. Each may run in any number of processes, on backends that they can share.
pub const ROLES: &[Role] = &[
    Role {
        name: CONNECTORS,
        does: "takes callbacks and web chat in, sends replies out",
        needs: &[Needs::Bus, Needs::Kv],
        start: |parts, tasks| {
            if let Some(connectors) = &parts.connectors {
                connectors.start(tasks);
            }
        },
        ready: |parts| Box::pin(async { parts.connectors.as_ref().map_or(Ok(()), Connectors::ready) }),
    },
    Role {
        name: HUB,
        does: "makes threads of what comes in, and gives replies out",
        needs: &[Needs::Bus, Needs::Store, Needs::Kv],
        start: |parts, tasks| {
            if let Some(hub) = &parts.hub {
                hub.start(tasks);
            }
        },
        ready: |parts| {
            Box::pin(async {
                let Some(hub) = &parts.hub else { return Ok(()) };
                store(hub).await?;
                let answers = hub.bus_answers().await;
                if answers { Ok(()) } else { Err("The bus does not answer.".to_owned()) }
            })
        },
    },
    Role {
        name: AGENT_API,
        does: "serves the inbox over REST and WebSocket",
        needs: &[Needs::Bus, Needs::Store, Needs::Kv],
        start: |parts, tasks| {
            if let Some(api) = &parts.api {
                api.start(tasks);
            }
        },
        ready: |parts| {
            Box::pin(async {
                let Some(hub) = &parts.hub else { return Ok(()) };
                store(hub).await
            })
        },
    },
];

async fn store(hub: &Hub) -> Result<(), String> {
    if hub.store_answers().await { Ok(()) } else { Err("The store does not answer.".to_owned()) }
}

/// The roles of one process.
#[derive(Clone)]
pub struct Chosen(Vec<&'static Role>);

impl Chosen {
    /// All of them.
    pub fn all() -> Self {
        Self(ROLES.iter().collect())
    }

    /// Those named, or all when none is.
    pub fn of(names: &[String]) -> anyhow::Result<Self> {
        let mut roles: Vec<&'static Role> = Vec::new();
        for name in names {
            let Some(role) = ROLES.iter().find(|role| role.name == name) else {
                anyhow::bail!("--roles {name}: there is no such role; there are {}", known());
            };
            if !roles.iter().any(|chosen| chosen.name == role.name) {
                roles.push(role);
            }
        }
        Ok(if roles.is_empty() { Self::all() } else { Self(roles) })
    }

    /// Whether the role of that name is among them.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|role| role.name == name)
    }

    /// Whether one of them needs this open.
    pub fn need(&self, what: Needs) -> bool {
        self.0.iter().any(|role| role.needs.contains(&what))
    }

    /// Whether other processes must run the roles that are missing here.
    pub fn is_split(&self) -> bool {
        self.0.len() < ROLES.len()
    }

    /// Their names, as `--roles` takes them.
    pub fn names(&self) -> String {
        self.0.iter().map(|role| role.name).collect::<Vec<_>>().join(",")
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &'static Role> {
        self.0.iter().copied()
    }

    /// Refuses a split on backends that live in one process, with each setting to change. `url` gives
    /// the effective value of a setting.
    pub fn check(&self, url: impl Fn(Needs) -> anyhow::Result<String>) -> anyhow::Result<()> {
        if !self.is_split() {
            return Ok(());
        }
        let mut wrong = Vec::new();
        for what in [Needs::Bus, Needs::Store, Needs::Kv] {
            let (scheme, instead) = what.embedded();
            if self.need(what) && url(what)?.starts_with(scheme) {
                let setting = what.setting();
                wrong.push(format!("{setting} is {scheme}, which lives in one process: set it to {instead}"));
            }
        }
        anyhow::ensure!(
            wrong.is_empty(),
            "--roles {}: roles in processes of their own need backends that these can share. {}. Or leave \
             --roles away and run everything in one process",
            self.names(),
            wrong.join(". ")
        );
        Ok(())
    }
}

fn known() -> String {
    ROLES.iter().map(|role| role.name).collect::<Vec<_>>().join(", ")
}

/// What goes missing without a kv that all processes share; said once at start.
pub(crate) fn without_kv(url: &str) -> Option<&'static str> {
    match url {
        "none:" => Some(
            "kv.url is none: processes do not wake each other, so each step may take a second; web chat has \
             no live sockets and is read over REST; presence is known to one process only, typing is not \
             shown, and nobody is held back for going too fast. Nothing is lost",
        ),
        _ => None,
    }
}

/// Where a process listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Callbacks and web chat.
    pub http: SocketAddr,
    /// The agent API, health and metrics.
    pub api: SocketAddr,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(list: &[&str]) -> anyhow::Result<Chosen> {
        Chosen::of(&list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
    }

    fn embedded(what: Needs) -> String {
        format!("{}somewhere", what.embedded().0)
    }

    fn shared(what: Needs) -> String {
        let url = match what {
            Needs::Bus => "amqp://host",
            Needs::Store => "postgres://host/loket",
            Needs::Kv => "redis://host",
        };
        url.to_owned()
    }

    #[test]
    fn all_roles_run_unless_some_are_named() {
        assert!(!chosen(&[]).unwrap().is_split());
        let all = chosen(&["hub", "connectors", "agent-api", "hub"]).unwrap();
        assert!(!all.is_split());
        assert!(all.check(|what| Ok(embedded(what))).is_ok(), "one process needs nothing shared");
        let some = chosen(&["hub"]).unwrap();
        assert!(some.is_split() && some.has(HUB) && !some.has(CONNECTORS));
        let error = chosen(&["hubb"]).err().unwrap().to_string();
        assert!(error.contains("connectors, hub, agent-api"), "{error}");
    }

    #[test]
    fn a_split_on_embedded_backends_names_each_setting_that_the_role_needs() {
        for (roles, wrong) in [
            (&["hub"][..], &["bus.url", "store.url", "kv.url"][..]),
            (&["agent-api"], &["bus.url", "store.url", "kv.url"]),
            (&["hub", "agent-api"], &["bus.url", "store.url", "kv.url"]),
            (&["connectors"], &["bus.url", "kv.url"]),
        ] {
            let error = chosen(roles).unwrap().check(|what| Ok(embedded(what))).unwrap_err().to_string();
            for setting in ["bus.url", "store.url", "kv.url"] {
                assert_eq!(error.contains(setting), wrong.contains(&setting), "{roles:?}: {error}");
            }
            assert!(chosen(roles).unwrap().check(|what| Ok(shared(what))).is_ok(), "{roles:?}");
        }
        let none = |what| Ok(if what == Needs::Kv { "none:".to_owned() } else { shared(what) });
        assert!(chosen(&["hub"]).unwrap().check(none).is_ok(), "kv may be done without");
        let one = |what| Ok(if what == Needs::Store { embedded(what) } else { shared(what) });
        let error = chosen(&["hub"]).unwrap().check(one).unwrap_err().to_string();
        assert!(error.contains("store.url") && !error.contains("kv.url"), "{error}");
    }
}
