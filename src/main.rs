//! The command line of Loket.

mod commands;
mod doctor;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "loket",
    version,
    about = "One thread per customer: WhatsApp, Messenger and web chat in one inbox"
)]
struct Cli {
    /// A settings file; see `loket check-config` for all there is to set.
    #[arg(long, global = true)]
    config: Option<PathBuf>,
    /// One setting, as section.key=value; may be repeated, and beats everything else.
    #[arg(long = "set", global = true, value_name = "KEY=VALUE")]
    sets: Vec<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run all roles, or some of them, until SIGTERM.
    Serve {
        /// Only these roles: connectors, hub, agent-api. The others then run in processes of their own.
        #[arg(long, value_delimiter = ',')]
        roles: Vec<String>,
    },
    /// Print the effective settings with their source, secrets as dots; fail when they cannot work, and
    /// name each backend that cannot be reached from here.
    CheckConfig,
    /// Bring the store's schema up to this version.
    Migrate,
    /// Ask a running process whether it is alive; for containers.
    Healthcheck {
        /// Where it serves its API; default: api.listen.
        #[arg(long)]
        url: Option<String>,
        /// Ask whether it can do its work now, and not only whether it is alive.
        #[arg(long)]
        ready: bool,
    },
    /// Call each backend and each channel account; say what is wrong and how to mend it.
    Doctor,
    /// Make agents and API keys.
    #[command(subcommand)]
    Admin(commands::Admin),
    /// Look at items that were set aside, and give them back or drop them.
    #[command(subcommand)]
    Parked(commands::Parked),
    /// Check the invariants on an installation at rest; lists what is missing or doubled.
    Verify {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// A stand-in for the platforms of Meta and for customers' phones.
    Simulate(commands::Simulate),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(code) => code,
        Err(error) => {
            // The last word to the person who typed the command; the log may not be set up yet.
            let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("loket: {error:#}\n"));
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let config = loket::Config::load(cli.config.as_deref(), &cli.sets)?;
    loket::prepare(&config)?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async move {
        match cli.command {
            Command::Serve { roles } => commands::serve(&config, &roles).await,
            Command::CheckConfig => commands::check_config(&config).await,
            Command::Migrate => commands::migrate(&config).await,
            Command::Healthcheck { url, ready } => commands::healthcheck(&config, url, ready).await,
            Command::Doctor => Box::pin(doctor::doctor(&config)).await,
            Command::Admin(what) => commands::admin(&config, what).await,
            Command::Parked(what) => commands::parked(&config, what).await,
            Command::Verify { json } => commands::verify(&config, json).await,
            Command::Simulate(what) => commands::simulate(&config, what).await,
        }
    })
}
