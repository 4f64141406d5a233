//! `loket doctor`: calls each backend and each channel account, and says what is wrong and how to mend
//! it. What is away costs seconds and hides nothing of the rest.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use loket::app::{self, hub_settings};
use loket::roles::Needs;
use loket::{Config, reach};
use loket_backbone::bus::Wire;
use loket_backbone::clock::Clock;
use loket_backbone::disk::{DiskState, Room};
use loket_backbone::kv::SharedKv;
use loket_connectors::channels::Channels;
use loket_hub::Hub;
use loket_protocol::topics;

use crate::commands::print;

/// How long one backend may take to open and to answer.
const DEADLINE: Duration = Duration::from_secs(10);
/// How often a kv that has just been opened is asked whether it answers.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// What has been looked at, line by line.
struct Report {
    well: bool,
}

impl Report {
    fn say(&mut self, name: &str, outcome: anyhow::Result<()>) -> anyhow::Result<()> {
        self.well &= outcome.is_ok();
        match outcome {
            Ok(()) => print(format_args!("ok    {name}")),
            Err(error) => print(format_args!("wrong {name}: {error:#}")),
        }
    }

    /// Opens something, says how it went, and hands it on.
    async fn open<T>(
        &mut self,
        name: &str,
        away: Option<&String>,
        opening: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<Option<T>> {
        let opened = match away {
            Some(sentence) => Err(anyhow::anyhow!("{sentence}")),
            None => match tokio::time::timeout(DEADLINE, opening).await {
                Ok(opened) => opened,
                Err(_) => Err(anyhow::anyhow!("no answer within {} s", DEADLINE.as_secs())),
            },
        };
        let (opened, outcome) = match opened {
            Ok(opened) => (Some(opened), Ok(())),
            Err(error) => (None, Err(error)),
        };
        self.say(name, outcome)?;
        Ok(opened)
    }
}

/// Looks at everything that the settings name.
pub(crate) async fn doctor(config: &Config) -> anyhow::Result<ExitCode> {
    let mut report = Report { well: true };
    let clock = Clock::system();
    let unreachable = reach::unreachable(config).await?;
    let away =
        |what: Needs| unreachable.iter().find(|(setting, _)| *setting == what.setting()).map(|(_, why)| why);
    let kv = report.open("kv.url", away(Needs::Kv), kv(config, clock.clone())).await?;
    let wire = report.open("bus.url", away(Needs::Bus), bus(config, clock.clone())).await?;
    let channels = app::open_channels(config, clock.clone());
    let known = channels.as_ref().ok().cloned();
    let store = store(config, wire.clone(), kv, known.clone(), clock);
    report.open("store.url", away(Needs::Store), store).await?;
    for disk in app::local_disks(config, wire.as_ref(), true)?.states() {
        report.say(&format!("disk of the {}", disk.holds), room_on(&disk))?;
    }
    if let Some(wire) = wire {
        if wire.bus().durability_is_relaxed() {
            let told = "bus.url allows to forget what was confirmed; for trials only";
            report.say("durability", Err(anyhow::anyhow!(told)))?;
        }
        wire.bus().close().await;
    }
    if let Some(channels) = known {
        for (account, outcome) in app::probe(&channels).await {
            report.say(&account.to_string(), outcome.map_err(anyhow::Error::msg))?;
        }
    }
    if let Err(error) = channels {
        report.say("channels", Err(error))?;
    }
    Ok(if report.well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn room_on(disk: &DiskState) -> anyhow::Result<()> {
    let free_mib = disk.space.map_or(0, |space| space.free_bytes / (1024 * 1024));
    match disk.room {
        Room::Enough => Ok(()),
        Room::Low => {
            anyhow::bail!("{free_mib} MiB are free, which is under 256 MiB or 5 %; make room on it")
        }
        Room::Full => anyhow::bail!(
            "{free_mib} MiB are free: under 64 MiB callbacks and writes are refused; make room on it"
        ),
    }
}

/// The kv, once it answers.
async fn kv(config: &Config, clock: Clock) -> anyhow::Result<SharedKv> {
    let kv = app::open_kv(config, clock)?;
    if app::url_of(config, Needs::Kv)? == "none:" {
        return Ok(kv);
    }
    let end = tokio::time::Instant::now() + DEADLINE / 2;
    loop {
        match kv.get("loket.doctor").await {
            Ok(_) => return Ok(kv),
            // It connects in the background.
            Err(error) if tokio::time::Instant::now() >= end => return Err(error.into()),
            Err(_) => tokio::time::sleep(ASK_AGAIN).await,
        }
    }
}

/// The bus, once it takes something.
async fn bus(config: &Config, clock: Clock) -> anyhow::Result<Wire> {
    let wire = app::open_bus(config, clock).await?;
    wire.publish(&topics::INBOUND, &[]).await?;
    Ok(wire)
}

/// The store, by the hub where that can be put together, and by itself otherwise.
async fn store(
    config: &Config,
    wire: Option<Wire>,
    kv: Option<SharedKv>,
    channels: Option<Channels>,
    clock: Clock,
) -> anyhow::Result<()> {
    let (Some(wire), Some(kv), Some(channels)) = (wire, kv, channels) else {
        return Ok(Hub::migrate(&hub_settings(config)?).await?);
    };
    let hub = app::open_hub(config, &channels, wire, kv, clock).await?;
    let answers = hub.store_answers().await;
    hub.close().await;
    answers.then_some(()).context("it does not answer within its time")
}
