//! Who somebody is: from the addresses that an event names to identity, contact and thread, found
//! or made. The unique key of handles decides, so two events of one stranger make one contact.
//!
//! Deliberately not here: joining two contacts that both exist already. An event that names two
//! different people goes to the one of its first identifying handle; the other handle stays where it
//! is, because merging with an undo is its own verb and comes later.

use std::collections::{BTreeSet, HashMap, HashSet};

use loket_protocol::channel::ChannelAccount;
use loket_protocol::contact::{Customer, Handle, HandleKind};
use loket_protocol::event::EventType;
use loket_protocol::ids::{CaseId, ContactId, IdentityId, ThreadId};
use loket_protocol::inbound::InboundEvent;
use loket_protocol::thread::ThreadStatus;
use loket_protocol::time::Timestamp;
use serde_json::json;

use crate::store::contacts::{self, Known, Leads};
use crate::store::{Conn, ROWS_MAX, StoreError, Tx, locks, log};

/// Somebody, as far as one transaction needs to know them.
#[derive(Clone, Debug)]
pub(super) struct Person {
    pub(super) identity: IdentityId,
    pub(super) contact: ContactId,
    pub(super) thread: ThreadId,
    /// The name that the channel told last, with its time.
    pub(super) name: Option<String>,
    pub(super) name_at: Timestamp,
    /// A case is open in the thread.
    pub(super) open: bool,
    /// How often the thread was merged and split when it was looked up.
    joins: i64,
    handles: HashSet<Handle>,
    /// `handles` are all of them, not only those that were looked up.
    all_handles: bool,
}

/// Where a handle leads, and until when if it is theirs no longer.
#[derive(Clone, Copy)]
struct Lead {
    person: usize,
    retired_at: Option<Timestamp>,
}

/// The people of one transaction.
#[derive(Default)]
pub(super) struct People {
    persons: Vec<Person>,
    by_identity: HashMap<IdentityId, usize>,
    /// Every address that was looked up, with where it leads; nowhere for a stranger's.
    leads: HashMap<ChannelAccount, HashMap<Handle, Vec<Lead>>>,
}

impl People {
    /// The addresses by which these events name somebody and that were not looked up yet.
    pub(super) fn named_by<'e>(
        &mut self,
        events: impl Iterator<Item = &'e InboundEvent>,
    ) -> Vec<(&'e ChannelAccount, &'e Handle)> {
        let named = |event: &'e InboundEvent| event.customer.iter().flat_map(|customer| &customer.handles);
        self.unknown(events.flat_map(|event| named(event).map(|handle| (&event.channel, handle))))
    }

    /// Looks up everybody whom these events name, in as few statements as can be.
    pub(super) async fn load(&mut self, tx: &mut Tx, events: &[&InboundEvent]) -> Result<(), StoreError> {
        let wanted = self.named_by(events.iter().copied());
        self.look_up(tx, &wanted).await?;
        if tx.is_shared() {
            self.reserve(tx).await?;
        }
        let mut told: BTreeSet<usize> = BTreeSet::new();
        for event in events {
            let handles = event.customer.iter().flat_map(|customer| &customer.handles);
            let names_lead_nowhere = handles.clone().any(|handle| !handle.kind.identifies());
            let mut found = handles.filter_map(|handle| self.led(&event.channel, handle, event.at));
            told.extend(found.next().filter(|_| names_lead_nowhere));
        }
        self.load_handles(tx, &told.into_iter().collect::<Vec<_>>()).await
    }

    /// Locks the addresses of strangers and looks them up again, so that of two who meet one at the same
    /// time the second finds whom the first has made.
    async fn reserve(&mut self, tx: &mut Tx) -> Result<(), StoreError> {
        let strangers: Vec<(ChannelAccount, Handle)> = self
            .leads
            .iter()
            .flat_map(|(channel, handles)| {
                handles.iter().map(move |(handle, leads)| (channel, handle, leads))
            })
            .filter(|(.., leads)| leads.is_empty())
            .map(|(channel, handle, _)| (channel.clone(), handle.clone()))
            .collect();
        if strangers.is_empty() {
            return Ok(());
        }
        let name = |(channel, handle): &(ChannelAccount, Handle)| {
            format!("{channel}|{}|{}", handle.kind.as_str(), handle.value)
        };
        locks::of_names(tx, strangers.iter().map(name)).await?;
        let strangers: Vec<_> = strangers.iter().map(|(channel, handle)| (channel, handle)).collect();
        self.look_up(tx, &strangers).await
    }

    /// The threads of all of them, each with how often it was merged and split.
    pub(super) fn threads(&self) -> impl Iterator<Item = (ThreadId, i64)> {
        self.persons.iter().map(|person| (person.thread, person.joins))
    }

    /// How a thread stands, now that nobody else changes it.
    pub(super) fn stands(&mut self, thread: ThreadId, status: ThreadStatus) {
        for person in self.persons.iter_mut().filter(|person| person.thread == thread) {
            person.open = status == ThreadStatus::Open;
        }
    }

    fn unknown<'e>(
        &mut self,
        wanted: impl Iterator<Item = (&'e ChannelAccount, &'e Handle)>,
    ) -> Vec<(&'e ChannelAccount, &'e Handle)> {
        let mut unknown = Vec::new();
        for (channel, handle) in wanted {
            if handle.kind.identifies() && self.leads_of(channel, handle).is_none() {
                self.leads_of_mut(channel, handle);
                unknown.push((channel, handle));
            }
        }
        unknown
    }

    pub(super) async fn look_up(
        &mut self,
        conn: &mut Conn,
        unknown: &[(&ChannelAccount, &Handle)],
    ) -> Result<(), StoreError> {
        for chunk in unknown.chunks(ROWS_MAX) {
            self.meet(chunk, contacts::led(&contacts::leading(chunk).all(conn).await?)?)?;
        }
        Ok(())
    }

    /// Takes in where the handles lead that were asked for.
    pub(super) fn meet(
        &mut self,
        asked: &[(&ChannelAccount, &Handle)],
        told: Leads,
    ) -> Result<(), StoreError> {
        for known in told.people {
            self.person_of(known);
        }
        for lead in told.leads {
            // Whoever has no thread is nobody: the store does not let that be.
            let (Some((channel, handle)), Some(place)) =
                (asked.get(lead.asked), self.by_identity.get(&lead.identity).copied())
            else {
                continue;
            };
            if lead.retired_at.is_none() {
                self.get_mut(place)?.handles.insert((*handle).clone());
            }
            let lead = Lead { person: place, retired_at: lead.retired_at };
            self.leads_of_mut(channel, handle).push(lead);
        }
        Ok(())
    }

    /// Everything that somebody is known by, once it matters: names and parent ids lead nowhere, so
    /// that looking up an event's addresses does not tell whether they are known.
    async fn load_handles(&mut self, conn: &mut Conn, places: &[usize]) -> Result<(), StoreError> {
        let mut wanted = Vec::new();
        for place in places {
            let person = self.get_mut(*place)?;
            if !std::mem::replace(&mut person.all_handles, true) {
                wanted.push(person.identity);
            }
        }
        for chunk in wanted.chunks(ROWS_MAX) {
            for (identity, handle) in contacts::held_by(conn, chunk).await? {
                if let Some(place) = self.by_identity.get(&identity) {
                    let place = *place;
                    self.get_mut(place)?.handles.insert(handle);
                }
            }
        }
        Ok(())
    }

    fn leads_of(&self, channel: &ChannelAccount, handle: &Handle) -> Option<&Vec<Lead>> {
        self.leads.get(channel)?.get(handle)
    }

    fn leads_of_mut(&mut self, channel: &ChannelAccount, handle: &Handle) -> &mut Vec<Lead> {
        self.leads.entry(channel.clone()).or_default().entry(handle.clone()).or_default()
    }

    fn person_of(&mut self, known: Known) -> usize {
        let next = self.persons.len();
        *self.by_identity.entry(known.identity).or_insert_with(|| {
            self.persons.push(Person {
                identity: known.identity,
                contact: known.contact,
                thread: known.thread,
                name: known.name,
                name_at: known.name_at,
                open: known.status == ThreadStatus::Open,
                joins: known.joins,
                handles: HashSet::new(),
                all_handles: false,
            });
            next
        })
    }

    /// The person of a place that [`Self::find`] or [`Self::find_or_make`] answered.
    pub(super) fn get(&self, place: usize) -> Result<&Person, StoreError> {
        self.persons.get(place).ok_or_else(|| StoreError::Other("no such person".to_owned()))
    }

    /// The same, to change what is known of them.
    pub(super) fn get_mut(&mut self, place: usize) -> Result<&mut Person, StoreError> {
        self.persons.get_mut(place).ok_or_else(|| StoreError::Other("no such person".to_owned()))
    }

    /// Somebody known, by the first of these handles that leads to anybody at that moment.
    pub(super) async fn find(
        &mut self,
        conn: &mut Conn,
        channel: &ChannelAccount,
        handles: &[Handle],
        at: Timestamp,
    ) -> Result<Option<usize>, StoreError> {
        let unknown = self.unknown(handles.iter().map(|handle| (channel, handle)));
        self.look_up(conn, &unknown).await?;
        Ok(handles.iter().find_map(|handle| self.led(channel, handle, at)))
    }

    fn led(&self, channel: &ChannelAccount, handle: &Handle, at: Timestamp) -> Option<usize> {
        let leads = self.leads_of(channel, handle)?;
        let now = leads.iter().find(|lead| lead.retired_at.is_none());
        // A number that somebody gave up may be another's today; ids never change hands (whatsapp §6).
        let then = |lead: &&Lead| match lead.retired_at {
            Some(retired_at) => handle.kind != HandleKind::Phone || at <= retired_at,
            None => true,
        };
        now.or_else(|| leads.iter().filter(then).max_by_key(|lead| lead.retired_at)).map(|lead| lead.person)
    }

    /// The customer of an event: found, or made with contact and thread; what the event tells of
    /// further addresses is kept.
    pub(super) async fn find_or_make(
        &mut self,
        tx: &mut Tx,
        channel: &ChannelAccount,
        customer: &Customer,
        at: Timestamp,
    ) -> Result<usize, StoreError> {
        match self.find(tx, channel, &customer.handles, at).await? {
            Some(place) => {
                self.learn(tx, place, channel, &customer.handles, at, "seen_together").await?;
                Ok(place)
            }
            None => self.make(tx, channel, customer, at).await,
        }
    }

    async fn make(
        &mut self,
        tx: &mut Tx,
        channel: &ChannelAccount,
        customer: &Customer,
        at: Timestamp,
    ) -> Result<usize, StoreError> {
        if customer.user_id().is_none() {
            return Err(StoreError::Constraint("the event names nobody whom one could answer".to_owned()));
        }
        let name = customer.name.clone().filter(|_| !customer.name_is_ours);
        let known = Known {
            identity: tx.id(),
            contact: tx.id(),
            thread: tx.id(),
            name_at: if name.is_some() { at } else { Timestamp::default() },
            name,
            status: ThreadStatus::Resolved,
            joins: 0,
        };
        contacts::make(tx, &known, channel).await?;
        let mut handles: Vec<Handle> = Vec::new();
        for handle in &customer.handles {
            if !handles.contains(handle) {
                handles.push(handle.clone());
            }
        }
        contacts::add_handles(tx, channel, known.identity, &handles).await?;
        let data = json!({
            "contact": { "id": known.contact, "name": &known.name },
            "identity": {
                "id": known.identity,
                "contact_id": known.contact,
                "channel": channel,
                "handles": &handles,
                "name": &known.name,
            },
            "thread_id": known.thread,
        });
        log::append(tx, None, EventType::ContactCreated, &data).await?;
        metrics::counter!("loket_contacts_made_total", "channel" => channel.kind.to_string()).increment(1);
        let place = self.person_of(known);
        self.get_mut(place)?.all_handles = true;
        self.now_hold(place, channel, handles)?;
        Ok(place)
    }

    fn now_hold(
        &mut self,
        place: usize,
        channel: &ChannelAccount,
        handles: Vec<Handle>,
    ) -> Result<(), StoreError> {
        for handle in handles {
            if handle.kind.identifies() {
                let leads = self.leads_of_mut(channel, &handle);
                leads.retain(|lead| lead.person != place);
                leads.push(Lead { person: place, retired_at: None });
            }
            self.get_mut(place)?.handles.insert(handle);
        }
        Ok(())
    }

    /// Keeps addresses that somebody was not known by yet. One that is another's stays the other's;
    /// one that they had given up by then stays given up.
    pub(super) async fn learn(
        &mut self,
        tx: &mut Tx,
        place: usize,
        channel: &ChannelAccount,
        handles: &[Handle],
        at: Timestamp,
        proof: &str,
    ) -> Result<(), StoreError> {
        if handles.iter().all(|handle| self.persons.get(place).is_some_and(|p| p.handles.contains(handle))) {
            return Ok(());
        }
        self.load_handles(tx, &[place]).await?;
        let mut new: Vec<Handle> = Vec::new();
        for handle in handles {
            if new.contains(handle) || self.get(place)?.handles.contains(handle) {
                continue;
            }
            let leads = self.leads_of(channel, handle);
            let taken = leads.is_some_and(|leads| {
                leads.iter().any(|lead| match lead.retired_at {
                    None => lead.person != place,
                    Some(retired_at) => {
                        lead.person == place && (handle.kind != HandleKind::Phone || at <= retired_at)
                    }
                })
            });
            if !taken {
                new.push(handle.clone());
            }
        }
        if new.is_empty() {
            return Ok(());
        }
        let (identity, contact) = (self.get(place)?.identity, self.get(place)?.contact);
        contacts::add_handles(tx, channel, identity, &new).await?;
        for handle in &new {
            if handle.kind == HandleKind::Username {
                contacts::retire_usernames(tx, identity, &handle.value, at).await?;
                self.get_mut(place)?.handles.retain(|held| held.kind != HandleKind::Username);
            }
            if handle.kind.identifies() {
                let data = json!({
                    "contact": { "id": contact },
                    "conversation": { "identity_id": identity, "channel": channel },
                    "handle": handle,
                    "proof": proof,
                    "at": at,
                });
                log::append(tx, None, EventType::IdentityLinked, &data).await?;
            }
        }
        self.now_hold(place, channel, new)
    }

    /// An address that is somebody's no longer, since a moment.
    pub(super) async fn retire(
        &mut self,
        tx: &mut Tx,
        place: usize,
        channel: &ChannelAccount,
        handle: &Handle,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let identity = self.get(place)?.identity;
        contacts::retire_handle(tx, channel, identity, handle, at).await?;
        self.get_mut(place)?.handles.remove(handle);
        let leads = self.leads_of_mut(channel, handle);
        leads.retain(|lead| lead.person != place);
        leads.push(Lead { person: place, retired_at: Some(at) });
        Ok(())
    }
}

impl People {
    /// The case that begins with a message of somebody's, unless one is open.
    pub(super) fn open_case(&mut self, tx: &Tx, place: usize) -> Result<Option<CaseId>, StoreError> {
        if self.get(place)?.open {
            return Ok(None);
        }
        let thread = self.get(place)?.thread;
        for person in self.persons.iter_mut().filter(|person| person.thread == thread) {
            person.open = true;
        }
        Ok(Some(tx.id()))
    }
}
