//! `loket verify`: proves on an installation at rest that nothing was lost and nothing doubled
//! (`reliability-evidence` §4). Everything is read in one snapshot, so it may also run beside the
//! workers; what is merely under way is no finding.

use loket_protocol::topics::TOPICS;

use crate::requests::{Finding, Verdict};
use crate::store::{Conn, verify};
use crate::{Hub, HubError};

mod bounded;
mod delivery;
mod entries;
mod readable;

/// The most findings of one verdict.
const FINDINGS_MAX: usize = 1_000;
/// The most findings of one question, so that one broken table does not hide the others.
const FINDINGS_PER_QUESTION: u32 = 100;
/// Invariants about what this version does not have: there is nothing that could break them.
const NOTHING_YET: &[(&str, &str)] = &[("V7", "there are no webhooks yet"), ("V11", "nothing is erased yet")];
/// How many rows of a table are looked at together.
const PAGE: u32 = 512;

/// What was found so far.
#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, invariant: &str, sentence: String) {
        if self.0.len() < FINDINGS_MAX {
            self.0.push(Finding { invariant: invariant.to_owned(), sentence });
        }
    }
}

impl Hub {
    /// Checks the whole store and says what is missing, doubled or wrong, naming each row. An empty
    /// list of findings means clean.
    pub async fn verify(&self) -> Result<Verdict, HubError> {
        let mut reader = self.inner().store.snapshot().await?;
        let mut verdict = Verdict::default();
        let mut findings = Findings::default();
        for (noun, text) in verify::COUNTS {
            verdict.counted.insert((*noun).to_owned(), verify::count(&mut reader, text).await?);
        }
        self.depths(&mut verdict).await;
        self.questions(&mut reader, &mut verdict, &mut findings).await?;
        entries::check(&mut reader, &mut findings).await?;
        delivery::check(&mut reader, &mut findings).await?;
        bounded::check(&mut reader, &mut findings).await?;
        verdict.checked.push("V12".to_owned());
        readable::check(&mut reader, &self.inner().key, &mut findings).await?;
        verdict.checked.push("readable".to_owned());
        verdict.nothing_yet = NOTHING_YET.iter().map(|(name, why)| format!("{name} ({why})")).collect();
        verdict.findings = findings.0;
        metrics::gauge!("loket_verify_findings")
            .set(f64::from(u32::try_from(verdict.findings.len()).unwrap_or(u32::MAX)));
        Ok(verdict)
    }

    async fn questions(
        &self,
        reader: &mut Conn,
        verdict: &mut Verdict,
        findings: &mut Findings,
    ) -> Result<(), HubError> {
        let now = self.inner().clock.now();
        for question in verify::QUESTIONS {
            if !verdict.checked.iter().any(|checked| checked == question.invariant) {
                verdict.checked.push(question.invariant.to_owned());
            }
            for [a, b, c] in verify::ask(reader, question, FINDINGS_PER_QUESTION, now).await? {
                let sentence = question.sentence.replace("{a}", &a).replace("{b}", &b).replace("{c}", &c);
                findings.add(question.invariant, sentence);
            }
        }
        Ok(())
    }

    /// What is still on the bus: accepted, and not yet in the store.
    async fn depths(&self, verdict: &mut Verdict) {
        for (topic, group) in TOPICS {
            match self.inner().wire.bus().depth(topic, group).await {
                Ok(depth) => {
                    let items = i64::try_from(depth.items).unwrap_or(i64::MAX);
                    verdict.counted.insert(format!("on the bus: {topic}"), items);
                }
                Err(error) => tracing::warn!(%error, topic, "the bus could not be asked how full it is"),
            }
        }
    }
}
