//! One file a resource; one line here each.

use actix_web::web;

use crate::Shared;
use crate::doors::Doors;

mod agents;
mod api_keys;
mod channels;
mod contacts;
pub(crate) mod events;
mod health;
mod me;
mod merges;
mod messages;
mod parked;
mod reference;
mod sessions;
mod stream;
mod threads;

/// What handlers share, as their signatures name it.
type Api = web::Data<Shared>;

/// All doors, in the order of the document.
pub(crate) fn doors() -> Doors {
    let mut doors = Doors::default();
    sessions::doors(&mut doors);
    me::doors(&mut doors);
    threads::doors(&mut doors);
    messages::doors(&mut doors);
    contacts::doors(&mut doors);
    merges::doors(&mut doors);
    events::doors(&mut doors);
    stream::doors(&mut doors);
    channels::doors(&mut doors);
    agents::doors(&mut doors);
    api_keys::doors(&mut doors);
    parked::doors(&mut doors);
    reference::doors(&mut doors);
    health::doors(&mut doors);
    doors
}
