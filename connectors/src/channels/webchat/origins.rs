//! Which pages may run the chat of a site (`security` VI1): exact scheme, host and port.

use actix_web::http::header::{HOST, HeaderMap};

/// Is this origin the one that the request was made to? A proxy in front must hand the header `Host` on.
pub(super) fn is_own(origin: &str, headers: &HeaderMap) -> bool {
    let host = ["https://", "http://"].into_iter().find_map(|scheme| origin.strip_prefix(scheme));
    let mut asked = headers.get_all(HOST);
    match (host, asked.next(), asked.next()) {
        (Some(host), Some(asked), None) => !host.is_empty() && asked.as_bytes() == host.as_bytes(),
        _ => false,
    }
}

/// The origins of one site.
pub(super) struct Origins {
    exact: Vec<String>,
    /// Scheme with `://`, and what follows the one free label: `.example.org:8443`.
    one_label: Vec<(String, String)>,
}

impl Origins {
    /// Reads a list such as `https://shop.example.org` or `https://*.example.org`. The error is one
    /// sentence that says what an origin looks like.
    pub(super) fn parse(list: &[String]) -> Result<Self, String> {
        if list.is_empty() {
            return Err("it is empty; name the origins of the pages that may open the chat".to_owned());
        }
        let mut origins = Self { exact: Vec::new(), one_label: Vec::new() };
        for origin in list {
            let (scheme, host) = split(origin).ok_or_else(|| {
                format!(
                    "{origin:?} is not an origin; write scheme, host and port only, in lower case, \
                     such as https://shop.example.org or https://*.example.org"
                )
            })?;
            match host.strip_prefix('*') {
                Some(rest) => origins.one_label.push((scheme.to_owned(), rest.to_owned())),
                None => origins.exact.push(origin.clone()),
            }
        }
        Ok(origins)
    }

    /// Is this value of the header `Origin` on the list? `null` never is.
    pub(super) fn lists(&self, origin: &str) -> bool {
        self.exact.iter().any(|known| known == origin)
            || self.one_label.iter().any(|(scheme, rest)| {
                origin
                    .strip_prefix(scheme.as_str())
                    .and_then(|host| host.strip_suffix(rest.as_str()))
                    .is_some_and(is_label)
            })
    }
}

/// Scheme with `://`, and host with port; `None` when it is not written as a browser writes it.
fn split(origin: &str) -> Option<(&str, &str)> {
    let scheme = ["https://", "http://"].into_iter().find(|scheme| origin.starts_with(scheme))?;
    let host = origin.strip_prefix(scheme)?;
    let (name, port) = host.rsplit_once(':').map_or((host, None), |(name, port)| (name, Some(port)));
    let default_port = if scheme == "https://" { "443" } else { "80" };
    let port_fits = port.is_none_or(|port| {
        // A browser leaves the default port out, so that naming it would match nothing.
        port != default_port && port.parse::<u16>().is_ok_and(|number| number.to_string() == port)
    });
    let labels = name.strip_prefix("*.").unwrap_or(name);
    let is_bracketed = labels.starts_with('[') && labels.ends_with(']') && labels == name;
    let name_fits = if is_bracketed {
        labels.trim_matches(['[', ']']).parse::<std::net::Ipv6Addr>().is_ok()
    } else {
        labels.split('.').all(is_label) && (labels == name || labels.contains('.'))
    };
    (port_fits && name_fits).then_some((scheme, host))
}

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origins(list: &[&str]) -> Result<Origins, String> {
        Origins::parse(&list.iter().map(|origin| (*origin).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn only_the_exact_origin_is_on_the_list() {
        let list = origins(&["https://shop.example.org", "http://127.0.0.1:8080", "http://[::1]:9000"]);
        let list = list.unwrap();
        for good in ["https://shop.example.org", "http://127.0.0.1:8080", "http://[::1]:9000"] {
            assert!(list.lists(good), "{good}");
        }
        let bad = [
            "",
            "null",
            "http://shop.example.org",
            "https://shop.example.org:443",
            "https://shop.example.org:8443",
            "https://shop.example.org/",
            "https://shop.example.org.evil.test",
            "https://evil-shop.example.org",
            "https://example.org",
            "https://a.shop.example.org",
            "https://SHOP.example.org",
            "https://shop.example.org@evil.test",
            "http://127.0.0.1",
            "*",
        ];
        for origin in bad {
            assert!(!list.lists(origin), "{origin}");
        }
    }

    #[test]
    fn only_the_host_that_was_asked_is_our_own() {
        let own = |origin: &str, hosts: &[&str]| {
            let mut headers = HeaderMap::new();
            for host in hosts {
                headers.append(HOST, host.parse().unwrap());
            }
            is_own(origin, &headers)
        };
        assert!(own("https://chat.example.org", &["chat.example.org"]));
        assert!(own("http://127.0.0.1:8080", &["127.0.0.1:8080"]));
        for origin in [
            "null",
            "",
            "https://",
            "https://chat.example.org.evil.test",
            "chat.example.org",
            "https://chat.example.org:8443",
            "https://evil.test@chat.example.org",
            "ftp://chat.example.org",
        ] {
            assert!(!own(origin, &["chat.example.org"]), "{origin}");
        }
        assert!(!own("https://a.test", &["a.test", "b.test"]) && !own("https://a.test", &[]));
        assert!(!own("https://", &[""]));
    }

    #[test]
    fn a_star_stands_for_one_label() {
        let list = origins(&["https://*.example.org", "http://*.test.local:3000"]).unwrap();
        for good in ["https://a.example.org", "https://a-b2.example.org", "http://x.test.local:3000"] {
            assert!(list.lists(good), "{good}");
        }
        let bad = [
            "https://example.org",
            "https://.example.org",
            "https://a.b.example.org",
            "https://evil.test/.example.org",
            "https://evil.test#.example.org",
            "https://a@b.example.org",
            "https://aexample.org",
            "http://a.example.org",
            "http://x.test.local",
            "https://*.example.org",
        ];
        for origin in bad {
            assert!(!list.lists(origin), "{origin}");
        }
    }

    #[test]
    fn what_is_no_origin_is_refused_at_start() {
        assert!(origins(&[]).is_err());
        let bad = [
            "",
            "*",
            "null",
            "shop.example.org",
            "https://",
            "https://*",
            "https://*.org.",
            "https://shop.example.org/",
            "https://shop.example.org/chat",
            "https://Shop.example.org",
            "https://shop.example.org:443",
            "http://shop.example.org:80",
            "https://shop.example.org:99999",
            "https://shop.example.org:08443",
            "https://a@shop.example.org",
            "https://*.*.example.org",
            "https://a.*.example.org",
            "https://[zz]",
            "ftp://shop.example.org",
        ];
        for origin in bad {
            assert!(origins(&[origin]).is_err(), "{origin}");
        }
    }
}
