//! Every row can be read as what it is, and every parked item can be opened.

use loket_protocol::message::{Attachment, Content, ProviderError};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{Findings, PAGE};
use crate::HubError;
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
    opens(reader, key, findings).await
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
