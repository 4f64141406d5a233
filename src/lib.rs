//! The front door of Loket: reads the settings, opens the backends, starts the roles and stops them
//! in reverse. There is no domain logic here.

pub mod app;
pub mod config;
mod health;
pub mod reach;
pub mod roles;
pub mod telemetry;

pub use app::App;
pub use config::Config;

use anyhow::Context as _;

/// What every command needs before anything else: the log, and a TLS provider for outgoing calls.
pub fn prepare(config: &Config) -> anyhow::Result<()> {
    telemetry::start_log(&config.section("log")?)?;
    #[cfg(feature = "failpoints")]
    if let Some(told) = config::failpoints() {
        loket_backbone::failpoint::arm(&told).map_err(anyhow::Error::msg).context("LOKET_FAILPOINT")?;
    }
    // A second call in one process finds the provider installed, which is as good.
    let _already = rustls::crypto::ring::default_provider().install_default();
    Ok(())
}

/// The master key from the file that the settings name.
pub fn master_key(config: &Config) -> anyhow::Result<loket_hub::MasterKey> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Secrets {
        master_key_file: std::path::PathBuf,
    }
    let secrets: Secrets = config.section("secrets")?;
    let path = secrets.master_key_file;
    let contents = std::fs::read(&path).with_context(|| {
        format!(
            "secrets.master_key_file: {} cannot be read; make one with: head -c 32 /dev/urandom | base64 > {}",
            path.display(),
            path.display()
        )
    })?;
    loket_hub::MasterKey::from_file_contents(&contents)
        .with_context(|| format!("secrets.master_key_file: {}", path.display()))
}
