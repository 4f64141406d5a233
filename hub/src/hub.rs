//! The hub itself: what it holds, how it is opened and closed.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use loket_backbone::bus::{BusError, Depth, Wire};
use loket_backbone::clock::Clock;
use loket_backbone::kv::SharedKv;
use loket_backbone::random;
use loket_backbone::tasks::Tasks;
use loket_protocol::channel::{AccountSettings, ChannelAccount};
use loket_protocol::topics;
use tokio::sync::Notify;

use crate::error::HubError;
use crate::handoff::House;
use crate::passwords::Passwords;
use crate::presence::Present;
use crate::requests::{HubHealth, TopicDepth};
use crate::seal::MasterKey;
use crate::settings::HubSettings;
use crate::store::{Store, StoreError, channels, installation, log, parked};
use crate::{ingest, sequencer, sweeps};

/// The verbs of Loket: the only door to threads, identities and everything of record. Cheap to
/// clone; all clones are the same hub.
#[derive(Clone)]
pub struct Hub {
    inner: Arc<Inner>,
}

/// What every verb may use.
pub(crate) struct Inner {
    pub(crate) settings: HubSettings,
    pub(crate) store: Store,
    pub(crate) wire: Wire,
    pub(crate) kv: SharedKv,
    pub(crate) clock: Clock,
    pub(crate) key: MasterKey,
    pub(crate) accounts: HashMap<ChannelAccount, AccountSettings>,
    /// Part of every cursor (`reliability-contract` §4).
    pub(crate) log_epoch: String,
    /// Tells the dispatcher of this process to look.
    pub(crate) kick: Notify,
    /// Tells this process that somebody was proven to be somebody.
    pub(crate) joins: Notify,
    pub(crate) passwords: Passwords,
    /// Who is there, as far as this process was told.
    pub(crate) present: Present,
    /// Who answers, as it is set.
    pub(crate) house: House,
}

impl Hub {
    /// Opens the store, brings its schema up to this version, and checks that the master key is the
    /// one that sealed what is there. `accounts` are all configured channel accounts.
    pub async fn open(
        settings: &HubSettings,
        master_key: MasterKey,
        accounts: Vec<AccountSettings>,
        wire: Wire,
        kv: SharedKv,
        clock: Clock,
    ) -> Result<Self, HubError> {
        let passwords = Passwords::new(&settings.passwords)?;
        let store = Store::open(&settings.store.url, clock.clone()).await?;
        let mut tx = store.begin_for_worker().await?;
        channels::try_all_again(&mut tx).await?;
        let key_id = installation::get_or_set(&mut tx, installation::MASTER_KEY, &master_key.id()).await?;
        if key_id != master_key.id() {
            return Err(HubError::Unavailable(format!(
                "the master key (id {}) is not the one that sealed this store (id {key_id}): put the right \
                 file at secrets.master_key_file",
                master_key.id()
            )));
        }
        let epoch = random::hex::<4>();
        let log_epoch = installation::get_or_set(&mut tx, installation::LOG_EPOCH, &epoch).await?;
        tx.commit().await?;
        let accounts = accounts.into_iter().map(|account| (account.channel.clone(), account)).collect();
        Ok(Self {
            inner: Arc::new(Inner {
                settings: settings.clone(),
                store,
                wire,
                kv,
                clock,
                key: master_key,
                accounts,
                log_epoch,
                kick: Notify::new(),
                joins: Notify::new(),
                passwords,
                present: Present::default(),
                house: House::new(&settings.handoff),
            }),
        })
    }

    /// Brings the store's schema up to this version, and nothing else.
    pub async fn migrate(settings: &HubSettings) -> Result<(), HubError> {
        let store = Store::open(&settings.store.url, Clock::system()).await?;
        store.close().await;
        Ok(())
    }

    /// Starts all workers of the hub; they end when `tasks` are told to stop.
    pub fn start(&self, tasks: &Tasks) {
        let inner = &self.inner;
        let (store, stop) = (inner.store.clone(), tasks.stop_sign());
        tasks.spawn("news", async move { store.listen(stop).await });
        ingest::start(inner, tasks);
        sequencer::start(inner, tasks);
        sweeps::start(inner, tasks);
        self.start_outgoing(tasks);
    }

    /// Whether the hub can do its work right now.
    pub async fn health(&self) -> HubHealth {
        let counts = self.counts().await;
        let topics = self.topics().await;
        let (unnumbered, parked) = counts.as_ref().copied().unwrap_or_default();
        let bus = topics.is_ok();
        HubHealth { store: counts.is_ok(), bus, topics: topics.unwrap_or_default(), unnumbered, parked }
    }

    /// Whether the store answers right now.
    pub async fn store_answers(&self) -> bool {
        self.counts().await.is_ok()
    }

    /// Whether the bus takes what the hub gives out, right now.
    pub async fn bus_answers(&self) -> bool {
        self.inner.wire.publish(&topics::OUTBOUND, &[]).await.is_ok()
    }

    /// The settings that allow to forget what was confirmed; empty, as it should be, when all of it is
    /// durable (`reliability-contract` §1).
    pub fn relaxed(&self) -> Vec<&'static str> {
        if self.inner.wire.bus().durability_is_relaxed() { vec!["bus.url"] } else { Vec::new() }
    }

    async fn topics(&self) -> Result<BTreeMap<String, TopicDepth>, BusError> {
        let mut depths = BTreeMap::new();
        for (topic, group) in topics::TOPICS {
            let Depth { items, leased, oldest_age_ms, .. } =
                self.inner.wire.bus().depth(topic, group).await?;
            depths.insert((*topic).to_owned(), TopicDepth { items, leased, oldest_age_ms });
        }
        Ok(depths)
    }

    async fn counts(&self) -> Result<(i64, i64), StoreError> {
        let mut reader = self.inner.store.read().await?;
        let unnumbered = log::unnumbered(&mut reader).await?;
        Ok((unnumbered, parked::waiting(&mut reader).await?))
    }

    /// Closes the store. The workers should have ended before.
    pub async fn close(&self) {
        self.inner.store.close().await;
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }
}
