//! Two contacts are one person: joining them, and taking it back exactly (`design.md` §5, Merge and undo).
//!
//! Nothing in a log is renumbered, and nothing arrives by it: a message that is shown in another thread from
//! now on gets a copy entry there, which starts no bot, no clock and no window. What is a side's own follows
//! from whose identity it came through; a note is of the thread that it was written in.
//!
//! The survivor stays what it is: its assignee, its labels and who answers in it are its own, before and
//! after. Only a case that is open on the other side opens one here, so that nobody who waits is forgotten.

use std::collections::{HashMap, HashSet};

use loket_protocol::contact::{Merge, Proof};
use loket_protocol::event::EventType;
use loket_protocol::ids::{CaseId, ContactId, IdentityId, MergeId, ThreadId};
use loket_protocol::message::Author;
use loket_protocol::thread::ThreadStatus;
use serde_json::{Value, json};

use crate::idempotency::Begun;
use crate::replies::author;
use crate::requests::{Idempotency, NewMerge, PAGE_MAX, Page, Principal, Written};
use crate::store::handoffs;
use crate::store::joins::{self, Moved, Placed, SeqMark, Shown};
use crate::store::log::{self, Entry};
use crate::store::threads::{self, Growth, ThreadRow, Waiting};
use crate::store::{StoreError, Tx, audit, desk, json as text_of, links};
use crate::{Hub, HubError};

/// The most messages that one merge or one undo moves.
const MESSAGES_MAX: usize = 50_000;
/// The longest reason, in characters.
const WHY_CHARS_MAX: usize = 500;
/// How often a merge is tried again at once that came between others.
const TRIES: u32 = 5;

/// On what a merge rests, and whose deed it is.
#[derive(Clone, Debug)]
pub(crate) struct Ground {
    pub(crate) proof: Proof,
    /// What the proof is, as JSON; no code and no address in it.
    pub(crate) evidence: Value,
    pub(crate) by: Author,
    pub(crate) why: Option<String>,
}

impl Hub {
    /// Joins two contacts by an agent's decision. The older one survives unless the other is chosen.
    pub async fn merge(
        &self,
        by: &Principal,
        contact: ContactId,
        new: NewMerge,
        idem: Option<Idempotency>,
    ) -> Result<Written<Merge>, HubError> {
        let why = reason(new.why.as_deref())?;
        let survivor = new.survivor.unwrap_or(contact);
        if survivor != contact && survivor != new.contact {
            return Err(HubError::invalid("survivor", "name one of the two contacts, or leave it away"));
        }
        let mut tries = 0;
        loop {
            let mut tx = self.inner().store.begin().await?;
            let once = match self.begin_once(&mut tx, &by.id(), idem.clone()).await? {
                Begun::Fresh(once) => once,
                Begun::Before { status, body } => return Ok(Written::Replayed { status, body }),
            };
            let this =
                joins::thread_of_contact(&mut tx, contact).await?.ok_or(HubError::NotFound("contact"))?;
            let other = joins::thread_of_contact(&mut tx, new.contact)
                .await?
                .ok_or_else(|| HubError::invalid("contact", "there is no such contact"))?;
            let chosen = new.survivor.map(|chosen| if chosen == contact { this } else { other });
            let ground = Ground {
                proof: Proof::Agent,
                evidence: json!({ "by": by.id() }),
                by: author(by),
                why: why.clone(),
            };
            let merge = match join(&mut tx, [this, other], chosen, &ground).await {
                Ok(Joined::Now(merge)) => *merge,
                Ok(Joined::Before) => {
                    return Err(HubError::Conflict("These two are one contact already.".to_owned()));
                }
                Ok(Joined::TooMany) => return Err(too_many()),
                Err(error) if error.is_passing() && tries < TRIES => {
                    tries += 1;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let deed = audit::Deed {
                actor: &by.id(),
                act: "contact.merged",
                object: Some(&merge.id.to_string()),
                why: why.as_deref(),
            };
            audit::note(&mut tx, deed).await?;
            self.done(&mut tx, once, &merge).await?;
            tx.commit().await?;
            count("merged", &merge);
            return Ok(Written::Done(merge));
        }
    }

    /// Takes a merge back: each side has what was its own, and what came through its identities since.
    pub async fn undo_merge(
        &self,
        by: &Principal,
        merge: MergeId,
        why: Option<&str>,
        idem: Option<Idempotency>,
    ) -> Result<Written<Merge>, HubError> {
        let why = reason(why)?;
        let mut tries = 0;
        loop {
            let mut tx = self.inner().store.begin().await?;
            let once = match self.begin_once(&mut tx, &by.id(), idem.clone()).await? {
                Begun::Fresh(once) => once,
                Begun::Before { status, body } => return Ok(Written::Replayed { status, body }),
            };
            let found = joins::by_id(&mut tx, merge).await?.ok_or(HubError::NotFound("merge"))?;
            if found.undone_at.is_some() {
                return Err(HubError::Conflict("This merge was taken back already.".to_owned()));
            }
            let undone = match split(&mut tx, found, &author(by), why.as_deref()).await {
                Ok(Some(undone)) => undone,
                Ok(None) => return Err(too_many()),
                Err(error) if error.is_passing() && tries < TRIES => {
                    tries += 1;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let deed = audit::Deed {
                actor: &by.id(),
                act: "contact.split",
                object: Some(&undone.id.to_string()),
                why: why.as_deref(),
            };
            audit::note(&mut tx, deed).await?;
            self.done(&mut tx, once, &undone).await?;
            tx.commit().await?;
            count("split", &undone);
            return Ok(Written::Done(undone));
        }
    }

    /// The merges that a contact took part in, newest first, at most [`PAGE_MAX`]; also those that were
    /// taken back.
    pub async fn merges(&self, contact: ContactId) -> Result<Page<Merge>, HubError> {
        let mut reader = self.inner().store.read().await?;
        let thread = joins::thread_of_contact(&mut reader, contact).await?;
        let thread = thread.ok_or(HubError::NotFound("contact"))?;
        let items = joins::of_thread(&mut reader, thread, PAGE_MAX).await?;
        Ok(Page { items, next_cursor: None })
    }
}

fn reason(why: Option<&str>) -> Result<Option<String>, HubError> {
    let why = why.map(str::trim).filter(|why| !why.is_empty());
    if why.is_some_and(|why| why.chars().count() > WHY_CHARS_MAX || why.contains('\0')) {
        return Err(HubError::invalid("why", "at most 500 characters without U+0000"));
    }
    Ok(why.map(str::to_owned))
}

fn too_many() -> HubError {
    HubError::Conflict(format!("More than {MESSAGES_MAX} messages would move; that is too much at once."))
}

pub(crate) fn count(what: &'static str, merge: &Merge) {
    metrics::counter!("loket_joins_total", "what" => what, "proof" => merge.proof.as_str()).increment(1);
}

/// What came of trying to join two.
pub(crate) enum Joined {
    /// They are one now.
    Now(Box<Merge>),
    /// They were one before.
    Before,
    /// It would move more than [`MESSAGES_MAX`] messages.
    TooMany,
}

fn came_between() -> StoreError {
    StoreError::Passing("another merge came between".to_owned())
}

/// Joins two threads, which are locked by ascending id, in the transaction that the caller commits.
/// Passing: others came between, and nothing may be kept.
pub(crate) async fn join(
    tx: &mut Tx,
    [one, other]: [ThreadId; 2],
    chosen: Option<ThreadId>,
    ground: &Ground,
) -> Result<Joined, StoreError> {
    if one == other {
        return Ok(Joined::Before);
    }
    let mut pair = threads::as_they_are(tx, [one, other]).await?;
    let (Some(b), Some(a)) = (pair.pop(), pair.pop()) else {
        return Err(StoreError::Constraint("there is no such thread".to_owned()));
    };
    if a.merged_into.is_some() || b.merged_into.is_some() {
        return Err(came_between());
    }
    let since = joins::since(tx, &[a.contact_id, b.contact_id]).await?;
    let age = |row: &ThreadRow| (since.get(&row.contact_id).copied(), row.contact_id);
    let a_survives = chosen.map_or_else(|| age(&a) <= age(&b), |chosen| chosen == a.id);
    let (survivor, merged) = if a_survives { (a, b) } else { (b, a) };
    let Some(shown) = joins::shown(tx, merged.id, MESSAGES_MAX).await? else { return Ok(Joined::TooMany) };
    joins::attach(tx, merged.id, survivor.id).await?;
    let moved = joins::hand_over(tx, merged.contact_id, survivor.contact_id).await?;
    let merge = Merge {
        id: tx.id(),
        contact_id: survivor.contact_id,
        thread_id: survivor.id,
        merged_contact_id: merged.contact_id,
        merged_thread_id: merged.id,
        proof: ground.proof,
        evidence: ground.evidence.clone(),
        by: ground.by.clone(),
        why: ground.why.clone(),
        at: tx.now(),
        undone_at: None,
        undone_by: None,
        undone_why: None,
    };
    joins::keep(tx, &merge).await?;
    let first = vec![(EventType::ContactMerged, text_of(&told(&merge))?)];
    let opens = merged.status == ThreadStatus::Open && survivor.status == ThreadStatus::Resolved;
    append_copies(tx, &merge, &survivor, first, &shown, opens, Numbers::default()).await?;
    handoffs::wait_together(tx, merged.id, survivor.id).await?;
    for identity in &moved {
        tell_of(tx, EventType::IdentityLinked, &merge, merge.contact_id, identity).await?;
    }
    joins::settle(tx, survivor.id).await?;
    joins::settle(tx, merged.id).await?;
    Ok(Joined::Now(Box::new(merge)))
}

/// Takes a merge back; `None`: it would move more than [`MESSAGES_MAX`] messages.
async fn split(
    tx: &mut Tx,
    mut merge: Merge,
    by: &Author,
    why: Option<&str>,
) -> Result<Option<Merge>, StoreError> {
    let gone = || StoreError::Damaged(format!("merge {} is of a thread that is not there", merge.id));
    let root = joins::root_of(tx, merge.merged_thread_id).await?.ok_or_else(gone)?;
    let mut pair = threads::as_they_are(tx, [root, merge.merged_thread_id]).await?;
    let (Some(b), Some(a)) = (pair.pop(), pair.pop()) else { return Err(came_between()) };
    let (whole, own) = if a.id == root { (a, b) } else { (b, a) };
    if whole.merged_into.is_some() || joins::root_of(tx, own.id).await? != Some(root) {
        return Err(came_between());
    }
    joins::detach(tx, own.id).await?;
    let moved = joins::hand_back(tx, own.id, own.contact_id).await?;
    let identities: HashSet<IdentityId> = moved.iter().map(|moved| moved.identity).collect();
    let gone: Vec<IdentityId> = identities.iter().copied().collect();
    links::end_views_of(tx, &gone).await?;
    let threads_of_own = joins::below(tx, own.id).await?;
    let Some(mut theirs) = joins::shown(tx, whole.id, MESSAGES_MAX).await? else { return Ok(None) };
    theirs.retain(|shown| match shown.identity {
        Some(identity) => identities.contains(&identity),
        None => threads_of_own.contains(&shown.first.0),
    });
    merge.undone_at = Some(tx.now());
    merge.undone_by = Some(by.clone());
    merge.undone_why = why.map(str::to_owned);
    joins::undo(tx, &merge).await?;
    let seq = log::draw(tx, whole.id, 1).await?;
    let place = Some((whole.id, seq));
    log::write(tx, vec![Entry { place, kind: EventType::ContactSplit, data: text_of(&told(&merge))? }])
        .await?;
    let copied = joins::copied_into(tx, own.id).await?;
    let mut back = Vec::new();
    let mut since = Vec::new();
    for shown in theirs {
        let first = Some(shown.first.1).filter(|_| shown.first.0 == own.id);
        match first.max(copied.get(&shown.id).copied()) {
            Some(seq) => back.push((shown, seq)),
            None => since.push(shown),
        }
    }
    let placed: Vec<Placed> =
        back.iter().map(|(shown, seq)| Placed { message: shown.id, seq: *seq, first: shown.first }).collect();
    joins::show(tx, own.id, &placed).await?;
    let mut numbers = Numbers::default();
    for (shown, seq) in &back {
        numbers.note(shown, *seq);
    }
    let waits = whole.status == ThreadStatus::Open && own.status == ThreadStatus::Resolved;
    let opens = waits && since.iter().any(|shown| shown.incoming);
    append_copies(tx, &merge, &own, Vec::new(), &since, opens, numbers).await?;
    for identity in &moved {
        tell_of(tx, EventType::IdentityUnlinked, &merge, whole.contact_id, identity).await?;
        tell_of(tx, EventType::IdentityLinked, &merge, own.contact_id, identity).await?;
    }
    joins::settle(tx, whole.id).await?;
    joins::settle(tx, own.id).await?;
    Ok(Some(merge))
}

/// What an event about a merge carries.
fn told(merge: &Merge) -> Value {
    json!({
        "merge": merge,
        "contact_id": merge.contact_id,
        "thread_id": merge.thread_id,
        "merged_contact_id": merge.merged_contact_id,
        "merged_thread_id": merge.merged_thread_id,
    })
}

async fn tell_of(
    tx: &mut Tx,
    kind: EventType,
    merge: &Merge,
    contact: ContactId,
    moved: &Moved,
) -> Result<(), StoreError> {
    let data = json!({
        "contact": { "id": contact },
        "conversation": { "identity_id": moved.identity, "channel": moved.channel },
        "proof": merge.proof,
        "merge_id": merge.id,
        "at": tx.now(),
    });
    log::append(tx, None, kind, &data).await?;
    Ok(())
}

/// Old and new numbers of the messages of each identity.
#[derive(Default)]
struct Numbers(HashMap<IdentityId, Vec<(i64, i64)>>);

impl Numbers {
    fn note(&mut self, shown: &Shown, seq: i64) {
        if let Some(identity) = shown.identity {
            self.0.entry(identity).or_default().push((shown.seq, seq));
        }
    }

    /// Visitors say what they have read by numbers of their thread: the same in the new numbers, by the last
    /// message that each word covered. The order within an identity never changes.
    async fn renumber(mut self, tx: &mut Tx) -> Result<(), StoreError> {
        let mut identities: Vec<IdentityId> = self.0.keys().copied().collect();
        identities.sort_unstable();
        for identity in identities {
            let marks = joins::seq_marks(tx, identity).await?;
            let mut numbers = self.0.remove(&identity).unwrap_or_default();
            if marks.is_empty() {
                continue;
            }
            numbers.sort_unstable();
            let mut renewed: Vec<SeqMark> = Vec::new();
            for mark in marks {
                let covered = numbers.iter().rev().find(|(old, _)| *old <= mark.up_to);
                let Some((_, new)) = covered else { continue };
                match renewed.iter_mut().find(|known| known.status == mark.status && known.up_to == *new) {
                    Some(known) => known.at = known.at.min(mark.at),
                    None => renewed.push(SeqMark { up_to: *new, ..mark }),
                }
            }
            joins::set_seq_marks(tx, identity, &renewed).await?;
        }
        Ok(())
    }
}

/// Appends to a thread what came about, then a copy entry for each message, and shows the messages there. A
/// case that waits on the other side opens one here.
async fn append_copies(
    tx: &mut Tx,
    merge: &Merge,
    to: &ThreadRow,
    first: Vec<(EventType, String)>,
    messages: &[Shown],
    opens: bool,
    mut numbers: Numbers,
) -> Result<(), StoreError> {
    let mut written = first;
    if opens {
        let case: CaseId = tx.id();
        desk::set_status(tx, to.id, ThreadStatus::Open, Some(case)).await?;
        let data = json!({
            "case_id": case, "thread_id": to.id, "contact": { "id": to.contact_id }, "merge_id": merge.id,
        });
        written.push((EventType::ThreadOpened, text_of(&data)?));
    }
    let total = i64::try_from(written.len() + messages.len()).unwrap_or(i64::MAX);
    if total > 0 {
        let growth =
            Growth { thread: to.id, entries: total, last_message: None, opens: None, waiting: Waiting::Same };
        let drawn = threads::grow(tx, &[growth]).await?;
        let mut next = drawn.first().map_or(1, |drawn| drawn.first);
        let mut entries = Vec::with_capacity(written.len() + messages.len());
        for (kind, data) in written {
            entries.push(Entry { place: Some((to.id, next)), kind, data });
            next += 1;
        }
        let mut placed = Vec::with_capacity(messages.len());
        for shown in messages {
            let data = json!({
                "message_id": shown.id,
                "original": { "thread_id": shown.first.0, "seq": shown.first.1 },
                "at": shown.created_at,
                "merge_id": merge.id,
                "contact": { "id": to.contact_id },
            });
            let (kind, data) = (EventType::MessageCopied, text_of(&data)?);
            entries.push(Entry { place: Some((to.id, next)), kind, data });
            placed.push(Placed { message: shown.id, seq: next, first: shown.first });
            numbers.note(shown, next);
            next += 1;
        }
        log::write(tx, entries).await?;
        joins::keep_copies(tx, to.id, merge.id, &placed).await?;
        joins::show(tx, to.id, &placed).await?;
    }
    numbers.renumber(tx).await
}
