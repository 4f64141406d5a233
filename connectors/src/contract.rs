//! The suite that every channel of the register passes. A channel brings, in its folder: `README.md`;
//! `contract.json` with settings (`section`: the accounts that its fixtures name; `stranger`: the same
//! app without any of them; `open`: accounts without what protects them; `verify_token`); and, when it
//! takes callbacks, `fixtures/*.json` with `fixtures/signatures.tsv`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use loket_backbone::clock::Clock;
use loket_protocol::content::{SENDABLE, is_media};
use loket_protocol::inbound::InboundEvent;
use loket_protocol::problem::ParkReason;
use loket_protocol::time::Timestamp;
use serde_json::Value;

use crate::channel::{Callback, Channel, Rejected};
use crate::channels::{Build, CHANNELS, Deps};
use crate::ingress::{BODY_BYTES_MAX, ITEMS_MAX};
use crate::meta::GraphSettings;

struct Case {
    name: &'static str,
    build: Build,
    settings: Value,
}

impl Case {
    fn folder(&self) -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/channels").join(self.name)
    }

    fn with(&self, section: &str) -> Result<Option<Arc<dyn Channel>>, String> {
        (self.build)(self.settings[section].clone(), &deps())
    }

    fn channel(&self) -> Arc<dyn Channel> {
        self.with("section").unwrap().expect("the section names accounts")
    }

    /// Fixtures by name, each with its signature.
    fn fixtures(&self) -> BTreeMap<String, (Bytes, String)> {
        let folder = self.folder().join("fixtures");
        let table = std::fs::read_to_string(folder.join("signatures.tsv")).unwrap();
        let signatures: BTreeMap<&str, &str> = table
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.split_once('\t'))
            .collect();
        let files = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path());
        let fixtures: BTreeMap<_, _> = files
            .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
            .map(|path| {
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                let signature =
                    signatures.get(name.as_str()).unwrap_or_else(|| panic!("{name} is not signed"));
                let body = Bytes::from(std::fs::read(&path).unwrap());
                (name.clone(), (body, (*signature).to_owned()))
            })
            .collect();
        assert!(!fixtures.is_empty(), "{} has no fixtures", self.name);
        fixtures
    }
}

fn deps() -> Deps {
    // The Graph client needs a TLS provider; a second installation is refused and harmless.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Deps { clock: Clock::system(), graph: GraphSettings::default() }
}

fn cases() -> Vec<Case> {
    let cases: Vec<Case> = CHANNELS
        .iter()
        .map(|(name, build)| {
            let mut case = Case { name, build: *build, settings: Value::Null };
            let text =
                std::fs::read(case.folder().join("contract.json")).expect("a channel brings contract.json");
            case.settings = serde_json::from_slice(&text).unwrap();
            case
        })
        .collect();
    assert!(!cases.is_empty());
    cases
}

fn with_callbacks() -> impl Iterator<Item = (Case, Arc<dyn Channel>)> {
    cases()
        .into_iter()
        .map(|case| (case.channel(), case))
        .filter(|(channel, _)| channel.takes_callbacks())
        .map(|(channel, case)| (case, channel))
}

fn callback(body: Bytes, signatures: Vec<String>, millis: i64) -> Callback {
    Callback { signatures, body, received_at: Timestamp::from_millis(millis) }
}

const EARLY: i64 = 1_795_253_400_000;
const LATE: i64 = EARLY + 7 * 24 * 60 * 60 * 1000;

/// The keys of everything that a body comes to; no matter what, this must not panic.
fn keys(channel: &dyn Channel, body: &Bytes, millis: i64) -> Vec<String> {
    let received = channel.receive(&callback(body.clone(), Vec::new(), millis));
    received.map_or_else(
        |_| Vec::new(),
        |received| {
            let problems = received.problems.iter().map(|p| format!("{}|{}", p.key(), p.raw.number));
            received.events.iter().map(InboundEvent::key).chain(problems).collect()
        },
    )
}

/// A stream of numbers that is the same in every run.
fn noise(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    }
}

#[test]
fn it_says_what_it_is() {
    for case in cases() {
        let readme = std::fs::read_to_string(case.folder().join("README.md"));
        assert!(readme.is_ok_and(|text| text.starts_with("# ")), "{} has no README", case.name);
        let channel = case.channel();
        let accounts = channel.accounts();
        let distinct: BTreeSet<_> = accounts.iter().map(|account| &account.channel).collect();
        assert!(!accounts.is_empty() && distinct.len() == accounts.len(), "{}", case.name);
        for account in &accounts {
            let what = &account.capabilities;
            assert_eq!(account.channel.kind.as_str(), case.name);
            assert!(!account.name.is_empty() && !account.channel.account.is_empty());
            assert!(what.text_chars_max > 0 && what.content_types.iter().any(|kind| kind == "text"));
            let kinds: BTreeSet<_> = what.content_types.iter().collect();
            assert_eq!(kinds.len(), what.content_types.len(), "{}", case.name);
            assert!(kinds.iter().all(|kind| SENDABLE.contains(&kind.as_str())), "{}", case.name);
            assert!(what.captions.iter().all(|kind| is_media(kind) && kinds.contains(kind)), "{}", case.name);
            assert_eq!(what.captions.is_empty(), what.caption_chars_max == 0, "{}", case.name);
            assert_eq!(what.reactions, what.content_types.iter().any(|kind| kind == "reaction"));
            assert!(what.window_ms.is_none_or(|window| window > 0));
            assert!(what.human_window_ms.is_none_or(|human| what.window_ms.is_some_and(|ours| human > ours)));
            assert!(!what.reads_the_thread || what.window_ms.is_none());
            let pace = channel.pace(&account.channel.account);
            assert!(pace.account_per_second > 0.0 && pace.pair_per_second > 0.0 && pace.pair_burst > 0);
        }
    }
}

#[test]
fn it_is_absent_without_accounts_and_refused_without_protection() {
    for case in cases() {
        assert!((case.build)(Value::Null, &deps()).is_ok_and(|built| built.is_none()), "{}", case.name);
        let refusal = case.with("open").err().unwrap_or_else(|| panic!("{} would stand open", case.name));
        assert!(refusal.contains(case.name), "{refusal:?} does not say which setting");
        let mut unknown = case.settings["section"].clone();
        unknown["no_such_setting"] = Value::from(1);
        assert!((case.build)(unknown, &deps()).is_err(), "{} takes unknown settings", case.name);
    }
}

#[test]
fn every_fixture_is_authentic_and_no_other_signature_counts() {
    for (case, channel) in with_callbacks() {
        for (name, (body, signature)) in case.fixtures() {
            let verdict = |signatures: &[&str], body: &Bytes| {
                let signatures = signatures.iter().map(|signature| (*signature).to_owned()).collect();
                channel.authenticate(&callback(body.clone(), signatures, EARLY))
            };
            assert_eq!(verdict(&[&signature], &body), Ok(()), "{name}");
            let digits = signature.strip_prefix("sha256=").unwrap();
            let wrong = [
                signature.to_uppercase(),
                format!("sha256={}", digits.to_uppercase()),
                signature[..signature.len() - 1].to_owned(),
                signature[..signature.len() - 2].to_owned(),
                format!("{signature}0"),
                format!("sha1={}", &digits[..40]),
                format!("sha1={digits}"),
                format!("sha256={}", "0".repeat(64)),
                format!(" {signature}"),
                digits.to_owned(),
                "sha256=".to_owned(),
                String::new(),
            ];
            for bad in &wrong {
                assert_eq!(verdict(&[bad], &body), Err(Rejected::Signature), "{name}: {bad}");
            }
            assert_eq!(verdict(&[], &body), Err(Rejected::Signature), "{name}");
            assert_eq!(verdict(&[&signature, &signature], &body), Err(Rejected::Signature), "{name}");
            let mut longer = body.to_vec();
            longer.push(b'\n');
            assert_eq!(verdict(&[&signature], &longer.into()), Err(Rejected::Signature), "{name}");
        }
    }
}

#[test]
fn a_repeat_has_the_same_keys_and_no_two_items_share_one() {
    for (case, channel) in with_callbacks() {
        for (name, (body, _)) in case.fixtures() {
            let first = keys(channel.as_ref(), &body, EARLY);
            assert!(!first.is_empty(), "{name} comes to nothing");
            assert_eq!(first, keys(channel.as_ref(), &body, LATE), "{name} a week later");
            let distinct: BTreeSet<_> = first.iter().collect();
            assert_eq!(distinct.len(), first.len(), "{name}: {first:?}");
            let parsed: Value = serde_json::from_slice(&body).unwrap();
            let compact = Bytes::from(parsed.to_string());
            let received = channel.receive(&callback(compact, Vec::new(), EARLY)).unwrap();
            let as_is = channel.receive(&callback(body, Vec::new(), EARLY)).unwrap();
            assert_eq!(received.events, as_is.events, "{name} with other spacing and order of keys");
        }
    }
}

#[test]
fn an_event_belongs_to_a_configured_account_or_is_parked() {
    for (case, channel) in with_callbacks() {
        let stranger = case.with("stranger").unwrap().unwrap();
        let ours: BTreeSet<_> = channel.accounts().into_iter().map(|account| account.channel).collect();
        let theirs: BTreeSet<_> = stranger.accounts().into_iter().map(|account| account.channel).collect();
        let mut parked = 0;
        for (name, (body, _)) in case.fixtures() {
            let received = channel.receive(&callback(body.clone(), Vec::new(), EARLY)).unwrap();
            assert!(received.events.iter().all(|event| ours.contains(&event.channel)), "{name}");
            let received = stranger.receive(&callback(body, Vec::new(), EARLY)).unwrap();
            for event in &received.events {
                assert!(
                    !theirs.contains(&event.channel),
                    "{name} lands in a foreign account: {:?}",
                    event.fact
                );
            }
            let unknown = received.problems.iter().filter(|p| p.reason == ParkReason::UnknownAccount);
            parked += unknown.count();
        }
        assert!(parked > 0, "{} parks nothing of an unknown account", case.name);
    }
}

#[test]
fn a_parked_item_is_read_again_alone() {
    for (case, channel) in with_callbacks() {
        let stranger = case.with("stranger").unwrap().unwrap();
        for (name, (body, _)) in case.fixtures() {
            let whole = channel.receive(&callback(body.clone(), Vec::new(), EARLY)).unwrap();
            let whole: BTreeSet<String> = whole.events.iter().map(InboundEvent::key).collect();
            let parked = stranger.receive(&callback(body, Vec::new(), EARLY)).unwrap().problems;
            for problem in parked.iter().filter(|p| p.reason == ParkReason::UnknownAccount && p.raw.of == 1) {
                let raw = Bytes::from(problem.raw.bytes().unwrap());
                let again = channel.receive(&callback(raw, Vec::new(), LATE)).unwrap();
                for event in &again.events {
                    let key = event.key();
                    assert!(whole.contains(&key), "{name}: {key} is not what the whole body came to");
                }
            }
        }
    }
}

#[test]
fn no_bytes_make_it_panic() {
    for (case, channel) in with_callbacks() {
        let mut next = noise(7);
        for length in 0..300usize {
            let junk: Vec<u8> = (0..length).map(|_| u8::try_from(next() & 0xFF).unwrap()).collect();
            let junk = Bytes::from(junk);
            let _ = channel.authenticate(&callback(
                junk.clone(),
                vec![String::from_utf8_lossy(&junk).into()],
                EARLY,
            ));
            keys(channel.as_ref(), &junk, EARLY);
        }
        for (_, (body, _)) in case.fixtures() {
            let length = u64::try_from(body.len()).unwrap();
            for _ in 0..60 {
                let at = usize::try_from(next() % length).unwrap();
                keys(channel.as_ref(), &body.slice(..at), EARLY);
                let mut changed = body.to_vec();
                changed[at] = b"0\"{}[],:-\\u9nt"[usize::try_from(next() % 14).unwrap()];
                keys(channel.as_ref(), &changed.into(), EARLY);
            }
        }
    }
}

/// Every value of every fixture, one at a time, replaced by something of another type.
#[test]
fn a_wrong_type_anywhere_costs_nothing_but_itself() {
    let odd = [
        Value::Null,
        Value::Bool(true),
        Value::from(-1),
        Value::from(1e300),
        Value::from("\u{0}\u{202e}"),
        Value::Array(vec![Value::Null]),
        serde_json::json!({"id": []}),
    ];
    for (case, channel) in with_callbacks() {
        for (name, (body, _)) in case.fixtures() {
            let parsed: Value = serde_json::from_slice(&body).unwrap();
            let mut pointers = Vec::new();
            collect_pointers(&parsed, String::new(), &mut pointers);
            for (number, pointer) in pointers.iter().enumerate() {
                let mut changed = parsed.clone();
                *changed.pointer_mut(pointer).unwrap() = odd[number % odd.len()].clone();
                let changed = Bytes::from(changed.to_string());
                let received = channel.receive(&callback(changed, Vec::new(), EARLY));
                assert!(received.is_ok(), "{name} with {pointer} changed: {received:?}");
            }
        }
    }
}

fn collect_pointers(value: &Value, at: String, into: &mut Vec<String>) {
    match value {
        Value::Array(items) => {
            for (number, item) in items.iter().enumerate() {
                collect_pointers(item, format!("{at}/{number}"), into);
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                let name = name.replace('~', "~0").replace('/', "~1");
                collect_pointers(field, format!("{at}/{name}"), into);
            }
        }
        _ => {}
    }
    if !at.is_empty() {
        into.push(at);
    }
}

#[test]
fn depth_breaks_nothing() {
    let deep = |open: &str, close: &str| format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
    for (case, channel) in with_callbacks() {
        for body in [deep("[", "]"), deep(r#"{"entry":"#, "}"), "[".repeat(100_000)] {
            let _ = channel.receive(&callback(body.into(), Vec::new(), EARLY));
        }
        // Hung into a good body, it must not cost the good part.
        for (name, (body, _)) in case.fixtures() {
            let text = String::from_utf8(body.to_vec()).unwrap();
            let hung = text.replacen('{', &format!(r#"{{"unknown_part":{},"#, deep("[", "]")), 1);
            let received = channel.receive(&callback(hung.into(), Vec::new(), EARLY));
            let plain = channel.receive(&callback(body, Vec::new(), EARLY)).unwrap();
            let received = received.unwrap_or_else(|error| panic!("{name} is refused: {error}"));
            assert_eq!(received.events, plain.events, "{name}");
        }
    }
}

#[test]
fn the_handshake_knows_its_token() {
    for (case, channel) in with_callbacks() {
        let token = case.settings["verify_token"].as_str().unwrap();
        assert_eq!(channel.handshake("subscribe", token, "115820"), Ok("115820".to_owned()));
        assert_eq!(channel.handshake("subscribe", "wrong", "115820"), Err(Rejected::VerifyToken));
        assert_eq!(channel.handshake("subscribe", "", "115820"), Err(Rejected::VerifyToken));
        for (mode, challenge) in [("", "115820"), ("subscribe", ""), ("subscribe", "<script>")] {
            let verdict = channel.handshake(mode, token, challenge);
            assert!(matches!(verdict, Err(Rejected::Handshake(_))), "{}: {mode} {challenge}", case.name);
        }
    }
}

/// A callback of the largest size whose every part is junk (`reliability-contract` §12: 10,000 items).
#[test]
fn a_body_full_of_junk_comes_to_a_bounded_number_of_items() {
    for (case, channel) in with_callbacks() {
        let (first, _) = case.fixtures().into_values().next().unwrap();
        let mut body: Value = serde_json::from_slice(&first).unwrap();
        body["entry"] = Value::Array(vec![Value::from(1); BODY_BYTES_MAX / 2 - 100]);
        let body = Bytes::from(body.to_string());
        assert!(body.len() < BODY_BYTES_MAX + 100);
        let received = channel.receive(&callback(body.clone(), Vec::new(), EARLY)).unwrap();
        let items = received.events.len() + received.problems.iter().filter(|p| p.raw.number == 0).count();
        assert!((1..=ITEMS_MAX + 1).contains(&items), "{}: {items}", case.name);
        // What is not read one by one is kept in one problem, perhaps in pieces.
        let last = received.problems.last().unwrap();
        assert_eq!(last.raw.of, last.raw.number + 1, "{}", case.name);
        let pieces = received.problems.iter().filter(|p| p.raw.key == last.raw.key);
        let kept: usize = pieces.map(|problem| problem.raw.bytes().unwrap().len()).sum();
        assert!(kept + 2 * ITEMS_MAX >= body.len(), "{}: {kept} of {}", case.name, body.len());
    }
}
