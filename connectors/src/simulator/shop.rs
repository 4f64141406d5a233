//! The demo shop: a made-up web shop with the web chat widget, the outside world's part of a site. It
//! is there only when the simulator is told which script such a page loads.

use actix_web::body::MessageBody;
use actix_web::http::header;
use actix_web::{HttpResponse, web};

/// Where the pages name the script.
const SCRIPT_PLACE: &str = "{{script}}";
/// Where they name the inbox.
const INBOX_PLACE: &str = "{{inbox}}";

/// What the shop's pages are told.
#[derive(Clone, Debug)]
pub struct Shop {
    /// The address of the site's script, such as `http://127.0.0.1:8080/widget.js?site=demo`.
    pub script: String,
    /// The address of the agents' inbox, for whoever tries both sides.
    pub inbox: Option<String>,
}

impl Shop {
    /// What is wrong with it, in one sentence.
    pub(super) fn problem(&self) -> Option<String> {
        let bad = [Some(&self.script), self.inbox.as_ref()]
            .into_iter()
            .flatten()
            .find(|text| origin(text).is_none());
        bad.map(|text| format!("{text:?} is no http or https address"))
    }

    fn page(&self, html: &str) -> HttpResponse {
        // Without an inbox the line that names it goes.
        let lines = html.lines().filter(|line| self.inbox.is_some() || !line.contains(INBOX_PLACE));
        let html = lines
            .collect::<Vec<_>>()
            .join("\n")
            .replace(SCRIPT_PLACE, &attribute(&self.script))
            .replace(INBOX_PLACE, &self.inbox.as_deref().map(attribute).unwrap_or_default());
        let loket = origin(&self.script).unwrap_or_default();
        let policy = format!(
            "default-src 'none'; script-src 'self' {loket}; frame-src {loket}; style-src 'self'; \
             img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
             require-trusted-types-for 'script'; trusted-types 'none'"
        );
        answer("text/html; charset=utf-8", &policy, html)
    }
}

/// Scheme, host and port of an address that can stand in a policy.
fn origin(address: &str) -> Option<&str> {
    let rest = ["https://", "http://"].into_iter().find_map(|scheme| address.strip_prefix(scheme))?;
    let host = rest.split(['/', '?', '#']).next()?;
    let fits = !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:[]".contains(&b));
    fits.then(|| address.get(..address.len() - rest.len() + host.len())).flatten()
}

fn attribute(text: &str) -> String {
    text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;")
}

fn answer(kind: &'static str, policy: &str, content: impl MessageBody + 'static) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, kind))
        .insert_header((header::CONTENT_SECURITY_POLICY, policy))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .body(content)
}

/// Every file of the shop, in its place.
macro_rules! files {
    ($($name:literal => $kind:literal),+ $(,)?) => {
        &[$((concat!("/shop/", $name), $kind, include_str!(concat!("shop/", $name)))),+]
    };
}

const FILES: &[(&str, &str, &str)] = files! {
    "shop.css" => "text/css; charset=utf-8",
    "shop.js" => "text/javascript; charset=utf-8",
    "hero.svg" => "image/svg+xml",
    "boot.svg" => "image/svg+xml",
    "coat.svg" => "image/svg+xml",
    "bag.svg" => "image/svg+xml",
    "cap.svg" => "image/svg+xml",
    "socks.svg" => "image/svg+xml",
    "flask.svg" => "image/svg+xml",
};
const PAGES: &[(&str, &str)] =
    &[("/shop", include_str!("shop/en.html")), ("/shop/nl", include_str!("shop/nl.html"))];

/// Mounts the shop.
pub(super) fn routes(shop: &Shop, service: &mut web::ServiceConfig) {
    for (path, html) in PAGES {
        let shop = shop.clone();
        let page = move || {
            let shop = shop.clone();
            async move { shop.page(html) }
        };
        service.route(path, web::get().to(page));
    }
    for &(path, kind, content) in FILES {
        service
            .route(path, web::get().to(move || async move { answer(kind, "default-src 'none'", content) }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_cut_out_of_an_address_or_refused() {
        assert_eq!(origin("http://127.0.0.1:8080/widget.js?site=demo"), Some("http://127.0.0.1:8080"));
        assert_eq!(origin("https://chat.example.org"), Some("https://chat.example.org"));
        for bad in
            ["", "chat.example.org", "javascript:x", "https://", "https://a b/", "https://a;script-src *"]
        {
            assert_eq!(origin(bad), None, "{bad}");
        }
    }

    #[test]
    fn each_page_names_the_script_once_and_all_files_are_there() {
        for (path, html) in PAGES {
            assert_eq!(html.matches(SCRIPT_PLACE).count(), 1, "{path}");
            for source in html.split("\"/shop/").skip(1).filter_map(|rest| rest.split('"').next()) {
                let place = format!("/shop/{source}");
                let known = FILES.iter().any(|(path, ..)| *path == place)
                    || PAGES.iter().any(|(path, _)| *path == place);
                assert!(known, "{path} names {place}");
            }
        }
    }
}
