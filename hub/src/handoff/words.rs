//! The customer's words for *I want a person*: Dutch and English, and what the operator adds. A person can
//! always be reached, so a phrase counts wherever it stands in a message; single words that also mean
//! other things count only where they are the whole message.

/// Phrases that ask for a person, as [`plain`] writes them.
const PHRASES: &[&str] = &[
    // Dutch.
    "medewerker spreken",
    "medewerkster spreken",
    "met een medewerker",
    "met een echte medewerker",
    "met een medewerkster",
    "een medewerker aan de lijn",
    "wil een medewerker",
    "echte medewerker",
    "menselijke medewerker",
    "iemand spreken",
    "met iemand praten",
    "met iemand chatten",
    "iemand van de klantenservice",
    "iemand van jullie",
    "echt iemand",
    "echt mens",
    "echte mens",
    "echt persoon",
    "echte persoon",
    "een mens spreken",
    "met een mens",
    "wil een mens",
    "persoon spreken",
    "met een persoon",
    "collega spreken",
    "verbind me door",
    "verbind mij door",
    "doorverbinden",
    "doorverbonden worden",
    "geen bot",
    "geen robot",
    "geen chatbot",
    "niet met een bot",
    "niet met een robot",
    "mens aub",
    "mens alsjeblieft",
    "medewerker aub",
    "medewerker alsjeblieft",
    "medewerker alstublieft",
    // English.
    "speak to a human",
    "speak with a human",
    "talk to a human",
    "talk with a human",
    "chat with a human",
    "a human please",
    "want a human",
    "need a human",
    "real human",
    "human agent",
    "human being",
    "speak to a person",
    "speak with a person",
    "talk to a person",
    "talk with a person",
    "real person",
    "actual person",
    "speak to someone",
    "speak with someone",
    "talk to someone",
    "talk with someone",
    "speak to somebody",
    "talk to somebody",
    "speak to an agent",
    "speak with an agent",
    "talk to an agent",
    "talk with an agent",
    "live agent",
    "live person",
    "agent please",
    "human please",
    "a representative",
    "connect me to an agent",
    "transfer me",
    "not a bot",
    "no bot",
    "not a robot",
    "stop the bot",
];

/// What asks for a person when nothing else is said.
const ALONE: &[&str] = &[
    "medewerker",
    "mens",
    "persoon",
    "klantenservice",
    "human",
    "person",
    "agent",
    "operator",
    "representative",
];

/// The most characters of a message that are looked at.
const CHARS_MAX: usize = 2_000;

/// Whether a customer asks for a person; `own` are phrases of the operator's.
pub(crate) fn ask_for_a_person(text: &str, own: &[String]) -> bool {
    let said = plain(text);
    let has = |phrase: &str| !phrase.trim().is_empty() && said.contains(&plain(phrase));
    ALONE.iter().any(|word| said.trim() == *word)
        || PHRASES.iter().any(|phrase| has(phrase))
        || own.iter().any(|phrase| has(phrase))
}

/// Lower-case words with one space around each, so that a phrase is found between words only.
fn plain(text: &str) -> String {
    let mut plain = String::from(" ");
    for c in text.chars().take(CHARS_MAX).flat_map(char::to_lowercase) {
        // "e-mail" is two words to the one and one to the other; an apostrophe parts nothing.
        match c {
            '\'' | '’' | '.' if !plain.ends_with(' ') => {}
            c if c.is_alphanumeric() => plain.push(c),
            _ if plain.ends_with(' ') => {}
            _ => plain.push(' '),
        }
    }
    if !plain.ends_with(' ') {
        plain.push(' ');
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_for_a_person_is_heard() {
        for text in [
            "Kan ik een medewerker spreken?",
            "ik wil iemand SPREKEN!!!",
            "Mag ik met een mens praten",
            "Verbind me door a.u.b.",
            "mens a.u.b.",
            "Medewerker",
            "medewerker.",
            "Ik wil geen bot",
            "Can I talk to a human, please?",
            "I'd like to speak to\nsomeone",
            "agent",
            "real person pls",
        ] {
            assert!(ask_for_a_person(text, &[]), "{text}");
        }
    }

    #[test]
    fn who_speaks_of_other_things_is_not() {
        for text in [
            "",
            "Waar is mijn pakket?",
            "De medewerker van gisteren was aardig",
            "Is er iemand thuis geweest?",
            "My agent told me to wait",
            "How many persons fit in the tent?",
            "geen botsing gehad",
            "mensen",
            "I transferred the money",
        ] {
            assert!(!ask_for_a_person(text, &[]), "{text}");
        }
    }

    #[test]
    fn the_operator_adds_phrases() {
        let own = vec!["Bel mij terug".to_owned(), " ".to_owned()];
        assert!(ask_for_a_person("Kunnen jullie: bel mij terug?", &own));
        assert!(!ask_for_a_person("Bel mij", &own));
    }
}
