//! `/v1/channels`: the channel accounts and how they are doing.

use actix_web::HttpResponse;
use serde_json::json;

use super::Api;
use crate::answer;
use crate::auth::{Caller, scope};
use crate::doors::{Carries, Doc, Doors};
use crate::error::Problem;
use crate::schema::examples;

pub(super) fn doors(doors: &mut Doors) {
    doors.tag("Channels");
    doors.get(
        "/v1/channels",
        list,
        Doc::new(
            "listChannels",
            "The channel accounts.",
            "What each can do, how it is doing, what waits. They come from the settings, so this is one page.",
        )
        .answers(200, "All of them.", Carries::Json("ChannelPage", examples::page(&examples::channel()))),
    );
}

async fn list(_: Caller<scope::ChannelsRead>, api: Api) -> Result<HttpResponse, Problem> {
    let items = api.hub.channels().await?;
    answer::json(200, &json!({"items": items, "next_cursor": null}))
}
