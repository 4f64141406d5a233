//! How a site's widget looks and what it says where the site wants other words than ours.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::accent::{self, Accent};

/// The longest of a site's own texts, in characters.
const TEXT_CHARS_MAX: usize = 300;

/// In which corner the button stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Corner {
    /// Below, at the right; at the left on pages that are written from right to left.
    #[default]
    End,
    /// The other side.
    Start,
}

/// On what paper the chat is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Paper {
    /// As the visitor's device is set.
    #[default]
    Auto,
    /// Light always.
    Light,
    /// Dark always.
    Dark,
}

/// A channel on which a visitor may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Elsewhere {
    /// WhatsApp.
    Whatsapp,
    /// Messenger.
    Messenger,
}

/// A language that the widget speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Language {
    /// English.
    En,
    /// Dutch.
    Nl,
}

/// The section `webchat.sites.<name>.texts.<language>`: what is left out stays as the widget has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Texts {
    /// Above the conversation, until somebody answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Before the first message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub greeting: Option<String>,
}

/// What the script and the panel are told of their site. Anybody may read it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Look {
    pub(super) site: String,
    accent: Accent,
    corner: Corner,
    paper: Paper,
    /// Absent: the language of the page, or of the browser.
    #[serde(skip_serializing_if = "Option::is_none")]
    language: Option<Language>,
    continue_on: Vec<Elsewhere>,
    texts: BTreeMap<Language, Texts>,
}

impl Look {
    /// Checks a site's settings. The error names the setting below the site, and says what is wrong.
    pub(super) fn of(name: &str, settings: &super::SiteSettings) -> Result<Self, String> {
        let colour = settings.accent.as_deref().unwrap_or(accent::DEFAULT);
        for (language, texts) in &settings.texts {
            for text in [&texts.title, &texts.greeting].into_iter().flatten() {
                if text.trim().is_empty() || text.chars().count() > TEXT_CHARS_MAX {
                    let language = serde_json::to_string(language).unwrap_or_default();
                    let language = language.trim_matches('"');
                    return Err(format!("texts.{language}: a text has 1 to {TEXT_CHARS_MAX} characters"));
                }
            }
        }
        Ok(Self {
            site: name.to_owned(),
            accent: Accent::parse(colour).map_err(|error| format!("accent: {error}"))?,
            corner: settings.corner,
            paper: settings.paper,
            language: settings.language,
            continue_on: settings.continue_on.clone(),
            texts: settings.texts.clone(),
        })
    }
}
