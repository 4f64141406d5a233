//! The roles: one table of what runs, and what each needs open.

/// A part of Loket that can run in a process of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Role {
    /// Its name in `--roles`.
    pub name: &'static str,
    /// What it does, in one sentence.
    pub does: &'static str,
}

/// All roles. A split over processes needs a bus, store and kv that several processes can share.
pub const ROLES: &[Role] = &[
    Role { name: "connectors", does: "takes callbacks and web chat in, sends replies out" },
    Role { name: "hub", does: "makes threads of what comes in, and gives replies out" },
    Role { name: "agent-api", does: "serves the inbox over REST and WebSocket" },
];

/// The roles to run: those named, or all. Some of them only is refused on embedded backends, with
/// the setting to change.
pub fn chosen(names: &[String], bus_url: &str) -> anyhow::Result<Vec<Role>> {
    let mut roles = Vec::new();
    for name in names {
        let Some(role) = ROLES.iter().find(|role| role.name == name) else {
            let known: Vec<&str> = ROLES.iter().map(|role| role.name).collect();
            anyhow::bail!("--roles {name}: there is no such role; there are {}", known.join(", "));
        };
        if !roles.contains(role) {
            roles.push(*role);
        }
    }
    if roles.is_empty() {
        roles = ROLES.to_vec();
    }
    if roles.len() < ROLES.len() && bus_url.starts_with("embedded:") {
        anyhow::bail!(
            "--roles {}: with bus.url = {bus_url:?} all roles must run in one process; leave --roles away, \
             or set bus.url to a broker that several processes can share",
            names.join(",")
        );
    }
    Ok(roles)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn all_roles_run_unless_some_are_named() {
        assert_eq!(chosen(&[], "embedded:x").unwrap().len(), ROLES.len());
        assert_eq!(chosen(&names(&["hub", "connectors", "agent-api"]), "embedded:x").unwrap().len(), 3);
    }

    #[test]
    fn a_split_on_an_embedded_bus_names_the_setting() {
        let error = chosen(&names(&["hub"]), "embedded:x").unwrap_err().to_string();
        assert!(error.contains("bus.url"), "{error}");
        assert!(chosen(&names(&["hubb"]), "embedded:x").is_err());
    }
}
