//! Open sockets, fed from the log. One task per process (the pump) reads each new event once and
//! hands it to every socket; a socket that is behind reads the log itself until it has caught up.
//! The log seq decides: nothing is missed and nothing is sent twice (`reliability-contract` §11).
//! Nobody waits for a slow socket: when its buffer is full it is closed with its place in the log.

mod frames;
mod pump;
mod signals;
pub(crate) mod socket;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use loket_backbone::kv::SharedKv;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

pub(crate) use pump::pump;
pub(crate) use signals::signals;

use crate::error::{Code, Problem};
use crate::settings::ApiSettings;
use frames::Frame;

/// Frames that wait for one socket (`reliability-contract` §11).
const BUFFER_FRAMES_MAX: usize = 256;
/// Bytes that wait for one socket.
const BUFFER_BYTES_MAX: usize = 1024 * 1024;
/// How often it is looked whether all sockets are closed.
const CLOSE_LOOK: Duration = Duration::from_millis(20);

/// The line to one socket, held by the pump.
struct Line {
    queue: mpsc::Sender<Frame>,
    waiting_bytes: Arc<AtomicUsize>,
    /// It gets what the pump reads; before that it catches up by itself.
    joined: bool,
    /// Cancelled when its buffer was full.
    overflow: CancellationToken,
    /// Told to look at once whether its session still stands.
    recheck: Arc<Notify>,
    /// Ids of its session, agent or key.
    principals: Vec<String>,
    session: String,
    address: IpAddr,
}

#[derive(Default)]
struct Lines {
    /// The log seq up to which everything was handed on.
    position: i64,
    next: u64,
    open: HashMap<u64, Line>,
    per_session: HashMap<String, usize>,
    per_address: HashMap<IpAddr, usize>,
}

/// All open sockets of this process.
pub(crate) struct Live {
    lines: Mutex<Lines>,
    position: watch::Sender<i64>,
    going_away: CancellationToken,
    draining: AtomicBool,
    sockets_max: usize,
    per_session_max: usize,
    per_address_max: usize,
}

/// A socket's own end of its line. Dropping it takes the socket off the list.
pub(crate) struct Place {
    live: Arc<Live>,
    id: u64,
    queue: mpsc::Receiver<Frame>,
    waiting_bytes: Arc<AtomicUsize>,
    overflow: CancellationToken,
    recheck: Arc<Notify>,
}

impl Live {
    pub(crate) fn new(settings: &ApiSettings) -> Self {
        Self {
            lines: Mutex::default(),
            position: watch::Sender::new(0),
            going_away: CancellationToken::new(),
            draining: AtomicBool::new(false),
            sockets_max: settings.sockets,
            per_session_max: settings.sockets_per_session,
            per_address_max: settings.sockets_per_address,
        }
    }

    /// The list survives a panic elsewhere: every change to it is whole.
    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How far the pump has read, for those who wait for the log to grow.
    pub(crate) fn position(&self) -> watch::Receiver<i64> {
        self.position.subscribe()
    }

    pub(crate) fn count(&self) -> usize {
        self.lines().open.len()
    }

    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Tells all sockets to go; new ones are refused.
    pub(crate) fn go_away(&self) {
        self.drain();
        self.going_away.cancel();
    }

    pub(crate) async fn close_all(&self, limit: Duration) -> bool {
        self.go_away();
        let emptied = async {
            while self.count() > 0 {
                tokio::time::sleep(CLOSE_LOOK).await;
            }
        };
        tokio::time::timeout(limit, emptied).await.is_ok()
    }

    /// Counts a handshake of an address (`security` §12). A kv that is away limits nobody.
    pub(crate) async fn count_handshake(
        &self,
        kv: &SharedKv,
        settings: &ApiSettings,
        address: IpAddr,
    ) -> Result<(), Problem> {
        const WINDOW: Duration = Duration::from_mins(1);
        let most = u64::from(settings.handshakes_per_minute);
        if most == 0 {
            return Ok(());
        }
        match kv.count(&format!("rate.handshake.{address}"), WINDOW).await {
            Ok(count) if count > most => {
                metrics::counter!("loket_api_limited_total", "limit" => "handshake").increment(1);
                Err(Problem::of(Code::TooMany).retry_after(WINDOW.as_secs()))
            }
            _ => Ok(()),
        }
    }

    /// Gives a socket its place, or says that there are too many. It is on the list at once and
    /// gets events after [`Place::join`].
    pub(crate) fn enter(
        self: &Arc<Self>,
        session: String,
        principals: Vec<String>,
        address: IpAddr,
    ) -> Result<Place, Problem> {
        if self.is_draining() {
            return Err(Problem::new(Code::Unavailable, "The process is stopping.").retry_soon());
        }
        let mut lines = self.lines();
        let of_session = lines.per_session.get(&session).copied().unwrap_or(0);
        let of_address = lines.per_address.get(&address).copied().unwrap_or(0);
        if lines.open.len() >= self.sockets_max {
            let wait = 1 + loket_backbone::random::jitter_ms(29);
            return Err(Problem::of(Code::Overloaded).retry_after(wait));
        }
        if of_session >= self.per_session_max || of_address >= self.per_address_max {
            let told = "There are too many open sockets of this session or address; close one first.";
            return Err(Problem::new(Code::TooMany, told).retry_after(30));
        }
        let (sender, queue) = mpsc::channel(BUFFER_FRAMES_MAX);
        let waiting_bytes = Arc::new(AtomicUsize::new(0));
        let overflow = CancellationToken::new();
        let recheck = Arc::new(Notify::new());
        let id = lines.next;
        lines.next += 1;
        lines.per_session.insert(session.clone(), of_session + 1);
        lines.per_address.insert(address, of_address + 1);
        lines.open.insert(
            id,
            Line {
                queue: sender,
                waiting_bytes: Arc::clone(&waiting_bytes),
                joined: false,
                overflow: overflow.clone(),
                recheck: Arc::clone(&recheck),
                principals,
                session,
                address,
            },
        );
        metrics::gauge!("loket_live_sockets").set(gauge(lines.open.len()));
        Ok(Place { live: Arc::clone(self), id, queue, waiting_bytes, overflow, recheck })
    }

    /// Where the pump begins: everything up to here was handed on by somebody else.
    fn begin_at(&self, position: i64) {
        self.lines().position = position;
        self.position.send_replace(position);
    }

    /// Hands events on, in order.
    fn hand_on(&self, events: &[Frame]) {
        let mut lines = self.lines();
        for frame in events {
            for line in lines.open.values().filter(|line| line.joined) {
                line.put(frame);
            }
            lines.position = frame.seq.unwrap_or(lines.position);
        }
        let position = lines.position;
        drop(lines);
        self.position.send_replace(position);
    }

    /// Hands a passing sign on. It is dropped where a socket is half full already: events matter
    /// more.
    fn pass_on(&self, frame: &Frame) {
        for line in self.lines().open.values().filter(|line| line.joined) {
            if line.queue.capacity() > BUFFER_FRAMES_MAX / 2 {
                line.put(frame);
            }
        }
    }

    /// A session ended or changed: its sockets ask at once.
    fn recheck(&self, principal: &str) {
        for line in self.lines().open.values() {
            if line.principals.iter().any(|own| own == principal) {
                line.recheck.notify_one();
            }
        }
    }
}

impl Line {
    fn put(&self, frame: &Frame) {
        let size = frame.text.len();
        let waiting = self.waiting_bytes.fetch_add(size, Ordering::AcqRel);
        // A single large frame passes an empty buffer: a limit must not stop an event for ever.
        let fits = waiting == 0 || waiting + size <= BUFFER_BYTES_MAX;
        if !fits || self.queue.try_send(frame.clone()).is_err() {
            self.waiting_bytes.fetch_sub(size, Ordering::AcqRel);
            self.overflow.cancel();
        }
    }
}

impl Place {
    /// From now on the pump's events come in; answers the log seq up to which they do not.
    fn join(&self) -> i64 {
        let mut lines = self.live.lines();
        let position = lines.position;
        if let Some(line) = lines.open.get_mut(&self.id) {
            line.joined = true;
        }
        position
    }

    /// The next frame; `None` only when the list has gone.
    async fn next(&mut self) -> Option<Frame> {
        let frame = self.queue.recv().await?;
        self.waiting_bytes.fetch_sub(frame.text.len(), Ordering::AcqRel);
        Some(frame)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut lines = self.live.lines();
        let Some(line) = lines.open.remove(&self.id) else { return };
        count_down(&mut lines.per_session, &line.session);
        count_down(&mut lines.per_address, &line.address);
        metrics::gauge!("loket_live_sockets").set(gauge(lines.open.len()));
    }
}

fn count_down<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

fn gauge(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::MAX, f64::from)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const HOME: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn live(settings: &ApiSettings) -> Arc<Live> {
        Arc::new(Live::new(settings))
    }

    fn enter(live: &Arc<Live>, session: &str) -> Result<Place, Problem> {
        live.enter(session.to_owned(), vec![session.to_owned()], HOME)
    }

    fn event(seq: i64, size: usize) -> Frame {
        Frame { seq: Some(seq), text: "x".repeat(size).into(), kind: "event" }
    }

    #[test]
    fn sockets_are_counted_per_session_and_in_all_and_leave_no_trace() {
        let live = live(&ApiSettings { sockets: 3, sockets_per_session: 2, ..ApiSettings::default() });
        let one = enter(&live, "a").unwrap();
        let two = enter(&live, "a").unwrap();
        assert_eq!(enter(&live, "a").err().unwrap().code(), Code::TooMany);
        let three = enter(&live, "b").unwrap();
        assert_eq!(enter(&live, "c").err().unwrap().code(), Code::Overloaded);
        drop((one, two, three));
        assert_eq!(live.count(), 0);
        let lines = live.lines();
        assert!(lines.per_session.is_empty() && lines.per_address.is_empty());
    }

    #[tokio::test]
    async fn a_socket_gets_what_comes_after_it_joined() {
        let live = live(&ApiSettings::default());
        live.begin_at(5);
        let mut place = enter(&live, "a").unwrap();
        live.hand_on(&[event(6, 1)]);
        assert_eq!(place.join(), 6);
        live.hand_on(&[event(7, 1), event(8, 1)]);
        assert_eq!(place.next().await.unwrap().seq, Some(7));
        assert_eq!(place.next().await.unwrap().seq, Some(8));
        assert_eq!(*live.position().borrow(), 8);
    }

    #[tokio::test]
    async fn a_full_buffer_cuts_that_socket_only() {
        let live = live(&ApiSettings::default());
        let slow = enter(&live, "slow").unwrap();
        slow.join();
        let mut quick = enter(&live, "quick").unwrap();
        quick.join();
        for seq in 1..=300 {
            live.hand_on(&[event(seq, 10)]);
            assert_eq!(quick.next().await.unwrap().seq, Some(seq));
        }
        assert!(slow.overflow.is_cancelled());
        assert!(!quick.overflow.is_cancelled());
    }

    #[test]
    fn bytes_count_too_but_one_large_frame_passes() {
        let live = live(&ApiSettings::default());
        let place = enter(&live, "a").unwrap();
        place.join();
        live.hand_on(&[event(1, BUFFER_BYTES_MAX + 1)]);
        assert!(!place.overflow.is_cancelled());
        live.hand_on(&[event(2, 1)]);
        assert!(place.overflow.is_cancelled());
    }

    #[test]
    fn passing_signs_never_fill_a_buffer() {
        let live = live(&ApiSettings::default());
        let place = enter(&live, "a").unwrap();
        place.join();
        let sign = Frame { seq: None, text: "t".into(), kind: "typing" };
        for _ in 0..1_000 {
            live.pass_on(&sign);
        }
        assert!(!place.overflow.is_cancelled());
        assert!(place.queue.len() <= BUFFER_FRAMES_MAX / 2);
    }

    #[tokio::test]
    async fn a_process_that_stops_takes_no_new_socket() {
        let live = live(&ApiSettings::default());
        assert!(live.close_all(Duration::from_secs(1)).await);
        assert_eq!(enter(&live, "a").err().unwrap().code(), Code::Unavailable);
    }
}
