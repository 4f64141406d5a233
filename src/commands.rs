//! What each command does. Standard output is for results, standard error for everything else.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use loket::app::{self, App, Backends, hub_settings};
use loket::roles::Chosen;
use loket::{Config, reach};
use loket_backbone::clock::Clock;
use loket_backbone::http;
use loket_connectors::channels::{messenger, whatsapp};
use loket_connectors::simulator;
use loket_hub::{Hub, NewAgent, NewKey, PAGE_MAX, Written};
use loket_protocol::agent::Role;
use loket_protocol::ids::ParkedId;
use tokio_util::sync::CancellationToken;

/// A year, the most that a key may live (`security` K3).
const KEY_DAYS_MAX: u32 = 365;

#[derive(Subcommand)]
pub(crate) enum Admin {
    /// Make an agent; prints the generated password alone on standard output.
    CreateAgent {
        /// What they log in with.
        #[arg(long)]
        login: String,
        /// What customers and colleagues see; default: the login.
        #[arg(long)]
        name: Option<String>,
        /// admin, lead or agent.
        #[arg(long, default_value = "agent")]
        role: String,
    },
    /// Make an API key; prints the secret alone on standard output.
    CreateKey {
        /// What it is for.
        #[arg(long)]
        name: String,
        /// admin, lead, agent, bot or integrator.
        #[arg(long)]
        role: String,
        /// How many days it works, at most 365.
        #[arg(long, default_value_t = KEY_DAYS_MAX)]
        days: u32,
    },
}

#[derive(Subcommand)]
pub(crate) enum Parked {
    /// List what is set aside, oldest first.
    List {
        /// Only of this reason: unreadable, unknown, `unknown_account`, `no_sender`, poison, version.
        #[arg(long)]
        reason: Option<String>,
        /// As JSON, one object a line.
        #[arg(long)]
        json: bool,
    },
    /// Show one item with its raw bytes.
    Show {
        /// Its id.
        id: ParkedId,
    },
    /// Read one item again with this version and put it where it belongs; harmless when done twice.
    Replay {
        /// Its id; leave it away to replay all that wait.
        id: Option<ParkedId>,
        /// Only of this reason.
        #[arg(long)]
        reason: Option<String>,
    },
    /// Give one item up.
    Drop {
        /// Its id.
        id: ParkedId,
        /// Why; kept.
        #[arg(long)]
        reason: String,
    },
}

#[derive(Args)]
pub(crate) struct Simulate {
    /// Where to serve the Graph API, the simulator's own API and the phones.
    #[arg(long, default_value = "127.0.0.1:8090")]
    listen: String,
    /// Where Loket takes callbacks: the address in front of /whatsapp and /messenger.
    #[arg(long, default_value = "http://127.0.0.1:8080/callbacks")]
    callbacks: String,
    /// Serve the demo shop at /shop, whose pages load this script of web chat, such as
    /// <http://127.0.0.1:8080/widget.js?site=demo>.
    #[arg(long)]
    shop_script: Option<String>,
    /// The agents' inbox that the demo shop links to.
    #[arg(long, requires = "shop_script")]
    shop_inbox: Option<String>,
}

pub(crate) fn print(text: impl std::fmt::Display) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{text}").context("standard output")
}

fn note(text: impl std::fmt::Display) {
    // Nobody can be told when standard error itself is gone.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Cancelled by SIGTERM and SIGINT; a second signal ends the process at once, which is as safe as
/// `kill -9`.
fn stop_signals() -> anyhow::Result<CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};
    let token = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = token.clone();
    let tasks = loket_backbone::tasks::Tasks::new();
    tasks.spawn("signals", async move {
        for number in 0.. {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
            if number > 0 {
                std::process::exit(130);
            }
            stop.cancel();
        }
    });
    Ok(token)
}

pub(crate) async fn serve(config: &Config, names: &[String]) -> anyhow::Result<ExitCode> {
    let roles = Chosen::of(names)?;
    let stop = stop_signals()?;
    let app = App::build(config, roles.clone(), Clock::system()).await?;
    let addresses = app.addresses()?;
    tracing::info!(roles = roles.names(), public = %addresses.http, api = %addresses.api, "Loket serves");
    app.run(stop).await?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn check_config(config: &Config) -> anyhow::Result<ExitCode> {
    print(config.effective().trim_end())?;
    // The sections' owners refuse what cannot work; nothing is opened or bound.
    app::check(config)?;
    note("the settings are complete");
    // Settings may be written where the backends cannot be seen, so this is told and is no failure.
    for (setting, sentence) in reach::unreachable(config).await? {
        note(format_args!("{setting}: {sentence}"));
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn migrate(config: &Config) -> anyhow::Result<ExitCode> {
    Hub::migrate(&hub_settings(config)?).await.context("store.url")?;
    note("the store has the schema of this version");
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn healthcheck(
    config: &Config,
    url: Option<String>,
    ready: bool,
) -> anyhow::Result<ExitCode> {
    #[derive(serde::Deserialize)]
    struct Api {
        listen: String,
    }
    let listen = config.section::<Api>("api")?.listen;
    // What listens everywhere is asked here.
    let here = listen.replace("0.0.0.0:", "127.0.0.1:").replace("[::]:", "[::1]:");
    let base = url.unwrap_or_else(|| format!("http://{here}"));
    let limits = http::Limits { connect: Duration::from_secs(1), total: Duration::from_secs(3) };
    let (path, word) = if ready { ("ready", "ready") } else { ("live", "alive") };
    let address = format!("{}/health/{path}", base.trim_end_matches('/'));
    match http::client(limits)?.get(&address).send().await {
        Ok(answer) if answer.status().is_success() => {
            print(word)?;
            Ok(ExitCode::SUCCESS)
        }
        Ok(answer) => {
            let status = answer.status();
            anyhow::bail!("{address} answers {status}: {}", answer.text().await.unwrap_or_default())
        }
        Err(error) => anyhow::bail!("{address} does not answer: {error}"),
    }
}

fn role(name: &str) -> anyhow::Result<Role> {
    let known: Vec<&str> = Role::ALL.iter().map(|role| role.as_str()).collect();
    Role::from_name(name).with_context(|| format!("{name} is no role; there are {}", known.join(", ")))
}

pub(crate) async fn admin(config: &Config, what: Admin) -> anyhow::Result<ExitCode> {
    let backends = operate(config).await?;
    let hub = &backends.hub;
    match what {
        Admin::CreateAgent { login, name, role: role_name } => {
            let name = name.unwrap_or_else(|| login.clone());
            let new = NewAgent { login, name, role: role(&role_name)? };
            if let Written::Done(made) = hub.create_agent(None, new, None).await? {
                note(format_args!("agent {} made; the password is shown this once:", made.agent.id));
                print(&made.password)?;
            }
        }
        Admin::CreateKey { name, role: role_name, days } => {
            anyhow::ensure!((1..=KEY_DAYS_MAX).contains(&days), "--days is from 1 to {KEY_DAYS_MAX}");
            let expires_at = backends.clock.now().plus_millis(i64::from(days) * 24 * 60 * 60 * 1000);
            let new = NewKey { name, role: role(&role_name)?, expires_at };
            if let Written::Done(made) = hub.create_key(None, new, None).await? {
                note(format_args!(
                    "key {} made, good until {expires_at}; the secret is shown this once:",
                    made.key.id
                ));
                print(&made.secret)?;
            }
        }
    }
    backends.close().await;
    Ok(ExitCode::SUCCESS)
}

/// What an operator's command works on. Nothing is started; while a server runs, its files are
/// locked and the command says so.
async fn operate(config: &Config) -> anyhow::Result<Backends> {
    Backends::open(config, Clock::system()).await
}

pub(crate) async fn parked(config: &Config, what: Parked) -> anyhow::Result<ExitCode> {
    let backends = operate(config).await?;
    let hub = &backends.hub;
    match what {
        Parked::List { reason, json } => {
            let mut cursor = None;
            loop {
                let page = hub.parked(Some("parked"), reason.as_deref(), cursor.as_deref(), PAGE_MAX).await?;
                for item in &page.items {
                    if json {
                        print(serde_json::to_string(item)?)?;
                    } else {
                        let account = item.account.as_deref().unwrap_or("-");
                        print(format_args!(
                            "{}  {:<6} {:<15} {}:{}  {} ×{}  {}",
                            item.id,
                            item.name,
                            item.reason,
                            item.channel_kind,
                            account,
                            item.first_at,
                            item.times,
                            item.error
                        ))?;
                    }
                }
                cursor = page.next_cursor;
                if cursor.is_none() {
                    break;
                }
            }
        }
        Parked::Show { id } => {
            let raw = hub.parked_raw(None, id).await?;
            std::io::stdout().write_all(&raw)?;
            print("")?;
        }
        Parked::Replay { id, reason } => {
            let ids = match id {
                Some(id) => vec![id],
                None => waiting(hub, reason.as_deref()).await?,
            };
            let many = ids.len();
            for (number, id) in ids.into_iter().enumerate() {
                hub.replay_parked(None, id, &backends.reader()).await.with_context(|| id.to_string())?;
                note(format_args!("{} of {many}: {id} replayed", number + 1));
            }
        }
        Parked::Drop { id, reason } => {
            hub.drop_parked(None, id, &reason).await?;
            note(format_args!("{id} dropped"));
        }
    }
    backends.close().await;
    Ok(ExitCode::SUCCESS)
}

async fn waiting(hub: &Hub, reason: Option<&str>) -> anyhow::Result<Vec<ParkedId>> {
    let (mut ids, mut cursor) = (Vec::new(), None);
    loop {
        let page = hub.parked(Some("parked"), reason, cursor.as_deref(), PAGE_MAX).await?;
        ids.extend(page.items.iter().map(|item| item.id));
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(ids);
        }
    }
}

pub(crate) async fn verify(config: &Config, json: bool) -> anyhow::Result<ExitCode> {
    let backends = operate(config).await?;
    let hub = &backends.hub;
    let verdict = hub.verify().await?;
    backends.close().await;
    if json {
        print(serde_json::to_string_pretty(&verdict)?)?;
    } else {
        for finding in &verdict.findings {
            print(format_args!("{}: {}", finding.invariant, finding.sentence))?;
        }
        let counted: Vec<String> = verdict.counted.iter().map(|(noun, n)| format!("{n} {noun}")).collect();
        note(format_args!("looked at {}; checked {}", counted.join(", "), verdict.checked.join(", ")));
        note(format_args!("nothing to check yet: {}", verdict.nothing_yet.join(", ")));
        note(if verdict.findings.is_empty() { "nothing lost, nothing doubled" } else { "see above" });
    }
    Ok(if verdict.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

pub(crate) async fn simulate(config: &Config, what: Simulate) -> anyhow::Result<ExitCode> {
    let stop = stop_signals()?;
    let tasks = loket_backbone::tasks::Tasks::new();
    let settings = simulator_settings(config, &what)?;
    let running = simulator::run(settings, Clock::system(), &tasks).await.map_err(anyhow::Error::msg)?;
    note(format_args!("customers' phones are at http://{}/", running.address));
    if what.shop_script.is_some() {
        note(format_args!("the demo shop is at http://{}/shop", running.address));
    }
    stop.cancelled().await;
    tasks.stop(Duration::from_secs(5)).await;
    Ok(ExitCode::SUCCESS)
}

/// Customers to begin with: one whose number is seen, one who hides it, one on Messenger. Their ids
/// are fixed: after a restart they are the same people to Loket.
fn customers() -> Vec<simulator::NewCustomer> {
    let customer = |id: &str, name: &str| simulator::NewCustomer {
        id: Some(id.to_owned()),
        name: Some(name.to_owned()),
        ..simulator::NewCustomer::default()
    };
    vec![
        simulator::NewCustomer {
            phone: Some("31600000042".to_owned()),
            bsuid: Some("NL.10000000000000000042".to_owned()),
            ..customer("sanne", "Sanne de Wit")
        },
        simulator::NewCustomer {
            phone: Some("31600000043".to_owned()),
            bsuid: Some("NL.10000000000000000043".to_owned()),
            username: Some("mila.bakt".to_owned()),
            hides_phone: true,
            ..customer("mila", "Mila")
        },
        simulator::NewCustomer {
            platform: Some(simulator::Platform::Messenger),
            psid: Some("7300000000000042".to_owned()),
            ..customer("lotte", "Lotte Jansen")
        },
    ]
}

/// The platforms' side of the channel accounts that the settings name, so that both sides agree.
fn simulator_settings(config: &Config, what: &Simulate) -> anyhow::Result<simulator::Settings> {
    let whatsapp: whatsapp::Settings = config.section("whatsapp")?;
    let messenger: messenger::Settings = config.section("messenger")?;
    let numbers = whatsapp.accounts.values().enumerate().map(|(place, account)| simulator::Number {
        phone_number_id: account.phone_number_id.clone(),
        display: format!("1202555{:04}", 100 + place),
        waba_id: account.waba_id.clone().unwrap_or_else(|| format!("2150000000001{place:02}")),
        token: account.access_token.clone(),
    });
    let pages = messenger.accounts.values().map(|account| simulator::Page {
        page_id: account.page_id.clone(),
        token: account.access_token.clone(),
        app_id: messenger.app_id.clone(),
    });
    let callbacks = what.callbacks.trim_end_matches('/');
    let settings = simulator::Settings {
        listen: what.listen.clone(),
        public_url: None,
        callback_whatsapp: format!("{callbacks}/whatsapp"),
        callback_messenger: format!("{callbacks}/messenger"),
        app_secret_whatsapp: whatsapp.app_secret,
        app_secret_messenger: messenger.app_secret,
        numbers: numbers.collect(),
        pages: pages.collect(),
        customers: customers(),
        rules: simulator::Rules::default(),
        shop: what
            .shop_script
            .clone()
            .map(|script| simulator::Shop { script, inbox: what.shop_inbox.clone() }),
    };
    anyhow::ensure!(
        !settings.numbers.is_empty() || !settings.pages.is_empty(),
        "the settings name no WhatsApp number and no Page to simulate: give the settings file of the Loket \
         that it stands in for, with --config"
    );
    Ok(settings)
}
