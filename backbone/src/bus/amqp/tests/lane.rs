//! What a lane holds, gives out and acknowledges, without a broker.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use tokio::sync::mpsc;

use crate::bus::amqp::lane::{Acks, Delivered, Lane};
use crate::bus::contract::item;
use crate::bus::{Ledger, Stamp};
use crate::clock::Clock;

fn lane(is_keyed: bool) -> Lane {
    let queues = vec!["q.p00".into(), "q.p01".into()];
    let lane = Lane::new("line", "crew", queues, 32, is_keyed);
    attach(&lane);
    lane
}

fn attach(lane: &Lane) {
    lane.attach(mpsc::channel(1).0);
}

fn now() -> Instant {
    Clock::system().instant()
}

fn delivered(tag: u64, key: u64) -> Delivered {
    Delivered {
        partition: 0,
        tag,
        item: Arc::new(item(tag, key)),
        before: false,
        stamp: None,
        at_ms: 0,
        received: now(),
        expires: None,
        reply_to: None,
        origin: None,
    }
}

/// What the broker knows: an acknowledgement of several takes everything up to it.
fn tell(unacknowledged: &mut BTreeSet<u64>, acks: &Acks) -> Vec<u64> {
    let mut gone: Vec<u64> = Vec::new();
    if let Some(up_to) = acks.up_to {
        gone.extend(unacknowledged.range(..=up_to));
    }
    gone.extend(&acks.single);
    unacknowledged.retain(|tag| !gone.contains(tag));
    gone
}

proptest! {
    /// Deliveries of several consumers arrive in any order, turns are taken in any order: the broker
    /// never hears that something is done that is not, and hears of all that is.
    #[test]
    fn only_what_is_done_is_acknowledged(
        order in Just((1..=40u64).collect::<Vec<_>>()).prop_shuffle(),
        turns in proptest::collection::vec((0..4u8, 0..8usize), 0..200),
    ) {
        let lane = lane(true);
        // Sent by the broker from the start, and some not read yet.
        let mut unacknowledged: BTreeSet<u64> = (1..=40).collect();
        let (mut coming, mut out, mut done) = (order.into_iter(), Vec::new(), BTreeSet::new());
        let finish = turns.len();
        let endings = (0..4u8).cycle().take(400).map(|turn| (turn, 0usize));
        for (step, (turn, which)) in turns.into_iter().chain(endings).enumerate() {
            match turn {
                0 => if let Some(tag) = coming.next() {
                    lane.arrive(delivered(tag, tag % 5));
                },
                1 => out.extend(lane.take(3, now())),
                2 if !out.is_empty() => {
                    let taken = out.swap_remove(which % out.len());
                    if step < finish && which == 0 {
                        lane.give_back(taken.number);
                    } else {
                        lane.settle(taken.number).unwrap();
                        done.insert(taken.item.id.parse::<u64>().unwrap());
                    }
                }
                _ => for tag in tell(&mut unacknowledged, &lane.acks()) {
                    prop_assert!(done.contains(&tag), "{tag} is not done");
                },
            }
            let mut keys = HashSet::new();
            for taken in &out {
                prop_assert!(keys.insert(taken.item.key.clone()), "two of a key are out");
            }
        }
        for tag in tell(&mut unacknowledged, &lane.acks()) {
            prop_assert!(done.contains(&tag), "{tag} is not done");
        }
        prop_assert_eq!(unacknowledged, BTreeSet::new());
    }
}

#[test]
fn what_is_done_in_a_row_goes_with_one_word() {
    let lane = lane(true);
    for tag in 1..=6 {
        lane.arrive(delivered(tag, tag));
    }
    for taken in lane.take(6, now()).into_iter().filter(|taken| taken.item.id != "4") {
        lane.settle(taken.number).unwrap();
    }
    assert_eq!(lane.acks(), Acks { up_to: Some(3), single: vec![5, 6] });
    assert_eq!(lane.acks(), Acks::default(), "each is told once");
    // The tag before it has not arrived: it may still be on its way here.
    lane.arrive(delivered(8, 8));
    let taken = lane.take(1, now()).pop().unwrap();
    lane.settle(taken.number).unwrap();
    assert_eq!(lane.acks(), Acks { up_to: None, single: vec![8] });
}

#[test]
fn a_new_session_forgets_what_waited_and_keeps_closed_what_is_out() {
    let lane = lane(true);
    for tag in 1..=3 {
        lane.arrive(delivered(tag, 7));
    }
    let held = lane.take(9, now()).pop().unwrap();
    lane.detach(false);
    assert_eq!(lane.sight().items, 0);
    attach(&lane);
    for tag in 1..=3 {
        lane.arrive(Delivered { before: true, ..delivered(tag, 7) });
    }
    assert!(lane.take(9, now()).is_empty(), "its key is held");
    assert!(lane.settle(held.number).is_err());
    assert_eq!(lane.acks(), Acks::default(), "tags of another session are not told");
    let again = lane.take(9, now()).pop().unwrap();
    assert_eq!((again.item.id.as_str(), again.before), ("1", true));
    assert_eq!((lane.sight().items, lane.sight().leased), (3, 1));
    // The same when the holder gives it back instead.
    lane.detach(false);
    attach(&lane);
    lane.arrive(delivered(1, 7));
    lane.give_back(again.number);
    assert_eq!(lane.take(9, now()).len(), 1);
}

#[test]
fn a_question_that_nobody_waits_for_is_not_handed_out() {
    let lane = lane(false);
    let soon = now() + Duration::from_millis(5);
    lane.arrive(Delivered { expires: Some(soon), ..delivered(1, 0) });
    lane.arrive(delivered(2, 0));
    lane.arrive(delivered(3, 0));
    let ids: Vec<_> = lane.take(9, soon).into_iter().map(|taken| taken.item.id.clone()).collect();
    assert_eq!(ids, ["2", "3"], "and questions do not wait for each other");
    assert_eq!(lane.acks().up_to, Some(1));
}

/// Knows of nothing that is done.
struct Blank;

#[async_trait::async_trait]
impl Ledger for Blank {
    async fn done(&self, _: &str, _: u16) -> Option<Vec<(u64, u64)>> {
        Some(Vec::new())
    }
}

fn numbered(tag: u64, number: u64, key: u64) -> Delivered {
    let stamp = Stamp { epoch: "e".to_owned(), partition: 0, number };
    Delivered { stamp: Some(stamp), item: Arc::new(item(number, key)), ..delivered(tag, key) }
}

fn taken(lane: &Lane) -> Vec<String> {
    let taken = lane.take(9, now());
    taken
        .into_iter()
        .map(|taken| {
            lane.settle(taken.number).unwrap();
            taken.item.id.clone()
        })
        .collect()
}

#[test]
fn what_came_ahead_of_its_time_waits_for_what_was_published_before_it() {
    let lane = lane(true);
    lane.keep_order(Arc::new(Blank));
    assert_eq!(lane.arrive(numbered(1, 1, 7)), None);
    assert_eq!(taken(&lane), ["1"]);
    // Of the same key and of another one; the ledger is asked once.
    let of = lane.arrive(numbered(2, 4, 7)).expect("the ledger is asked");
    assert_eq!(lane.arrive(numbered(3, 5, 8)), None);
    lane.tell(&of, &[], now());
    assert!(taken(&lane).is_empty(), "two and three are missing");
    assert_eq!(lane.arrive(numbered(4, 3, 7)), None);
    assert_eq!(lane.arrive(numbered(5, 2, 7)), None);
    let all: Vec<_> = (0..4).flat_map(|_| taken(&lane)).collect();
    assert_eq!(all, ["5", "2", "3", "4"], "of its key each has its place");
    assert_eq!(lane.acks(), Acks { up_to: Some(5), single: vec![] });
}

#[test]
fn what_is_missing_for_too_long_is_passed_and_loses_its_place() {
    let lane = lane(true);
    lane.keep_order(Arc::new(Blank));
    let of = lane.arrive(numbered(1, 2, 7)).expect("the ledger is asked");
    assert_eq!(lane.due(), None, "as long as the ledger is asked");
    lane.tell(&of, &[], now());
    let due = lane.due().expect("it waits");
    let just_before = due.checked_sub(Duration::from_millis(1)).expect("a moment before");
    assert_eq!(lane.pass(just_before), 0);
    assert_eq!(lane.pass(due), 1);
    let early = lane.take(9, now()).pop().unwrap();
    assert_eq!(early.item.id, "2");
    assert_eq!((lane.arrive(numbered(2, 1, 7)), lane.due()), (None, None));
    assert!(lane.take(9, now()).is_empty(), "its key is held");
    lane.settle(early.number).unwrap();
    assert_eq!(taken(&lane), ["1"]);
}

#[test]
fn where_there_is_no_room_for_what_is_missing_everything_is_given_back_once() {
    let lane = lane(true);
    lane.keep_order(Arc::new(Blank));
    let of = lane.arrive(numbered(1, 2, 2)).expect("the ledger is asked");
    for tag in 2..=32 {
        lane.arrive(numbered(tag, tag + 1, tag));
    }
    let then = now();
    assert!(!lane.is_stuck(then), "the ledger has not answered");
    lane.tell(&of, &[], then);
    assert!(lane.is_stuck(then));
    assert!(!lane.is_stuck(then + Duration::from_secs(3)), "now the gap is passed");
}

#[test]
fn a_closed_lane_takes_and_gives_nothing() {
    let lane = lane(true);
    lane.arrive(delivered(1, 1));
    lane.arrive(delivered(2, 2));
    let held = lane.take(1, now()).pop().unwrap();
    lane.close();
    assert!(lane.take(1, now()).is_empty());
    assert!(lane.settle(held.number).is_err());
    assert_eq!(lane.acks(), Acks::default());
}
