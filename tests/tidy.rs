//! The house rules as tests: who may import whom, where SQL and the clock may be, what is documented,
//! what is licensed. Each reads the tree as it is.

#![expect(clippy::expect_used, clippy::panic, reason = "a house rule is broken or it is not")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Lines of a file that are neither blank nor comment may be this many; beyond it a room has too
/// much in it (`style-models` §8).
const CODE_LINES_MAX: usize = 550;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// All files that git knows or would add.
fn files() -> Vec<String> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git");
    assert!(output.status.success(), "the house rules are read from a git checkout");
    let listed = String::from_utf8(output.stdout).expect("UTF-8 names");
    listed.lines().map(str::to_owned).filter(|file| root().join(file).is_file()).collect()
}

fn rust_files() -> Vec<String> {
    files().into_iter().filter(|file| Path::new(file).extension().is_some_and(|ext| ext == "rs")).collect()
}

fn loket_dependencies(manifest: &str) -> BTreeSet<String> {
    let table: toml::Table = read(manifest).parse().expect("a manifest is TOML");
    let dependencies = table.get("dependencies").and_then(|d| d.as_table()).cloned().unwrap_or_default();
    dependencies.keys().filter_map(|name| name.strip_prefix("loket-").map(str::to_owned)).collect()
}

#[test]
fn the_road_is_straight() {
    let arrows: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("protocol", &[][..]),
        ("backbone", &["protocol"][..]),
        ("connectors", &["protocol", "backbone"][..]),
        ("hub", &["protocol", "backbone"][..]),
        ("agent-api", &["protocol", "backbone", "hub"][..]),
    ]);
    for (crate_name, allowed) in arrows {
        let allowed: BTreeSet<String> = allowed.iter().map(|name| (*name).to_owned()).collect();
        let found = loket_dependencies(&format!("{crate_name}/Cargo.toml"));
        assert!(found.is_subset(&allowed), "{crate_name} may import {allowed:?}, and imports {found:?}");
    }
}

#[test]
fn protocol_does_no_io() {
    let table: toml::Table = read("protocol/Cargo.toml").parse().expect("TOML");
    let names: BTreeSet<&str> =
        table["dependencies"].as_table().expect("a table").keys().map(String::as_str).collect();
    let allowed = BTreeSet::from(["base64", "jiff", "serde", "serde_json", "sha2"]);
    assert!(names.is_subset(&allowed), "protocol may use {allowed:?}, and uses {names:?}");
}

#[test]
fn the_top_level_is_the_agreed_one() {
    let agreed = BTreeSet::from([
        ".ci",
        ".gitignore",
        ".npmrc",
        "ARCHITECTURE.md",
        "Cargo.lock",
        "Cargo.toml",
        "LICENSE",
        "README.md",
        "agent-api",
        "backbone",
        "benches",
        "clippy.toml",
        "connectors",
        "deny.toml",
        "deploy",
        "hub",
        "protocol",
        "rustfmt.toml",
        "src",
        "tests",
    ]);
    let found: BTreeSet<String> =
        files().iter().filter_map(|file| file.split('/').next().map(str::to_owned)).collect();
    for name in &found {
        assert!(
            agreed.contains(name.as_str()),
            "{name} at the top level: the house has no room of that name"
        );
    }
}

#[test]
fn sql_is_only_in_the_stores() {
    for file in rust_files() {
        let at_home = file.starts_with("hub/src/store/")
            || file.starts_with("backbone/src/bus/embedded")
            || file.starts_with("tests/")
            || file.starts_with("benches/")
            || file.contains("/tests/")
            || file.contains("/trials/")
            || file.contains("/benches/");
        if at_home {
            continue;
        }
        let text = read(&file);
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (number, line) in code.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            assert!(!code.contains("sqlx"), "{file}:{}: SQL belongs to hub/src/store", number + 1);
        }
    }
}

#[test]
fn no_file_is_a_room_with_too_much_in_it() {
    for file in rust_files() {
        let text = read(&file);
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//"));
        let code = lines.count();
        assert!(code <= CODE_LINES_MAX, "{file} has {code} lines of code; at most {CODE_LINES_MAX}");
    }
}

#[test]
fn lints_are_expected_with_a_reason_and_never_allowed() {
    for file in rust_files().into_iter().filter(|file| file != "tests/tidy.rs") {
        for (number, line) in read(&file).lines().enumerate() {
            let line = line.trim();
            if !line.starts_with("#[") && !line.starts_with("#![") {
                continue;
            }
            assert!(!line.contains("allow("), "{file}:{}: expect a lint, with its reason", number + 1);
            // The other process of a test that kills one is a test function, too, and starts by itself never.
            let is_started = line.contains("start");
            assert!(
                !line.starts_with("#[ignore") || is_started,
                "{file}:{}: no test is set aside",
                number + 1
            );
        }
    }
}

#[test]
fn tests_wait_for_conditions_and_never_sleep() {
    // The one named place that may wait a moment between two looks.
    for file in rust_files().into_iter().filter(|file| file != "tests/tidy.rs") {
        let text = read(&file);
        let mut inside_eventually = false;
        for (number, line) in text.lines().enumerate() {
            if line.contains("fn eventually") || line.contains("fn until") {
                inside_eventually = true;
            }
            if line.contains("thread::sleep(") {
                assert!(inside_eventually, "{file}:{}: wait for a condition with a deadline", number + 1);
            }
            if line == "}" || line == "    }" {
                inside_eventually = false;
            }
        }
    }
}

/// The rooms of `reliability-contract` §15 that there are so far; the names themselves are the register's.
const FAILPOINT_ROOMS: [&str; 12] = [
    "migrate.",
    "ingress.",
    "bus.embedded.",
    "hub.ingest.",
    "hub.park.",
    "hub.sequence.",
    "api.",
    "hub.dispatch.",
    "sender.",
    "hub.claim.",
    "hub.report.",
    "bus.amqp.",
];

#[test]
fn every_failpoint_is_in_the_register_and_on_the_road_once() {
    use loket_backbone::failpoint::POINTS;
    let mut placed: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in rust_files().into_iter().filter(|file| file.contains("/src/") || file.starts_with("src/")) {
        if file == "backbone/src/failpoint.rs" {
            continue;
        }
        let text = read(&file);
        for place in text.split("failpoint!(").skip(1) {
            let name = place.split('"').nth(1).unwrap_or_default();
            placed.entry(name.to_owned()).or_default().push(file.clone());
        }
    }
    for (name, files) in &placed {
        assert!(POINTS.contains(&name.as_str()), "{files:?}: {name:?} is not in the register of failpoints");
        assert_eq!(files.len(), 1, "{name} stands in {files:?}: one name, one place");
    }
    for name in POINTS {
        assert!(
            placed.contains_key(*name),
            "{name} is in the register of failpoints and nowhere on the road"
        );
        let other = match name.rsplit_once('.') {
            Some((step, "before")) => format!("{step}.after"),
            Some((step, "after")) => format!("{step}.before"),
            _ => panic!("{name}: a failpoint is before or after something"),
        };
        assert!(POINTS.contains(&other.as_str()), "{name} has no {other} beside it");
        let is_in_a_room = FAILPOINT_ROOMS.iter().any(|room| name.starts_with(room));
        assert!(is_in_a_room, "{name}: there is no such room");
    }
}

#[test]
fn every_channel_has_fixtures_or_a_widget_and_a_readme() {
    let folder = root().join("connectors/src/channels");
    for entry in std::fs::read_dir(folder).expect("channels") {
        let path = entry.expect("an entry").path();
        if !path.is_dir() {
            continue;
        }
        let name = path.display();
        assert!(path.join("README.md").is_file(), "{name} has no README.md");
        assert!(path.join("fixtures").is_dir() || path.join("widget").is_dir(), "{name} has no fixtures");
    }
}

#[test]
fn every_setting_is_documented_with_a_sentence() {
    let defaults = loket::config::DEFAULTS;
    for path in loket::config::known_paths() {
        let key = path.rsplit('.').next().expect("a path has a last part");
        let place = defaults.lines().position(|line| {
            line.starts_with(&format!("{key} =")) || line.starts_with(&format!("#: {key} ="))
        });
        assert!(place.is_some(), "{path} does not stand in config.default.toml");
    }
    let lines: Vec<&str> = defaults.lines().collect();
    for (number, line) in lines.iter().enumerate() {
        if line.split_once(" = ").is_some() && !line.starts_with('#') {
            let above = number.checked_sub(1).and_then(|n| lines.get(n)).copied().unwrap_or_default();
            assert!(above.starts_with("# "), "{line}: a sentence stands above each setting");
        }
    }
}

#[test]
fn lock_files_and_texts_name_no_machine() {
    let home = ["/ho", "me/"].concat();
    let roots = [["/ro", "ot/"].concat(), ["/wo", "rk/"].concat(), home];
    for file in files() {
        let Ok(text) = std::fs::read_to_string(root().join(&file)) else { continue };
        if file.ends_with("package-lock.json") {
            assert!(!text.contains("\"resolved\""), "{file} records download addresses");
        }
        for place in &roots {
            assert!(!text.contains(place.as_str()), "{file} names a path of a machine: {place}");
        }
    }
}

#[test]
fn licences_and_bans_hold() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(root())
        .output()
        .expect("cargo metadata");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let deny: toml::Table = read("deny.toml").parse().expect("TOML");
    let allowed: BTreeSet<&str> = deny["licenses"]["allow"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|licence| licence.as_str().expect("a name"))
        .collect();
    let banned: BTreeSet<&str> = deny["bans"]["deny"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|ban| ban["crate"].as_str().expect("a name"))
        .collect();
    for package in metadata["packages"].as_array().expect("packages") {
        let name = package["name"].as_str().expect("a name");
        assert!(!banned.contains(name), "{name} is banned by deny.toml");
        let licence = package["license"].as_str().unwrap_or_default().replace('/', " OR ");
        // Every part of an AND must be allowed, one part of an OR is enough.
        let fine = licence.split(" AND ").all(|part| {
            part.trim_matches(['(', ')'])
                .split(" OR ")
                .any(|one| allowed.contains(one.trim().trim_matches(['(', ')'])))
        });
        assert!(fine, "{name}: the licence {licence:?} is not on the list of deny.toml");
    }
}

#[test]
fn the_two_commands_can_be_run() {
    use std::os::unix::fs::PermissionsExt as _;
    for file in ["deploy/up", "tests/run", "tests/services", ".ci/run"] {
        let mode = std::fs::metadata(root().join(file)).expect(file).permissions().mode();
        assert_ne!(mode & 0o111, 0, "{file} is not executable");
    }
}

#[test]
fn the_map_names_files_that_exist() {
    let map = read("ARCHITECTURE.md") + &read("README.md");
    let mut named = 0;
    for word in map.split('`').skip(1).step_by(2) {
        let room = word.split('/').next().unwrap_or_default();
        let is_a_place =
            ["protocol", "backbone", "connectors", "hub", "agent-api", "src", "tests", "deploy", "benches"]
                .contains(&room)
                && word.contains('/')
                && !word.contains([' ', '{', '*']);
        if is_a_place {
            named += 1;
            assert!(root().join(word).exists(), "the map names {word}, which does not exist");
        }
    }
    assert!(named > 10, "the map names places");
}
