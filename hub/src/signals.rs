//! Read marks and typing: told to providers, visitors and colleagues, and lost without harm.

use std::time::Duration;

use loket_protocol::asks::{Signal, SignalReply, VisitorWake};
use loket_protocol::contact::HandleKind;
use loket_protocol::event::LiveSignal;
use loket_protocol::ids::{AgentId, ThreadId, VisitorId};
use loket_protocol::topics::SIGNALS;

use crate::requests::Principal;
use crate::store::contacts::IdentityRow;
use crate::store::desk::Heard;
use crate::store::{contacts, outbound, threads, visitors};
use crate::{Hub, HubError};

/// The longest that a signal may hold up who asked for it.
const SIGNAL_DEADLINE: Duration = Duration::from_secs(1);

impl Hub {
    /// Tells the customer's side, by the conversation of their last message, and colleagues that
    /// somebody is writing, or no longer. Best effort, at most a second.
    pub async fn typing(&self, by: &Principal, thread: ThreadId, on: bool) -> Result<(), HubError> {
        let mut reader = self.inner().store.read().await?;
        let thread = threads::row(&mut reader, thread).await?.ok_or(HubError::NotFound("thread"))?.id;
        let heard = outbound::last_heard(&mut reader, thread).await?;
        let identity = match heard {
            Some(identity) => contacts::identity(&mut reader, identity).await?,
            None => None,
        };
        drop(reader);
        self.live(&LiveSignal::Typing { thread_id: thread, agent_id: by.agent(), on }).await;
        let Some(identity) = identity else { return Ok(()) };
        if let Some(visitor) = self.visitor(&identity) {
            self.wake_visitor(&VisitorWake { visitor, typing: Some(on) }).await;
        } else {
            let to = sendable(&identity);
            let external_id = identity.last_external_id.clone();
            self.signal(Signal::Typing { channel: identity.channel, to, on, external_id }).await;
        }
        Ok(())
    }

    /// Tells colleagues that an agent has a thread open before them, or no longer. Best effort.
    pub async fn looking(&self, agent: AgentId, thread: ThreadId, on: bool) -> Result<(), HubError> {
        let mut reader = self.inner().store.read().await?;
        let thread_id = threads::row(&mut reader, thread).await?.ok_or(HubError::NotFound("thread"))?.id;
        drop(reader);
        self.live(&LiveSignal::Looking { thread_id, agent_id: agent, on }).await;
        Ok(())
    }

    /// The visitor behind an identity whose channel reads the thread itself.
    fn visitor(&self, identity: &IdentityRow) -> Option<VisitorId> {
        let account = self.inner().accounts.get(&identity.channel)?;
        let handle = identity.handles.iter().find(|handle| handle.kind == HandleKind::Visitor)?;
        if account.capabilities.reads_the_thread { handle.value.parse().ok() } else { None }
    }

    /// Tells the provider that a message of the customer's was read.
    pub(crate) async fn signal_read(&self, seen: Heard) {
        let identity = async {
            let mut reader = self.inner().store.read().await?;
            contacts::identity(&mut reader, seen.identity).await
        };
        let identity = match identity.await {
            Ok(Some(identity)) => identity,
            Ok(None) => return,
            Err(error) => {
                tracing::debug!(%error, "a read mark was not passed on");
                return;
            }
        };
        if self.visitor(&identity).is_some() {
            return;
        }
        let to = sendable(&identity);
        self.signal(Signal::MarkRead { channel: seen.channel, to, external_id: seen.external_id }).await;
    }

    async fn signal(&self, signal: Signal) {
        let outcome = self.inner().wire.ask(&SIGNALS, &signal, SIGNAL_DEADLINE).await;
        let told = match outcome {
            Ok(SignalReply::Done) => "done",
            Ok(SignalReply::NotDone) => "not_done",
            Err(error) => {
                tracing::debug!(%error, "a signal was lost");
                "lost"
            }
        };
        metrics::counter!("loket_signal_sent_total", "outcome" => told).increment(1);
    }

    /// What a signal of any process means to agents: presence is noted, and a visitor who writes is
    /// somebody in a thread. `None` when it means nothing here. Each process with agents' sockets asks
    /// for itself, so that one signal shows once, and in order.
    pub async fn hear(&self, signal: LiveSignal) -> Option<LiveSignal> {
        match signal {
            LiveSignal::VisitorTyping { site, visitor, on } => {
                let thread_id = self.visitors_thread(&site, visitor).await?;
                Some(LiveSignal::Typing { thread_id, agent_id: None, on })
            }
            LiveSignal::Presence { agent_id, state } => {
                self.inner().present.set(agent_id, state, self.inner().clock.instant());
                Some(signal)
            }
            LiveSignal::Typing { .. } | LiveSignal::Looking { .. } | LiveSignal::SessionEnded { .. } => {
                Some(signal)
            }
        }
    }

    async fn visitors_thread(&self, site: &str, visitor: VisitorId) -> Option<ThreadId> {
        let site = self.site(site)?;
        let place = async {
            let mut reader = self.inner().store.read().await?;
            visitors::place(&mut reader, &site, visitor).await
        };
        match place.await {
            Ok(place) => place.map(|place| place.thread),
            Err(error) => {
                tracing::debug!(%error, "a visitor's typing was not passed on");
                None
            }
        }
    }
}

fn sendable(identity: &IdentityRow) -> Vec<loket_protocol::contact::Handle> {
    identity.handles.iter().filter(|handle| handle.kind.identifies()).cloned().collect()
}
