//! Which of the items that publishers numbered are done (`reliability-contract` §6): what the bus asks
//! before it waits for one that is missing. Rows are only added by those who do items, so that nobody
//! waits for anybody; one transaction now and then puts them together.

use loket_backbone::bus::Stamp;
use loket_protocol::time::Timestamp;

use super::{Conn, Row, StoreError, Tx, Value, locks, rows, sql};

/// What is missing for so long is given up: it is nobody's concern any more whether it comes.
const GIVEN_UP_MS: i64 = 10 * 60 * 1000;

/// Numbers of an epoch in a partition that follow each other, both ends included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    epoch: String,
    partition: u16,
    first: u64,
    last: u64,
}

impl Run {
    /// Before all of them.
    pub(crate) fn none() -> Self {
        Self { epoch: String::new(), partition: 0, first: 0, last: 0 }
    }

    /// The runs that some stamps make, in order.
    pub(crate) fn of<'a>(stamps: impl IntoIterator<Item = &'a Stamp>) -> Vec<Self> {
        let mut stamps: Vec<_> = stamps.into_iter().collect();
        stamps.sort_unstable_by_key(|stamp| (&stamp.epoch, stamp.partition, stamp.number));
        let mut runs: Vec<Self> = Vec::new();
        for stamp in stamps {
            match runs.last_mut() {
                Some(run) if run.is_of(&stamp.epoch, stamp.partition) && stamp.number <= run.last + 1 => {
                    run.last = stamp.number;
                }
                _ => runs.push(Self {
                    epoch: stamp.epoch.clone(),
                    partition: stamp.partition,
                    first: stamp.number,
                    last: stamp.number,
                }),
            }
        }
        runs
    }

    fn is_of(&self, epoch: &str, partition: u16) -> bool {
        self.epoch == epoch && self.partition == partition
    }

    fn read(row: &Row) -> Result<Self, StoreError> {
        let partition = u16::try_from(row.int("partition")?);
        Ok(Self {
            epoch: row.text("epoch")?,
            partition: partition.map_err(|_| StoreError::Other("no partition has that number".to_owned()))?,
            first: number(row, "first")?,
            last: number(row, "last")?,
        })
    }

    fn place(&self) -> [Value; 3] {
        [(&self.epoch).into(), i64::from(self.partition).into(), stored(self.first)]
    }
}

fn number(row: &Row, name: &str) -> Result<u64, StoreError> {
    Ok(u64::try_from(row.int(name)?).unwrap_or(0))
}

fn stored(number: u64) -> Value {
    i64::try_from(number).unwrap_or(i64::MAX).into()
}

/// Notes that items are done, in the transaction that does them; at most `ROWS_MAX` runs.
pub(crate) async fn note(tx: &mut Tx, runs: &[Run]) -> Result<(), StoreError> {
    if runs.is_empty() {
        return Ok(());
    }
    let now = tx.now();
    let values = runs
        .iter()
        .flat_map(|run| {
            let [epoch, partition, first] = run.place();
            [epoch, partition, first, stored(run.last), now.into()]
        })
        .collect();
    rows(
        "INSERT INTO stamps (epoch, partition, first, last, at) VALUES",
        5,
        values,
        "ON CONFLICT (epoch, partition, first) DO UPDATE SET last = excluded.last, at = excluded.at \
         WHERE excluded.last > stamps.last",
    )
    .later(tx)
    .await
}

/// What is done of an epoch in a partition: first and last of each run of numbers.
pub(crate) async fn done(
    conn: &mut Conn,
    epoch: &str,
    partition: u16,
) -> Result<Vec<(u64, u64)>, StoreError> {
    let found = sql("SELECT first, last FROM stamps WHERE epoch = $1 AND partition = $2 ORDER BY first")
        .bind(epoch)
        .bind(i64::from(partition))
        .all(conn)
        .await?;
    found.iter().map(|row| Ok((number(row, "first")?, number(row, "last")?))).collect()
}

/// Puts runs together that follow each other, of up to `limit` rows from this place on; where to go on, as
/// long as there is more.
pub(crate) async fn gather(tx: &mut Tx, from: &Run, limit: u32) -> Result<Option<Run>, StoreError> {
    locks::of_name(tx, "stamps").await?;
    let [epoch, partition, first] = from.place();
    let found = sql("SELECT epoch, partition, first, last, at FROM stamps \
         WHERE (epoch, partition, first) >= ($1, $2, $3) ORDER BY epoch, partition, first LIMIT $4")
    .bind(epoch)
    .bind(partition)
    .bind(first)
    .bind(limit)
    .all(tx)
    .await?;
    let given_up = tx.now().plus_millis(-GIVEN_UP_MS);
    let read = |row: &Row| Ok::<_, StoreError>((Run::read(row)?, row.time("at")?));
    let parts = found.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let mut last = None;
    for whole in folded(parts, given_up) {
        if whole.parts > 1 || whole.run.first != whole.first {
            whole.write(tx).await?;
        }
        last = Some(whole.run);
    }
    Ok(last.filter(|_| found.len() >= usize::try_from(limit).unwrap_or(usize::MAX)))
}

/// Runs put together.
#[derive(Debug, PartialEq, Eq)]
struct Whole {
    run: Run,
    /// Where its row begins now.
    first: u64,
    /// When it last grew.
    at: Timestamp,
    parts: u32,
}

/// Puts runs together, which come in order. What is missing before one that is as old as `given_up` counts
/// as there.
fn folded(parts: Vec<(Run, Timestamp)>, given_up: Timestamp) -> Vec<Whole> {
    let mut wholes: Vec<Whole> = Vec::new();
    for (part, at) in parts {
        let is_old = at <= given_up;
        match wholes.last_mut() {
            Some(Whole { run, at: grown, parts, .. })
                if run.is_of(&part.epoch, part.partition) && (part.first <= run.last + 1 || is_old) =>
            {
                run.last = run.last.max(part.last);
                *grown = at.max(*grown);
                *parts += 1;
            }
            before => {
                let is_first = before.is_none_or(|whole| !whole.run.is_of(&part.epoch, part.partition));
                let first = part.first;
                let run = Run { first: if is_first && is_old { 1 } else { first }, ..part };
                wholes.push(Whole { run, first, at, parts: 1 });
            }
        }
    }
    wholes
}

impl Whole {
    async fn write(&self, tx: &mut Tx) -> Result<(), StoreError> {
        let [epoch, partition, _] = self.run.place();
        sql("UPDATE stamps SET first = $4, last = $5, at = $6 \
             WHERE epoch = $1 AND partition = $2 AND first = $3")
        .bind(epoch.clone())
        .bind(partition.clone())
        .bind(stored(self.first))
        .bind(stored(self.run.first))
        .bind(stored(self.run.last))
        .bind(self.at)
        .later(tx)
        .await?;
        sql("DELETE FROM stamps WHERE epoch = $1 AND partition = $2 AND first > $3 AND last <= $4")
            .bind(epoch)
            .bind(partition)
            .bind(stored(self.run.first))
            .bind(stored(self.run.last))
            .later(tx)
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(epoch: &str, partition: u16, number: u64) -> Stamp {
        Stamp { epoch: epoch.to_owned(), partition, number }
    }

    fn run(epoch: &str, partition: u16, first: u64, last: u64) -> Run {
        Run { epoch: epoch.to_owned(), partition, first, last }
    }

    #[test]
    fn stamps_make_runs_of_numbers_without_a_gap() {
        let stamps =
            [("b", 1, 7), ("a", 2, 5), ("a", 2, 3), ("a", 2, 4), ("a", 2, 4), ("a", 3, 6), ("a", 2, 9)];
        let stamps = stamps.map(|(epoch, partition, number)| stamp(epoch, partition, number));
        let runs = [run("a", 2, 3, 5), run("a", 2, 9, 9), run("a", 3, 6, 6), run("b", 1, 7, 7)];
        assert_eq!(Run::of(&stamps), runs);
        assert_eq!(Run::of([]), []);
    }

    #[test]
    fn what_follows_is_put_together_and_what_is_missing_for_long_is_given_up() {
        let at = Timestamp::from_millis;
        let parts = |ages: [i64; 5]| {
            let runs = [
                run("a", 0, 2, 3),
                run("a", 0, 4, 9),
                run("a", 0, 6, 7),
                run("a", 0, 11, 12),
                run("b", 0, 13, 13),
            ];
            runs.into_iter().zip(ages.map(at)).collect::<Vec<_>>()
        };
        let whole = |run: Run, first, age, parts| Whole { run, first, at: at(age), parts };
        assert_eq!(
            folded(parts([50, 80, 60, 70, 70]), at(40)),
            [
                whole(run("a", 0, 2, 9), 2, 80, 3),
                whole(run("a", 0, 11, 12), 11, 70, 1),
                whole(run("b", 0, 13, 13), 13, 70, 1),
            ]
        );
        assert_eq!(
            folded(parts([10, 80, 60, 30, 30]), at(40)),
            [whole(run("a", 0, 1, 12), 2, 80, 4), whole(run("b", 0, 1, 13), 13, 30, 1)]
        );
    }
}
