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
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a program that measures: it stops at the first surprise, and prints"
)]

mod amqp;
mod broker;
mod floor;
mod load;
mod outbound;
mod partitions;
mod pipeline;
mod postgres;
mod process;
mod raw;
mod rows;
mod services;
mod visitors;
mod yardstick;

use std::time::Duration;

/// How often everything is measured, each time right beside its floor; the median is reported.
pub(crate) const RUNS: usize = 3;
/// How long each load lasts, after [`WARM_UP`].
pub(crate) const TIME: Duration = Duration::from_secs(5);
/// What is not measured yet: caches, connections and prepared statements come to be.
pub(crate) const WARM_UP: Duration = Duration::from_secs(1);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    if let [role, folder, port] = arguments.as_slice()
        && role == "floor-server"
    {
        actix_web::rt::System::new().block_on(floor::serve(folder.into(), port.parse().expect("a port")));
        return;
    }
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let chosen = |name: &str| arguments.is_empty() || arguments.iter().any(|word| word == name);
    runtime.block_on(async {
        println!(
            "Loket against its floors: medians of {RUNS} runs of {} s, each right beside its floor. \
             Ratios are what to read.",
            TIME.as_secs()
        );
        if chosen("t1") {
            broker::t1().await;
        }
        if chosen("t2") {
            rows::t2().await;
        }
        if chosen("t3") {
            rows::t3().await;
        }
        if chosen("t3") || chosen("t3-postgres") {
            rows::t3_on_postgres().await;
        }
        if chosen("t4") || chosen("t13") {
            pipeline::t4_and_t13().await;
        }
        if chosen("t5") {
            yardstick::t5().await;
        }
        if chosen("t6") {
            outbound::t6().await;
        }
        if chosen("t7") {
            visitors::t7().await;
        }
        if chosen("t9") {
            process::t9().await;
        }
        if chosen("t10") {
            partitions::t10().await;
        }
        if chosen("t14") {
            yardstick::t14().await;
        }
        if chosen("t15") {
            yardstick::t15().await;
        }
        if chosen("t16") {
            broker::t16().await;
        }
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
}

/// Says on stderr what is being done.
pub(crate) fn progress(what: &str, run: usize) {
    eprintln!("… {what}, run {} of {RUNS}", run + 1);
}

/// A figure with its bar beside it: for what is asked of the machine as it is.
pub(crate) fn figure(name: &str, what: &str, figure: &str, bar: &str) {
    println!("{name:<4} {what:<46} {figure:>11}   bar {bar}");
}

/// Figures of all runs, each with the floor that was measured beside it.
#[derive(Default)]
pub(crate) struct Figures {
    pairs: Vec<(f64, f64)>,
}

impl Figures {
    /// Adds a run.
    pub(crate) fn add(&mut self, figure: f64, floor: f64) {
        self.pairs.push((figure, floor));
    }

    /// One line of the report: the medians, and all ratios.
    pub(crate) fn report(&self, name: &str, what: &str, unit: impl Fn(f64) -> String, bar: &str) {
        let figure = unit(median(self.pairs.iter().map(|pair| pair.0)));
        let floor = unit(median(self.pairs.iter().map(|pair| pair.1)));
        let ratio = median(self.pairs.iter().map(|pair| pair.0 / pair.1));
        let all: Vec<String> = self.pairs.iter().map(|pair| format!("{:.2}", pair.0 / pair.1)).collect();
        println!(
            "{name:<4} {what:<46} {figure:>11}   floor {floor:>11}   ratio {ratio:>5.2} ({})   bar {bar}",
            all.join(" ")
        );
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
