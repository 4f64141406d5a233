//! Logs to standard error and metrics in memory. Texts, names, numbers and tokens never reach either
//! (`style-models.md` §3, invariant 8): rooms log ids only.

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use serde::Deserialize;
use tracing_subscriber::EnvFilter;

/// The section `[log]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogSettings {
    /// What to write.
    pub level: String,
    /// How: `text` or `json`.
    pub format: String,
}

/// Sets up logging for the process; a second call changes nothing.
pub fn start_log(settings: &LogSettings) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&settings.level)
        .map_err(|error| anyhow::anyhow!("log.level {:?} is no filter: {error}", settings.level))?;
    // It says as an error what our own bus takes in its stride and says in its own words.
    let filter = match "lapin=off".parse() {
        Ok(quiet) if !settings.level.contains("lapin") => filter.add_directive(quiet),
        _ => filter,
    };
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let log =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours);
    // A process that embeds Loket may have its own subscriber: then that one stays.
    let _already = match settings.format.as_str() {
        "text" => log.with_target(false).try_init(),
        "json" => log.json().flatten_event(true).try_init(),
        other => anyhow::bail!("log.format {other:?} is neither \"text\" nor \"json\""),
    };
    Ok(())
}

/// Bounds of the histograms of durations, in milliseconds.
const DURATION_MS: &[f64] =
    &[0.5, 1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0, 15000.0];

/// Starts counting for the process and returns what renders the counts. A second call in one
/// process (tests start several apps) returns the first one's.
pub fn start_metrics() -> anyhow::Result<PrometheusHandle> {
    static HANDLE: std::sync::OnceLock<PrometheusHandle> = std::sync::OnceLock::new();
    if let Some(handle) = HANDLE.get() {
        return Ok(handle.clone());
    }
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_ms".to_owned()), DURATION_MS)?
        .build_recorder();
    let handle = recorder.handle();
    if metrics::set_global_recorder(recorder).is_ok() {
        return Ok(HANDLE.get_or_init(|| handle).clone());
    }
    Ok(HANDLE.get_or_init(|| handle).clone())
}
