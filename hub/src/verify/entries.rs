//! V3 and V1, the other way round: each entry of the log tells of something that is there.

use std::collections::{HashMap, HashSet};

use loket_protocol::event::EventType;
use serde::Deserialize;

use super::{Findings, PAGE};
use crate::HubError;
use crate::store::Conn;
use crate::store::verify::{self, LogRow};

/// What is looked at in an entry's data.
#[derive(Deserialize)]
struct Data {
    message: Option<Named>,
    channel: Option<Account>,
    fact: Option<Fact>,
}

#[derive(Deserialize)]
struct Named {
    id: String,
    seq: i64,
}

#[derive(Deserialize)]
struct Account {
    kind: String,
    account: String,
}

#[derive(Deserialize)]
struct Fact {
    kind: String,
    target: Option<String>,
}

/// Checks every entry of the log.
pub(super) async fn check(reader: &mut Conn, findings: &mut Findings) -> Result<(), HubError> {
    let marks: HashSet<(String, String, String)> = verify::marks(reader).await?.into_iter().collect();
    let mut after = 0;
    loop {
        let rows = verify::log_page(reader, after, PAGE).await?;
        let Some(last) = rows.last() else { return Ok(()) };
        after = last.row_id;
        page(reader, &rows, &marks, findings).await?;
    }
}

async fn page(
    reader: &mut Conn,
    rows: &[LogRow],
    marks: &HashSet<(String, String, String)>,
    findings: &mut Findings,
) -> Result<(), HubError> {
    let mut told = Vec::new();
    for row in rows {
        let Some(kind) = EventType::from_name(&row.kind) else {
            findings
                .add("V5", format!("entry {} of the log has the unknown type {:?}", row.event_id, row.kind));
            continue;
        };
        if kind.is_of_a_thread() != (row.thread.is_some() && row.thread_seq.is_some()) {
            findings.add(
                "V3",
                format!("entry {} ({}) of the log stands in no place of a thread", row.event_id, row.kind),
            );
        }
        match serde_json::from_str::<Data>(&row.data) {
            Ok(data) => {
                mark(row, &data, marks, findings);
                told.extend(data.message.map(|message| (row, kind, message)));
            }
            Err(error) => {
                findings.add(
                    "readable",
                    format!("the data of entry {} of the log cannot be read: {error}", row.event_id),
                );
            }
        }
    }
    let mut ids: Vec<String> = told.iter().map(|(_, _, message)| message.id.clone()).collect();
    ids.sort_unstable();
    ids.dedup();
    let mut places: HashMap<String, Vec<(String, i64)>> = HashMap::new();
    for (id, thread, seq) in verify::places(reader, &ids).await? {
        places.entry(id).or_default().push((thread, seq));
    }
    for (row, kind, message) in told {
        appended(row, kind, &message, &places, findings);
    }
    Ok(())
}

/// An entry that tells of a message: the message is there, and the entry that appended it gave its
/// number.
fn appended(
    row: &LogRow,
    kind: EventType,
    message: &Named,
    places: &HashMap<String, Vec<(String, i64)>>,
    findings: &mut Findings,
) {
    let Some(places) = places.get(&message.id) else {
        findings.add(
            "V1",
            format!("entry {} of the log tells of message {}, which is not there", row.event_id, message.id),
        );
        return;
    };
    // One that a merge or its undo showed elsewhere has several.
    let of_thread = |thread: &String| row.thread.as_ref().is_none_or(|told| told == thread);
    if !places.iter().any(|(thread, _)| of_thread(thread)) {
        findings.add(
            "V3",
            format!(
                "entry {} of the log tells of message {}, which is in another thread",
                row.event_id, message.id
            ),
        );
    }
    let appends =
        matches!(kind, EventType::MessageReceived | EventType::MessageQueued | EventType::NoteAdded);
    let Some((_, seq)) = places.iter().find(|(thread, seq)| of_thread(thread) && *seq == message.seq) else {
        let seq =
            places.iter().find(|(thread, _)| of_thread(thread)).or(places.first()).map_or(0, |place| place.1);
        findings.add(
            "V3",
            format!(
                "message {} has seq {seq}, and entry {} of the log told it as {}",
                message.id, row.event_id, message.seq
            ),
        );
        return;
    };
    if appends && row.thread_seq.is_some_and(|told| told < *seq) {
        findings.add(
            "V3",
            format!(
                "entry {} of the log appends message {} before its own seq {seq}",
                row.event_id, message.id
            ),
        );
    }
}

/// An entry that tells of a reaction, an edit or a revoke: it is kept, also when its message is not
/// there yet.
fn mark(row: &LogRow, data: &Data, marks: &HashSet<(String, String, String)>, findings: &mut Findings) {
    let (Some(channel), Some(fact)) = (&data.channel, &data.fact) else { return };
    let Some(target) = &fact.target else { return };
    if !matches!(fact.kind.as_str(), "reaction" | "edit" | "revoke") {
        return;
    }
    let key = (fact.kind.clone(), format!("{}:{}", channel.kind, channel.account), target.clone());
    if !marks.contains(&key) {
        findings.add(
            "V1",
            format!(
                "entry {} of the log tells of this on provider id {target}, which is not kept: {}",
                row.event_id, fact.kind
            ),
        );
    }
}
