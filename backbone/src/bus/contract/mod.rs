//! What every bus promises (`reliability-contract` §9, B1 to B14), one function a clause. A backend
//! joins by one line, `bus_contract!(ItsFixture);`, beside the clauses of its own.
//!
//! Clauses about crashes kill a real process with SIGKILL: the test binary starts itself again in
//! a [`Role`], listens to what it says on its standard output, and kills it.

mod crash;
mod flow;
mod harness;
mod limits;
mod order;
mod questions;

use std::sync::Arc;

use async_trait::async_trait;

use super::{Bus, BusError};

pub(crate) use self::crash::*;
pub(crate) use self::flow::*;
pub(crate) use self::harness::*;
pub(crate) use self::limits::*;
pub(crate) use self::order::*;
pub(crate) use self::questions::*;

/// One topic with one group, one that two groups hear, and one for what is set aside.
pub(crate) const TOPICS: &[(&str, &str)] =
    &[("line", "crew"), ("wide", "left"), ("wide", "right"), ("aside", "crew")];
/// One subject.
pub(crate) const SUBJECTS: &[(&str, &str)] = &[("counter", "clerks")];

/// Limits to open a bus with; `None`: those of the contract.
#[derive(Clone, Copy, Default)]
pub(crate) struct Limits {
    pub(crate) items_max: Option<u64>,
    pub(crate) bytes_max: Option<u64>,
}

/// A place where a bus of one backend can be opened, and opened again.
#[async_trait]
pub(crate) trait Fixture: Sized + Send + Sync {
    /// `concat!(module_path!(), "::child")` in the module that says `bus_contract!`.
    const CHILD: &'static str;
    /// Whether a depth knows the bytes of what this process has never seen.
    const WEIGHS_AT_REST: bool = true;
    /// Whether what it needs is there; a test that needs more is skipped, loudly.
    fn is_here() -> bool {
        true
    }
    /// A new, empty place.
    async fn new() -> Self;
    /// The place as a text, for another process.
    fn place(&self) -> String;
    /// The same place in another process; it goes on when this is dropped.
    fn at(place: &str) -> Self;
    /// Opens the bus there with [`TOPICS`] and [`SUBJECTS`].
    async fn open_with(&self, limits: Limits) -> Result<Arc<dyn Bus>, BusError>;

    /// Opens the bus there, which must succeed.
    async fn open(&self) -> Arc<dyn Bus> {
        self.open_with(Limits::default()).await.unwrap()
    }
}

/// One named test for every clause, and the test that is another process when it is started as one.
macro_rules! bus_contract {
    ($fixture:ty) => {
        $crate::bus::contract::bus_contract!($fixture:
            b01_what_was_confirmed_survives_kill_and_restart,
            b02_a_cancelled_publish_is_there_once_or_not_at_all,
            b03_what_cannot_be_published_is_an_error_in_time,
            b04_a_dropped_lease_goes_back_marked_and_keeps_its_place,
            b04_what_a_killed_process_held_is_leased_again_and_marked,
            b05_what_is_acknowledged_is_not_leased_again,
            b05_what_was_acknowledged_a_second_before_a_kill_is_gone,
            b06_one_item_of_a_key_is_out_and_in_order,
            b06_order_outlives_an_orderly_stop,
            b07_a_stuck_key_blocks_no_other,
            b08_members_share_and_groups_see_all,
            b09_a_nack_gives_back_now_and_keeps_the_place,
            b10_what_is_set_aside_is_durable_before_the_original_is_gone,
            b11_beyond_a_limit_publishing_is_refused_and_consuming_goes_on,
            b12_a_waiting_member_is_woken,
            b13_depth_and_peek_are_right_and_take_nothing,
            b14_payloads_come_back_equal,
            a_trace_passes_through,
            a_question_is_answered,
            a_question_without_an_answer_ends_at_its_deadline,
            a_question_that_is_dropped_fails_at_once,
            a_question_that_is_given_back_is_taken_again,
            a_question_to_nobody_is_unroutable,
            an_item_takes_no_answer,
            a_closed_bus_says_so,
        );

        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        #[ignore = "a process that other tests start"]
        async fn child() {
            $crate::bus::contract::be_child::<$fixture>().await;
        }
    };
    ($fixture:ty: $($clause:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $clause() {
                if !<$fixture as $crate::bus::contract::Fixture>::is_here() {
                    return;
                }
                $crate::bus::contract::within_reason($crate::bus::contract::$clause::<$fixture>()).await;
            }
        )*
    };
}
pub(crate) use bus_contract;
