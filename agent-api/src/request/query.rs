//! The query of a request.

use std::future::{Ready, ready};
use std::ops::RangeInclusive;
use std::str::FromStr;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest, web};
use loket_hub::PAGE_MAX;

use crate::error::{Code, Problem};

/// The size of a page when the client names none.
pub(crate) const PAGE_DEFAULT: u32 = 50;
/// The longest cursor that is looked at.
const CURSOR_CHARS_MAX: usize = 512;

/// The query as pairs. The gate has checked the names; the getters check the values.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Splits a query; a name may stand once.
    pub(crate) fn parse(text: &str) -> Result<Self, Problem> {
        let pairs = web::Query::<Vec<(String, String)>>::from_query(text)
            .map_err(|_| Problem::new(Code::QueryInvalid, "The query is not name=value pairs."))?
            .into_inner();
        for (at, (name, value)) in pairs.iter().enumerate() {
            if pairs.iter().take(at).any(|(earlier, _)| earlier == name) {
                let told = format!("The parameter {name:?} stands there twice.");
                return Err(Problem::new(Code::QueryInvalid, told).field(name.as_str()));
            }
            if value.contains('\0') {
                let told = format!("The parameter {name:?} contains U+0000.");
                return Err(Problem::new(Code::QueryInvalid, told).field(name.as_str()));
            }
        }
        Ok(Self(pairs))
    }

    /// The pairs.
    pub(crate) fn pairs(&self) -> &[(String, String)] {
        &self.0
    }

    /// Refuses names that a door does not have.
    pub(crate) fn only<'a>(&self, known: impl Iterator<Item = &'a str> + Clone) -> Result<(), Problem> {
        for (name, _) in &self.0 {
            if !known.clone().any(|known| known == name) {
                let list = known.collect::<Vec<_>>().join(", ");
                let told = if list.is_empty() {
                    format!("There is no parameter {name:?}; this path takes none.")
                } else {
                    format!("There is no parameter {name:?}; there are {list}.")
                };
                return Err(Problem::new(Code::QueryInvalid, told).field(name.as_str()));
            }
        }
        Ok(())
    }

    fn refuse(name: &str, must: &str) -> Problem {
        Problem::new(Code::QueryInvalid, format!("{name} must be {must}.")).field(name)
    }

    /// The text of a parameter.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The text of a parameter, 1 to so many characters.
    pub(crate) fn short_text(&self, name: &str, most: usize) -> Result<Option<&str>, Problem> {
        match self.text(name) {
            Some(text) if text.is_empty() || text.chars().count() > most => {
                Err(Self::refuse(name, &format!("1 to {most} characters")))
            }
            text => Ok(text),
        }
    }

    /// The cursor.
    pub(crate) fn cursor(&self) -> Result<Option<&str>, Problem> {
        match self.text("cursor") {
            Some(cursor)
                if cursor.is_empty()
                    || cursor.len() > CURSOR_CHARS_MAX
                    || !cursor.bytes().all(|byte| byte.is_ascii_graphic()) =>
            {
                Err(Self::refuse("cursor", "the next_cursor of an earlier page"))
            }
            cursor => Ok(cursor),
        }
    }

    /// A whole number in a range.
    pub(crate) fn number(&self, name: &str, range: RangeInclusive<i64>) -> Result<Option<i64>, Problem> {
        let must =
            || Self::refuse(name, &format!("a whole number from {} to {}", range.start(), range.end()));
        let Some(text) = self.text(name) else { return Ok(None) };
        let digits_only = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = digits_only.then(|| text.parse::<i64>().ok()).flatten().ok_or_else(must)?;
        if range.contains(&number) { Ok(Some(number)) } else { Err(must()) }
    }

    /// The size of the page, with a limit of its own.
    pub(crate) fn limit_up_to(&self, most: u32) -> Result<u32, Problem> {
        let limit = self.number("limit", 1..=i64::from(most))?;
        Ok(limit.and_then(|limit| u32::try_from(limit).ok()).unwrap_or(PAGE_DEFAULT))
    }

    /// The size of the page.
    pub(crate) fn limit(&self) -> Result<u32, Problem> {
        self.limit_up_to(PAGE_MAX)
    }

    /// `true` or `false`.
    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, Problem> {
        match self.text(name) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(_) => Err(Self::refuse(name, "true or false")),
        }
    }

    /// One of a list of names.
    pub(crate) fn one_of<T: Copy>(&self, name: &str, known: &[(&str, T)]) -> Result<Option<T>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let found = known.iter().find(|(known, _)| *known == text).map(|(_, value)| *value);
        let must = || {
            let list = known.iter().map(|(known, _)| *known).collect::<Vec<_>>().join(", ");
            Self::refuse(name, &format!("one of {list}"))
        };
        found.map(Some).ok_or_else(must)
    }

    /// Anything that is read from text.
    pub(crate) fn parsed<T: FromStr>(&self, name: &str, must: &str) -> Result<Option<T>, Problem> {
        self.text(name).map(str::parse).transpose().map_err(|_| Self::refuse(name, must))
    }
}

impl FromRequest for Query {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Self::parse(req.query_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_values_are_checked_and_named() {
        let query = Query::parse("limit=201&unread=yes&status=open&after=-1&x=%00").unwrap_err();
        assert_eq!(query.code(), Code::QueryInvalid);
        let query = Query::parse("limit=201&unread=yes&status=opened&after=-1&cursor=").unwrap();
        assert!(query.limit().is_err());
        assert!(query.flag("unread").is_err());
        assert!(query.one_of("status", &[("open", 1)]).is_err());
        assert!(query.number("after", 0..=9).is_err());
        assert!(query.cursor().is_err());
        assert!(query.only(["limit", "unread"].into_iter()).is_err());
        let query = Query::parse("limit=200&unread=true&status=open").unwrap();
        assert_eq!(query.limit(), Ok(200));
        assert_eq!(query.flag("unread"), Ok(Some(true)));
        assert_eq!(query.one_of("status", &[("open", 1)]), Ok(Some(1)));
        assert_eq!(Query::parse("").unwrap().limit(), Ok(PAGE_DEFAULT));
        assert!(Query::parse("a=1&a=2").is_err());
    }
}
