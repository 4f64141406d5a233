//! The open sockets of this process: how many there are, and whom a wake-up is for.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use loket_backbone::bus::Wire;
use loket_backbone::kv::SharedKv;
use loket_backbone::tasks::Tasks;
use loket_protocol::asks::VisitorWake;
use loket_protocol::ids::VisitorId;
use loket_protocol::topics::WAKE_VISITOR;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::visitors;

/// Sockets of one visitor (`security` WS5).
pub(super) const PER_VISITOR_MAX: usize = 10;
/// Sockets from one address (`security` WS5).
pub(super) const PER_ADDRESS_MAX: usize = 50;
/// Sockets of one process (`reliability-contract` §8).
const SOCKETS_MAX: usize = 20_000;
/// Wake-ups that wait at one socket. One that finds no room is lost: somebody looks soon anyway.
const RINGS_MAX: usize = 8;
/// How often the hub is asked who has news, for wake-ups that were lost (`design.md` §3).
const NEWS_EVERY: Duration = Duration::from_secs(1);
/// How long to wait before listening again when kv has ended the channel.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);

/// What a socket is woken with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ring {
    /// There may be something new.
    Look,
    /// Somebody of ours is writing, or no longer.
    Typing(bool),
}

/// The open sockets. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Sockets {
    open: Arc<Mutex<Open>>,
    tracker: TaskTracker,
    stop: CancellationToken,
}

#[derive(Default)]
struct Open {
    by_address: HashMap<IpAddr, usize>,
    by_visitor: HashMap<VisitorId, Vec<(u64, mpsc::Sender<Ring>)>>,
    all: usize,
    last: u64,
}

/// The place of one socket; leaving it is dropping this.
pub(super) struct Place {
    sockets: Sockets,
    address: IpAddr,
    visitor: Option<(VisitorId, u64)>,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoPlace {
    /// This process has as many as it takes, or stops.
    Full,
    /// The address or the visitor has as many as they may.
    TooMany,
}

impl Sockets {
    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a socket from this address.
    pub(super) fn enter(&self, address: IpAddr) -> Result<Place, NoPlace> {
        let mut open = self.open();
        if open.all >= SOCKETS_MAX || self.stop.is_cancelled() {
            return Err(NoPlace::Full);
        }
        let of_address = open.by_address.entry(address).or_default();
        if *of_address >= PER_ADDRESS_MAX {
            return Err(NoPlace::TooMany);
        }
        *of_address += 1;
        open.all += 1;
        metrics::gauge!("loket_webchat_sockets").increment(1.0);
        Ok(Place { sockets: self.clone(), address, visitor: None })
    }

    fn ring(&self, visitor: VisitorId, ring: Ring) {
        for (_, bell) in self.open().by_visitor.get(&visitor).into_iter().flatten() {
            // No room: it is about to look anyway.
            let _ = bell.try_send(ring);
        }
    }

    /// Runs a socket's task, which is bound to its thread; [`Self::start`] waits for its end.
    pub(super) fn run(&self, socket: impl Future<Output = ()> + 'static) {
        actix_web::rt::spawn(self.tracker.track_future(socket));
    }

    /// Cancelled when all sockets must end.
    pub(super) fn stop_sign(&self) -> &CancellationToken {
        &self.stop
    }

    /// Starts passing wake-ups on, asks for news where one may have been lost, and ties the sockets
    /// to the process's end.
    pub(crate) fn start(&self, kv: &SharedKv, wire: &Wire, tasks: &Tasks) {
        let (sockets, wire, stop) = (self.clone(), wire.clone(), tasks.stop_sign());
        tasks.spawn("webchat.news", async move {
            let mut after = None;
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(NEWS_EVERY) => sockets.ask_for_news(&wire, &mut after).await,
                }
            }
        });
        let (sockets, stop) = (self.clone(), tasks.stop_sign());
        tasks.spawn("webchat.end", async move {
            stop.cancelled().await;
            sockets.stop.cancel();
            sockets.tracker.close();
            sockets.tracker.wait().await;
        });
        let (sockets, kv, stop) = (self.clone(), SharedKv::clone(kv), tasks.stop_sign());
        tasks.spawn("webchat.wakes", async move {
            let mut wakes = kv.listen();
            loop {
                let wake = tokio::select! {
                    () = stop.cancelled() => return,
                    wake = wakes.recv() => wake,
                };
                match wake {
                    Ok(wake) if wake.channel == WAKE_VISITOR => sockets.wake(&wake.message),
                    // What was lost is found by the sockets' own looking.
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => {
                        tokio::select! {
                            () = stop.cancelled() => return,
                            () = tokio::time::sleep(LISTEN_AGAIN) => wakes = kv.listen(),
                        }
                    }
                }
            }
        });
    }

    /// One question for all sockets of this process, which costs the same however many there are.
    async fn ask_for_news(&self, wire: &Wire, after: &mut Option<i64>) {
        if self.open().by_visitor.is_empty() {
            // Whoever comes looks first; the log may go on meanwhile without being read.
            *after = None;
            return;
        }
        loop {
            // It has been logged; the same place is asked after again.
            let Ok(news) = visitors::news(wire, *after).await else { return };
            match news.visitors.filter(|_| after.is_some()) {
                Some(visitors) => visitors.into_iter().for_each(|visitor| self.ring(visitor, Ring::Look)),
                // Where the log is was not known until now: any of them may have missed something.
                None => self.ring_all(),
            }
            *after = news.up_to;
            if !news.more {
                return;
            }
        }
    }

    fn ring_all(&self) {
        for (_, bell) in self.open().by_visitor.values().flatten() {
            // No room: it is about to look anyway.
            let _ = bell.try_send(Ring::Look);
        }
    }

    fn wake(&self, message: &[u8]) {
        let Ok(wake) = serde_json::from_slice::<VisitorWake>(message) else {
            return tracing::debug!("a visitor's wake-up cannot be read");
        };
        self.ring(wake.visitor, wake.typing.map_or(Ring::Look, Ring::Typing));
    }
}

impl Place {
    /// Says whose socket it is, and hears their wake-ups from now on.
    pub(super) fn belongs_to(&mut self, visitor: VisitorId) -> Result<mpsc::Receiver<Ring>, NoPlace> {
        let (bell, rings) = mpsc::channel(RINGS_MAX);
        let mut open = self.sockets.open();
        open.last += 1;
        let number = open.last;
        let bells = open.by_visitor.entry(visitor).or_default();
        if bells.len() >= PER_VISITOR_MAX {
            return Err(NoPlace::TooMany);
        }
        bells.push((number, bell));
        drop(open);
        self.visitor = Some((visitor, number));
        Ok(rings)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.sockets.open();
        open.all = open.all.saturating_sub(1);
        if let Some(of_address) = open.by_address.get_mut(&self.address) {
            *of_address = of_address.saturating_sub(1);
            if *of_address == 0 {
                open.by_address.remove(&self.address);
            }
        }
        if let Some((visitor, number)) = self.visitor
            && let Some(bells) = open.by_visitor.get_mut(&visitor)
        {
            bells.retain(|(other, _)| *other != number);
            if bells.is_empty() {
                open.by_visitor.remove(&visitor);
            }
        }
        metrics::gauge!("loket_webchat_sockets").decrement(1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use loket_protocol::ids::Id as _;
    use loket_protocol::time::Timestamp;

    fn visitor(seed: u8) -> VisitorId {
        VisitorId::mint(Timestamp::from_millis(1), [seed; 10])
    }

    fn from(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn an_address_and_a_visitor_have_so_many_and_get_them_back() {
        let sockets = Sockets::default();
        let places: Vec<_> = (0..PER_ADDRESS_MAX).map(|_| sockets.enter(from(1)).unwrap()).collect();
        assert_eq!(sockets.enter(from(1)).err(), Some(NoPlace::TooMany));
        assert!(sockets.enter(from(2)).is_ok());
        drop(places);
        let mut held: Vec<_> = (0..PER_VISITOR_MAX)
            .map(|_| {
                let mut place = sockets.enter(from(1)).unwrap();
                let rings = place.belongs_to(visitor(1)).unwrap();
                (place, rings)
            })
            .collect();
        let mut one_more = sockets.enter(from(1)).unwrap();
        assert_eq!(one_more.belongs_to(visitor(1)).err(), Some(NoPlace::TooMany));
        assert!(one_more.belongs_to(visitor(2)).is_ok());
        held.pop();
        assert!(sockets.enter(from(1)).unwrap().belongs_to(visitor(1)).is_ok());
        drop((held, one_more));
        let open = sockets.open();
        assert!(open.by_address.is_empty() && open.by_visitor.is_empty() && open.all == 0);
    }

    #[test]
    fn a_wake_up_reaches_its_visitor_only_and_junk_reaches_nobody() {
        let sockets = Sockets::default();
        let mut place = sockets.enter(from(1)).unwrap();
        let mut rings = place.belongs_to(visitor(1)).unwrap();
        let mut other_place = sockets.enter(from(1)).unwrap();
        let mut other = other_place.belongs_to(visitor(2)).unwrap();
        sockets.wake(format!(r#"{{"visitor":"{}"}}"#, visitor(1)).as_bytes());
        sockets.wake(format!(r#"{{"visitor":"{}","typing":true}}"#, visitor(1)).as_bytes());
        sockets.wake(b"junk");
        assert_eq!(rings.try_recv(), Ok(Ring::Look));
        assert_eq!(rings.try_recv(), Ok(Ring::Typing(true)));
        assert!(rings.try_recv().is_err() && other.try_recv().is_err());
    }

    #[test]
    fn nobody_comes_in_once_it_stops() {
        let sockets = Sockets::default();
        sockets.stop.cancel();
        assert_eq!(sockets.enter(from(1)).err(), Some(NoPlace::Full));
    }
}
