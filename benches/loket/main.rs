//! How fast Loket is here, as ratios to floors that the same run measures: `cargo bench --bench loket`.
//!
//! A floor is a bare program that does the same work without the product: HTTP, HMAC, a SQLite group
//! commit, a socket. Absolute figures depend on the machine and its neighbours; the ratios much less.
//! What each line means is in `benches/README.md`. `cargo bench --bench loket -- t4` runs one of them.

#![expect(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a program that measures: it stops at the first surprise, and prints"
)]

mod floor;
mod load;
mod pipeline;
mod process;
mod raw;
mod rows;

use std::time::Duration;

/// How long each load lasts.
pub(crate) const SECONDS: u64 = 10;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let _installed = rustls::crypto::ring::default_provider().install_default();
    if let [role, folder, port] = arguments.as_slice()
        && role == "floor-server"
    {
        actix_web::rt::System::new().block_on(floor::serve(folder.into(), port.parse().expect("a port")));
        return;
    }
    let chosen = |name: &str| arguments.is_empty() || arguments.iter().any(|word| word == name);
    runtime.block_on(async {
        println!("Loket against its floors, each load {SECONDS} s. Ratios are what to read.");
        if chosen("t2") {
            rows::t2().await;
        }
        if chosen("t3") {
            rows::t3().await;
        }
        if chosen("t4") || chosen("t13") {
            pipeline::t4_and_t13().await;
        }
        if chosen("t9") {
            process::t9().await;
        }
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
}

/// One line of the report.
pub(crate) fn report(name: &str, what: &str, figure: &str, floor: &str, ratio: f64, bar: &str) {
    println!("{name:<4} {what:<44} {figure:>16}   floor {floor:>16}   ratio {ratio:>5.2}   bar {bar}");
}
