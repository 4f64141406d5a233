//! Facts about the installation as a whole, by name.

use super::{Conn, StoreError, Tx, sql};

/// The log's epoch: part of every cursor; a new one after a restore (`reliability-contract` §4).
pub(crate) const LOG_EPOCH: &str = "log_epoch";
/// The id of the master key that sealed what is here, and a sealed probe.
pub(crate) const MASTER_KEY: &str = "master_key";

/// What is written under `name`.
pub(crate) async fn get(conn: &mut Conn, name: &str) -> Result<Option<String>, StoreError> {
    let row = sql("SELECT value FROM installation WHERE name = $1").bind(name).first(conn).await?;
    row.map(|row| row.text("value")).transpose()
}

/// Writes `value` under `name` unless something is there; answers what is there now.
pub(crate) async fn get_or_set(tx: &mut Tx, name: &str, value: &str) -> Result<String, StoreError> {
    sql("INSERT INTO installation (name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING")
        .bind(name)
        .bind(value)
        .run(tx)
        .await?;
    Ok(get(tx, name).await?.unwrap_or_default())
}
