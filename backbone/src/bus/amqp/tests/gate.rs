//! The gate by itself: whatever order items come in, they pass in the order of their numbers.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use crate::bus::Stamp;
use crate::bus::amqp::order::{GAP_WAIT, Gate, Lineage};
use crate::clock::Clock;

fn now() -> Instant {
    Clock::system().instant()
}

fn stamp(epoch: &str, partition: u16, number: u64) -> Stamp {
    Stamp { epoch: epoch.to_owned(), partition, number }
}

fn lineage(epoch: &str, partition: u16) -> Lineage {
    Lineage { epoch: epoch.to_owned(), partition }
}

#[test]
fn in_order_nobody_waits_and_nobody_is_asked() {
    let mut gate = Gate::default();
    for number in 1..=100 {
        let arrival = gate.arrive(&stamp("a", 3, number), number, now());
        assert_eq!((arrival.complete, arrival.ask), (vec![number], None));
    }
    // A repeat moves nothing back.
    assert_eq!(gate.arrive(&stamp("a", 3, 7), 200, now()).complete, [200]);
    assert_eq!(gate.arrive(&stamp("a", 3, 101), 201, now()).complete, [201]);
    // Epochs and partitions have numbers of their own.
    assert_eq!(gate.arrive(&stamp("b", 3, 1), 202, now()).complete, [202]);
    assert_eq!(gate.arrive(&stamp("a", 4, 1), 203, now()).complete, [203]);
    assert_eq!(gate.due(), None);
}

#[test]
fn a_consumer_that_takes_over_goes_on_where_the_ledger_ends() {
    let mut gate = Gate::default();
    let arrival = gate.arrive(&stamp("a", 0, 8), 1, now());
    assert_eq!((arrival.complete, arrival.ask), (vec![], Some(lineage("a", 0))));
    assert_eq!(gate.arrive(&stamp("a", 0, 9), 2, now()).ask, None, "it is asked once");
    assert!(!gate.waits_in(0));
    // Five and seven were not done: they come again.
    assert_eq!(gate.tell(&lineage("a", 0), &[(1, 4), (6, 6)], now()), Vec::<u64>::new());
    assert!(gate.waits_in(0) && !gate.waits_in(1));
    assert_eq!(gate.arrive(&stamp("a", 0, 7), 3, now()).complete, Vec::<u64>::new());
    assert_eq!(gate.arrive(&stamp("a", 0, 5), 4, now()).complete, [4, 3, 1, 2]);
    assert_eq!(gate.due(), None);
}

#[test]
fn a_gap_is_passed_after_two_seconds_and_no_later_for_what_comes_behind() {
    let mut gate = Gate::default();
    let begun = now();
    gate.arrive(&stamp("a", 0, 2), 1, begun);
    gate.tell(&lineage("a", 0), &[], begun);
    let second = Duration::from_secs(1);
    gate.arrive(&stamp("a", 0, 4), 2, begun + second);
    assert_eq!(gate.due(), Some(begun + GAP_WAIT));
    assert_eq!(gate.pass(begun + GAP_WAIT), (vec![1], 1));
    assert_eq!(gate.due(), Some(begun + second + GAP_WAIT));
    // What is found meanwhile is not counted.
    assert_eq!(gate.arrive(&stamp("a", 0, 3), 3, begun + GAP_WAIT).complete, [3, 2]);
    assert_eq!(gate.pass(begun + second + GAP_WAIT), (vec![], 0));
    assert_eq!(gate.arrive(&stamp("a", 0, 1), 4, begun + GAP_WAIT).complete, [4], "too late, and not lost");
}

proptest! {
    #[test]
    fn whatever_the_order_of_arrival_all_pass_in_the_order_of_their_numbers(
        order in Just((1..=30u64).collect::<Vec<_>>()).prop_shuffle(),
        done in proptest::collection::btree_set(1..=30u64, 0..20),
        told_after in 0..30usize,
    ) {
        let mut gate = Gate::default();
        let (mut passed, mut asked) = (Vec::new(), None);
        let ledger: Vec<_> = done.iter().map(|number| (*number, *number)).collect();
        for (place, number) in order.iter().filter(|number| !done.contains(number)).enumerate() {
            let arrival = gate.arrive(&stamp("a", 0, *number), *number, now());
            passed.extend(arrival.complete);
            asked = asked.or(arrival.ask);
            if place >= told_after && let Some(of) = asked.take() {
                passed.extend(gate.tell(&of, &ledger, now()));
            }
        }
        if let Some(of) = asked {
            passed.extend(gate.tell(&of, &ledger, now()));
        }
        let all: Vec<u64> = (1..=30).filter(|number| !done.contains(number)).collect();
        prop_assert_eq!(gate.due(), None);
        prop_assert_eq!(passed.iter().copied().collect::<BTreeSet<_>>().len(), passed.len());
        prop_assert_eq!(passed, all);
    }
}
