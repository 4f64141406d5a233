//! The clauses, each over any backend.

use std::future::Future;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use loket_backbone::clock::Clock;
use loket_backbone::random;
use loket_protocol::channel::{ChannelAccount, ChannelKind};
use loket_protocol::contact::{Handle, HandleKind};
use loket_protocol::event::EventType;
use loket_protocol::ids::{IdentityId, MessageId, ThreadId};
use loket_protocol::message::{Author, AuthorType, Content, Direction, Message};
use loket_protocol::outbound::{ClaimAnswer, Dispatch, OUTBOUND_VERSION, OutboundMessage};
use loket_protocol::thread::ThreadStatus;
use loket_protocol::time::Timestamp;
use serde_json::json;

use super::Place;
use crate::store::contacts::{self, Known};
use crate::store::inbox::{self, Claim, Effect};
use crate::store::messages::{self, NewMessage};
use crate::store::{Store, StoreError, Tx, log, outbound, sequencer, sql};

/// Many writers at once, as the clauses say.
const MANY: usize = 32;

/// Runs a clause on several threads.
pub(super) fn run(clause: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .unwrap()
        .block_on(clause);
}

async fn at_once<F>(work: impl Fn(usize) -> F) -> Vec<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let mut set = tokio::task::JoinSet::new();
    for n in 0..MANY {
        set.spawn(work(n));
    }
    set.join_all().await
}

fn channel() -> ChannelAccount {
    ChannelAccount { kind: ChannelKind::new("whatsapp").unwrap(), account: "201".to_owned() }
}

async fn somebody(tx: &mut Tx) -> Known {
    let known = Known {
        identity: tx.id(),
        contact: tx.id(),
        thread: tx.id(),
        name: None,
        name_at: Timestamp::default(),
        status: ThreadStatus::Resolved,
        joins: 0,
    };
    contacts::make(tx, &known, &channel()).await.unwrap();
    known
}

fn key(key: &str) -> Claim {
    Claim {
        key: key.to_owned(),
        effect: Effect::None,
        effect_id: None,
        received_at: Timestamp::from_millis(1),
        keep_until: None,
    }
}

async fn fresh(tx: &mut Tx, name: &str) -> bool {
    !inbox::claim(tx, &[key(name)]).await.unwrap().is_empty()
}

async fn keys(store: &Store) -> Vec<String> {
    let mut reader = store.read().await.unwrap();
    let rows = sql("SELECT key FROM inbox ORDER BY key").all(&mut reader).await.unwrap();
    rows.iter().map(|row| row.text("key").unwrap()).collect()
}

/// What the killed process of S1 does: commits, says so, and has always something uncommitted open.
pub(super) async fn commit_until_killed() {
    let url = std::fs::read_to_string("url").unwrap();
    let store = Store::open(&url, Clock::system()).await.unwrap();
    for n in 0.. {
        let mut tx = store.begin_for_worker().await.unwrap();
        assert!(fresh(&mut tx, &format!("{n:06}a")).await);
        assert!(fresh(&mut tx, &format!("{n:06}b")).await);
        tx.commit().await.unwrap();
        println!("committed {n}");
    }
}

/// Commits one key after another until that is refused; how many it was told are committed, and how it
/// was refused.
pub(super) async fn commit_until_refused(store: &Store, round: usize) -> (usize, StoreError) {
    let mut committed = 0;
    loop {
        let one = async {
            let mut tx = store.begin().await?;
            inbox::claim(&mut tx, &[key(&format!("{round}-{committed:06}"))]).await?;
            tx.commit().await
        };
        match one.await {
            Ok(()) => committed += 1,
            Err(error) => return (committed, error),
        }
    }
}

/// How many keys there are.
pub(super) async fn keys_of(store: &Store) -> usize {
    keys(store).await.len()
}

/// The name of the test that is the killed process.
fn the_killed<P: Place>() -> String {
    let (_, here) = module_path!().split_once("::").unwrap();
    let (contract, _) = here.rsplit_once("::").unwrap();
    format!("{contract}::{}::the_killed", P::NAME)
}

pub(super) async fn s1_what_was_committed_survives_a_kill<P: Place>() {
    let Some(place) = P::fresh().await else { return };
    std::fs::write(place.folder().join("url"), place.url()).unwrap();
    let mut said = -1;
    for round in 0..3 {
        if round > 0 {
            // Each life counts from zero again; what the last one left is looked at and taken away.
            let store = place.open().await;
            let kept = keys(&store).await;
            let told = usize::try_from(said + 1).unwrap();
            assert!(kept.len() >= told * 2, "{} of {told} transactions", kept.len() / 2);
            assert_eq!(kept.len() % 2, 0, "half a transaction was kept");
            assert!(place.is_sound(&store).await);
            let mut tx = store.begin().await.unwrap();
            sql("DELETE FROM inbox").run(&mut tx).await.unwrap();
            tx.commit().await.unwrap();
            store.close().await;
        }
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--nocapture", "--exact", &the_killed::<P>()])
            .current_dir(place.folder())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let wanted = 20 + round * 37;
        for line in lines.map_while(Result::ok) {
            if let Some(n) = line.rsplit("committed ").next().and_then(|n| n.parse::<i64>().ok()) {
                said = n;
                if n >= wanted {
                    break;
                }
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(said >= wanted, "the process ended by itself after {said}");
    }
}

pub(super) async fn s2_what_was_rolled_back_leaves_nothing<P: Place>() {
    let Some(place) = P::fresh().await else { return };
    let store = place.open().await;
    let mut tx = store.begin().await.unwrap();
    let gone = somebody(&mut tx).await;
    log::append(&mut tx, Some(gone.thread), EventType::NoteAdded, &json!({})).await.unwrap();
    drop(tx);
    let mut tx = store.begin().await.unwrap();
    assert!(fresh(&mut tx, "a").await);
    // What nobody waits for fails at the latest with the commit, and takes all with it.
    let twice = async {
        for _ in 0..2 {
            contacts::make(&mut tx, &gone, &channel()).await?;
        }
        tx.commit().await
    };
    let twice = twice.await;
    assert!(matches!(twice, Err(StoreError::Constraint(_))), "{twice:?}");
    let mut reader = store.read().await.unwrap();
    for text in [
        "SELECT COUNT(*) AS n FROM contacts",
        "SELECT COUNT(*) AS n FROM threads",
        "SELECT COUNT(*) AS n FROM log",
        "SELECT COUNT(*) AS n FROM inbox",
    ] {
        assert_eq!(sql(text).first(&mut reader).await.unwrap().unwrap().int("n").unwrap(), 0, "{text}");
    }
}

pub(super) async fn s3_unique_keys_hold_under_32_parallel_writers<P: Place>() {
    let Some(place) = P::fresh().await else { return };
    let store = place.open().await;
    let handle = Handle::new(HandleKind::Bsuid, "NL.1");
    let won = at_once(|_| {
        let (store, handle) = (store.clone(), handle.clone());
        async move {
            let mut tx = store.begin_for_worker().await.unwrap();
            let first = fresh(&mut tx, "the same").await;
            let known = somebody(&mut tx).await;
            let committed = async {
                contacts::add_handles(&mut tx, &channel(), known.identity, &[handle]).await?;
                tx.commit().await
            };
            let committed = committed.await;
            if first {
                committed.unwrap();
            } else {
                assert!(matches!(committed, Err(StoreError::Constraint(_))), "{committed:?}");
            }
            first
        }
    })
    .await;
    assert_eq!(won.iter().filter(|won| **won).count(), 1);
    assert_eq!(keys(&store).await, ["the same"]);
}

/// Appends an entry of no thread.
pub(super) async fn append(store: &Store) {
    let mut tx = store.begin().await.unwrap();
    log::append(&mut tx, None, EventType::ChannelNoticed, &json!({})).await.unwrap();
    tx.commit().await.unwrap();
}

async fn made(store: &Store) -> Known {
    let mut tx = store.begin().await.unwrap();
    let known = somebody(&mut tx).await;
    tx.commit().await.unwrap();
    known
}

/// Each writer appends, and gives up some of its transactions at random.
async fn write_at_once(store: &Store, thread: ThreadId) -> i64 {
    let committed = Arc::new(AtomicI64::new(0));
    at_once(|n| {
        let (store, committed) = (store.clone(), Arc::clone(&committed));
        async move {
            for turn in 0..6 {
                let mut tx = store.begin_for_worker().await.unwrap();
                let entries = 1 + turn % 3;
                for entry in 0..entries {
                    let data = json!({ "writer": n, "turn": turn, "entry": entry });
                    log::append(&mut tx, Some(thread), EventType::NoteAdded, &data).await.unwrap();
                    tokio::time::sleep(Duration::from_micros(random::jitter_ms(300))).await;
                }
                if random::jitter_ms(2) > 0 {
                    tx.commit().await.unwrap();
                    committed.fetch_add(entries, Ordering::SeqCst);
                }
            }
        }
    })
    .await;
    committed.load(Ordering::SeqCst)
}

pub(super) async fn s4_thread_seq_has_no_gap_under_32_parallel_writers_and_rollbacks<P: Place>() {
    let Some(place) = P::fresh().await else { return };
    let store = place.open().await;
    let thread = made(&store).await.thread;
    let committed = write_at_once(&store, thread).await;
    let mut reader = store.read().await.unwrap();
    let rows = sql("SELECT thread_seq FROM log ORDER BY row_id").all(&mut reader).await.unwrap();
    let seqs: Vec<i64> = rows.iter().map(|row| row.int("thread_seq").unwrap()).collect();
    assert_eq!(seqs, (1..=committed).collect::<Vec<_>>(), "in the order of their rows");
}

pub(super) async fn s5_the_sequencer_skips_nothing_and_is_one<P: Place>() {
    let Some(place) = P::fresh().await else { return };
    let store = place.open().await;
    let thread = made(&store).await.thread;
    // An entry whose transaction is open while the sequencer looks, and ends last (M14).
    let mut old = store.begin().await.unwrap();
    log::append(&mut old, Some(thread), EventType::NoteAdded, &json!({ "old": true })).await.unwrap();
    let mut reader = store.read().await.unwrap();
    assert!(!log::has_unnumbered(&mut reader).await.unwrap());
    drop(reader);
    let mut numbering = tokio::task::JoinSet::new();
    numbering.spawn({
        let store = store.clone();
        async move {
            let mut numbered = 0;
            loop {
                let mut tx = store.begin_for_worker().await.unwrap();
                let until = tx.now().plus_millis(60_000);
                let epoch = sequencer::elect(&mut tx, "one", until).await.unwrap().unwrap();
                tx.commit().await.unwrap();
                numbered += sequencer::number(&store, epoch, 5).await.unwrap().unwrap();
                let mut tx = store.read().await.unwrap();
                let enough =
                    sql("SELECT 1 AS n FROM inbox WHERE key = 'enough'").first(&mut tx).await.unwrap();
                let all = !log::has_unnumbered(&mut tx).await.unwrap();
                if enough.is_some() && all {
                    return numbered;
                }
            }
        }
    });
    old.commit().await.unwrap();
    let committed = write_at_once(&store, thread).await + 1;
    let mut tx = store.begin_for_worker().await.unwrap();
    assert!(fresh(&mut tx, "enough").await);
    tx.commit().await.unwrap();
    let numbered = numbering.join_next().await.unwrap().unwrap();
    assert_eq!(numbered, committed);
    let mut reader = store.read().await.unwrap();
    let rows = sql("SELECT seq, thread_seq FROM log ORDER BY seq").all(&mut reader).await.unwrap();
    let seqs: Vec<i64> = rows.iter().map(|row| row.int("seq").unwrap()).collect();
    assert_eq!(seqs, (1..=committed).collect::<Vec<_>>());
    let order: Vec<i64> = rows.iter().map(|row| row.int("thread_seq").unwrap()).collect();
    assert!(order.is_sorted(), "thread order survives numbering");
    // The right to number: one has it, another gets it when it is over, with a new epoch.
    let mut tx = store.begin_for_worker().await.unwrap();
    let now = tx.now();
    let until = now.plus_millis(60_000);
    let first = sequencer::elect(&mut tx, "one", until).await.unwrap().unwrap();
    assert_eq!(sequencer::elect(&mut tx, "two", until).await.unwrap(), None);
    assert_eq!(sequencer::elect(&mut tx, "one", now).await.unwrap(), Some(first), "renewed, until now");
    let second = sequencer::elect(&mut tx, "two", until).await.unwrap().unwrap();
    assert!(second > first);
    tx.commit().await.unwrap();
    assert_eq!(sequencer::number(&store, first, 5).await.unwrap(), None, "its epoch is over");
    assert_eq!(sequencer::number(&store, second, 5).await.unwrap(), Some(0));
}

fn words(id: MessageId, thread: ThreadId, seq: i64, identity: IdentityId, content: Content) -> NewMessage {
    let message = Message {
        id,
        seq,
        thread_id: thread,
        copied_from: None,
        direction: Direction::In,
        author: Author { kind: AuthorType::Contact, id: None, name: None },
        channel: Some(channel()),
        identity_id: Some(identity),
        content,
        attachments: Vec::new(),
        reply_to: None,
        external_id: Some(format!("ext-{id}")),
        status: None,
        status_detail: None,
        reactions: Vec::new(),
        late: false,
        edited_at: None,
        revoked_at: None,
        provider_time: None,
        created_at: Timestamp::from_millis(5),
    };
    NewMessage { message, client_message_id: None, imported: false }
}

pub(super) async fn s6_of_32_parallel_claims_one_wins<P: Place>() {
    let Some(place) = P::fresh().await else { return };
    let store = place.open().await;
    let mut tx = store.begin().await.unwrap();
    let known = somebody(&mut tx).await;
    let id = tx.id();
    let seq = log::draw(&mut tx, known.thread, 1).await.unwrap();
    let new = words(id, known.thread, seq, known.identity, Content::text("x"));
    messages::insert(&mut tx, &[new]).await.unwrap();
    let payload = OutboundMessage {
        v: OUTBOUND_VERSION,
        dispatch: Dispatch { message_id: id, part: 0, number: 1 },
        channel: channel(),
        to: vec![Handle::new(HandleKind::Bsuid, "NL.1")],
        content: Content::text("x"),
        attachment: None,
        reply_to: None,
        written_by_person: true,
        window_closes_at: None,
    };
    outbound::insert(&mut tx, &payload.lane(), known.identity, std::slice::from_ref(&payload)).await.unwrap();
    tx.commit().await.unwrap();
    let answers = at_once(|n| {
        let store = store.clone();
        async move {
            let mut tx = store.begin_for_worker().await.unwrap();
            let mut part = outbound::part(&mut tx, id, 0).await.unwrap().unwrap();
            let was = part.standing.clone();
            let (answer, next) = was.claimed(1, &format!("nonce {n}"));
            if let Some(next) = next {
                part.standing = next;
                outbound::save(&mut tx, &part, &was).await.unwrap();
            }
            tx.commit().await.unwrap();
            answer
        }
    })
    .await;
    assert_eq!(answers.iter().filter(|answer| **answer == ClaimAnswer::Granted).count(), 1);
}

pub(super) async fn s7_strings_numbers_and_times_come_back_as_they_went_in<P: Place>() {
    let strings = [
        "",
        " ",
        "'; DROP TABLE messages; --",
        "$1 ?1 :a @a \\ \" ` %_",
        "Crème brûlée €\u{a0}7,50 👩\u{200d}👩\u{200d}👧\u{200d}👦 שָׁלוֹם مرحبًا 日本語\nregel\ttwee e\u{301}\u{200b}!",
        "\u{fffd}\u{fffe}\u{10ffff}\u{202e}\u{7f}\u{1}",
        "null",
        "0123456789012345678901234567890",
    ];
    let numbers = [0, 1, -1, i64::from(i32::MAX), i64::from(i32::MIN) - 1, i64::MAX, i64::MIN];
    let times = [0, 1, 1_795_253_400_123, 253_402_300_799_999].map(Timestamp::from_millis);
    let Some(place) = P::fresh().await else { return };
    let store = place.open().await;
    let mut tx = store.begin().await.unwrap();
    let known = somebody(&mut tx).await;
    let mut ids = Vec::new();
    for text in strings.iter().map(|text| (*text).to_owned()).chain(["x".repeat(1 << 20)]) {
        let id = tx.id();
        let seq = log::draw(&mut tx, known.thread, 1).await.unwrap();
        let mut new = words(id, known.thread, seq, known.identity, Content::text(text.clone()));
        new.message.author.name = Some(text.clone());
        messages::insert(&mut tx, &[new]).await.unwrap();
        ids.push((id, text));
    }
    let mut entries = Vec::new();
    for number in numbers {
        let data = json!({ "number": number, "float": 0.1, "deep": [[{ "a": null }]] });
        entries.push(data.clone());
        log::append(&mut tx, None, EventType::ChannelNoticed, &data).await.unwrap();
    }
    for (n, time) in times.into_iter().enumerate() {
        let claim = Claim { received_at: time, keep_until: Some(time), ..key(&format!("time {n}")) };
        inbox::claim(&mut tx, &[claim]).await.unwrap();
    }
    let all: Vec<u8> = (0..=u8::MAX).collect();
    crate::store::parked::keep_piece(&mut tx, "bytes", 0, 2, all.clone(), times[2]).await.unwrap();
    crate::store::parked::keep_piece(&mut tx, "bytes", 1, 2, Vec::new(), times[2]).await.unwrap();
    tx.commit().await.unwrap();
    let mut reader = store.read().await.unwrap();
    for (id, text) in ids {
        let shown = messages::by_id(&mut reader, id).await.unwrap().unwrap();
        assert_eq!(shown.content.text.as_deref(), Some(text.as_str()));
        assert_eq!(shown.author.name.as_deref(), Some(text.as_str()));
    }
    let rows = sql("SELECT data FROM log ORDER BY row_id").all(&mut reader).await.unwrap();
    let read: Vec<serde_json::Value> = rows.iter().map(|row| row.json("data").unwrap()).collect();
    assert_eq!(read, entries);
    let rows = sql("SELECT received_at, keep_until FROM inbox ORDER BY key").all(&mut reader).await.unwrap();
    for (row, time) in rows.iter().zip(times) {
        assert_eq!(row.time("received_at").unwrap(), time);
        assert_eq!(row.time_or_none("keep_until").unwrap(), Some(time));
    }
    let pieces = crate::store::parked::all_pieces(&mut reader, "bytes", 2).await.unwrap().unwrap();
    assert_eq!(pieces, [all, Vec::new()]);
}

pub(super) async fn s8_a_timeout_is_passing_and_does_nothing_in_part<P: Place>() {
    let Some(place) = P::fresh().await else { return };
    let store = place.open().await;
    let mut long = store.begin().await.unwrap();
    assert!(fresh(&mut long, "long").await);
    // Whoever wants the same: at the latest here, and where there is one writer even before.
    let refused = async {
        let mut tx = store.begin().await?;
        inbox::claim(&mut tx, &[key("long")]).await?;
        tx.commit().await
    };
    let refused = refused.await.err().unwrap();
    assert!(refused.is_passing() && !refused.is_shared(), "{refused:?}");
    assert!(matches!(crate::HubError::from(refused), crate::HubError::Unavailable(_)));
    // Work that is cut off in the middle leaves nothing.
    let cut_off = tokio::time::timeout(Duration::from_millis(50), async {
        let mut tx = store.begin_for_worker().await.unwrap();
        fresh(&mut tx, "before long").await;
        fresh(&mut tx, "long").await;
    });
    assert!(cut_off.await.is_err());
    long.commit().await.unwrap();
    let cut_off = tokio::time::timeout(Duration::from_millis(50), async {
        let mut tx = store.begin_for_worker().await.unwrap();
        assert!(fresh(&mut tx, "half").await);
        std::future::pending::<()>().await;
    });
    assert!(cut_off.await.is_err());
    let mut tx = store.begin().await.unwrap();
    assert!(fresh(&mut tx, "after").await);
    tx.commit().await.unwrap();
    assert_eq!(keys(&store).await, ["after", "long"]);
}

pub(super) async fn s9_a_full_disk_leaves_the_store_good<P: Place>() {
    let Some(mut place) = P::fresh().await else { return };
    let store = place.open().await;
    let thread = made(&store).await.thread;
    if !place.shrink(&store).await {
        return;
    }
    // Words that do not get much shorter when they are packed.
    let words: String = (0..400).map(|_| random::hex::<25>()).collect();
    let data = json!({ "words": words });
    let mut kept = 0;
    let error = loop {
        let mut tx = store.begin().await.unwrap();
        match log::append(&mut tx, Some(thread), EventType::NoteAdded, &data).await {
            Ok(_) => match tx.commit().await {
                Ok(()) => kept += 1,
                Err(error) => break error,
            },
            Err(error) => break error,
        }
        assert!(kept < 1000, "it never got full");
    };
    assert!(matches!(error, StoreError::Full), "{error:?}");
    assert!(error.is_shared(), "nobody is to blame for it");
    assert!(matches!(crate::HubError::from(error), crate::HubError::DiskFull));
    let mut reader = store.read().await.unwrap();
    let rows = sql("SELECT thread_seq FROM log ORDER BY row_id").all(&mut reader).await.unwrap();
    assert_eq!(rows.len(), kept, "what was committed can be read");
    drop(reader);
    assert!(place.is_sound(&store).await);
    place.grow(&store).await;
    let mut tx = store.begin().await.unwrap();
    let seq = log::append(&mut tx, Some(thread), EventType::NoteAdded, &data).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(seq, Some(i64::try_from(kept + 1).unwrap()), "and it goes on where it was");
}

pub(super) async fn s10_a_schema_of_a_later_version_is_refused<P: Place>() {
    let Some(place) = P::fresh().await else { return };
    let store = place.open().await;
    store.close().await;
    drop(store);
    // Opening what this version made is the ordinary case.
    let store = place.open().await;
    store.close().await;
    drop(store);
    place.migrate_beyond().await;
    let refused = Store::open(&place.url(), Clock::system()).await.err().unwrap();
    assert!(matches!(&refused, StoreError::Refused(sentence) if sentence.contains("9999")), "{refused:?}");
}

pub(super) async fn s11_an_interrupted_migration_goes_on_or_back<P: Place>() {
    let Some(place) = P::fresh().await else { return };
    let mut count = 0;
    loop {
        if !place.migrate_in_part(count).await {
            break;
        }
        let store = place.open().await;
        let known = made(&store).await;
        let mut reader = store.read().await.unwrap();
        assert_eq!(contacts::contacts(&mut reader, &[known.contact]).await.unwrap().len(), 1);
        assert!(place.is_sound(&store).await);
        drop(reader);
        store.close().await;
        count += 1;
    }
    assert!(count > 20, "the schema has more statements than {count}");
}
