//! A few message templates, and how a send of one is checked (`whatsapp` §11, §14).

use std::collections::BTreeSet;
use std::sync::LazyLock;

use serde_json::Value;

use crate::simulator::phone::{Choice, File};
use crate::simulator::read::{list, owned, text};
use crate::simulator::refusal::Refusal;

use super::check::{Facts, file};

static TEMPLATES: LazyLock<Vec<Value>> =
    LazyLock::new(|| serde_json::from_str(include_str!("templates.json")).unwrap_or_default());

/// All templates, as `GET /{waba}/message_templates` lists them.
pub(crate) fn all() -> &'static [Value] {
    &TEMPLATES
}

/// A template with its blanks filled in.
#[derive(Debug, Default)]
pub(crate) struct Filled {
    pub(crate) text: String,
    pub(crate) files: Vec<File>,
    pub(crate) choices: Vec<Choice>,
    /// Authentication templates go to phone numbers only (131062).
    pub(crate) needs_phone: bool,
}

/// Checks `template` of a send and fills it in.
pub(crate) fn fill(template: &Value, facts: &dyn Facts) -> Result<Filled, Refusal> {
    let missing = |what: &str| Refusal::new(131_008, "Required parameter is missing").details(what);
    let name = text(template, "/name").ok_or_else(|| missing("template.name is missing"))?;
    let language = text(template, "/language/code").ok_or_else(|| missing("template.language is missing"))?;
    let is_it =
        |known: &&Value| text(known, "/name") == Some(name) && text(known, "/language") == Some(language);
    let unknown = || {
        Refusal::new(132_001, "Template name does not exist in the translation")
            .http(404)
            .details(format!("template name ({name}) does not exist in {language}"))
    };
    let known = all().iter().find(is_it).ok_or_else(unknown)?;
    match text(known, "/status") {
        Some("APPROVED") => {}
        Some("PAUSED") => {
            return Err(Refusal::new(132_015, "Template is Paused").details("Template is paused"));
        }
        _ => return Err(unknown()),
    }
    let mut filled =
        Filled { needs_phone: text(known, "/category") == Some("AUTHENTICATION"), ..Filled::default() };
    let given = list(template, "/components");
    for part in list(known, "/components") {
        match text(part, "/type") {
            Some("HEADER") => header(part, component(given, "header"), facts, &mut filled)?,
            Some("BODY" | "FOOTER") => {
                let own = component(given, "body").filter(|_| text(part, "/type") == Some("BODY"));
                push_line(&mut filled.text, &words(text(part, "/text").unwrap_or_default(), own)?);
            }
            Some("BUTTONS") => buttons(part, given, &mut filled)?,
            _ => {}
        }
    }
    Ok(filled)
}

fn component<'a>(given: &'a [Value], kind: &str) -> Option<&'a Value> {
    given.iter().find(|part| text(part, "/type").is_some_and(|own| own.eq_ignore_ascii_case(kind)))
}

fn push_line(all: &mut String, line: &str) {
    if !all.is_empty() {
        all.push('\n');
    }
    all.push_str(line);
}

fn header(
    part: &Value,
    given: Option<&Value>,
    facts: &dyn Facts,
    filled: &mut Filled,
) -> Result<(), Refusal> {
    match text(part, "/format") {
        Some("TEXT") => push_line(&mut filled.text, &words(text(part, "/text").unwrap_or_default(), given)?),
        Some(format) => {
            let kind = format.to_lowercase();
            let own = given
                .and_then(|given| list(given, "/parameters").first())
                .filter(|parameter| text(parameter, "/type") == Some(&kind))
                .and_then(|parameter| parameter.get(&kind))
                .ok_or_else(|| {
                    Refusal::new(132_012, "Parameter format does not match format in the created template")
                        .details(format!("header: Format mismatch, expected {format}"))
                })?;
            filled.files.push(file(&kind, own, facts)?);
        }
        None => {}
    }
    Ok(())
}

/// The blanks `{{…}}` of a text, each once.
fn blanks(pattern: &str) -> BTreeSet<&str> {
    pattern.split("{{").skip(1).filter_map(|rest| Some(rest.split_once("}}")?.0)).collect()
}

fn words(pattern: &str, given: Option<&Value>) -> Result<String, Refusal> {
    let wanted = blanks(pattern);
    let parameters = given.map_or(&[][..], |given| list(given, "/parameters"));
    if wanted.len() != parameters.len() {
        return Err(Refusal::new(
            132_000,
            "Number of parameters does not match the expected number of params",
        )
        .details(format!(
            "number of localizable_params ({}) does not match the expected number of params ({})",
            parameters.len(),
            wanted.len()
        )));
    }
    let mut line = pattern.to_owned();
    for (position, parameter) in parameters.iter().enumerate() {
        let number = (position + 1).to_string();
        let name = text(parameter, "/parameter_name").unwrap_or(&number);
        let value = text(parameter, "/text").filter(|_| text(parameter, "/type") == Some("text"));
        let (true, Some(value)) = (wanted.contains(name), value) else {
            return Err(Refusal::new(
                132_012,
                "Parameter format does not match format in the created template",
            )
            .details(format!("parameter {name}: expected a text of that name")));
        };
        if value.is_empty() || value.contains(['\n', '\t']) {
            return Err(Refusal::new(132_018, "There was an issue with the parameters in the template")
                .details("Param text cannot be empty or have new-line/tab characters"));
        }
        line = line.replace(&format!("{{{{{name}}}}}"), value);
    }
    Ok(line)
}

fn buttons(part: &Value, given: &[Value], filled: &mut Filled) -> Result<(), Refusal> {
    for (position, button) in list(part, "/buttons").iter().enumerate() {
        let index = position.to_string();
        let own = given.iter().find(|part| {
            let named =
                part.get("index").map(|own| own.as_str().map_or_else(|| own.to_string(), str::to_owned));
            text(part, "/type").is_some_and(|kind| kind.eq_ignore_ascii_case("button"))
                && named.as_deref() == Some(&index)
        });
        let title = owned(button, "/text").unwrap_or_default();
        if text(button, "/type") == Some("URL") {
            let id = words(text(button, "/url").unwrap_or_default(), own)?;
            filled.choices.push(Choice { id, title, description: None, kind: "link" });
        } else {
            let payload = own.and_then(|own| owned(own, "/parameters/0/payload"));
            let id = payload.unwrap_or_else(|| title.clone());
            filled.choices.push(Choice { id, title, description: None, kind: "template" });
        }
    }
    Ok(())
}
