//! The list of doors: every route with its method, its access, its limits and its documentation, in
//! one place and made from one call. The route table, the OpenAPI document and the tests are all
//! read from it, so that they cannot disagree (`security` Z9).

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::Method;
use actix_web::web::{self, ServiceConfig};
use actix_web::{FromRequest, Handler, HttpRequest, HttpResponse, Route};
use serde_json::{Value, json};

use crate::auth::{Access, Declared};
use crate::error::{Code, Problem};
use crate::gate;

/// The largest body of an ordinary request, in bytes.
pub(crate) const BODY_BYTES_MAX: usize = 1024 * 1024;
/// How long a handler may take (`reliability-contract` §12).
pub(crate) const HANDLER_DEADLINE: Duration = Duration::from_secs(10);

/// How a request is counted and what is refused first when there is too much
/// (`reliability-contract` §8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Class {
    /// Reads; shed before writes.
    Read,
    /// Writes.
    Write,
    /// A read that may wait for something to happen.
    LongPoll,
    /// A socket's handshake; sockets have their own limit.
    Socket,
    /// A login: anybody may try, and hashing is dear.
    Login,
    /// Health and metrics: never shed.
    Probe,
}

impl Class {
    /// The name in metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::LongPoll => "long_poll",
            Self::Socket => "socket",
            Self::Login => "login",
            Self::Probe => "probe",
        }
    }
}

/// What an answer carries.
#[derive(Clone, Debug)]
pub(crate) enum Carries {
    /// Nothing.
    Nothing,
    /// JSON of a schema in `components`, with an example.
    Json(&'static str, Value),
    /// Something else: media type and what it is.
    Other(&'static str, &'static str),
}

/// The documentation of one door.
#[derive(Clone, Debug)]
pub(crate) struct Doc {
    pub(crate) id: &'static str,
    pub(crate) summary: &'static str,
    pub(crate) about: &'static str,
    pub(crate) query: Vec<Value>,
    pub(crate) body: Option<(&'static str, Value, bool)>,
    pub(crate) answer: (u16, &'static str, Carries),
    pub(crate) codes: Vec<Code>,
    pub(crate) if_match: bool,
    pub(crate) etag: bool,
    pub(crate) replays: bool,
}

impl Doc {
    /// An operation with its id, its one line, and what else one should know.
    pub(crate) fn new(id: &'static str, summary: &'static str, about: &'static str) -> Self {
        Self {
            id,
            summary,
            about,
            query: Vec::new(),
            body: None,
            answer: (204, "Done.", Carries::Nothing),
            codes: Vec::new(),
            if_match: false,
            etag: false,
            replays: false,
        }
    }

    /// A query parameter with its schema.
    pub(crate) fn query(mut self, name: &str, about: &str, schema: &Value) -> Self {
        self.query.push(
            json!({"name": name, "in": "query", "required": false, "description": about, "schema": schema}),
        );
        self
    }

    /// The `cursor` and `limit` of a list.
    pub(crate) fn paged(mut self) -> Self {
        self.codes.push(Code::Invalid);
        self.query(
            "cursor",
            "Where to go on: the next_cursor of the page before.",
            &json!({"type": "string", "minLength": 1, "maxLength": 512, "pattern": "^[!-~]+$"}),
        )
        .query(
            "limit",
            "How many at most.",
            &json!({"type": "integer", "minimum": 1, "maximum": loket_hub::PAGE_MAX, "default": crate::request::PAGE_DEFAULT}),
        )
    }

    /// The body: a schema in `components` and an example.
    pub(crate) fn body(mut self, schema: &'static str, example: Value) -> Self {
        self.body = Some((schema, example, true));
        self
    }

    /// A body that may be left away.
    pub(crate) fn optional_body(mut self, schema: &'static str, example: Value) -> Self {
        self.body = Some((schema, example, false));
        self
    }

    /// The good answer.
    pub(crate) fn answers(mut self, status: u16, about: &'static str, carries: Carries) -> Self {
        self.answer = (status, about, carries);
        self
    }

    /// Problems beyond those that follow from the door's form.
    pub(crate) fn codes(mut self, codes: &[Code]) -> Self {
        self.codes.extend_from_slice(codes);
        self
    }

    /// Takes `If-Match` and answers with an `ETag`.
    pub(crate) fn versioned(mut self) -> Self {
        self.if_match = true;
        self.etag = true;
        self
    }

    /// Answers with an `ETag`.
    pub(crate) fn with_etag(mut self) -> Self {
        self.etag = true;
        self
    }

    /// With an `Idempotency-Key` the first answer is given again.
    pub(crate) fn replays(mut self) -> Self {
        self.replays = true;
        self
    }
}

/// One door.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) tag: &'static str,
    pub(crate) access: Access,
    pub(crate) class: Class,
    pub(crate) body_bytes_max: usize,
    pub(crate) deadline: Duration,
    pub(crate) doc: Doc,
}

impl Door {
    /// Names of its query parameters.
    pub(crate) fn parameters(&self) -> impl Iterator<Item = &str> {
        self.doc.query.iter().filter_map(|parameter| parameter.get("name").and_then(Value::as_str))
    }
}

/// All doors, in the order of the document.
#[derive(Default)]
pub(crate) struct Doors {
    tag: &'static str,
    entries: Vec<(Arc<Door>, Route)>,
}

impl Doors {
    /// The doors that follow belong together under this heading.
    pub(crate) fn tag(&mut self, tag: &'static str) {
        self.tag = tag;
    }

    pub(crate) fn get<H, Args>(&mut self, path: &'static str, handler: H, doc: Doc)
    where
        H: Handler<Args, Output = Result<HttpResponse, Problem>>,
        Args: FromRequest + Declared + 'static,
    {
        self.door(Method::GET, path, Class::Read, handler, doc);
    }

    pub(crate) fn post<H, Args>(&mut self, path: &'static str, handler: H, doc: Doc)
    where
        H: Handler<Args, Output = Result<HttpResponse, Problem>>,
        Args: FromRequest + Declared + 'static,
    {
        self.door(Method::POST, path, Class::Write, handler, doc);
    }

    pub(crate) fn put<H, Args>(&mut self, path: &'static str, handler: H, doc: Doc)
    where
        H: Handler<Args, Output = Result<HttpResponse, Problem>>,
        Args: FromRequest + Declared + 'static,
    {
        self.door(Method::PUT, path, Class::Write, handler, doc);
    }

    pub(crate) fn delete<H, Args>(&mut self, path: &'static str, handler: H, doc: Doc)
    where
        H: Handler<Args, Output = Result<HttpResponse, Problem>>,
        Args: FromRequest + Declared + 'static,
    {
        self.door(Method::DELETE, path, Class::Write, handler, doc);
    }

    /// A door of any method and class.
    pub(crate) fn door<H, Args>(
        &mut self,
        method: Method,
        path: &'static str,
        class: Class,
        handler: H,
        doc: Doc,
    ) where
        H: Handler<Args, Output = Result<HttpResponse, Problem>>,
        Args: FromRequest + Declared + 'static,
    {
        let (body_bytes_max, deadline) = match class {
            // Strangers may send this one.
            Class::Login => (4 * 1024, HANDLER_DEADLINE),
            Class::LongPoll => (BODY_BYTES_MAX, HANDLER_DEADLINE + crate::routes::events::WAIT_MAX),
            _ => (BODY_BYTES_MAX, HANDLER_DEADLINE),
        };
        let door = Arc::new(Door {
            method: method.clone(),
            path,
            tag: self.tag,
            access: Args::ACCESS,
            class,
            body_bytes_max,
            deadline,
            doc,
        });
        let own = Arc::clone(&door);
        let route = web::method(method).to(move |req: HttpRequest, payload: web::Payload| {
            gate::pass(Arc::clone(&own), handler.clone(), req, payload)
        });
        self.entries.push((door, route));
    }

    /// What they are, without their handlers.
    pub(crate) fn list(&self) -> Vec<Arc<Door>> {
        self.entries.iter().map(|(door, _)| Arc::clone(door)).collect()
    }

    /// Mounts them, path by path; a method that a path does not have is 405 with `Allow`.
    pub(crate) fn mount(self, service: &mut ServiceConfig) {
        let mut paths: Vec<(&'static str, Vec<Method>, Vec<Route>)> = Vec::new();
        for (door, route) in self.entries {
            match paths.iter_mut().find(|(path, _, _)| *path == door.path) {
                Some((_, methods, routes)) => {
                    methods.push(door.method.clone());
                    routes.push(route);
                }
                None => paths.push((door.path, vec![door.method.clone()], vec![route])),
            }
        }
        for (path, methods, routes) in paths {
            let allow = methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
            let mut resource = web::resource(path);
            for route in routes {
                resource = resource.route(route);
            }
            service.service(resource.default_service(web::to(move |req: HttpRequest| {
                ready(gate::refuse(&req, path, Problem::of(Code::MethodNotAllowed).allow(allow.clone())))
            })));
        }
    }
}
