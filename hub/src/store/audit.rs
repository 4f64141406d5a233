//! Who did what, for the record. Never what was written, and no secret.

use super::{StoreError, Tx, sql};

/// One deed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deed<'a> {
    /// The id of the principal; `operator` for the command line, which knows nobody.
    pub(crate) actor: &'a str,
    /// What was done, noun first: `parked.dropped`.
    pub(crate) act: &'a str,
    /// The id of what it was done to.
    pub(crate) object: Option<&'a str>,
    /// The reason that was given.
    pub(crate) why: Option<&'a str>,
}

/// Who acts when nobody is logged in: whoever may run the command line.
pub(crate) const OPERATOR: &str = "operator";

/// Notes a deed in the transaction that does it.
pub(crate) async fn note(tx: &mut Tx, deed: Deed<'_>) -> Result<(), StoreError> {
    let now = tx.now();
    sql("INSERT INTO audit (at, actor, act, object, why) VALUES ($1, $2, $3, $4, $5)")
        .bind(now)
        .bind(deed.actor)
        .bind(deed.act)
        .bind(deed.object)
        .bind(deed.why)
        .later(tx)
        .await
}
