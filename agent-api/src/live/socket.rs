//! One agent's socket, from the handshake to the closing frame.

use std::net::IpAddr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix_web::{HttpRequest, HttpResponse, rt, web};
use actix_ws::{CloseCode, CloseReason, Closed, Item, Message, MessageStream, ProtocolError, Session};
use bytes::BytesMut;
use loket_backbone::secret::Secret;
use loket_hub::{EVENTS_PAGE_MAX, EventFilter, HubError, Principal, PrincipalBy};
use loket_protocol::agent::{Presence, PresenceState};

use super::Place;
use super::frames::{self, ClientFrame, Frame};
use crate::Shared;
use crate::auth::Scope;
use crate::cursor::Cursor;
use crate::error::{Code, Problem};

/// The largest frame from a client (`security` WS5).
const FRAME_BYTES_MAX: usize = 64 * 1024;
/// Frames of any kind from a client in one second.
const FRAMES_PER_SECOND_MAX: u32 = 20;
/// Unknown frames until the socket is closed (`security` WS3).
const UNKNOWN_FRAMES_MAX: u32 = 10;
/// How often we ping (`reliability-contract` §11).
const PING: Duration = Duration::from_secs(25);
/// Silence after which the other side is dead.
const DEAD: Duration = Duration::from_mins(1);
/// How often the session is looked up again (`security` P8).
const RECHECK: Duration = Duration::from_secs(5);
/// How often the presence lease of 60 s is renewed.
const RENEW_PRESENCE: Duration = Duration::from_secs(20);
/// How long the closing frame may take to go out.
const CLOSE_DEADLINE: Duration = Duration::from_secs(5);
/// Pauses between tries of reading the log while the store is away.
const CATCH_UP_PAUSE: Duration = Duration::from_millis(500);
/// Tries of reading the log until the client is sent away.
const CATCH_UP_TRIES: u32 = 10;

/// Close codes of ours; the document lists them.
const NOT_HEARD: u16 = 4000;
const UNKNOWN: u16 = 4003;
const TOO_SLOW: u16 = 4008;
const SESSION_ENDED: u16 = 4401;

/// Who wants in, and from which place in the log.
pub(crate) struct Guest {
    pub(crate) principal: Principal,
    /// With what they came; it is looked up again and again.
    pub(crate) token: Secret,
    pub(crate) address: IpAddr,
    /// Absent: from now on.
    pub(crate) after: Option<Cursor>,
}

/// Answers the handshake; the socket then lives by itself.
pub(crate) fn open(
    shared: &Arc<Shared>,
    req: &HttpRequest,
    payload: web::Payload,
    guest: Guest,
) -> Result<HttpResponse, Problem> {
    let (session, principals) = match guest.principal.by {
        PrincipalBy::Session(session, agent) => {
            (session.to_string(), vec![session.to_string(), agent.to_string()])
        }
        PrincipalBy::Key(key) => (key.to_string(), vec![key.to_string()]),
    };
    let place = shared.live.enter(session, principals, guest.address)?;
    let (response, wire, stream) =
        actix_ws::handle(req, payload).map_err(|_| Problem::of(Code::UpgradeRequired))?;
    let socket = Socket {
        shared: Arc::clone(shared),
        principal: Mutex::new(guest.principal),
        token: guest.token,
        sent: AtomicI64::new(0),
        epoch: Mutex::new(String::new()),
    };
    let stream = stream.max_frame_size(FRAME_BYTES_MAX);
    // It lives on the connection's own thread, because a connection cannot move; its owner is the
    // list of sockets, which tells it to go and waits for it.
    rt::spawn(socket.live(place, wire, stream, guest.after));
    Ok(response)
}

struct Socket {
    shared: Arc<Shared>,
    principal: Mutex<Principal>,
    token: Secret,
    /// The log seq of the last event sent.
    sent: AtomicI64,
    epoch: Mutex<String>,
}

/// Why a socket ends.
#[derive(Debug)]
enum End {
    /// The other side is gone; there is nobody to tell.
    Gone,
    /// With a code and a reason, and its name in metrics.
    Close(CloseCode, String, &'static str),
}

impl From<Closed> for End {
    fn from(_: Closed) -> Self {
        Self::Gone
    }
}

impl Socket {
    async fn live(self, mut place: Place, wire: Session, stream: MessageStream, after: Option<Cursor>) {
        let overflow = place.overflow.clone();
        let recheck = Arc::clone(&place.recheck);
        let going_away = self.shared.live.going_away.clone();
        let end = tokio::select! {
            end = self.outgoing(&mut place, wire.clone(), after) => end,
            end = self.incoming(wire.clone(), stream) => end,
            end = self.tend(wire.clone(), &recheck) => end,
            () = overflow.cancelled() => {
                metrics::counter!("loket_live_overflows_total").increment(1);
                End::Close(CloseCode::Other(TOO_SLOW), self.cursor().to_string(), "too_slow")
            }
            () = going_away.cancelled() => self.say_goodbye(wire.clone()).await,
        };
        let reason = match end {
            End::Gone => "gone",
            End::Close(code, description, reason) => {
                let close = wire.close(Some(CloseReason { code, description: Some(description) }));
                // Who does not read does not read the closing frame either.
                let _ = tokio::time::timeout(CLOSE_DEADLINE, close).await;
                reason
            }
        };
        metrics::counter!("loket_live_closed_total", "reason" => reason).increment(1);
    }

    fn cursor(&self) -> Cursor {
        let epoch = self.epoch.lock().unwrap_or_else(PoisonError::into_inner);
        Cursor::new(&epoch, self.sent.load(Ordering::Acquire))
    }

    fn principal(&self) -> Principal {
        self.principal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn say(wire: &mut Session, frame: Frame) -> Result<(), End> {
        metrics::counter!("loket_live_frames_sent_total", "type" => frame.kind).increment(1);
        Ok(wire.text(frame.text).await?)
    }

    async fn say_goodbye(&self, mut wire: Session) -> End {
        let told = Self::say(&mut wire, frames::going_away(&self.cursor()));
        match tokio::time::timeout(CLOSE_DEADLINE, told).await {
            Ok(Err(end)) => end,
            _ => End::Close(CloseCode::Away, "going away".to_owned(), "going_away"),
        }
    }

    // ---- server to client ----

    async fn outgoing(&self, place: &mut Place, wire: Session, after: Option<Cursor>) -> End {
        match self.send_log(place, wire, after).await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    /// Greets, catches up with the log, joins the pump's events, and goes on for ever.
    async fn send_log(
        &self,
        place: &mut Place,
        mut wire: Session,
        after: Option<Cursor>,
    ) -> Result<std::convert::Infallible, End> {
        let (head, epoch) = again_and_again(async || self.shared.hub.log_head().await).await?;
        epoch.clone_into(&mut self.epoch.lock().unwrap_or_else(PoisonError::into_inner));
        let known = after.as_ref().is_none_or(|after| after.is_of(&epoch, head));
        self.sent.store(after.filter(|_| known).map_or(head, |after| after.seq), Ordering::Release);
        let ping_ms = u64::try_from(PING.as_millis()).unwrap_or(u64::MAX);
        Self::say(&mut wire, frames::hello(head, &self.cursor(), ping_ms)).await?;
        if !known {
            Self::say(&mut wire, frames::snapshot(head, &self.cursor())).await?;
        }
        // Long backlogs are read before joining, so that the buffer does not fill meanwhile.
        self.catch_up(&mut wire, i64::MAX).await?;
        let position = place.join();
        self.catch_up(&mut wire, position).await?;
        loop {
            let Some(frame) = place.next().await else { return Err(End::Gone) };
            let Some(seq) = frame.seq else {
                Self::say(&mut wire, frame).await?;
                continue;
            };
            let sent = self.sent.load(Ordering::Acquire);
            if seq <= sent {
                continue;
            }
            // The log has no gaps, so a gap here is a frame that did not reach us: the log has it.
            if seq > sent + 1 {
                metrics::counter!("loket_live_gaps_total").increment(1);
                self.catch_up(&mut wire, seq - 1).await?;
            }
            if seq > self.sent.load(Ordering::Acquire) {
                Self::say(&mut wire, frame).await?;
                self.sent.store(seq, Ordering::Release);
            }
        }
    }

    /// Sends from the log itself, until `up_to` is sent or the log ends.
    async fn catch_up(&self, wire: &mut Session, up_to: i64) -> Result<(), End> {
        loop {
            let sent = self.sent.load(Ordering::Acquire);
            if sent >= up_to {
                return Ok(());
            }
            let filter = EventFilter { after: sent, types: Vec::new(), limit: EVENTS_PAGE_MAX };
            let events = again_and_again(async || self.shared.hub.events(&filter).await).await?;
            for event in &events {
                Self::say(wire, frames::event(event)).await?;
                self.sent.store(event.seq, Ordering::Release);
            }
            if u32::try_from(events.len()).is_ok_and(|found| found < EVENTS_PAGE_MAX) {
                return Ok(());
            }
        }
    }

    // ---- client to server ----

    async fn incoming(&self, mut wire: Session, mut stream: MessageStream) -> End {
        let mut rate = Rate::default();
        let mut unknown = 0;
        let mut pieces: Option<BytesMut> = None;
        loop {
            let message = match tokio::time::timeout(DEAD, stream.recv()).await {
                Err(_) => {
                    let told = "nothing heard for 60 s".to_owned();
                    return End::Close(CloseCode::Other(NOT_HEARD), told, "not_heard");
                }
                Ok(None | Some(Ok(Message::Close(_)))) => return closed_by_client(),
                Ok(Some(Err(ProtocolError::Overflow))) => return too_large(),
                Ok(Some(Err(_))) => {
                    return End::Close(CloseCode::Protocol, "not WebSocket".to_owned(), "protocol");
                }
                Ok(Some(Ok(message))) => message,
            };
            if !rate.allows(self.shared.clock.instant()) {
                let told = format!("more than {FRAMES_PER_SECOND_MAX} frames in a second");
                return End::Close(CloseCode::Policy, told, "flood");
            }
            let whole = match message {
                Message::Text(text) => Some(text.into_bytes()),
                Message::Continuation(Item::FirstText(first)) => {
                    pieces = Some(BytesMut::from(first.as_ref()));
                    None
                }
                Message::Continuation(Item::Continue(piece)) => match pieces.as_mut() {
                    Some(sofar) if sofar.len() + piece.len() <= FRAME_BYTES_MAX => {
                        sofar.extend_from_slice(&piece);
                        None
                    }
                    _ => return too_large(),
                },
                Message::Continuation(Item::Last(piece)) => match pieces.take() {
                    Some(mut sofar) if sofar.len() + piece.len() <= FRAME_BYTES_MAX => {
                        sofar.extend_from_slice(&piece);
                        Some(sofar.freeze())
                    }
                    _ => return too_large(),
                },
                Message::Ping(bytes) => {
                    if wire.pong(&bytes).await.is_err() {
                        return End::Gone;
                    }
                    None
                }
                // Binary has no meaning here: an empty text is as unknown.
                Message::Binary(_) | Message::Continuation(Item::FirstBinary(_)) => Some(bytes::Bytes::new()),
                Message::Pong(_) | Message::Nop | Message::Close(_) => None,
            };
            let Some(text) = whole else { continue };
            let answer = if let Ok(frame) = serde_json::from_slice::<ClientFrame>(&text) {
                self.obey(frame).await
            } else {
                metrics::counter!("loket_live_unknown_frames_total").increment(1);
                unknown += 1;
                if unknown >= UNKNOWN_FRAMES_MAX {
                    let told = "too many unknown frames".to_owned();
                    return End::Close(CloseCode::Other(UNKNOWN), told, "unknown_frames");
                }
                Some(frames::problem(&Problem::new(
                    Code::Invalid,
                    "This frame is not one of the known ones.",
                )))
            };
            if let Some(frame) = answer
                && let Err(end) = Self::say(&mut wire, frame).await
            {
                return end;
            }
        }
    }

    /// Does what a frame says. What cannot be done is told in a frame and closes nothing.
    async fn obey(&self, frame: ClientFrame) -> Option<Frame> {
        let principal = self.principal();
        let hub = &self.shared.hub;
        let done = match frame {
            ClientFrame::Ping {} => return Some(frames::pong()),
            ClientFrame::Typing { thread_id, on } => {
                if let Err(problem) = crate::auth::Access::Scope(Scope::ThreadsWrite).check(&principal) {
                    return Some(frames::problem(&problem));
                }
                hub.typing(&principal, thread_id, on).await
            }
            ClientFrame::Looking { thread_id, on } => {
                let access = crate::auth::Access::Person(Scope::ThreadsRead);
                let agent = match access.check(&principal).map(|()| principal.agent()) {
                    Ok(Some(agent)) => agent,
                    Ok(None) => return Some(frames::problem(&Problem::of(Code::AgentRequired))),
                    Err(problem) => return Some(frames::problem(&problem)),
                };
                hub.looking(agent, thread_id, on).await
            }
            ClientFrame::Presence { presence, accepting, capacity } => {
                let Some(agent) = principal.agent() else {
                    return Some(frames::problem(&Problem::of(Code::AgentRequired)));
                };
                let before = hub.presence(agent).await;
                let state = PresenceState {
                    presence,
                    accepting: accepting.unwrap_or(presence == Presence::Online),
                    capacity: capacity.unwrap_or(before.capacity),
                };
                hub.set_presence(agent, state).await
            }
        };
        done.err().map(|error| frames::problem(&Problem::from(error)))
    }

    // ---- upkeep ----

    /// Pings, renews the presence, and looks whether the session still stands.
    async fn tend(&self, mut wire: Session, recheck: &tokio::sync::Notify) -> End {
        let mut ping = tokio::time::interval(PING);
        let mut look = tokio::time::interval(RECHECK);
        let mut renew = tokio::time::interval(RENEW_PRESENCE);
        for interval in [&mut ping, &mut look, &mut renew] {
            interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            interval.reset();
        }
        loop {
            tokio::select! {
                _ = ping.tick() => {
                    if wire.ping(b"").await.is_err() {
                        return End::Gone;
                    }
                }
                _ = renew.tick() => {
                    if let Some(agent) = self.principal().agent() {
                        self.shared.hub.renew_presence(agent).await;
                    }
                }
                _ = look.tick() => {
                    if !self.still_stands().await {
                        return session_ended();
                    }
                }
                () = recheck.notified() => {
                    if !self.still_stands().await {
                        return session_ended();
                    }
                }
            }
        }
    }

    /// Asks again with the token it came with. A store that is away ends nobody's session.
    async fn still_stands(&self) -> bool {
        match self.shared.hub.principal(self.token.expose()).await {
            Ok(Some(principal)) => {
                let stands = Scope::EventsRead.allows(principal.role);
                *self.principal.lock().unwrap_or_else(PoisonError::into_inner) = principal;
                stands
            }
            Ok(None) => false,
            Err(error) => {
                tracing::warn!(%error, "a socket's session could not be looked up; it stays");
                true
            }
        }
    }
}

fn session_ended() -> End {
    End::Close(CloseCode::Other(SESSION_ENDED), "the session ended".to_owned(), "session_ended")
}

fn closed_by_client() -> End {
    End::Close(CloseCode::Normal, String::new(), "by_client")
}

fn too_large() -> End {
    End::Close(CloseCode::Size, format!("a frame may have {FRAME_BYTES_MAX} bytes"), "too_large")
}

/// Reads again after a pause while the store is away; then sends the client away.
async fn again_and_again<T>(read: impl AsyncFn() -> Result<T, HubError>) -> Result<T, End> {
    for _ in 0..CATCH_UP_TRIES {
        match read().await {
            Ok(value) => return Ok(value),
            Err(error) => tracing::warn!(%error, "a socket could not read the log; it tries again"),
        }
        tokio::time::sleep(CATCH_UP_PAUSE).await;
    }
    Err(End::Close(CloseCode::Again, "the log cannot be read right now".to_owned(), "log_away"))
}

/// Frames in the second that began with the first of them.
#[derive(Default)]
struct Rate {
    began: Option<Instant>,
    frames: u32,
}

impl Rate {
    fn allows(&mut self, now: Instant) -> bool {
        let running = self.began.is_some_and(|began| now.duration_since(began) < Duration::from_secs(1));
        if !running {
            *self = Self { began: Some(now), frames: 0 };
        }
        self.frames += 1;
        self.frames <= FRAMES_PER_SECOND_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twenty_frames_a_second_and_no_more() {
        let mut rate = Rate::default();
        let now = loket_backbone::clock::Clock::system().instant();
        assert!((0..20).all(|at| rate.allows(now + Duration::from_millis(at))));
        assert!(!rate.allows(now + Duration::from_millis(999)));
        assert!(rate.allows(now + Duration::from_secs(1)));
    }
}
