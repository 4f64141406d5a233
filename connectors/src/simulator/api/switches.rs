//! Where callbacks go, what goes wrong, and the platform's rules.

use actix_web::{HttpResponse, web};

use super::super::faults::{Faults, Switchboard};
use super::super::settings::Rules;
use super::super::world::Complaint;
use super::super::{Addresses, Shared};
use super::{Answer, ok};

/// Its routes.
pub(super) fn routes(service: &mut web::ServiceConfig) {
    service
        .route("/callbacks/addresses", web::get().to(addresses))
        .route("/callbacks/addresses", web::put().to(set_addresses))
        .route("/faults", web::get().to(faults))
        .route("/faults", web::put().to(set_faults))
        .route("/rules", web::get().to(rules))
        .route("/rules", web::put().to(set_rules))
        .route("/reset", web::post().to(reset));
}

async fn addresses(shared: web::Data<Shared>) -> Answer {
    ok(shared.addresses())
}

async fn set_addresses(new: web::Json<Addresses>, shared: web::Data<Shared>) -> Answer {
    shared.set_addresses(new.into_inner());
    ok(shared.addresses())
}

async fn faults(shared: web::Data<Shared>) -> Answer {
    ok(shared.with(|world| world.switchboard.faults().clone()))
}

async fn set_faults(new: web::Json<Faults>, shared: web::Data<Shared>) -> Answer {
    let new = new.into_inner();
    if let Some(problem) = new.problem() {
        return Err(Complaint::new(422, "bad_faults", problem));
    }
    shared.with(|world| {
        world.switchboard = Switchboard::new(new.clone());
        world.version += 1;
    });
    ok(new)
}

async fn rules(shared: web::Data<Shared>) -> Answer {
    ok(shared.with(|world| world.rules.clone()))
}

async fn set_rules(new: web::Json<Rules>, shared: web::Data<Shared>) -> Answer {
    let new = new.into_inner();
    if let Some(problem) = new.problem() {
        return Err(Complaint::new(422, "bad_rules", problem));
    }
    shared.with(|world| {
        world.rules = new.clone();
        world.version += 1;
    });
    ok(new)
}

async fn reset(shared: web::Data<Shared>) -> Answer {
    shared.reset();
    Ok(HttpResponse::NoContent().finish())
}
