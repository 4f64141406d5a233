//! One visitor's socket, from its first frame to its last (`reliability-contract` §11).
//!
//! One task owns it. What goes out waits in a bounded queue; a page that does not read is closed and
//! comes back with the last number that it has. The thread is the truth: a wake-up only says "look".
//! Lost wake-ups are made good by one question a second for all sockets of the process
//! ([`super::sockets`]); a socket looks by itself only now and then.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use actix_web::web::Data;
use actix_ws::{CloseCode, CloseReason, Item, Message, MessageStream, ProtocolError, Session};
use bytes::{Bytes, BytesMut};
use loket_backbone::random;
use loket_protocol::delivery::ProviderStatus;
use loket_protocol::event::LiveSignal;
use loket_protocol::ids::{ThreadId, VisitorId};
use loket_protocol::topics::LIVE;
use tokio::sync::mpsc;

use super::frames::{FromVisitor, ToVisitor};
use super::sockets::{Place, Ring};
use super::view::VisitorAnswering;
use super::words::{self, Page, Speaker};
use super::{Site, Sites, rates, visitors};
use crate::channels::Wires;
use crate::refusal::Refusal;

/// The largest frame, and the largest message of several frames (`security` WS5).
pub(super) const FRAME_BYTES_MAX: usize = 64 * 1024;
/// Frames of one second.
pub(super) const FRAMES_PER_SECOND_MAX: u32 = 20;
/// Frames that are not on the list, before the socket is closed.
pub(super) const UNKNOWN_FRAMES_MAX: u32 = 10;
/// How long a socket may live before it says who it is.
const HELLO_TIME: Duration = Duration::from_secs(5);
/// How often we ask whether the page is there, and how long it may say nothing.
const PING_EVERY: Duration = Duration::from_secs(25);
/// See [`PING_EVERY`].
const DEAD_AFTER: Duration = Duration::from_mins(1);
/// How often we look into the thread without being told to, when everything was handed out.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// The same while something is left to be handed out, or the hub did not answer.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// What may wait to go out.
const QUEUE_FRAMES_MAX: usize = 256;
/// See [`QUEUE_FRAMES_MAX`].
const QUEUE_BYTES_MAX: usize = 1024 * 1024;
/// We ask for more of the thread only when this much room is left, which is one answer.
const QUEUE_ROOM_MIN: usize = 128;
/// How long the last frames may take to go out.
const FLUSH_TIME: Duration = Duration::from_secs(1);
/// From when to when a page comes back after we went away, in milliseconds.
const RETURN_MS: (u64, u64) = (1_000, 30_000);

/// Why a socket is closed by us: code and reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Close {
    /// The page closed it, or the connection broke.
    Gone,
    /// No or no good ticket.
    Unauthorised,
    /// The page does not read.
    TooSlow,
    /// Nothing was heard for too long.
    Dead,
    /// Too many sockets or frames.
    TooMany,
    /// Frames that are not on the list.
    UnknownFrames,
    /// A frame that is too large.
    TooLarge,
    /// Something that is no WebSocket.
    Broken,
    /// This process stops.
    GoingAway,
}

impl Close {
    fn name(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Unauthorised => "unauthorised",
            Self::TooSlow => "too_slow",
            Self::Dead => "dead",
            Self::TooMany => "too_many",
            Self::UnknownFrames => "unknown_frames",
            Self::TooLarge => "too_large",
            Self::Broken => "broken",
            Self::GoingAway => "going_away",
        }
    }

    fn reason(self) -> CloseReason {
        let code = match self {
            Self::Gone => CloseCode::Normal,
            Self::Unauthorised => CloseCode::Other(4001),
            Self::TooSlow => CloseCode::Other(4008),
            Self::Dead => CloseCode::Other(4000),
            Self::TooMany => CloseCode::Other(4029),
            Self::UnknownFrames => CloseCode::Policy,
            Self::TooLarge => CloseCode::Size,
            Self::Broken => CloseCode::Protocol,
            Self::GoingAway => CloseCode::Away,
        };
        CloseReason { code, description: Some(self.name().to_owned()) }
    }
}

/// What a socket begins with.
pub(super) struct Opening {
    pub(super) wires: Data<Wires>,
    pub(super) sites: Arc<Sites>,
    pub(super) site: Arc<Site>,
    pub(super) place: Place,
    pub(super) address: IpAddr,
    /// Whose it is, when the upgrade carried a visitor token.
    pub(super) visitor: Option<VisitorId>,
}

/// Runs the socket to its end.
pub(super) async fn run(opening: Opening, session: Session, stream: MessageStream) {
    let (outlet, queue) = Outlet::new();
    let frames = Frames::new(stream, outlet.clone());
    let written = write(session.clone(), queue);
    tokio::pin!(written);
    let close = tokio::select! {
        close = talk(opening, frames, outlet) => close,
        () = &mut written => Close::Gone,
    };
    metrics::counter!("loket_webchat_closed_total", "why" => close.name()).increment(1);
    if close != Close::Gone {
        // The talk has dropped its end of the queue: the writer ends once all is out.
        let end = async {
            written.await;
            // Whoever has gone needs no goodbye.
            let _ = session.close(Some(close.reason())).await;
        };
        if tokio::time::timeout(FLUSH_TIME, end).await.is_err() {
            tracing::debug!(why = close.name(), "a page did not read its last frames");
        }
    }
}

/// What goes out.
enum Out {
    Text(String),
    Ping,
    Pong(Bytes),
}

/// The bounded queue of what goes out.
#[derive(Clone)]
struct Outlet {
    queue: mpsc::Sender<Out>,
    bytes: Arc<AtomicUsize>,
}

/// The other end of an [`Outlet`].
struct Queue {
    frames: mpsc::Receiver<Out>,
    bytes: Arc<AtomicUsize>,
}

impl Outlet {
    fn new() -> (Self, Queue) {
        let (queue, frames) = mpsc::channel(QUEUE_FRAMES_MAX);
        let bytes = Arc::new(AtomicUsize::new(0));
        (Self { queue, bytes: Arc::clone(&bytes) }, Queue { frames, bytes })
    }

    fn send(&self, frame: &ToVisitor<'_>) -> Result<(), Close> {
        // Plain data can be written.
        let text = serde_json::to_string(frame).map_err(|_| Close::Broken)?;
        let waiting = self.bytes.fetch_add(text.len(), Ordering::Relaxed);
        if waiting + text.len() > QUEUE_BYTES_MAX {
            return Err(Close::TooSlow);
        }
        self.push(Out::Text(text))
    }

    fn push(&self, out: Out) -> Result<(), Close> {
        self.queue.try_send(out).map_err(|_| Close::TooSlow)
    }

    fn has_room(&self) -> bool {
        self.queue.capacity() >= QUEUE_ROOM_MIN && self.bytes.load(Ordering::Relaxed) < QUEUE_BYTES_MAX / 4
    }
}

/// Writes until nobody can send any more or the connection has gone.
async fn write(mut session: Session, mut queue: Queue) {
    while let Some(out) = queue.frames.recv().await {
        let written = match out {
            Out::Text(text) => {
                let size = text.len();
                let written = session.text(text).await;
                queue.bytes.fetch_sub(size, Ordering::Relaxed);
                written
            }
            Out::Ping => session.ping(b"").await,
            Out::Pong(payload) => session.pong(&payload).await,
        };
        if written.is_err() {
            return;
        }
    }
}

/// The frames that come in: put together, counted, and read from the closed list.
struct Frames {
    stream: MessageStream,
    outlet: Outlet,
    parts: BytesMut,
    second: VecDeque<Instant>,
    unknown: u32,
}

impl Frames {
    fn new(stream: MessageStream, outlet: Outlet) -> Self {
        let stream = stream.max_frame_size(FRAME_BYTES_MAX);
        Self { stream, outlet, parts: BytesMut::new(), second: VecDeque::new(), unknown: 0 }
    }

    /// The next frame of the connection. Cancelling it loses nothing.
    async fn recv(&mut self) -> Result<Message, Close> {
        match self.stream.recv().await {
            Some(Ok(message)) => Ok(message),
            Some(Err(ProtocolError::Overflow)) => Err(Close::TooLarge),
            Some(Err(_)) => Err(Close::Broken),
            None => Err(Close::Gone),
        }
    }

    /// What it says; `None` when there is nothing to do.
    fn read(&mut self, message: Message, now: Instant) -> Result<Option<FromVisitor>, Close> {
        self.count(now)?;
        let text: Bytes = match message {
            Message::Text(text) => text.into_bytes(),
            Message::Continuation(Item::FirstText(part)) => {
                self.parts = BytesMut::from(&part[..]);
                return Ok(None);
            }
            Message::Continuation(Item::Continue(part)) => {
                self.append(&part)?;
                return Ok(None);
            }
            Message::Continuation(Item::Last(part)) => {
                self.append(&part)?;
                std::mem::take(&mut self.parts).freeze()
            }
            Message::Ping(payload) => return self.outlet.push(Out::Pong(payload)).map(|()| None),
            Message::Pong(_) | Message::Nop => return Ok(None),
            Message::Close(_) => return Err(Close::Gone),
            Message::Binary(_) | Message::Continuation(Item::FirstBinary(_)) => return self.unknown(),
        };
        match serde_json::from_slice::<FromVisitor>(&text) {
            Ok(frame) => {
                metrics::counter!("loket_webchat_frames_total", "type" => frame.name()).increment(1);
                Ok(Some(frame))
            }
            Err(_) => self.unknown(),
        }
    }

    fn append(&mut self, part: &[u8]) -> Result<(), Close> {
        if self.parts.len() + part.len() > FRAME_BYTES_MAX {
            return Err(Close::TooLarge);
        }
        self.parts.extend_from_slice(part);
        Ok(())
    }

    fn count(&mut self, now: Instant) -> Result<(), Close> {
        self.second.retain(|at| now.duration_since(*at) < Duration::from_secs(1));
        if self.second.len() >= usize::try_from(FRAMES_PER_SECOND_MAX).unwrap_or(usize::MAX) {
            return Err(Close::TooMany);
        }
        self.second.push_back(now);
        Ok(())
    }

    fn unknown(&mut self) -> Result<Option<FromVisitor>, Close> {
        metrics::counter!("loket_webchat_frames_total", "type" => "unknown").increment(1);
        self.unknown += 1;
        if self.unknown >= UNKNOWN_FRAMES_MAX {
            return Err(Close::UnknownFrames);
        }
        let refusal = Refusal::Malformed("this is no frame of web chat");
        self.outlet.send(&ToVisitor::refusal(&refusal, None))?;
        Ok(None)
    }
}

async fn talk(opening: Opening, frames: Frames, outlet: Outlet) -> Close {
    match Talk::begin(opening, frames, outlet).await {
        Ok(talk) => talk.go_on().await,
        Err(close) => close,
    }
}

/// A socket that has said who it is.
struct Talk {
    wires: Data<Wires>,
    sites: Arc<Sites>,
    address: IpAddr,
    speaker: Speaker,
    frames: Frames,
    outlet: Outlet,
    rings: mpsc::Receiver<Ring>,
    /// How far the thread was handed to the page.
    shown: i64,
    /// The thread whose numbers these are, once it was told.
    thread: Option<ThreadId>,
    /// Who answers, as the page was told.
    answering: Option<VisitorAnswering>,
    /// There is more, and it had to wait.
    is_behind: bool,
    /// Held so that the place is left with the talk.
    _place: Place,
}

impl Talk {
    /// Waits for the first frame and lets the visitor in.
    async fn begin(opening: Opening, mut frames: Frames, outlet: Outlet) -> Result<Self, Close> {
        let Opening { wires, sites, site, mut place, address, visitor } = opening;
        let first = async {
            loop {
                let message = frames.recv().await?;
                match frames.read(message, wires.clock.instant())? {
                    Some(FromVisitor::Hello { ticket, after_seq }) => return Ok((ticket, after_seq)),
                    Some(_) => return Err(Close::Unauthorised),
                    None => {}
                }
            }
        };
        let (ticket, after_seq) = tokio::select! {
            first = tokio::time::timeout(HELLO_TIME, first) => first.unwrap_or(Err(Close::Unauthorised))?,
            () = wires.sockets.stop_sign().cancelled() => return Err(Close::GoingAway),
        };
        let admitted = match (visitor, ticket) {
            (Some(visitor), None) => Ok(visitor),
            (None, Some(ticket)) => visitors::redeem_ticket(&wires.kv, &site.name, &ticket).await,
            // Two principals in one request, or none.
            _ => Err(Refusal::VisitorToken),
        };
        let visitor = match admitted {
            Ok(visitor) => visitor,
            Err(refusal) => {
                outlet.send(&ToVisitor::refusal(&refusal, None))?;
                return Err(Close::Unauthorised);
            }
        };
        let rings = place.belongs_to(visitor).map_err(|_| Close::TooMany)?;
        let shown = after_seq.max(0);
        outlet.send(&ToVisitor::Ready { after_seq: shown })?;
        let speaker = Speaker { account: site.account.clone(), visitor };
        Ok(Self {
            wires,
            sites,
            address,
            speaker,
            frames,
            outlet,
            rings,
            shown,
            thread: None,
            answering: None,
            is_behind: false,
            _place: place,
        })
    }

    async fn go_on(mut self) -> Close {
        let stop = self.wires.sockets.stop_sign().clone();
        let mut heard_at = self.wires.clock.instant();
        let mut look_at = tokio::time::Instant::now();
        let mut ping = tokio::time::interval_at(tokio::time::Instant::now() + PING_EVERY, PING_EVERY);
        loop {
            let done = tokio::select! {
                () = stop.cancelled() => return self.leave(),
                message = self.frames.recv() => {
                    heard_at = self.wires.clock.instant();
                    match message {
                        Ok(message) => self.hear(message, heard_at).await,
                        Err(close) => Err(close),
                    }
                }
                Some(ring) = self.rings.recv() => match ring {
                    Ring::Look => {
                        let looked = self.look().await;
                        look_at = self.next_look();
                        looked
                    }
                    Ring::Typing(on) => self.outlet.send(&ToVisitor::Typing { on }),
                },
                () = tokio::time::sleep_until(look_at) => {
                    let looked = self.look().await;
                    look_at = self.next_look();
                    looked
                }
                _ = ping.tick() => {
                    if self.wires.clock.instant().duration_since(heard_at) >= DEAD_AFTER {
                        Err(Close::Dead)
                    } else {
                        self.outlet.push(Out::Ping)
                    }
                }
            };
            if let Err(close) = done {
                return close;
            }
        }
    }

    fn next_look(&self) -> tokio::time::Instant {
        tokio::time::Instant::now() + if self.is_behind { LOOK_AGAIN } else { LOOK_EVERY }
    }

    /// Hands out what stands in the thread after what was shown, and what was changed since.
    async fn look(&mut self) -> Result<(), Close> {
        self.is_behind = true;
        while self.outlet.has_room() {
            let site = &self.speaker.account.account;
            let (wire, visitor) = (&self.wires.wire, self.speaker.visitor);
            let Ok(page) = visitors::history(wire, site, visitor, self.shown, self.thread).await else {
                return Ok(());
            };
            for message in &page.messages {
                self.outlet.send(&ToVisitor::Message { message })?;
            }
            if page.answering != self.answering {
                self.outlet.send(&ToVisitor::Answering { answering: page.answering.as_ref() })?;
                self.answering = page.answering;
            }
            // In another thread everything was told anew, in its numbers.
            let is_another = self.thread.is_some() && page.thread != self.thread;
            let went_on = is_another || page.up_to_seq != self.shown;
            self.thread = page.thread;
            self.shown = page.up_to_seq;
            if !page.more || !went_on {
                self.is_behind = false;
                break;
            }
        }
        Ok(())
    }

    async fn hear(&mut self, message: Message, now: Instant) -> Result<(), Close> {
        match self.frames.read(message, now)? {
            None => Ok(()),
            Some(FromVisitor::Hello { .. }) => self.frames.unknown().map(|_| ()),
            Some(FromVisitor::Ping {}) => self.outlet.send(&ToVisitor::Pong {}),
            Some(FromVisitor::Typing { on }) => {
                self.tell_typing(on).await;
                Ok(())
            }
            Some(FromVisitor::Delivered { seq }) => self.receipt(ProviderStatus::Delivered, seq).await,
            Some(FromVisitor::Read { seq }) => self.receipt(ProviderStatus::Read, seq).await,
            Some(FromVisitor::Message { client_message_id, text, page }) => {
                let id = client_message_id.as_str();
                match self.say(id, &text, page.as_ref()).await {
                    Ok(()) => self.outlet.send(&ToVisitor::Ack { client_message_id: id }),
                    Err(refusal) => self.outlet.send(&ToVisitor::refusal(&refusal, Some(id))),
                }
            }
        }
    }

    async fn say(&self, id: &str, text: &str, page: Option<&Page>) -> Result<(), Refusal> {
        self.wires.has_room()?;
        let event = self.speaker.message(id, text, page, self.wires.clock.now())?;
        rates::count_message(&self.wires.kv, &self.sites.rates, self.speaker.visitor, self.address).await?;
        words::publish(&self.wires.wire, &self.wires.clock, &event).await
    }

    /// A page can vouch only for what it was given.
    async fn receipt(&self, status: ProviderStatus, seq: i64) -> Result<(), Close> {
        if seq < 1 || seq > self.shown {
            let refusal = Refusal::Invalid("receipt.seq", "seq is not a number that this socket was given");
            return self.outlet.send(&ToVisitor::refusal(&refusal, None));
        }
        let event = self.speaker.receipt(status, seq, self.wires.clock.now());
        match words::publish(&self.wires.wire, &self.wires.clock, &event).await {
            Ok(()) => Ok(()),
            Err(refusal) => self.outlet.send(&ToVisitor::refusal(&refusal, None)),
        }
    }

    /// Live and never of record: what is lost is lost.
    async fn tell_typing(&self, on: bool) {
        let site = self.speaker.account.account.clone();
        let signal = LiveSignal::VisitorTyping { site, visitor: self.speaker.visitor, on };
        let Ok(text) = serde_json::to_vec(&signal) else { return };
        if let Err(error) = self.wires.kv.wake(LIVE, text.into()).await {
            tracing::debug!(%error, "a visitor's typing was not passed on");
        }
    }

    fn leave(&self) -> Close {
        let (soonest, latest) = RETURN_MS;
        let retry_ms = soonest + random::jitter_ms(latest - soonest);
        // A page that does not read it comes back by itself.
        let _ = self.outlet.send(&ToVisitor::GoingAway { after_seq: self.shown, retry_ms });
        Close::GoingAway
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_to_go_out_is_bounded_in_frames_and_in_bytes() {
        let (outlet, _queue) = Outlet::new();
        for _ in 0..QUEUE_FRAMES_MAX {
            assert_eq!(outlet.send(&ToVisitor::Pong {}), Ok(()));
        }
        assert_eq!(outlet.send(&ToVisitor::Pong {}), Err(Close::TooSlow));
        assert!(!outlet.has_room());

        let (outlet, _queue) = Outlet::new();
        assert!(outlet.has_room());
        let detail = "x".repeat(QUEUE_BYTES_MAX / 4);
        let large = || ToVisitor::Error {
            code: "x",
            detail: detail.clone(),
            retry_after_s: None,
            client_message_id: None,
        };
        for _ in 0..3 {
            assert_eq!(outlet.send(&large()), Ok(()));
        }
        assert!(!outlet.has_room());
        assert_eq!(outlet.send(&large()), Err(Close::TooSlow));
    }
}
