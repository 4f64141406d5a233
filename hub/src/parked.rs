//! Parked items: what needs a person, and the way back (`reliability-contract` §7).

use loket_backbone::failpoint;
use loket_protocol::channel::{ChannelAccount, ChannelKind};
use loket_protocol::contact::Customer;
use loket_protocol::event::EventType;
use loket_protocol::ids::ParkedId;
use loket_protocol::inbound::{Fact, InboundEvent};
use loket_protocol::problem::{ParkReason, Problem};
use loket_protocol::time::Timestamp;
use serde_json::json;

use crate::error::HubError;
use crate::hub::{Hub, Inner};
use crate::ingest::{self, Kind, Replaced};
use crate::requests::{PAGE_MAX, Page, ParkedItem, Principal};
use crate::store::audit::{self, Deed};
use crate::store::inbox::{self, Claim, Effect};
use crate::store::parked::{self, NewParked, ParkedRow};
use crate::store::{StoreError, Tx, locks, log};

/// What the raw bytes of a parked part of a callback are: a whole callback body with that part alone.
const CALLBACK: &str = "callback";

/// Reads raw bytes again with today's code. Handed in by the front door, because the hub knows no
/// connectors.
pub trait Reread: Send + Sync {
    /// What a callback body of a channel comes to; `None` when the channel does not take it at all.
    fn receive(
        &self,
        channel_kind: &str,
        body: &[u8],
        received_at: Timestamp,
    ) -> Option<(Vec<InboundEvent>, Vec<Problem>)>;
}

/// Whose thread gets a placeholder.
pub(crate) struct Placeholder {
    pub(crate) channel: ChannelAccount,
    pub(crate) customer: Customer,
    pub(crate) external_id: Option<String>,
    pub(crate) at: Option<Timestamp>,
    pub(crate) received_at: Timestamp,
}

impl Placeholder {
    /// For an event that would have become the customer's message.
    pub(crate) fn of_event(event: &InboundEvent) -> Option<Self> {
        let Fact::Message(said) = &event.fact else { return None };
        Some(Self {
            channel: event.channel.clone(),
            customer: event.customer.clone()?,
            external_id: said.external_id.clone(),
            at: Some(event.at),
            received_at: event.received_at,
        })
    }

    /// For a problem whose sender and channel account are known.
    fn of_problem(problem: &Problem) -> Option<Self> {
        if !matches!(problem.reason, ParkReason::Unreadable | ParkReason::Unknown) {
            return None;
        }
        let customer = problem.customer.clone().filter(|customer| customer.user_id().is_some())?;
        Some(Self {
            channel: ChannelAccount {
                kind: ChannelKind::new(problem.channel_kind.clone()).ok()?,
                account: problem.account.clone()?,
            },
            customer,
            external_id: problem.external_id.clone(),
            at: problem.at,
            received_at: problem.received_at,
        })
    }
}

/// An item to be parked.
pub(crate) struct Parking {
    pub(crate) key: String,
    pub(crate) channel_kind: String,
    pub(crate) account: Option<String>,
    pub(crate) reason: ParkReason,
    pub(crate) error: String,
    /// [`CALLBACK`], or the topic whose payload `raw` is.
    pub(crate) source: &'static str,
    /// Absent while pieces are missing.
    pub(crate) raw: Option<Vec<u8>>,
    pub(crate) received_at: Option<Timestamp>,
    pub(crate) from: Option<Placeholder>,
}

/// Parks an item, with a placeholder in the thread and an event. One that is parked already is
/// counted once more; one that is in a thread already is left alone.
pub(crate) async fn park(tx: &mut Tx, inner: &Inner, item: Parking) -> Result<(), StoreError> {
    let at = item.received_at.unwrap_or_else(|| tx.now());
    if parked::came_again(tx, &item.key, at).await?.is_some() {
        return Ok(());
    }
    let id: ParkedId = tx.id();
    let claim = Claim {
        key: item.key.clone(),
        effect: Effect::Parked,
        effect_id: Some(id.to_string()),
        received_at: at,
        keep_until: None,
    };
    if inbox::claim(tx, &[claim]).await?.is_empty() {
        return Ok(());
    }
    let number = parked::next_number(tx).await?;
    let message = match &item.from {
        Some(from) => {
            let words = format!("A message could not be shown (P-{number})");
            ingest::placeholder(tx, &inner.house, from, &item.key, &words).await?
        }
        None => None,
    };
    let new = NewParked {
        id,
        key: item.key,
        channel_kind: item.channel_kind,
        account: item.account,
        reason: item.reason.as_str().to_owned(),
        error: item.error,
        source: item.source.to_owned(),
        raw: item.raw.map(|raw| inner.key.seal(&parked::place(id), &raw)),
        message,
        at,
    };
    failpoint!("hub.park.write.before", StoreError::Passing("on purpose".to_owned()));
    parked::insert(tx, &new, number).await?;
    failpoint!("hub.park.write.after", StoreError::Passing("on purpose".to_owned()));
    let view = parked::view(tx, id).await?;
    log::append(tx, None, EventType::ItemParked, &json!({ "parked": view })).await?;
    metrics::counter!("loket_parked_items_total", "channel" => new.channel_kind, "reason" => new.reason)
        .increment(1);
    Ok(())
}

fn piece_place(key: &str, number: u32) -> String {
    format!("piece:{key}:{number}")
}

/// Takes a problem of a connector's: all of it, or one piece of several.
pub(crate) async fn take(tx: &mut Tx, inner: &Inner, problem: Problem) -> Result<(), StoreError> {
    let key = &inner.key;
    let piece = &problem.raw;
    let unreadable = || StoreError::Unreadable("a piece of a parked item is not base64".to_owned());
    let bytes = piece.bytes().ok_or_else(unreadable)?;
    let item_key = problem.key();
    let parking = Parking {
        key: item_key.clone(),
        channel_kind: problem.channel_kind.clone(),
        account: problem.account.clone(),
        reason: problem.reason,
        error: problem.error.clone(),
        source: CALLBACK,
        raw: None,
        received_at: Some(problem.received_at),
        from: Placeholder::of_problem(&problem),
    };
    if piece.of <= 1 {
        return park(tx, inner, Parking { raw: Some(bytes), ..parking }).await;
    }
    // Whoever brings the last piece must see all others.
    locks::of_name(tx, &item_key).await?;
    match parked::of_key(tx, &item_key).await? {
        // All is there already: a repeat, counted by its first piece.
        Some((_, true)) if piece.number == 0 => return park(tx, inner, parking).await,
        Some((_, true)) => return Ok(()),
        Some((_, false)) => {}
        None => park(tx, inner, parking).await?,
    }
    let Some((id, false)) = parked::of_key(tx, &item_key).await? else { return Ok(()) };
    let sealed = key.seal(&piece_place(&piece.key, piece.number), &bytes);
    parked::keep_piece(tx, &piece.key, piece.number, piece.of, sealed, problem.received_at).await?;
    let Some(sealed) = parked::all_pieces(tx, &piece.key, piece.of).await? else { return Ok(()) };
    let mut whole = Vec::new();
    for (number, sealed) in (0..).zip(sealed) {
        let opened = key.open(&piece_place(&piece.key, number), &sealed);
        whole.extend(opened.map_err(|error| StoreError::unreadable("sealed", error))?);
    }
    parked::complete(tx, id, key.seal(&parked::place(id), &whole)).await?;
    parked::forget_pieces(tx, &piece.key).await
}

impl Hub {
    /// Parked items, oldest first; only of a state (`parked`, `replayed`, `dropped`) and a reason
    /// when they are given.
    pub async fn parked(
        &self,
        state: Option<&str>,
        reason: Option<&str>,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<Page<ParkedItem>, HubError> {
        let after = match cursor {
            Some(cursor) => cursor.parse().map_err(|_| {
                HubError::invalid("cursor", "take it unchanged from next_cursor of the page before")
            })?,
            None => 0,
        };
        let limit = limit.clamp(1, PAGE_MAX);
        let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut reader = self.inner().store.read().await?;
        let mut items = parked::list(&mut reader, state, reason, after, limit + 1).await?;
        let more = items.len() > wanted;
        items.truncate(wanted);
        let last = items.last().filter(|_| more);
        let next_cursor = last.map(|item| item.name.trim_start_matches("P-").to_owned());
        Ok(Page { items, next_cursor })
    }

    /// The raw bytes of a parked item. Looking at them is noted in the audit.
    pub async fn parked_raw(&self, by: Option<&Principal>, id: ParkedId) -> Result<Vec<u8>, HubError> {
        let mut tx = self.inner().store.begin().await?;
        let row = parked::whole(&mut tx, id).await?.ok_or(HubError::NotFound("parked item"))?;
        let raw = self.open_raw(&row)?;
        note(&mut tx, by, "parked.read", id, None).await?;
        tx.commit().await?;
        Ok(raw)
    }

    /// Puts the raw bytes of a parked item through today's code. Doing it twice is harmless. An item
    /// that still cannot be read stays parked, with what is wrong now.
    pub async fn replay_parked(
        &self,
        by: Option<&Principal>,
        id: ParkedId,
        reread: &dyn Reread,
    ) -> Result<(), HubError> {
        let mut reader = self.inner().store.read().await?;
        let row = parked::whole(&mut reader, id).await?.ok_or(HubError::NotFound("parked item"))?;
        drop(reader);
        match row.item.state.as_str() {
            "replayed" => return Ok(()),
            "dropped" => {
                return Err(HubError::Conflict("this item was dropped; it cannot be replayed".into()));
            }
            _ => {}
        }
        let raw = self.open_raw(&row)?;
        let (events, errors) = read_again(&row, &raw, reread);
        let mut tx = self.inner().store.begin().await?;
        note(&mut tx, by, "parked.replayed", id, None).await?;
        if events.is_empty() || !errors.is_empty() {
            let error = errors.into_iter().next().unwrap_or_else(|| "nothing came of it".to_owned());
            parked::still_unread(&mut tx, id, &error).await?;
            tx.commit().await?;
            return Err(HubError::Conflict(format!("it still cannot be read: {error}")));
        }
        let replaced = Replaced { parked: id, placeholder: row.item.message_id };
        let applied = ingest::apply_replacing(&mut tx, &self.inner().house, &events, replaced).await?;
        parked::was_read(&mut tx, id).await?;
        tx.commit().await?;
        applied.count();
        Ok(())
    }

    /// Gives a parked item up, for a reason. Its row stays.
    pub async fn drop_parked(&self, by: Option<&Principal>, id: ParkedId, why: &str) -> Result<(), HubError> {
        if why.trim().is_empty() {
            return Err(HubError::invalid("reason", "say why: it is kept with the item"));
        }
        let mut tx = self.inner().store.begin().await?;
        if parked::view(&mut tx, id).await?.is_none() {
            return Err(HubError::NotFound("parked item"));
        }
        if !parked::drop_item(&mut tx, id, why).await? {
            return Err(HubError::Conflict("this item waits no longer".into()));
        }
        note(&mut tx, by, "parked.dropped", id, Some(why)).await?;
        tx.commit().await?;
        Ok(())
    }

    fn open_raw(&self, row: &ParkedRow) -> Result<Vec<u8>, HubError> {
        let sealed = row.raw.as_ref().ok_or_else(|| {
            HubError::Conflict("not all of its bytes have arrived yet; try again in a minute".into())
        })?;
        let opened = self.inner().key.open(&parked::place(row.item.id), sealed);
        opened.map_err(|error| HubError::Internal(format!("parked item {}: {error}", row.item.id)))
    }
}

/// What the raw bytes come to now, and what is wrong with them.
fn read_again(row: &ParkedRow, raw: &[u8], reread: &dyn Reread) -> (Vec<InboundEvent>, Vec<String>) {
    if row.source == CALLBACK {
        return match reread.receive(&row.item.channel_kind, raw, row.item.first_at) {
            Some((events, problems)) => (events, problems.into_iter().map(|problem| problem.error).collect()),
            None => (Vec::new(), vec!["its channel is not configured or does not take it".to_owned()]),
        };
    }
    match Kind::of_topic(&row.source).map(|kind| ingest::read_events(kind, raw)) {
        Some(Ok(events)) => (events, Vec::new()),
        Some(Err(error)) => (Vec::new(), vec![error]),
        None => (Vec::new(), vec![format!("this version does not know the topic {:?}", row.source)]),
    }
}

async fn note(
    tx: &mut Tx,
    by: Option<&Principal>,
    act: &str,
    id: ParkedId,
    why: Option<&str>,
) -> Result<(), StoreError> {
    let actor = by.map_or_else(|| audit::OPERATOR.to_owned(), Principal::id);
    audit::note(tx, Deed { actor: &actor, act, object: Some(&id.to_string()), why }).await
}
