//! What handlers read from a request: ids in the path, the query, the JSON body, and the headers of
//! idempotency and versions. Everything is checked here and named in the refusal.

mod body;
mod headers;
mod query;

use std::future::{Ready, ready};
use std::str::FromStr;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};

use crate::error::{Code, Problem};

pub(crate) use body::{Body, RawBody};
pub(crate) use headers::{IdempotencyKey, IfMatch};
pub(crate) use query::{PAGE_DEFAULT, Query};

/// The id in a path. A wrong form is an unknown thing.
pub(crate) struct PathId<T>(pub(crate) T);

impl<T: FromStr + 'static> FromRequest for PathId<T> {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        let id = req.match_info().get("id").and_then(|text| text.parse().ok());
        ready(id.map(Self).ok_or_else(|| Problem::of(Code::NotFound)))
    }
}
