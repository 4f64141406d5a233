//! Who did what: one row in the transaction of the act (`security` L2).

use super::{StoreError, Tx, sql};
use crate::requests::Principal;

/// An act that is written down.
pub(crate) struct Act<'a> {
    /// What, such as `agent.create`.
    pub(crate) act: &'static str,
    /// Which object.
    pub(crate) object: Option<String>,
    /// Why, in the words of who did it.
    pub(crate) why: Option<&'a str>,
}

/// Writes an act down; without a principal it was done on the command line.
pub(crate) async fn write(tx: &mut Tx, by: Option<&Principal>, act: Act<'_>) -> Result<(), StoreError> {
    let now = tx.now();
    sql("INSERT INTO audit (at, actor, act, object, why) VALUES ($1, $2, $3, $4, $5)")
        .bind(now)
        .bind(by.map_or_else(|| "command line".to_owned(), Principal::id))
        .bind(act.act)
        .bind(act.object)
        .bind(act.why)
        .run(tx)
        .await?;
    Ok(())
}
