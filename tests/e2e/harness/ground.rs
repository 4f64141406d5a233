//! What a world stands on: where its store, bus and kv are. On services each world has a database, names
//! of queues and names of keys of its own, so that worlds stand side by side.

use std::path::Path;

use loket_backbone::random;
use sqlx::{ConnectOptions as _, Connection as _, Executor as _};

use super::Kind;
use super::kind::{AMQP, POSTGRES, REDIS};

/// The three addresses.
pub(super) struct Ground {
    pub(super) store: String,
    pub(super) bus: String,
    pub(super) kv: String,
    _database: Option<Database>,
}

impl Ground {
    /// Fresh ground.
    pub(super) async fn new(kind: Kind, folder: &Path) -> Self {
        if kind == Kind::Embedded {
            let folder = folder.display();
            return Self {
                store: format!("sqlite:{folder}/loket.db"),
                bus: format!("embedded:{folder}/bus"),
                kv: "memory:".to_owned(),
                _database: None,
            };
        }
        let told = |name: &str| std::env::var(name).expect("it is there, or the journey is not told");
        let database = Database::new(&told(POSTGRES)).await;
        Self {
            store: database.url.clone(),
            bus: with_names_of_its_own(&told(AMQP)),
            kv: with_names_of_its_own(&told(REDIS)),
            _database: Some(database),
        }
    }

    /// Runs one statement on the store behind everybody's back, without regard for what it breaks;
    /// how many rows it met.
    pub(super) async fn damage(&self, statement: &'static str) -> u64 {
        if let Some(path) = self.store.strip_prefix("sqlite:") {
            let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path).foreign_keys(false);
            let mut store = options.connect().await.expect("the store's file");
            return store.execute(statement).await.expect("it can be damaged").rows_affected();
        }
        let mut store = sqlx::PgConnection::connect(&self.store).await.expect("the store");
        store.execute("SET session_replication_role = replica").await.expect("no checks");
        store.execute(statement).await.expect("it can be damaged").rows_affected()
    }
}

/// A database of a world's own. Dropping it takes it away.
pub(crate) struct Database {
    /// Where it is.
    pub url: String,
    name: String,
    postgres: String,
}

impl Database {
    /// An empty one, made by the somebody of this address who may.
    pub(crate) async fn new(postgres: &str) -> Self {
        let name = format!("journey_{}", random::hex::<6>());
        run(postgres, &format!("CREATE DATABASE {name}")).await.expect("a database");
        Self { url: in_database(postgres, &name), name, postgres: postgres.to_owned() }
    }
}

impl Drop for Database {
    /// What cannot be taken away goes with the throw-away services.
    fn drop(&mut self) {
        let (postgres, name) = (self.postgres.clone(), self.name.clone());
        let clean = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let _gone = run(&postgres, &format!("DROP DATABASE {name} WITH (FORCE)")).await;
            });
        });
        let _done = clean.join();
    }
}

async fn run(url: &str, statement: &str) -> Result<(), sqlx::Error> {
    let mut connection = sqlx::PgConnection::connect(url).await?;
    connection.execute(sqlx::AssertSqlSafe(statement.to_owned())).await?;
    connection.close().await
}

/// The same address with another database.
fn in_database(url: &str, database: &str) -> String {
    let (address, query) = url.split_once('?').map_or((url, ""), |(address, query)| (address, query));
    let start = address.find("://").map_or(0, |at| at + 3);
    let end = address[start..].find('/').map_or(address.len(), |at| start + at);
    let query = if query.is_empty() { String::new() } else { format!("?{query}") };
    format!("{}/{database}{query}", &address[..end])
}

/// The same address, for queues or keys with names of their own.
pub(crate) fn with_names_of_its_own(url: &str) -> String {
    let join = if url.contains('?') { '&' } else { '?' };
    format!("{url}{join}prefix=journey-{}", random::hex::<6>())
}
