//! The three worlds in which every journey is told.

use loket_backbone::trial;

/// What an installation stands on, and in how many processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Everything in one process, on files of its own.
    Embedded,
    /// Everything in one process, on RabbitMQ, PostgreSQL and Redis.
    Services,
    /// The same services, one role a process, two of them hubs.
    Split,
}

/// The variable with RabbitMQ's address.
pub(crate) const AMQP: &str = "LOKET_TEST_AMQP";
/// The variable with PostgreSQL's address, of somebody who may make databases.
pub(crate) const POSTGRES: &str = "LOKET_TEST_POSTGRES";
/// The variable with Redis's address.
pub(crate) const REDIS: &str = "LOKET_TEST_REDIS";

impl Kind {
    /// Whether what it stands on is there; if not, that is said loudly, and in CI it is a failure.
    pub(crate) fn is_there(self) -> bool {
        self == Self::Embedded || [AMQP, POSTGRES, REDIS].iter().all(|name| trial::service(name).is_some())
    }
}

/// Tells journeys in all three worlds, a named test each: `journeys!(one, another)` for functions that
/// take a [`Kind`].
macro_rules! journeys {
    ($($name:ident),+ $(,)?) => {
        $crate::harness::kind::journeys!(in embedded, Embedded: $($name),+);
        $crate::harness::kind::journeys!(in services, Services: $($name),+);
        $crate::harness::kind::journeys!(in split, Split: $($name),+);
    };
    (in $world:ident, $kind:ident: $($name:ident),+) => {
        mod $world {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $name() {
                    if $crate::harness::Kind::$kind.is_there() {
                        super::$name($crate::harness::Kind::$kind).await;
                    }
                }
            )+
        }
    };
}
pub(crate) use journeys;
