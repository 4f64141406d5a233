//! The one configuration, put together from the embedded defaults, a file, the environment and the
//! command line. Only this module reads the environment. Each section's shape belongs to the crate
//! that uses it; here are only names, sources and the layering.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::de::DeserializeOwned;
use toml::{Table, Value};

/// The file that is both the defaults and their documentation.
pub const DEFAULTS: &str = include_str!("config.default.toml");

/// Settings without a default: path (with `*` for a name of the operator's) and what it holds.
/// Together with the keys of [`DEFAULTS`] these are all there are.
const WITHOUT_DEFAULT: &[(&str, Known)] = &[
    ("whatsapp.app_secret", Known::Secret),
    ("whatsapp.app_secret_previous", Known::Secret),
    ("whatsapp.app_secret_previous_until", Known::Text),
    ("whatsapp.verify_token", Known::Secret),
    ("whatsapp.accounts.*.phone_number_id", Known::Text),
    ("whatsapp.accounts.*.phone_number", Known::Text),
    ("whatsapp.accounts.*.access_token", Known::Secret),
    ("whatsapp.accounts.*.waba_id", Known::Text),
    ("whatsapp.accounts.*.send_to_bsuid", Known::Switch),
    ("whatsapp.accounts.*.messages_per_second", Known::Number),
    ("whatsapp.accounts.*.messaging_account_id", Known::Text),
    ("messenger.app_secret", Known::Secret),
    ("messenger.app_secret_previous", Known::Secret),
    ("messenger.app_secret_previous_until", Known::Text),
    ("messenger.verify_token", Known::Secret),
    ("messenger.app_id", Known::Text),
    ("messenger.accounts.*.page_id", Known::Text),
    ("messenger.accounts.*.access_token", Known::Secret),
    ("messenger.accounts.*.instagram_id", Known::Text),
    ("webchat.sites.*.origins", Known::List),
    ("webchat.sites.*.accent", Known::Text),
    ("webchat.sites.*.language", Known::Text),
    ("webchat.sites.*.corner", Known::Text),
    ("webchat.sites.*.paper", Known::Text),
    ("webchat.sites.*.continue_on", Known::List),
    ("webchat.sites.*.texts.*.title", Known::Text),
    ("webchat.sites.*.texts.*.greeting", Known::Text),
];

/// Where a setting comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The embedded file.
    Default,
    /// The file of `--config`.
    File(PathBuf),
    /// This variable.
    Environment(String),
    /// `--set`.
    CommandLine,
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Environment(name) => f.write_str(name),
            Self::CommandLine => f.write_str("--set"),
        }
    }
}

/// The effective settings, each with its source.
#[derive(Clone, Debug)]
pub struct Config {
    table: Table,
    sources: BTreeMap<String, Source>,
}

impl Config {
    /// Reads defaults, then `file`, then the environment, then `sets` of the form
    /// `section.key=value`. Errors name the setting, its source and what to do.
    pub fn load(file: Option<&Path>, sets: &[String]) -> anyhow::Result<Self> {
        let file = file.map(|path| {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("the settings file {} cannot be read", path.display()))?;
            anyhow::Ok((path.to_owned(), text))
        });
        Self::from_layers(file.transpose()?, environment(), sets)
    }

    /// The same from given layers, for tests and for programs that embed Loket.
    pub fn from_layers(
        file: Option<(PathBuf, String)>,
        environment: Vec<(String, String)>,
        sets: &[String],
    ) -> anyhow::Result<Self> {
        let mut config = Self { table: Table::new(), sources: BTreeMap::new() };
        config.layer(DEFAULTS.parse().context("the embedded defaults")?, &Source::Default)?;
        if let Some((path, text)) = file {
            let table = text.parse().with_context(|| format!("{} is not TOML", path.display()))?;
            config.layer(table, &Source::File(path))?;
        }
        for (name, value) in environment {
            let Some(rest) = name.strip_prefix("LOKET__") else { continue };
            // Names of accounts and sites are the operator's own and keep to lower case here.
            let path = rest.to_lowercase().replace("__", ".");
            let real =
                path.strip_suffix("_file").filter(|real| known(&path).is_none() && known(real).is_some());
            let (path, value) = match real {
                None => (path.as_str(), value),
                Some(real) => {
                    let text = std::fs::read_to_string(&value)
                        .with_context(|| format!("{name}: the file {value} cannot be read"))?;
                    (real, text.trim_end_matches(['\r', '\n']).to_owned())
                }
            };
            if let Some(Source::Environment(other)) = config.sources.get(path) {
                bail!("{other} and {name} both set {path}: leave one of them away");
            }
            config.set(path, &value, Source::Environment(name.clone()))?;
        }
        for set in sets {
            let Some((path, value)) = set.split_once('=') else {
                bail!("--set {set}: it takes section.key=value");
            };
            config.set(path.trim(), value, Source::CommandLine)?;
        }
        Ok(config)
    }

    /// The section of that name as its owner's type. An empty one when there is none.
    pub fn section<T: DeserializeOwned>(&self, name: &str) -> anyhow::Result<T> {
        let section = self.table.get(name).cloned().unwrap_or_else(|| Value::Table(Table::new()));
        section.try_into().with_context(|| format!("the settings of [{name}]"))
    }

    /// The section as JSON, for those who pass it on without looking.
    pub fn section_json(&self, name: &str) -> anyhow::Result<serde_json::Value> {
        let section = self.table.get(name).cloned().unwrap_or_else(|| Value::Table(Table::new()));
        serde_json::to_value(section).with_context(|| format!("the settings of [{name}]"))
    }

    /// One line a setting: path, value (secrets as dots) and source, sorted by path.
    pub fn effective(&self) -> String {
        let mut text = String::new();
        for (path, value) in flatten(&self.table) {
            let shown = match &value {
                _ if is_secret(&path) => "\"•••\"".to_owned(),
                Value::String(url) if url.contains("://") => Value::String(without_password(url)).to_string(),
                value => value.to_string(),
            };
            let source = self.sources.get(&path).unwrap_or(&Source::Default);
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{path} = {shown}    # {source}");
        }
        text
    }

    fn layer(&mut self, table: Table, source: &Source) -> anyhow::Result<()> {
        for (path, value) in flatten(&table) {
            self.put(&path, value, source.clone())?;
        }
        // A section that is there but empty is kept, so that it can be deserialised.
        for (name, value) in table {
            if let Value::Table(_) = value {
                if !is_section(&name) {
                    return Err(unknown(&name, source));
                }
                self.table.entry(name).or_insert_with(|| Value::Table(Table::new()));
            }
        }
        Ok(())
    }

    fn set(&mut self, path: &str, text: &str, source: Source) -> anyhow::Result<()> {
        let known = known(path).ok_or_else(|| unknown(path, &source))?;
        let value = match known {
            Known::Text | Known::Secret => Value::String(text.to_owned()),
            Known::List => Value::Array(
                text.split(',')
                    .map(str::trim)
                    .filter(|part| !part.is_empty())
                    .map(|part| Value::String(part.to_owned()))
                    .collect(),
            ),
            Known::Number => Value::Integer(
                text.trim().parse().with_context(|| format!("{path} (from {source}) is a whole number"))?,
            ),
            Known::Switch => Value::Boolean(
                text.trim().parse().with_context(|| format!("{path} (from {source}) is true or false"))?,
            ),
        };
        self.put(path, value, source)
    }

    fn put(&mut self, path: &str, value: Value, source: Source) -> anyhow::Result<()> {
        if known(path).is_none() {
            return Err(unknown(path, &source));
        }
        let mut parts: Vec<&str> = path.split('.').collect();
        let Some(last) = parts.pop() else { return Ok(()) };
        let mut table = &mut self.table;
        for part in parts {
            let slot = table.entry(part).or_insert_with(|| Value::Table(Table::new()));
            let Value::Table(inner) = slot else {
                bail!("{path} (from {source}): {part} is a value, not a section");
            };
            table = inner;
        }
        table.insert(last.to_owned(), value);
        self.sources.insert(path.to_owned(), source);
        Ok(())
    }
}

/// All paths that can be set: those of the defaults and those without one.
pub fn known_paths() -> Vec<String> {
    let defaults: Table = DEFAULTS.parse().unwrap_or_default();
    let mut paths: Vec<String> = flatten(&defaults).into_iter().map(|(path, _)| path).collect();
    paths.extend(WITHOUT_DEFAULT.iter().map(|(path, _)| (*path).to_owned()));
    paths
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
fn environment() -> Vec<(String, String)> {
    std::env::vars().filter(|(name, _)| name.starts_with("LOKET__")).collect()
}

/// Where this process is to fail on purpose.
#[cfg(feature = "failpoints")]
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
pub(crate) fn failpoints() -> Option<String> {
    std::env::var("LOKET_FAILPOINT").ok()
}

/// What a setting holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Text,
    /// Text that is never shown.
    Secret,
    Number,
    Switch,
    List,
}

fn known(path: &str) -> Option<Known> {
    if let Some((_, holds)) = WITHOUT_DEFAULT.iter().find(|(pattern, _)| matches(pattern, path)) {
        return Some(*holds);
    }
    let defaults: Table = DEFAULTS.parse().ok()?;
    let value = flatten(&defaults).into_iter().find(|(known, _)| known == path)?.1;
    Some(match value {
        Value::Integer(_) => Known::Number,
        Value::Boolean(_) => Known::Switch,
        Value::Array(_) => Known::List,
        _ => Known::Text,
    })
}

fn is_section(name: &str) -> bool {
    known_paths().iter().any(|path| path.split('.').next() == Some(name)) || name == "webchat"
}

fn is_secret(path: &str) -> bool {
    WITHOUT_DEFAULT.iter().any(|(pattern, holds)| *holds == Known::Secret && matches(pattern, path))
}

/// An address with dots in the place of its password, wherever that stands in it.
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (address, query) =
        rest.split_once('?').map_or((rest, None), |(address, query)| (address, Some(query)));
    let mut shown = format!("{scheme}://");
    match address.rsplit_once('@') {
        Some((who, place)) => {
            let user = who.split_once(':').map_or(who, |(user, _)| user);
            let dots = if who.contains(':') { ":•••" } else { "" };
            // Writing to a String cannot fail.
            let _ = write!(shown, "{user}{dots}@{place}");
        }
        None => shown.push_str(address),
    }
    for (number, pair) in query.into_iter().flat_map(|query| query.split('&')).enumerate() {
        shown.push(if number == 0 { '?' } else { '&' });
        let name = pair.split_once('=').map_or(pair, |(name, _)| name);
        let is_secret = ["password", "secret", "token"].iter().any(|word| name.to_lowercase().contains(word));
        if is_secret {
            let _ = write!(shown, "{name}=•••");
        } else {
            shown.push_str(pair);
        }
    }
    shown
}

fn matches(pattern: &str, path: &str) -> bool {
    let (pattern, path): (Vec<_>, Vec<_>) = (pattern.split('.').collect(), path.split('.').collect());
    pattern.len() == path.len() && pattern.iter().zip(&path).all(|(p, s)| *p == "*" || p == s)
}

fn unknown(path: &str, source: &Source) -> anyhow::Error {
    let nearest = known_paths().into_iter().min_by_key(|known| distance(known, path)).unwrap_or_default();
    anyhow::anyhow!("{path} (from {source}) is no setting of Loket; the nearest is {nearest}")
}

/// Levenshtein's distance: how many letters differ.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.chars().enumerate() {
        let mut next = vec![i + 1];
        for (j, b) in right.iter().enumerate() {
            let of = |row: &[usize], at: usize| row.get(at).copied().unwrap_or(usize::MAX - 1);
            let best = (of(&row, j) + usize::from(a != *b)).min(of(&row, j + 1) + 1).min(of(&next, j) + 1);
            next.push(best);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

fn flatten(table: &Table) -> Vec<(String, Value)> {
    let mut flat = Vec::new();
    for (name, value) in table {
        if let Value::Table(inner) = value {
            flat.extend(flatten(inner).into_iter().map(|(path, value)| (format!("{name}.{path}"), value)));
        } else {
            flat.push((name.clone(), value.clone()));
        }
    }
    flat.sort_by(|a, b| a.0.cmp(&b.0));
    flat
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers(file: &str, env: &[(&str, &str)], sets: &[&str]) -> anyhow::Result<Config> {
        Config::from_layers(
            Some((PathBuf::from("loket.toml"), file.to_owned())),
            env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            &sets.iter().map(|set| (*set).to_owned()).collect::<Vec<_>>(),
        )
    }

    #[test]
    fn each_layer_beats_the_one_below_and_says_so() {
        let config = layers(
            "[http]\nlisten = \"1.1.1.1:1\"\ndrain_delay_ms = 5\n[log]\nlevel = \"warn\"",
            &[("LOKET__HTTP__LISTEN", "2.2.2.2:2"), ("LOKET__LOG__LEVEL", "debug")],
            &["http.listen=3.3.3.3:3"],
        )
        .unwrap();
        let text = config.effective();
        assert!(text.contains("http.listen = \"3.3.3.3:3\"    # --set"), "{text}");
        assert!(text.contains("http.drain_delay_ms = 5    # loket.toml"), "{text}");
        assert!(text.contains("log.level = \"debug\"    # LOKET__LOG__LEVEL"), "{text}");
        assert!(text.contains("kv.url = \"memory:\"    # default"), "{text}");
    }

    #[test]
    fn secrets_come_from_the_environment_and_are_never_shown() {
        let config = layers(
            "[whatsapp.accounts.main]\nphone_number_id = \"305\"",
            &[
                ("LOKET__WHATSAPP__ACCOUNTS__MAIN__ACCESS_TOKEN", "hush"),
                ("LOKET__WHATSAPP__APP_SECRET", "hush"),
            ],
            &[],
        )
        .unwrap();
        let text = config.effective();
        assert!(!text.contains("hush"), "{text}");
        assert!(text.contains("whatsapp.accounts.main.phone_number_id = \"305\""), "{text}");
        let section = config.section_json("whatsapp").unwrap();
        assert_eq!(section["accounts"]["main"]["access_token"], "hush");
    }

    #[test]
    fn the_password_in_an_address_is_never_shown() {
        for (url, shown) in [
            ("amqp://loket:hush@broker:5672/v", "amqp://loket:•••@broker:5672/v"),
            ("redis://:hush@host/0", "redis://:•••@host/0"),
            ("postgres://u:hu@sh@db/loket?sslmode=require", "postgres://u:•••@db/loket?sslmode=require"),
            (
                "postgres:///loket?user=u&password=hush&host=/run",
                "postgres:///loket?user=u&password=•••&host=/run",
            ),
            ("redis://host/", "redis://host/"),
        ] {
            let config = layers("", &[("LOKET__BUS__URL", url)], &[]).unwrap();
            let line = format!("bus.url = \"{shown}\"    # LOKET__BUS__URL");
            assert!(config.effective().contains(&line), "{line}: {}", config.effective());
        }
    }

    #[test]
    fn a_variable_that_ends_in_file_names_a_file_with_the_value() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("url");
        std::fs::write(&path, "amqp://loket:hush@broker/\n").unwrap();
        let path = path.display().to_string();
        let config = layers("", &[("LOKET__BUS__URL_FILE", &path)], &[]).unwrap();
        assert_eq!(config.section_json("bus").unwrap()["url"], "amqp://loket:hush@broker/");
        let twice = [("LOKET__BUS__URL", "embedded:x"), ("LOKET__BUS__URL_FILE", path.as_str())];
        let error = layers("", &twice, &[]).unwrap_err().to_string();
        assert!(error.contains("LOKET__BUS__URL and LOKET__BUS__URL_FILE"), "{error}");
        let mut turned = twice;
        turned.reverse();
        assert!(layers("", &turned, &[]).is_err(), "in any order");
        let missing = format!("{path}.none");
        assert!(layers("", &[("LOKET__BUS__URL_FILE", &missing)], &[]).is_err());
        // A setting that is a file's name stays one.
        let key = layers("", &[("LOKET__SECRETS__MASTER_KEY_FILE", "k")], &[]).unwrap();
        assert_eq!(key.section_json("secrets").unwrap()["master_key_file"], "k");
    }

    #[test]
    fn an_unknown_key_is_an_error_that_names_the_nearest() {
        for (file, env, sets) in [
            ("[http]\nlissten = \"x\"", vec![], vec![]),
            ("", vec![("LOKET__HTTP__LISTENN", "x")], vec![]),
            ("", vec![], vec!["http.listem=x"]),
        ] {
            let error = layers(file, &env, &sets).unwrap_err().to_string();
            assert!(error.contains("the nearest is http.listen"), "{error}");
        }
        assert!(layers("[htp]\n", &[], &[]).is_err());
        assert!(layers("", &[], &["http.drain_delay_ms=soon"]).is_err());
    }

    #[test]
    fn a_list_is_given_with_commas() {
        let config =
            layers("", &[], &["webchat.sites.shop.origins=https://a.example, https://b.example"]).unwrap();
        let section = config.section_json("webchat").unwrap();
        assert_eq!(section["sites"]["shop"]["origins"][1], "https://b.example");
    }
}
