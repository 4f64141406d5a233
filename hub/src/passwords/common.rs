//! What everybody tries first: the 10,000 most frequent passwords of the public-domain corpus that
//! Mark Burnett published in 2015, in lower case and in the order of the alphabet.

/// One a line.
const COMMON: &str = include_str!("common.txt");

/// Is it one of them, perhaps repeated, perhaps with digits and signs before or behind it? Without
/// case. A password has at least 12 characters, and few common ones are as long by themselves.
pub(super) fn is_common(password: &str) -> bool {
    let whole = password.to_lowercase();
    let core = whole.trim_matches(|c: char| !c.is_alphabetic());
    [whole.as_str(), core].into_iter().any(|text| is_listed(text) || repeats_a_listed_one(text))
}

fn is_listed(text: &str) -> bool {
    COMMON.lines().any(|line| line == text)
}

fn repeats_a_listed_one(text: &str) -> bool {
    (1..=text.len() / 2)
        .filter(|length| text.len().is_multiple_of(*length))
        .filter_map(|length| text.get(..length))
        .any(|unit| unit.repeat(text.len() / unit.len()) == text && is_listed(unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_what_it_says() {
        let lines: Vec<_> = COMMON.lines().collect();
        assert_eq!(lines.len(), 10_000);
        assert!(lines.is_sorted_by(|a, b| a < b), "in order, each once");
        assert!(lines.iter().all(|line| **line == line.to_lowercase() && !line.is_empty()));
    }

    #[test]
    fn a_common_password_is_known_in_its_disguises() {
        for bad in [
            "finalfantasy",
            "FinalFantasy",
            "qwerty123456",
            "123456789987654321",
            "123123123123",
            "monkeymonkeymonkey",
            "Dragon!!!!2026",
            "1234567Football",
            "iloveyouiloveyou",
        ] {
            assert!(is_common(bad), "{bad}");
        }
    }

    #[test]
    fn what_is_only_made_of_common_words_is_not_common() {
        for good in [
            "vier paarse fietsen",
            "purple monkey dishwasher",
            "correct horse battery staple",
            "mijn-hond-heet-anders",
            "ééééééééééé1b",
            "8374928 51 7364",
        ] {
            assert!(!is_common(good), "{good}");
        }
    }
}
