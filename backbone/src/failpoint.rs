//! Named places on a message's road where a test may end the process, stop it, slow it down or make the
//! place fail (`reliability-contract` §15).
//!
//! Without the cargo feature `failpoints` a place is nothing at all: no code and no name in the program.
//! With it nothing happens either, until [`arm`] says where: `name=abort@3` ends the process like
//! `kill -9` on the third pass of that place.

/// Every place there is, in the order of the road. A test of the house rules holds it against the code.
pub const POINTS: &[&str] = &[
    "migrate.step.before",
    "migrate.step.after",
    "ingress.auth.before",
    "ingress.auth.after",
    "ingress.normalise.before",
    "ingress.normalise.after",
    "ingress.publish.before",
    "ingress.publish.after",
    "ingress.confirm.before",
    "ingress.confirm.after",
    "ingress.answer.before",
    "ingress.answer.after",
    "bus.embedded.write.before",
    "bus.embedded.write.after",
    "bus.embedded.commit.before",
    "bus.embedded.commit.after",
    "bus.embedded.ack.before",
    "bus.embedded.ack.after",
    "bus.embedded.trim.before",
    "bus.embedded.trim.after",
    "bus.amqp.publish.before",
    "bus.amqp.publish.after",
    "bus.amqp.confirm.before",
    "bus.amqp.confirm.after",
    "bus.amqp.ack.before",
    "bus.amqp.ack.after",
    "hub.ingest.lease.before",
    "hub.ingest.lease.after",
    "hub.ingest.inbox.before",
    "hub.ingest.inbox.after",
    "hub.ingest.thread.before",
    "hub.ingest.thread.after",
    "hub.ingest.message.before",
    "hub.ingest.message.after",
    "hub.ingest.commit.before",
    "hub.ingest.commit.after",
    "hub.ingest.ack.before",
    "hub.ingest.ack.after",
    "hub.park.write.before",
    "hub.park.write.after",
    "hub.park.ack.before",
    "hub.park.ack.after",
    "hub.sequence.select.before",
    "hub.sequence.select.after",
    "hub.sequence.commit.before",
    "hub.sequence.commit.after",
    "api.begin.before",
    "api.begin.after",
    "api.commit.before",
    "api.commit.after",
    "api.answer.before",
    "api.answer.after",
    "hub.dispatch.select.before",
    "hub.dispatch.select.after",
    "hub.dispatch.publish.before",
    "hub.dispatch.publish.after",
    "sender.lease.before",
    "sender.lease.after",
    "sender.claim.before",
    "hub.claim.commit.before",
    "hub.claim.commit.after",
    "hub.claim.reply.before",
    "hub.claim.reply.after",
    "sender.claim.after",
    "sender.request.before",
    "sender.request.after",
    "sender.response.before",
    "sender.response.after",
    "sender.report.before",
    "sender.report.after",
    "sender.ack.before",
    "sender.ack.after",
    "hub.report.commit.before",
    "hub.report.commit.after",
    "hub.report.ack.before",
    "hub.report.ack.after",
];

/// A place on the road.
///
/// `failpoint!("name")` may end, stop or slow down the process; with an error behind it,
/// `failpoint!("name", error)`, it may also return that error from the function it stands in.
/// `failpoint!("name" if condition)` counts only passes for which the condition holds.
/// `failpoint!(later "name")` is passed after the present step of the task: in a handler, once the
/// answer has been written to the connection.
#[cfg(feature = "failpoints")]
#[macro_export]
macro_rules! failpoint {
    (later $name:literal) => {
        $crate::failpoint::pass_later($name)
    };
    (later $name:literal if $condition:expr) => {
        if $condition {
            $crate::failpoint::pass_later($name);
        }
    };
    // Without an error nothing can fail here: one that was armed is passed over.
    ($name:literal) => {
        let _can_not_fail = $crate::failpoint::pass($name).await;
    };
    ($name:literal if $condition:expr) => {
        if $condition {
            let _can_not_fail = $crate::failpoint::pass($name).await;
        }
    };
    ($name:literal, $error:expr) => {
        if $crate::failpoint::pass($name).await {
            return Err($error);
        }
    };
    ($name:literal if $condition:expr, $error:expr) => {
        if $condition && $crate::failpoint::pass($name).await {
            return Err($error);
        }
    };
}

/// A place on the road; without the feature `failpoints` it is nothing.
#[cfg(not(feature = "failpoints"))]
#[macro_export]
macro_rules! failpoint {
    ($($place:tt)*) => {};
}

#[cfg(feature = "failpoints")]
pub use armed::{arm, pass, pass_later};

#[cfg(feature = "failpoints")]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use super::POINTS;

    /// What this process was told at its start.
    static ARMED: OnceLock<Armed> = OnceLock::new();

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Action {
        /// The process ends at once, as by `kill -9`.
        Abort,
        /// The task goes no further.
        Stall,
        /// The place fails, where it can.
        Error,
        /// The task goes on so much later.
        Delay(Duration),
    }

    struct Point {
        name: &'static str,
        action: Action,
        /// On which pass, from 1.
        at: u64,
        passed: AtomicU64,
    }

    struct Armed(Vec<Point>);

    impl Armed {
        /// Reads `name=action@pass`, several with commas between them.
        fn parse(text: &str) -> Result<Self, String> {
            text.split(',').map(|part| one(part.trim())).collect::<Result<_, _>>().map(Self)
        }

        /// Counts a pass; what is to happen on it.
        fn passed(&self, name: &str) -> Option<Action> {
            let points = self.0.iter().filter(|point| point.name == name);
            // All of them count, also when an earlier one is due.
            points.fold(None, |due, point| {
                let is_due = point.passed.fetch_add(1, Ordering::Relaxed) + 1 == point.at;
                due.or(is_due.then_some(point.action))
            })
        }
    }

    fn one(text: &str) -> Result<Point, String> {
        let form = || format!("{text:?} must look like name=abort@3 (abort, stall, error or delay:MS)");
        let (wanted, rest) = text.split_once('=').ok_or_else(form)?;
        let (action, at) = rest.split_once('@').ok_or_else(form)?;
        let name = POINTS.iter().find(|name| **name == wanted);
        let name = name.ok_or_else(|| format!("there is no failpoint {wanted:?}"))?;
        let action = match action.split_once(':') {
            None if action == "abort" => Action::Abort,
            None if action == "stall" => Action::Stall,
            None if action == "error" => Action::Error,
            Some(("delay", ms)) => Action::Delay(Duration::from_millis(ms.parse().map_err(|_| form())?)),
            _ => return Err(form()),
        };
        let at = at.parse().ok().filter(|at| *at > 0).ok_or_else(form)?;
        Ok(Point { name, action, at, passed: AtomicU64::new(0) })
    }

    /// Says what happens where, once in the life of the process: `name=action@pass`, several with
    /// commas between them; the actions are `abort`, `stall`, `error` and `delay:MS`. The error is one
    /// sentence.
    pub fn arm(text: &str) -> Result<(), String> {
        let armed = Armed::parse(text)?;
        ARMED.set(armed).map_err(|_| "failpoints are armed once only".to_owned())
    }

    fn reached(name: &str) -> Option<Action> {
        let action = ARMED.get()?.passed(name)?;
        tracing::warn!(failpoint = name, ?action, "a failpoint is reached");
        Some(action)
    }

    async fn act(action: Action) -> bool {
        match action {
            Action::Abort => std::process::abort(),
            Action::Stall => std::future::pending().await,
            Action::Error => true,
            Action::Delay(time) => {
                tokio::time::sleep(time).await;
                false
            }
        }
    }

    /// Passes a place; true when it is to fail.
    pub async fn pass(name: &str) -> bool {
        match reached(name) {
            Some(action) => act(action).await,
            None => false,
        }
    }

    /// Passes a place after the present step of the task, which must be one of a server's thread.
    pub fn pass_later(name: &str) {
        if let Some(action) = reached(name) {
            tokio::task::spawn_local(act(action));
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn an_action_comes_on_its_pass_and_only_there() {
            let armed = Armed::parse("ingress.auth.before=abort@2, sender.ack.after=delay:20@1").unwrap();
            assert_eq!(armed.passed("ingress.auth.before"), None);
            assert_eq!(armed.passed("sender.ack.after"), Some(Action::Delay(Duration::from_millis(20))));
            assert_eq!(armed.passed("ingress.auth.after"), None);
            assert_eq!(armed.passed("ingress.auth.before"), Some(Action::Abort));
            assert_eq!(armed.passed("ingress.auth.before"), None);
            assert_eq!(armed.passed("sender.ack.after"), None);
            let twice = Armed::parse("api.begin.after=error@1,api.begin.after=stall@2").unwrap();
            assert_eq!(twice.passed("api.begin.after"), Some(Action::Error));
            assert_eq!(twice.passed("api.begin.after"), Some(Action::Stall));
        }

        #[test]
        fn what_cannot_be_armed_is_refused_with_a_sentence() {
            for (text, sentence) in [
                ("", "must look like"),
                ("ingress.auth.before", "must look like"),
                ("ingress.auth.before=abort", "must look like"),
                ("ingress.auth.before=abort@0", "must look like"),
                ("ingress.auth.before=explode@1", "must look like"),
                ("ingress.auth.before=delay:soon@1", "must look like"),
                ("ingress.lunch.before=abort@1", "there is no failpoint \"ingress.lunch.before\""),
            ] {
                let refused = Armed::parse(text).map(|_| ()).unwrap_err();
                assert!(refused.contains(sentence), "{text}: {refused}");
            }
        }

        #[tokio::test]
        async fn a_place_fails_where_it_can_and_is_passed_over_where_it_cannot() {
            async fn can_fail() -> Result<(), &'static str> {
                failpoint!("hub.park.ack.after", "on purpose");
                failpoint!("hub.park.ack.before" if false, "never");
                Ok(())
            }
            arm("hub.park.ack.after=error@2,hub.park.ack.before=error@1").unwrap();
            assert_eq!(can_fail().await, Ok(()));
            assert_eq!(can_fail().await, Err("on purpose"));
            assert_eq!(can_fail().await, Ok(()));
            failpoint!("hub.park.ack.before");
            assert!(arm("hub.park.ack.after=error@1").is_err(), "once only");
        }
    }
}
