//! What web chat asks: visitors live here, because connectors own nothing of record. A visitor sees
//! their own conversation, and for a while what we answer where they carried their code to; nothing else of
//! the thread: no notes, no words from another channel.

use loket_backbone::bus::{Lease, Wire};
use loket_protocol::asks::{Answering, WebchatAsk, WebchatReply};
use loket_protocol::channel::ChannelAccount;
use loket_protocol::contact::ClaimKind;
use loket_protocol::handoff::{Control, Holder};
use loket_protocol::ids::{ThreadId, VisitorId};
use loket_protocol::message::{AuthorType, Message};
use loket_protocol::topics::WEBCHAT;
use tokio_util::sync::CancellationToken;

use crate::store::visitors::{self, Place, VisitorRow};
use crate::store::{Conn, StoreError, agents, links, log, messages, threads};
use crate::{Hub, HubError, worker};

/// The most messages of one answer.
const HISTORY_MAX: u32 = 100;
/// The most bytes of one answer as JSON, unless a single message is larger: the bus carries no answer
/// over 1 MiB (B14).
const HISTORY_BYTES_MAX: usize = 512 * 1024;
/// How many entries of the log one question for news goes through.
const NEWS_ENTRIES_MAX: i64 = 1_000;
/// How many questions are taken at once.
const QUESTIONS_AT_ONCE: usize = 32;
/// Digits of a token's hash.
const HASH_DIGITS: usize = 64;

fn is_hash(text: &str) -> bool {
    text.len() == HASH_DIGITS && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// What the visitor may see of a message: nothing that is ours alone.
fn for_visitor(mut message: Message) -> Message {
    // The id of a visitor's own message holds the page's own id of it, by which the page knows it
    // again; the ids of others say nothing to anybody outside.
    if message.author.kind != AuthorType::Contact {
        message.author.id = None;
        message.external_id = None;
    }
    message.status_detail = None;
    message
}

/// How many of these messages go into one answer; at least one.
fn fitting(messages: &[Message]) -> usize {
    let mut bytes = 0;
    let fitting = messages.iter().take_while(|message| {
        bytes += serde_json::to_vec(message).map_or(0, |json| json.len());
        bytes <= HISTORY_BYTES_MAX
    });
    fitting.count().max(1)
}

impl Hub {
    /// Answers web chat's questions until told to stop.
    pub(crate) async fn answer_webchat(self, stop: CancellationToken) {
        let wire = self.inner().wire.clone();
        let take = || wire.questions(&WEBCHAT, QUESTIONS_AT_ONCE);
        worker::run("webchat", stop, take, |leases| self.answer_visitors(leases)).await;
    }

    async fn answer_visitors(&self, leases: Vec<Box<dyn Lease>>) -> Result<(), HubError> {
        let mut shared = None;
        for lease in leases {
            let answer = match Wire::read::<WebchatAsk>(lease.as_ref()) {
                Ok(ask) => self.webchat(ask).await,
                Err(_) => Ok(WebchatReply::Unknown),
            };
            match answer {
                Ok(answer) => {
                    if let Err(error) = Wire::reply(lease, &answer).await {
                        tracing::debug!(%error, "an answer to web chat was lost");
                    }
                }
                // Left without an answer: web chat says that it is busy, and the others go on.
                Err(error) => shared = Some(error),
            }
        }
        shared.map_or(Ok(()), Err)
    }

    /// The channel account of a site, when it is configured.
    pub(crate) fn site(&self, name: &str) -> Option<ChannelAccount> {
        let accounts = self.inner().accounts.values();
        let mut sites = accounts.filter(|account| account.capabilities.reads_the_thread);
        sites.find(|account| account.channel.account == name).map(|account| account.channel.clone())
    }

    /// Answers one question of web chat.
    pub(crate) async fn webchat(&self, ask: WebchatAsk) -> Result<WebchatReply, HubError> {
        match ask {
            WebchatAsk::Visit { site, token_hash, new_token_hash } => {
                self.visit(&site, token_hash.as_deref(), &new_token_hash).await
            }
            WebchatAsk::Visitor { site, token_hash } => {
                let Some(account) = self.site(&site) else { return Ok(WebchatReply::Unknown) };
                let mut reader = self.inner().store.read().await?;
                match visitors::by_token(&mut reader, &site, &token_hash).await? {
                    Some(visitor) => Ok(known(&mut reader, &account, visitor.id, false).await?),
                    None => Ok(WebchatReply::Unknown),
                }
            }
            WebchatAsk::History { site, visitor, after_seq, thread } => {
                self.history(&site, visitor, after_seq, thread).await
            }
            WebchatAsk::Link { site, visitor, channel, language } => {
                let Some(account) = self.site(&site) else { return Ok(WebchatReply::Unknown) };
                self.link_of_visitor(&account, visitor, &channel, language.as_deref()).await
            }
            WebchatAsk::Claim { site, visitor, name, email, phone } => {
                let Some(account) = self.site(&site) else { return Ok(WebchatReply::Unknown) };
                let claimed = [(ClaimKind::Name, name), (ClaimKind::Email, email), (ClaimKind::Phone, phone)];
                self.keep_claims(&account, visitor, &claimed).await
            }
            WebchatAsk::News { after } => self.news(after).await,
        }
    }

    async fn visit(
        &self,
        site: &str,
        token_hash: Option<&str>,
        new_token_hash: &str,
    ) -> Result<WebchatReply, HubError> {
        let Some(account) = self.site(site) else { return Ok(WebchatReply::Unknown) };
        if let Some(hash) = token_hash {
            let mut reader = self.inner().store.read().await?;
            if let Some(visitor) = visitors::by_token(&mut reader, site, hash).await? {
                let answer = known(&mut reader, &account, visitor.id, false).await?;
                drop(reader);
                self.note_visit(visitor).await?;
                return Ok(answer);
            }
        }
        if !is_hash(new_token_hash) {
            return Ok(WebchatReply::Unknown);
        }
        let mut tx = self.inner().store.begin().await?;
        let mut visitor: VisitorId = tx.id();
        let is_new = visitors::make(&mut tx, visitor, site, new_token_hash).await?;
        if !is_new {
            // The same question again, because its answer was lost.
            let before = visitors::by_token(&mut tx, site, new_token_hash).await?;
            visitor = before.map_or(visitor, |row| row.id);
        }
        let answer = known(&mut tx, &account, visitor, true).await?;
        tx.commit().await?;
        metrics::counter!("loket_visitor_made_total").increment(u64::from(is_new));
        Ok(answer)
    }

    async fn note_visit(&self, visitor: VisitorRow) -> Result<(), HubError> {
        if visitors::is_stale(&visitor, self.inner().clock.now()) {
            let mut tx = self.inner().store.begin().await?;
            visitors::seen(&mut tx, visitor.id).await?;
            tx.commit().await?;
        }
        Ok(())
    }

    async fn history(
        &self,
        site: &str,
        visitor: VisitorId,
        after_seq: i64,
        thread: Option<ThreadId>,
    ) -> Result<WebchatReply, HubError> {
        let Some(account) = self.site(site) else { return Ok(WebchatReply::Unknown) };
        let mut reader = self.inner().store.snapshot().await?;
        if !visitors::is_known(&mut reader, site, visitor).await? {
            return Ok(WebchatReply::Unknown);
        }
        let Some(place) = visitors::place(&mut reader, &account, visitor).await? else {
            return Ok(WebchatReply::History {
                messages: Vec::new(),
                more: false,
                up_to_seq: None,
                thread: None,
                answering: None,
            });
        };
        // Taken before anything is read, so that what comes meanwhile is found by the next question.
        let row = threads::row(&mut reader, place.thread).await?;
        let head = row.as_ref().map_or(after_seq, |row| row.seq);
        let answering = match row {
            Some(row) => Some(answering(&mut reader, &row.control).await?),
            None => None,
        };
        // A number of another thread, which was theirs before a merge or its undo: all of it again.
        let is_of_another = thread.is_some_and(|thread| thread != place.thread) || after_seq > head;
        let after_seq = if is_of_another { 0 } else { after_seq };
        let mut ids = visitors::said_after(&mut reader, place, after_seq, HISTORY_MAX + 1).await?;
        let most = usize::try_from(HISTORY_MAX).unwrap_or(usize::MAX);
        let more = ids.len() > most;
        ids.truncate(most);
        let mut found = messages::by_ids(&mut reader, &ids).await?;
        found.sort_by_key(|message| message.seq);
        let mut said: Vec<Message> = found.into_iter().map(for_visitor).collect();
        let fits = fitting(&said);
        let more = more || fits < said.len();
        said.truncate(fits);
        let up_to = if more { said.last().map_or(after_seq, |message| message.seq) } else { head };
        let mut messages = self.changed(&mut reader, place, after_seq, up_to).await?;
        messages.append(&mut said);
        let (up_to_seq, thread) = (Some(up_to), Some(place.thread));
        Ok(WebchatReply::History { messages, more, up_to_seq, thread, answering })
    }

    /// Messages that a visitor has already and that were edited or taken back since, as they are now.
    /// A page that comes back after very many changes is told of the last ones only.
    async fn changed(
        &self,
        reader: &mut Conn,
        place: Place,
        after_seq: i64,
        up_to: i64,
    ) -> Result<Vec<Message>, StoreError> {
        if after_seq == 0 {
            return Ok(Vec::new());
        }
        let mut ids = visitors::changed_after(reader, place.thread, after_seq, up_to, HISTORY_MAX).await?;
        ids.sort_unstable();
        ids.dedup();
        let mut found = messages::by_ids(reader, &ids).await?;
        let answers = links::seen_by_code(reader, place.identity, &ids).await?;
        found.retain(|message| {
            let is_theirs = message.identity_id == Some(place.identity) || answers.contains(&message.id);
            is_theirs && message.seq <= after_seq
        });
        found.sort_by_key(|message| message.seq);
        let mut changed: Vec<Message> = found.into_iter().map(for_visitor).collect();
        changed.truncate(fitting(&changed));
        Ok(changed)
    }

    async fn news(&self, after: Option<i64>) -> Result<WebchatReply, HubError> {
        let mut reader = self.inner().store.snapshot().await?;
        let head = log::head(&mut reader).await?;
        let Some(after) = after.filter(|after| *after <= head) else {
            return Ok(WebchatReply::News { visitors: Vec::new(), up_to: head, more: false });
        };
        let up_to = head.min(after.saturating_add(NEWS_ENTRIES_MAX));
        let visitors =
            if up_to > after { visitors::with_news(&mut reader, after, up_to).await? } else { Vec::new() };
        Ok(WebchatReply::News { visitors, up_to, more: up_to < head })
    }
}

/// What a visitor is told of who answers.
async fn answering(reader: &mut Conn, control: &Control) -> Result<Answering, StoreError> {
    let agent = match control.agent_id.filter(|_| control.holder == Holder::Agent) {
        Some(agent) => agents::by_id(reader, agent).await?,
        None => None,
    };
    Ok(Answering { holder: control.holder, name: agent.map(|row| row.agent.name) })
}

async fn known(
    conn: &mut Conn,
    site: &ChannelAccount,
    visitor: VisitorId,
    is_new: bool,
) -> Result<WebchatReply, StoreError> {
    let place = visitors::place(conn, site, visitor).await?;
    Ok(WebchatReply::Visitor {
        visitor,
        is_new,
        thread_id: place.map(|place| place.thread),
        contact_id: place.map(|place| place.contact),
    })
}
