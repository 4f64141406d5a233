//! W9 of `outgoing-webhooks` §15: the corpus of addresses, against the client with a network of the test's
//! own, which writes down every connection.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::clock::Clock;
use crate::trial::Scripted;

const LIMITS: Limits = Limits { connect: Duration::from_secs(5), total: Duration::from_secs(15) };

/// Inside addresses of IPv4: the first, the last and one within of each refused part.
const INSIDE_V4: &[&str] = &[
    "0.0.0.0",
    "0.1.2.3",
    "0.255.255.255",
    "10.0.0.0",
    "10.1.2.3",
    "10.255.255.255",
    "100.64.0.0",
    "100.100.100.200",
    "100.127.255.255",
    "127.0.0.0",
    "127.0.0.1",
    "127.1.2.3",
    "127.255.255.255",
    "169.254.0.0",
    "169.254.169.254",
    "169.254.170.2",
    "169.254.255.255",
    "172.16.0.0",
    "172.20.1.1",
    "172.31.255.255",
    "192.0.0.0",
    "192.0.0.192",
    "192.0.0.255",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.0",
    "192.168.1.1",
    "192.168.255.255",
    "198.18.0.0",
    "198.19.255.255",
    "198.51.100.7",
    "203.0.113.9",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "168.63.129.16",
];

/// Inside addresses of IPv6.
const INSIDE_V6: &[&str] = &[
    "::",
    "::1",
    "::7f00:1",
    "::a9fe:a9fe",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:192.168.1.1",
    "::ffff:0:7f00:1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::a00:1",
    "100::1",
    "fc00::1",
    "fd00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::a9fe:a9fe",
    "fec0::1",
    "ff02::1",
    "ff05::1:3",
    "2001::1",
    "2001:0:7f00:1::",
    "2001:10::1",
    "2001:20::1",
    "2001:1ff::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:a00:1::1",
    "2002:a9fe:a9fe::",
    "3fff::1",
    "3fff:fff::1",
    "5f00::1",
    "4000::1",
    "1fff::1",
    "::808:808",
    "::ffff:8.8.8.8",
];

/// Public addresses, many of them right beside refused ones.
const PUBLIC: &[&str] = &[
    "1.0.0.0",
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.0",
    "192.0.3.0",
    "192.88.98.255",
    "192.88.100.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "198.51.99.255",
    "203.0.112.255",
    "203.0.114.0",
    "223.255.255.255",
    "168.63.129.15",
    "168.63.129.17",
    "2001:200::1",
    "2001:4860:4860::8888",
    "2600::1",
    "2a00:1450:4001::1",
    "2606:4700::1111",
    "2003::1",
    "2001:db7::1",
    "2001:db9::1",
    "3ffe::1",
];

/// How one IPv4 address can be written, by those who hope that somebody reads it in another way.
fn spellings(address: Ipv4Addr) -> Vec<String> {
    let [a, b, c, d] = address.octets();
    let whole = u32::from(address);
    let wide = |text: &str| -> String {
        text.chars()
            .map(|c| if c.is_ascii_digit() { char::from_u32(u32::from(c) + 0xFEE0).unwrap() } else { c })
            .collect()
    };
    vec![
        format!("{a}.{b}.{c}.{d}"),
        format!("{a}.{b}.{c}.{d}."),
        format!("{whole}"),
        format!("{whole:#x}"),
        format!("0{whole:o}"),
        format!("{a:#x}.{b:#x}.{c:#x}.{d:#x}"),
        format!("0{a:o}.0{b:o}.0{c:o}.0{d:o}"),
        format!("{a}.{}", whole & 0x00FF_FFFF),
        format!("{a}.{b}.{}", whole & 0xFFFF),
        format!("{a:#x}.{}", whole & 0x00FF_FFFF),
        wide(&format!("{a}.{b}.{c}.{d}")),
        format!("{a}%2e{b}%2e{c}%2e{d}"),
        format!("{a}。{b}。{c}。{d}"),
        format!("[::ffff:{a}.{b}.{c}.{d}]"),
        format!("[::{a}.{b}.{c}.{d}]"),
        format!("[64:ff9b::{a}.{b}.{c}.{d}]"),
    ]
}

/// Spellings of hosts and addresses that are no public name on an allowed port.
const ODD: &[&str] = &[
    "https://localhost/",
    "https://localhost./",
    "https://LOCALHOST/",
    "https://a.localhost/",
    "https://a.localhost./",
    "https://printer.local/",
    "https://metadata.google.internal/",
    "https://METADATA.GOOGLE.INTERNAL/",
    "https://metadata.google.internal./",
    "https://nas.lan/",
    "https://router.home.arpa/",
    "https://abc.onion/",
    "https://intranet/",
    "https://kubernetes/",
    "https://ⓛocalhost/",
    "https://loc%61lhost/",
    "https://user@hooks.example.com/",
    "https://user:word@hooks.example.com/",
    "https://hooks.example.com@127.0.0.1/",
    "https://@hooks.example.com/",
    "https://127.0.0.1#@hooks.example.com/",
    "https://hooks.example.com/#part",
    "https://hooks.example.com/#",
    "http://hooks.example.com/",
    "ftp://hooks.example.com/",
    "file:///etc/passwd",
    "gopher://hooks.example.com/",
    "javascript:alert(1)",
    "data:text/plain,x",
    "ws://hooks.example.com/",
    "unix:/run/docker.sock",
    "//hooks.example.com/",
    "hooks.example.com",
    "https://",
    "https:///",
    "https:// hooks.example.com/",
    " https://hooks.example.com/",
    "https://hooks.example.com/ ",
    "https://hooks.exa\tmple.com/",
    "https://hooks.example.com\n/",
    "https://hooks.example.com\\@127.0.0.1/",
    "https:\\\\hooks.example.com/",
    "https://hooks.example.com:22/",
    "https://hooks.example.com:80/",
    "https://hooks.example.com:6379/",
    "https://hooks.example.com:0/",
    "https://hooks.example.com:65536/",
    "https://hooks.example.com:-1/",
    "https://hooks..example.com/",
    "https://.example.com/",
    "https://hooks.example.com../",
    "https://1.2.3/",
    "https://0/",
    "https://0x/",
    "https://[::1]/",
    "https://[::]/",
    "https://[fe80::1%25eth0]/",
    "https://[::ffff:7f00:1]/",
    "https://[0:0:0:0:0:0:0:1]/",
    "https://[2606:4700::1111]/",
    "https://1.1.1.1/",
    "https://8.8.8.8:8443/",
];

fn guarded(network: &Arc<Scripted>, rules: Rules) -> Guarded {
    Guarded::new(rules, Arc::clone(network) as Arc<dyn Network>, Vec::new(), Clock::system()).unwrap()
}

fn get() -> Call {
    Call { method: Method::GET, headers: Vec::new(), body: bytes::Bytes::new(), limits: LIMITS }
}

async fn outcome(client: &Guarded, url: &str) -> Result<u16, Failure> {
    let address = client.address(url).unwrap();
    client.send(&address, get()).await.map(|answer| answer.status.as_u16()).map_err(|failed| failed.failure)
}

/// A receiver that gives every caller this answer; counts nothing, because the network does.
async fn receiver(answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    crate::tasks::Tasks::new().spawn("receiver", async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    address
}

#[tokio::test]
async fn w9_more_than_300_spellings_of_inside_addresses_lead_to_no_connection() {
    let network = Arc::new(Scripted::default());
    let client = guarded(&network, Rules::default());
    let mut tried = HashSet::new();
    for inside in INSIDE_V4 {
        for host in spellings(inside.parse().unwrap()) {
            let url = format!("https://{host}/latest/meta-data/");
            assert!(client.address(&url).is_err(), "{url}");
            tried.insert(url);
        }
    }
    for inside in INSIDE_V6 {
        let url = format!("https://[{inside}]/");
        assert!(client.address(&url).is_err(), "{url}");
        tried.insert(url);
    }
    for url in ODD {
        assert!(client.address(url).is_err(), "{url}");
        tried.insert((*url).to_owned());
    }
    // Names are nice, and stand for something inside.
    for (n, inside) in INSIDE_V4.iter().chain(INSIDE_V6).enumerate() {
        let (name, ip): (_, IpAddr) = (format!("n{n}.example.com"), inside.parse().unwrap());
        network.name(&name, &[ip]);
        let mixed = format!("m{n}.example.com");
        network.name(&mixed, &["1.1.1.1".parse().unwrap(), ip]);
        for name in [name, mixed] {
            let url = format!("https://{name}/");
            let address = client.address(&url).unwrap();
            assert!(client.permits(&address, LIMITS.connect).await.is_err(), "{inside}");
            assert_eq!(outcome(&client, &url).await, Err(Failure::RefusedAddress), "{inside}");
            tried.insert(format!("{url} {inside}"));
        }
    }
    assert!(tried.len() >= 300, "{}", tried.len());
    assert_eq!(network.dialled(), [], "connections to inside");
}

#[tokio::test]
async fn w9_public_addresses_are_connected_to() {
    let network = Arc::new(Scripted::default());
    let client = guarded(&network, Rules::default());
    for (n, public) in PUBLIC.iter().enumerate() {
        let (name, ip): (_, IpAddr) = (format!("n{n}.example.com"), public.parse().unwrap());
        network.name(&name, &[ip]);
        // The test's internet is empty: it was tried, and that is what matters.
        assert_eq!(outcome(&client, &format!("https://{name}/")).await, Err(Failure::Connection), "{public}");
        assert_eq!(network.dialled().last(), Some(&SocketAddr::new(ip, 443)));
    }
    assert!(PUBLIC.len() >= 30);
}

#[tokio::test]
async fn w9_a_name_that_stands_for_something_else_a_moment_later_gains_nothing() {
    let network = Arc::new(Scripted::default());
    let client = guarded(&network, Rules::default());
    let (public, inside) = ("1.1.1.1".parse().unwrap(), "169.254.169.254".parse().unwrap());
    network.rebinding("rebinds.example.com", &[&[public], &[inside]]);
    let address = client.address("https://rebinds.example.com/").unwrap();
    assert_eq!(client.permits(&address, LIMITS.connect).await, Ok(()), "kind at registration");
    assert_eq!(outcome(&client, "https://rebinds.example.com/").await, Err(Failure::RefusedAddress));
    assert_eq!(network.dialled(), []);
    // What was looked up is what is connected to: there is no second look-up.
    network.rebinding("once.example.com", &[&[public], &[inside]]);
    assert_eq!(outcome(&client, "https://once.example.com/").await, Err(Failure::Connection));
    assert_eq!(network.dialled(), [SocketAddr::new(public, 443)]);
}

#[tokio::test]
async fn w9_a_connection_that_ends_up_inside_is_given_up_before_anything_is_sent() {
    let network = Arc::new(Scripted::default());
    let client = guarded(&network, Rules { allow_http: true, ..Rules::default() });
    let inside = receiver("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    network.name("diverted.example.com", &["1.1.1.1".parse().unwrap()]);
    network.divert(SocketAddr::new("1.1.1.1".parse().unwrap(), 80), inside);
    assert_eq!(outcome(&client, "http://diverted.example.com/").await, Err(Failure::RefusedAddress));
}

fn own_networks() -> Rules {
    let allow_networks = vec!["127.0.0.0/8".parse().unwrap()];
    Rules { allow_networks, allow_http: true, ..Rules::default() }
}

#[tokio::test]
async fn w9_a_redirect_to_the_inside_is_an_answer() {
    let network = Arc::new(Scripted::default());
    let client = guarded(&network, own_networks());
    let at = receiver(
        "HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/latest/\r\ncontent-length: 0\r\n\r\n",
    )
    .await;
    network.name("moved.example.com", &[at.ip()]);
    assert_eq!(outcome(&client, &format!("http://moved.example.com:{}/", at.port())).await, Ok(302));
    assert_eq!(network.dialled(), [at]);
}

#[test]
fn the_operators_networks_are_allowed_also_as_addresses_and_what_is_denied_is_not() {
    let rules = Rules {
        allow_networks: vec!["10.1.0.0/16".parse().unwrap(), "127.0.0.0/8".parse().unwrap()],
        deny_networks: vec!["10.1.9.0/24".parse().unwrap(), "93.184.216.0/24".parse().unwrap()],
        ..Rules::default()
    };
    for (address, allowed) in [
        ("10.1.2.3", true),
        ("10.1.9.1", false),
        ("10.2.0.1", false),
        ("93.184.216.34", false),
        ("1.1.1.1", true),
        ("::ffff:127.0.0.1", false),
    ] {
        assert_eq!(rules.allows(address.parse().unwrap()), allowed, "{address}");
    }
    for (url, allowed) in [
        ("https://10.1.2.3/", true),
        ("https://10.1.2.3:8443/a?b=c", true),
        ("https://10.1.9.1/", false),
        ("https://1.1.1.1/", false),
        ("https://0x0a.1.2.3/", false),
        ("https://2130706433/", false),
        ("https://hooks.example.com/", true),
        ("https://hooks.example.com:8443/", true),
        ("https://hooks.example.com:9000/", false),
    ] {
        assert_eq!(rules.read(url).is_ok(), allowed, "{url}");
    }
    let longest = format!("https://hooks.example.com/{}", "a".repeat(URL_BYTES_MAX));
    assert!(rules.read(&longest).is_err());
}

#[tokio::test]
async fn the_deadline_holds_to_the_last_byte_and_a_body_without_end_is_cut() {
    let network = Arc::new(Scripted::default());
    let client = guarded(&network, own_networks());
    let limits = Limits { connect: Duration::from_secs(5), total: Duration::from_millis(300) };
    let stalls = receiver("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf").await;
    let address = client.address(&format!("http://{stalls}/")).unwrap();
    let mut answer = client.send(&address, Call { limits, ..get() }).await.unwrap();
    // The receiver closes after its answer: a body that is shorter than it said.
    assert!(answer.read(16).await.is_err());

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let tasks = crate::tasks::Tasks::new();
    tasks.spawn("endless", async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
            while stream.write_all(&[b'x'; 8192]).await.is_ok() {}
        }
    });
    let address = client.address(&format!("http://{at}/")).unwrap();
    let mut answer = client.send(&address, get()).await.unwrap();
    let (body, cut) = answer.read(16 * 1024).await.unwrap();
    assert_eq!((body.len(), cut), (16 * 1024, true));

    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = client.address(&format!("http://{}/", silent.local_addr().unwrap())).unwrap();
    let failed = client.send(&address, Call { limits, ..get() }).await.err().unwrap();
    assert_eq!(failed.failure, Failure::TimeoutTotal);
    assert!(failed.phases.total_ms >= 300, "{failed:?}");
}

#[tokio::test]
async fn a_certificate_that_is_not_right_is_refused_and_there_is_no_switch() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let made = rcgen::generate_simple_self_signed(vec!["hooks.example.com".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    crate::tasks::Tasks::new().spawn("encrypted", async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await;
        }
    });
    let network = Arc::new(Scripted::default());
    network.name("hooks.example.com", &[at.ip()]);
    network.name("other.example.com", &[at.ip()]);
    let url = |host: &str| format!("https://{host}:{}/", at.port());
    let client = guarded(&network, own_networks());
    assert_eq!(outcome(&client, &url("hooks.example.com")).await, Err(Failure::Tls), "signed by itself");
    let roots = vec![made.cert.der().clone()];
    let trusting =
        Guarded::new(own_networks(), Arc::clone(&network) as Arc<dyn Network>, roots, Clock::system())
            .unwrap();
    assert_eq!(outcome(&trusting, &url("hooks.example.com")).await, Ok(204));
    assert_eq!(outcome(&trusting, &url("other.example.com")).await, Err(Failure::Tls), "another's");
}
