//! Every row can be read as what it is, and everything sealed can be opened: parked items, and the
//! answers of writes, whose messages must be there.

use std::collections::HashSet;

use loket_protocol::message::{Attachment, Content, ProviderError};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{Findings, PAGE};
use crate::HubError;
use crate::idempotency::place;
use crate::seal::MasterKey;
use crate::store::Conn;
use crate::store::verify::{self, Form, READABLE};

/// Checks every table with JSON in it, and every sealed parked item.
pub(super) async fn check(
    reader: &mut Conn,
    key: &MasterKey,
    findings: &mut Findings,
) -> Result<(), HubError> {
    for table in READABLE {
        let mut after = String::new();
        loop {
            let rows = verify::page(reader, table, &after, PAGE).await?;
            let Some((last, _)) = rows.last() else { break };
            after.clone_from(last);
            for (id, columns) in rows {
                for (form, text) in table.columns.iter().zip(columns) {
                    if let (Some(form), Some(text)) = (form, text)
                        && let Err(error) = reads_as(*form, &text)
                    {
                        findings.add("readable", format!("{} {id} cannot be read: {error}", table.noun));
                    }
                }
            }
        }
    }
    opens(reader, key, findings).await?;
    answers(reader, key, findings).await
}

fn reads_as(form: Form, text: &str) -> Result<(), serde_json::Error> {
    fn is<T: DeserializeOwned>(text: &str) -> Result<(), serde_json::Error> {
        serde_json::from_str::<T>(text).map(drop)
    }
    match form {
        Form::Content => is::<Content>(text),
        Form::Attachments => is::<Vec<Attachment>>(text),
        Form::Errors => is::<Vec<ProviderError>>(text),
        Form::Texts => is::<Vec<String>>(text),
        Form::Object => is::<Map<String, Value>>(text),
    }
}

async fn opens(reader: &mut Conn, key: &MasterKey, findings: &mut Findings) -> Result<(), HubError> {
    let mut after = 0;
    loop {
        let rows = verify::sealed(reader, after, PAGE / 8).await?;
        let Some(last) = rows.last() else { return Ok(()) };
        after = last.number;
        for row in rows {
            if let Err(error) = key.open(&format!("parked:{}", row.id), &row.sealed) {
                findings.add(
                    "V10",
                    format!(
                        "the raw bytes of parked item {} (P-{}) cannot be opened: {error}",
                        row.id, row.number
                    ),
                );
            }
        }
    }
}

/// What stands in the answer of a write that made something.
#[derive(Deserialize)]
struct Made {
    id: Option<String>,
}

/// Every message that a client was told about is there.
async fn answers(reader: &mut Conn, key: &MasterKey, findings: &mut Findings) -> Result<(), HubError> {
    let mut after: [String; 4] = Default::default();
    loop {
        let rows = verify::answered(reader, &after, PAGE).await?;
        let Some(last) = rows.last() else { return Ok(()) };
        after.clone_from(&last.scope);
        let mut told = Vec::new();
        for row in &rows {
            let [principal, method, path, name] = &row.scope;
            let made = match key.open(&place(principal, method, path, name), &row.sealed) {
                Ok(answer) => serde_json::from_slice::<Made>(&answer).ok().and_then(|made| made.id),
                Err(error) => {
                    let sentence = format!(
                        "the kept answer of {method} {path} by {principal} cannot be opened: {error}"
                    );
                    findings.add("V1", sentence);
                    continue;
                }
            };
            told.extend(made.filter(|id| id.starts_with("msg_")).map(|id| (id, method, path)));
        }
        let ids: Vec<String> = told.iter().map(|(id, ..)| id.clone()).collect();
        let there: HashSet<String> =
            verify::places(reader, &ids).await?.into_iter().map(|(id, ..)| id).collect();
        for (id, method, path) in told {
            if !there.contains(&id) {
                findings
                    .add("V1", format!("{method} {path} was answered with message {id}, which is not there"));
            }
        }
    }
}
