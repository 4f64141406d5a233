//! The topics that are read into the store: what their items are, how they are carried out,
//! and how one is set aside that cannot be.

use loket_backbone::bus::Item;
use loket_protocol::inbound::{Fact, INBOUND_VERSION, InboundEvent};
use loket_protocol::outbound::SendReport;
use loket_protocol::problem::{ParkReason, Problem, RawCallback};
use loket_protocol::topics;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Applied, apply};
use crate::hub::Inner;
use crate::parked::{self, Parking, Placeholder};
use crate::store::upkeep::{self, RawPart};
use crate::store::{StoreError, Tx, locks};

/// A topic that ingest reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// What customers and providers said.
    Inbound,
    /// What needs a person.
    Problems,
    /// Whole callback bodies.
    Callbacks,
    /// What became of sends.
    Reports,
}

impl Kind {
    /// All of them.
    pub(super) const ALL: [Self; 4] = [Self::Inbound, Self::Problems, Self::Callbacks, Self::Reports];

    /// The topic's name.
    pub(crate) fn topic(self) -> &'static str {
        match self {
            Self::Inbound => topics::INBOUND.name,
            Self::Problems => topics::PARKED.name,
            Self::Callbacks => topics::CALLBACKS.name,
            Self::Reports => topics::REPORTS.name,
        }
    }

    /// The group that hears it.
    pub(super) fn group(self) -> &'static str {
        match self {
            Self::Inbound => topics::INBOUND.group,
            Self::Problems => topics::PARKED.group,
            Self::Callbacks => topics::CALLBACKS.group,
            Self::Reports => topics::REPORTS.group,
        }
    }

    /// How many are carried out together (`reliability-contract` §12); fewer where they are large.
    pub(super) fn batch_max(self) -> usize {
        match self {
            Self::Inbound | Self::Callbacks | Self::Reports => 64,
            Self::Problems => 16,
        }
    }

    /// How many workers read it: while one of two is at the store, the other reads its items.
    pub(super) fn workers(self) -> usize {
        match self {
            Self::Inbound => 2,
            Self::Problems | Self::Callbacks | Self::Reports => 1,
        }
    }

    /// The topic of that name.
    pub(crate) fn of_topic(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.topic() == name)
    }
}

/// Why an item cannot be carried out, whoever tries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unfit {
    pub(super) reason: ParkReason,
    pub(super) error: String,
}

impl Unfit {
    /// It failed too often.
    pub(super) fn poison(error: String) -> Self {
        Self { reason: ParkReason::Poison, error }
    }
}

/// Items of one topic, read.
pub(crate) enum Work {
    Events(Vec<InboundEvent>),
    Problems(Vec<Problem>),
    Callbacks(Vec<RawCallback>),
    Reports(Vec<SendReport>),
}

/// Reads items; the first that cannot be read says why.
pub(super) fn read(kind: Kind, items: &[&Item]) -> Result<Work, Unfit> {
    fn all<T: Versioned>(items: &[&Item]) -> Result<Vec<T>, Unfit> {
        items.iter().map(|item| one(&item.payload)).collect()
    }
    Ok(match kind {
        Kind::Inbound => Work::Events(all(items)?),
        Kind::Problems => Work::Problems(all(items)?),
        Kind::Callbacks => Work::Callbacks(all(items)?),
        Kind::Reports => Work::Reports(all(items)?),
    })
}

/// The event of a parked item's payload. Only events can be carried out again; of the other topics
/// the payload is kept to be looked at.
pub(crate) fn read_events(kind: Kind, payload: &[u8]) -> Result<Vec<InboundEvent>, String> {
    match kind {
        Kind::Inbound => one(payload).map(|event| vec![event]).map_err(|unfit| unfit.error),
        Kind::Problems | Kind::Callbacks | Kind::Reports => {
            Err(format!("an item of the topic {:?} has nothing to show in a thread", kind.topic()))
        }
    }
}

/// The version that an item says wrote it; callbacks and reports say none.
trait Versioned: DeserializeOwned {
    fn version(&self) -> Option<u16>;
}

macro_rules! versioned {
    ($($of:ty => |$item:ident| $version:expr;)+) => {$(
        impl Versioned for $of {
            fn version(&self) -> Option<u16> {
                let $item = self;
                $version
            }
        }
    )+};
}

versioned! {
    InboundEvent => |item| Some(item.v);
    Problem => |item| Some(item.v);
    SendReport => |_item| None;
    RawCallback => |_item| None;
}

/// What can be told of an item's version when it cannot be read.
#[derive(Deserialize)]
struct Stranger {
    v: Option<u16>,
}

fn one<T: Versioned>(payload: &[u8]) -> Result<T, Unfit> {
    let read = serde_json::from_slice::<T>(payload);
    let version = match &read {
        Ok(item) => item.version(),
        Err(_) => serde_json::from_slice::<Stranger>(payload).ok().and_then(|item| item.v),
    };
    if let Some(version) = version.filter(|version| *version != INBOUND_VERSION) {
        return Err(Unfit {
            reason: ParkReason::Version,
            error: format!("an item of version {version}, and this build reads version {INBOUND_VERSION}"),
        });
    }
    // The words of serde_json name types and places, and may quote a value: only the place is kept.
    read.map_err(|error| Unfit {
        reason: ParkReason::Unreadable,
        error: format!(
            "not an item of this topic: {:?} at line {} column {}",
            error.classify(),
            error.line(),
            error.column()
        ),
    })
}

impl Work {
    /// Whether it may free a conversation whose next message waits to be sent: what became of a send
    /// may, and what a customer writes may not.
    pub(super) fn may_free(&self) -> bool {
        match self {
            Self::Events(events) => events.iter().any(|event| !matches!(event.fact, Fact::Message(_))),
            Self::Problems(_) | Self::Callbacks(_) => false,
            Self::Reports(_) => true,
        }
    }

    /// Carries items out in their order, in a transaction that the caller commits.
    pub(super) async fn carry_out(self, tx: &mut Tx, inner: &Inner) -> Result<Applied, StoreError> {
        match self {
            Self::Events(events) => apply(tx, &inner.house, &events).await,
            Self::Problems(problems) => {
                for problem in problems {
                    parked::take(tx, inner, problem).await?;
                }
                Ok(Applied::default())
            }
            Self::Callbacks(callbacks) => {
                let seal = |raw: RawCallback| {
                    let bytes = raw.raw.bytes().unwrap_or_else(|| raw.raw.base64.clone().into_bytes());
                    RawPart {
                        id: raw.id,
                        number: raw.raw.number,
                        channel_kind: raw.channel_kind,
                        items: raw.items,
                        sealed: inner.key.seal(&format!("callback:{}:{}", raw.id, raw.raw.number), &bytes),
                        received_at: raw.received_at,
                    }
                };
                upkeep::keep_callbacks(tx, callbacks.into_iter().map(seal).collect()).await?;
                Ok(Applied::default())
            }
            Self::Reports(reports) => {
                let about: Vec<_> = reports.iter().map(|report| report.dispatch.message_id).collect();
                locks::of_messages(tx, &about).await?;
                for report in reports {
                    inner.apply_report(tx, &report).await?;
                }
                Ok(Applied::default())
            }
        }
    }
}

/// An item that is set aside with its payload. A placeholder goes into the thread when it can be
/// told whose it is.
pub(super) fn parking(kind: Kind, item: &Item, unfit: &Unfit, with_placeholder: bool) -> Parking {
    let event: Option<InboundEvent> =
        (kind == Kind::Inbound).then(|| serde_json::from_slice(&item.payload).ok()).flatten();
    let from = event.as_ref().filter(|_| with_placeholder).and_then(Placeholder::of_event);
    let (channel_kind, account) = match &event {
        Some(event) => (event.channel.kind.to_string(), Some(event.channel.account.clone())),
        None => (kind.topic().to_owned(), None),
    };
    Parking {
        key: match &event {
            Some(event) => event.key(),
            None => format!("p|{}|{}", kind.topic(), item.id),
        },
        channel_kind,
        account,
        reason: unfit.reason,
        error: unfit.error.clone(),
        source: kind.topic(),
        raw: Some(item.payload.to_vec()),
        received_at: event.as_ref().map(|event| event.received_at),
        from,
    }
}
