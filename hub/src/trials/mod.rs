//! The outgoing half on a real store and a real embedded bus. Time is moved by hand; where workers
//! run, conditions are waited for.

mod desk;
mod handing;
mod live;
mod merging;
mod outcomes;
mod people;
mod processes;
mod proving;
mod replying;
mod statuses;
mod visiting;
mod world;
