//! V6 and V8: each outgoing message stands where everything that was told about it puts it.

use std::collections::HashMap;

use loket_protocol::delivery::MessageStatus;
use loket_protocol::ids::MessageId;

use super::{Findings, PAGE};
use crate::HubError;
use crate::delivery::expected_from;
use crate::store::outbound::Part;
use crate::store::statuses::{self, Outgoing, Told};
use crate::store::{Conn, StoreError, outbound};

/// Checks every outgoing message.
pub(super) async fn check(reader: &mut Conn, findings: &mut Findings) -> Result<(), HubError> {
    let mut after = String::new();
    loop {
        let rows = statuses::outgoing_page(reader, &after, PAGE).await?;
        let Some((last, _)) = rows.last() else { return Ok(()) };
        after.clone_from(last);
        let mut messages = Vec::with_capacity(rows.len());
        for (id, row) in rows {
            match row {
                Ok(message) => messages.push(message),
                Err(error) => findings.add("readable", format!("message {id} cannot be read: {error}")),
            }
        }
        page(reader, messages, findings).await?;
    }
}

/// What could be read, by message; what could not is a finding.
fn sorted<T>(
    rows: Vec<(MessageId, Result<T, StoreError>)>,
    noun: &str,
    findings: &mut Findings,
) -> HashMap<MessageId, Vec<T>> {
    let mut by_message: HashMap<MessageId, Vec<T>> = HashMap::new();
    for (message, row) in rows {
        match row {
            Ok(row) => by_message.entry(message).or_default().push(row),
            Err(error) => {
                findings.add("readable", format!("a {noun} of message {message} cannot be read: {error}"));
            }
        }
    }
    by_message
}

async fn page(reader: &mut Conn, messages: Vec<Outgoing>, findings: &mut Findings) -> Result<(), HubError> {
    let ids: Vec<MessageId> = messages.iter().map(|message| message.id).collect();
    let mut parts = sorted(outbound::of_many(reader, &ids).await?, "part", findings);
    let mut told = sorted(statuses::told_of_many(reader, &ids).await?, "status", findings);
    let mut names: HashMap<MessageId, Vec<String>> = HashMap::new();
    for (message, name) in statuses::names_of_many(reader, &ids).await? {
        names.entry(message).or_default().push(name);
    }
    let mut identities: Vec<_> = messages.iter().filter_map(|message| message.identity).collect();
    identities.sort_unstable();
    identities.dedup();
    let mut marks: HashMap<_, Vec<_>> = HashMap::new();
    for (mark, at) in statuses::watermarks_of_many(reader, &identities).await? {
        marks.entry(mark.identity).or_default().push((mark, at));
    }
    for message in messages {
        let parts: Vec<Part> = parts.remove(&message.id).unwrap_or_default();
        let told: Vec<Told> = told.remove(&message.id).unwrap_or_default();
        let names = names.remove(&message.id).unwrap_or_default();
        payloads(&message, &parts, findings);
        let marks = message.identity.and_then(|identity| marks.get(&identity)).map_or(&[][..], Vec::as_slice);
        let expected = expected_from(&message, parts, told, names, marks);
        compare(&message, &expected, findings);
    }
    Ok(())
}

fn payloads(message: &Outgoing, parts: &[Part], findings: &mut Findings) {
    for part in parts {
        let Some(payload) = &part.payload else {
            findings.add("readable", format!("part {} of message {} cannot be read", part.index, message.id));
            continue;
        };
        let dispatch = payload.dispatch;
        if dispatch.message_id != message.id || dispatch.part != part.index {
            findings.add(
                "V6",
                format!(
                    "part {} of message {} would send something else: {}",
                    part.index,
                    message.id,
                    dispatch.outbox_id()
                ),
            );
        }
        if payload.to.is_empty() {
            findings
                .add("V6", format!("part {} of message {} has no address to go to", part.index, message.id));
        }
    }
}

fn compare(stored: &Outgoing, expected: &Outgoing, findings: &mut Findings) {
    let id = stored.id;
    let (is, should) = (stored.status, expected.status);
    let own = MessageStatus::Sent.rank();
    // Steps of our own may go back, what is shown may not.
    let fits = is == should || (is.rank() < own && should.rank() < is.rank());
    if !fits {
        findings.add(
            "V8",
            format!(
                "message {id} is shown as {}, and what was told about it makes it {}",
                is.as_str(),
                should.as_str()
            ),
        );
    }
    if stored.provider_time != expected.provider_time {
        findings.add("V8", format!("message {id} has another time of sending than its parts and statuses"));
    }
    if stored.detail != expected.detail {
        findings.add("V8", format!("the status_detail of message {id} is not what was told about it"));
    }
}
