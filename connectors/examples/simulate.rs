//! The simulator alone, with sample accounts and customers: `cargo run -p loket-connectors --example
//! simulate -- [listen] [callback base]`. Prints its address and runs until it is
//! interrupted. For the judges in `tests/peers` and for working on the page.

use std::io::Write as _;

use loket_backbone::clock::Clock;
use loket_backbone::secret::Secret;
use loket_backbone::tasks::Tasks;
use loket_connectors::simulator::{NewCustomer, Number, Page, Platform, Rules, Settings, run};

#[tokio::main]
async fn main() -> Result<(), String> {
    // A second installation of the same provider is no harm.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut arguments = std::env::args().skip(1);
    let listen = arguments.next().unwrap_or_else(|| "127.0.0.1:8090".to_owned());
    let base = arguments.next().unwrap_or_else(|| "http://127.0.0.1:8080".to_owned());
    let customer = |platform, name: &str, id: &str| NewCustomer {
        platform: Some(platform),
        name: Some(name.to_owned()),
        id: Some(id.to_owned()),
        ..NewCustomer::default()
    };
    let settings = Settings {
        listen,
        public_url: None,
        callback_whatsapp: format!("{base}/callbacks/whatsapp"),
        callback_messenger: format!("{base}/callbacks/messenger"),
        app_secret_whatsapp: Secret::new("loket-test-secret"),
        app_secret_messenger: Secret::new("loket-test-secret"),
        numbers: vec![Number {
            phone_number_id: "305000000000201".to_owned(),
            display: "31201234567".to_owned(),
            waba_id: "215000000000101".to_owned(),
            token: Secret::new("whatsapp-token"),
        }],
        pages: vec![Page {
            page_id: "110000000000501".to_owned(),
            token: Secret::new("page-token"),
            app_id: "900000000000001".to_owned(),
        }],
        customers: vec![
            NewCustomer {
                phone: Some("31600000042".to_owned()),
                ..customer(Platform::Whatsapp, "Sanne de Wit", "sanne")
            },
            NewCustomer {
                username: Some("mila.bakt".to_owned()),
                hides_phone: true,
                ..customer(Platform::Whatsapp, "Mila", "mila")
            },
            customer(Platform::Messenger, "Lotte Visser", "lotte"),
        ],
        rules: Rules::default(),
        shop: None,
    };
    let tasks = Tasks::new();
    let running = run(settings, Clock::system(), &tasks).await?;
    writeln!(std::io::stdout(), "http://{}", running.address).map_err(|error| error.to_string())?;
    tokio::signal::ctrl_c().await.map_err(|error| error.to_string())?;
    tasks.stop(std::time::Duration::from_secs(2)).await;
    Ok(())
}
