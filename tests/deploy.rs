//! What stands in `deploy/` stays true: every role and every setting that is named there exists, the
//! brokers are nobody else's, and the tools whose files these are find them valid.

#![expect(clippy::expect_used, clippy::panic, reason = "a file is true or it is not")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use loket::config::known_paths;
use loket::roles::ROLES;

fn deploy() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("deploy")
}

fn read(file: &str) -> String {
    std::fs::read_to_string(deploy().join(file)).unwrap_or_else(|error| panic!("deploy/{file}: {error}"))
}

fn names(of: impl IntoIterator<Item = &'static str>) -> BTreeSet<String> {
    of.into_iter().map(str::to_owned).collect()
}

fn role_names() -> BTreeSet<String> {
    names(ROLES.iter().map(|role| role.name))
}

/// The words after `--roles` in a text.
fn roles_in(text: &str) -> BTreeSet<String> {
    let words: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .flat_map(str::split_whitespace)
        .collect();
    let mut found = BTreeSet::new();
    for pair in words.windows(2) {
        if let [flag, role] = pair
            && flag.contains("--roles")
        {
            found.insert(role.trim_matches(['"', '[', ']', ',']).to_owned());
        }
    }
    found
}

/// Whether there is a setting that this variable sets.
fn is_known(variable: &str) -> bool {
    let path = variable.trim_start_matches("LOKET__").to_lowercase().replace("__", ".");
    let fits = |path: &str| {
        known_paths().iter().any(|known| {
            let (known, path): (Vec<_>, Vec<_>) = (known.split('.').collect(), path.split('.').collect());
            known.len() == path.len() && known.iter().zip(&path).all(|(k, p)| *k == "*" || k == p)
        })
    };
    fits(&path) || path.strip_suffix("_file").is_some_and(fits)
}

/// All files of `deploy/` that are texts, with their names.
fn texts() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![deploy()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("deploy") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(text) = std::fs::read_to_string(&path) {
                found.push((path.display().to_string(), text));
            }
        }
    }
    found
}

#[test]
fn every_role_has_its_container_and_its_unit() {
    assert_eq!(roles_in(&read("compose.yaml")), role_names(), "compose.yaml");
    assert_eq!(roles_in(&read("systemd/loket@.service")), names(["%i"]), "the unit's instance is its role");
    let mut environments = BTreeSet::new();
    for entry in std::fs::read_dir(deploy().join("systemd/roles")).expect("environments") {
        let name = entry.expect("an entry").file_name().to_string_lossy().into_owned();
        environments.insert(name.trim_end_matches(".env").to_owned());
    }
    assert_eq!(environments, role_names(), "deploy/systemd/roles");
    let told = read("systemd/loket@.service");
    for role in role_names() {
        assert!(told.contains(&format!("loket@{role}")), "the unit says how {role} is started");
    }
    assert!(roles_in(&read("systemd/loket.service")).is_empty(), "that one runs all");
}

#[test]
fn every_setting_that_is_named_exists() {
    let mut named = BTreeSet::new();
    for (file, text) in texts() {
        for word in text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_') {
            // LOKET__X__ alone is a pattern in a sentence.
            if word.starts_with("LOKET__") && !word.ends_with('_') {
                assert!(is_known(word), "{file} names {word}, and there is no such setting");
                named.insert(word.to_owned());
            }
        }
    }
    for setting in ["LOKET__BUS__URL", "LOKET__STORE__URL", "LOKET__KV__URL"] {
        assert!(named.contains(setting), "{setting}");
    }
}

#[test]
fn broker_database_and_redis_are_published_nowhere() {
    let compose = read("compose.yaml");
    let services = compose.split("\nservices:\n").nth(1).expect("services").split("\nnetworks:\n").next();
    let mut service = "";
    for line in services.expect("services").lines() {
        let depth = line.len() - line.trim_start().len();
        if depth == 2 && line.ends_with(':') {
            service = line.trim().trim_end_matches(':');
        }
        let is_ours = role_names().contains(service);
        if line.trim() == "ports:" {
            assert!(is_ours, "{service} is published");
        }
        if let Some(networks) = line.trim().strip_prefix("networks:") {
            assert!(is_ours || networks.trim() == "[inside]", "{service} is reached from outside");
        }
        if line.trim().starts_with("- \"") && line.contains(":80") {
            assert!(line.contains("127.0.0.1:"), "{line}: a proxy with a certificate stands in front");
        }
    }
    assert_eq!(compose.matches("internal: true").count(), 1);
}

/// The program of that name, when this machine has it.
fn tool(name: &str, arguments: &[&str]) -> Option<()> {
    let asked = Command::new(name).args(arguments).output().ok()?;
    asked.status.success().then_some(())
}

fn well(what: &str, output: &Output) {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{what}: {out}{err}");
    assert!(!err.contains("Unknown lvalue") && !err.contains("unsupported"), "{what}: {err}");
}

/// A copy of `deploy/` with the files that an operator makes.
fn prepared() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (from, to) in [
        ("compose.yaml", "compose.yaml"),
        ("compose.env.example", "compose.env"),
        ("loket.example.toml", "loket.toml"),
    ] {
        std::fs::copy(deploy().join(from), folder.path().join(to)).expect(from);
    }
    std::fs::write(folder.path().join("master.key"), "0123456789abcdefghijklmnopqrstuv").expect("a key");
    folder
}

#[test]
fn compose_finds_its_file_valid() {
    let folder = prepared();
    let compose = if tool("docker", &["compose", "version"]).is_some() {
        let mut command = Command::new("docker");
        command.arg("compose");
        command
    } else if tool("docker-compose", &["version"]).is_some() {
        Command::new("docker-compose")
    } else {
        return loket_backbone::trial::skip("neither docker compose nor docker-compose is installed");
    };
    let mut compose = compose;
    compose.args(["--env-file", "compose.env", "-f", "compose.yaml", "config", "-q"]);
    well("compose.yaml", &compose.current_dir(folder.path()).output().expect("it runs"));
    let mut unset = Command::new(compose.get_program());
    unset.args(
        compose
            .get_args()
            .filter(|argument| !["--env-file", "compose.env"].contains(&argument.to_str().expect("text"))),
    );
    let refused = unset.current_dir(folder.path()).output().expect("it runs");
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && told.contains("PASSWORD"), "no password is made up: {told}");
}

#[test]
fn systemd_finds_its_units_valid() {
    if tool("systemd-analyze", &["--version"]).is_none() {
        return loket_backbone::trial::skip("systemd-analyze is not installed");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let mut units = Vec::new();
    let instances = role_names().into_iter().map(|role| ("loket@.service", format!("loket@{role}.service")));
    for (unit, name) in std::iter::once(("loket.service", "loket.service".to_owned())).chain(instances) {
        // The program is not installed here.
        let text =
            read(&format!("systemd/{unit}")).replace("/usr/local/bin/loket", env!("CARGO_BIN_EXE_loket"));
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("a unit");
        units.push(path);
    }
    let output = Command::new("systemd-analyze").args(["verify", "--man=no"]).args(&units).output();
    well("the units", &output.expect("it runs"));
}

#[test]
fn the_examples_are_complete_settings() {
    let folder = prepared();
    let check = |environment: &[(String, String)]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_loket"));
        command.args([
            "--config",
            "loket.toml",
            "--set",
            "secrets.master_key_file=master.key",
            "check-config",
        ]);
        command.envs(environment.iter().cloned()).current_dir(folder.path()).output().expect("the program")
    };
    well("loket.example.toml", &check(&[]));
    let services = read("systemd/loket.env.example");
    let mut environment = Vec::new();
    for line in services.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.split_once('=').expect("NAME=VALUE");
        environment.push((name.to_owned(), value.replace("127.0.0.1", "127.0.0.2")));
    }
    let output = check(&environment);
    well("loket.env.example", &output);
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!(shown.clone() + &told).contains("PASSWORD"), "no password is shown: {shown}{told}");
    for setting in ["bus.url", "store.url", "kv.url"] {
        assert!(
            told.contains(&format!("{setting}: 127.0.0.2:")),
            "{setting} cannot be reached, and is named: {told}"
        );
    }
}

#[test]
fn the_image_is_built_from_this_tree_alone_and_runs_as_nobody_special() {
    let dockerfile = read("Dockerfile");
    let steps: Vec<&str> = dockerfile.lines().filter(|line| !line.starts_with('#')).collect();
    let text = steps.join("\n");
    for fetch in ["curl", "wget", "ADD ", "http://", "https://", "git clone"] {
        assert!(!text.contains(fetch), "the image fetches something: {fetch}");
    }
    let user = steps.iter().rposition(|line| line.starts_with("USER ")).expect("a user");
    assert!(!steps.iter().any(|line| line.starts_with("USER root") || line.starts_with("USER 0")));
    assert!(steps.iter().position(|line| line.starts_with("ENTRYPOINT")).expect("an entry") > user);
    assert!(text.contains("--locked"));
    // What the workspace is made of reaches the builder, and everything else does not.
    let ignored = read("Dockerfile.dockerignore");
    assert!(ignored.lines().any(|line| line == "*"));
    for room in ["Cargo.toml", "Cargo.lock", "protocol", "backbone", "connectors", "hub", "agent-api", "src"]
    {
        assert!(ignored.lines().any(|line| line == format!("!{room}")), "{room}");
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(room).exists(), "{room}");
    }
    for secret in ["deploy", "var"] {
        assert!(!ignored.lines().any(|line| line == format!("!{secret}")), "{secret} goes to the builder");
    }
}
