//! `/v1/contacts`.

use actix_web::HttpResponse;
use loket_protocol::ids::ContactId;

use super::Api;
use crate::answer;
use crate::auth::{Caller, scope};
use crate::doors::{Carries, Doc, Doors};
use crate::error::Problem;
use crate::request::PathId;
use crate::schema::examples;

pub(super) fn doors(doors: &mut Doors) {
    doors.tag("Contacts");
    doors.get(
        "/v1/contacts/{id}",
        show,
        Doc::new("getContact", "One contact.", "The person, with all their identities.").answers(
            200,
            "The contact.",
            Carries::Json("Contact", examples::contact()),
        ),
    );
}

async fn show(
    _: Caller<scope::ContactsRead>,
    api: Api,
    PathId(id): PathId<ContactId>,
) -> Result<HttpResponse, Problem> {
    answer::json(200, &api.hub.contact(id).await?)
}
