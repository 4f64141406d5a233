//! RabbitMQ with nothing around it: frames written by hand on one connection, and confirms read. No
//! library, no heartbeat, no recovery: what the broker itself can do here.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const FRAME_END: u8 = 0xCE;

/// The place of a broker, out of an `amqp://USER:PASSWORD@HOST:PORT/VHOST`.
struct Place {
    address: String,
    user: String,
    password: String,
}

impl Place {
    fn of(url: &str) -> Self {
        let rest = url.strip_prefix("amqp://").expect("an amqp address");
        let (login, rest) = rest.split_once('@').expect("a user");
        let (user, password) = login.split_once(':').expect("a password");
        let address = rest.split('/').next().expect("a host").to_owned();
        Self { address, user: user.to_owned(), password: password.to_owned() }
    }
}

/// Arguments of a method, in the encoding of AMQP 0-9-1.
#[derive(Default)]
struct Arguments(Vec<u8>);

impl Arguments {
    fn of(class: u16, method: u16) -> Self {
        Self::default().u16(class).u16(method)
    }

    fn u8(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    fn u16(mut self, value: u16) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    fn u32(mut self, value: u32) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    fn u64(mut self, value: u64) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    fn short(self, text: &str) -> Self {
        let mut with = self.u8(u8::try_from(text.len()).expect("short"));
        with.0.extend(text.as_bytes());
        with
    }

    fn long(self, text: &str) -> Self {
        let mut with = self.u32(u32::try_from(text.len()).expect("long"));
        with.0.extend(text.as_bytes());
        with
    }

    fn table(self, entries: &[(&str, &str)]) -> Self {
        let mut inner = Self::default();
        for (name, value) in entries {
            inner = inner.short(name).u8(b'S').long(value);
        }
        let mut with = self.u32(u32::try_from(inner.0.len()).expect("small"));
        with.0.extend(inner.0);
        with
    }
}

fn frame(kind: u8, channel: u16, payload: &[u8], out: &mut Vec<u8>) {
    out.push(kind);
    out.extend(channel.to_be_bytes());
    out.extend(u32::try_from(payload.len()).expect("small").to_be_bytes());
    out.extend(payload);
    out.push(FRAME_END);
}

/// A connection with one channel in confirm mode and a quorum queue of its own.
struct Bare {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Bare {
    async fn open(url: &str, queue: &str) -> Self {
        let place = Place::of(url);
        let stream = TcpStream::connect(&place.address).await.expect("a broker");
        stream.set_nodelay(true).expect("a socket");
        let mut bare = Self { stream, buffer: Vec::new() };
        bare.stream.write_all(b"AMQP\0\0\x09\x01").await.expect("it is open");
        bare.expect(10, 10).await;
        let login = format!("\0{}\0{}", place.user, place.password);
        let start = Arguments::of(10, 11).table(&[]).short("PLAIN").long(&login).short("en_US");
        bare.tell(0, start).await;
        bare.expect(10, 30).await;
        // No heartbeat: the broker is on this machine.
        bare.tell(0, Arguments::of(10, 31).u16(0).u32(131_072).u16(0)).await;
        bare.ask(0, Arguments::of(10, 40).short("/").short("").u8(0), (10, 41)).await;
        bare.ask(1, Arguments::of(20, 10).short(""), (20, 11)).await;
        let declare = Arguments::of(50, 10).u16(0).short(queue).u8(0b10).table(&[("x-queue-type", "quorum")]);
        bare.ask(1, declare, (50, 11)).await;
        bare.ask(1, Arguments::of(85, 10).u8(0), (85, 11)).await;
        bare
    }

    async fn tell(&mut self, channel: u16, method: Arguments) {
        let mut out = Vec::new();
        frame(METHOD, channel, &method.0, &mut out);
        self.stream.write_all(&out).await.expect("it is open");
    }

    async fn ask(&mut self, channel: u16, method: Arguments, answer: (u16, u16)) {
        self.tell(channel, method).await;
        self.expect(answer.0, answer.1).await;
    }

    /// Reads frames until the method comes; its arguments.
    async fn expect(&mut self, class: u16, method: u16) -> Vec<u8> {
        loop {
            while let Some(payload) = self.next() {
                if payload[..4] == [class.to_be_bytes(), method.to_be_bytes()].concat() {
                    return payload[4..].to_vec();
                }
            }
            let read = self.stream.read_buf(&mut self.buffer).await.expect("an answer");
            assert!(read > 0, "the broker closed the connection before {class}.{method}");
        }
    }

    /// The payload of the next method frame that is here whole.
    fn next(&mut self) -> Option<Vec<u8>> {
        let size = u32::from_be_bytes(self.buffer.get(3..7)?.try_into().ok()?) as usize;
        let payload = self.buffer.get(7..7 + size)?.to_vec();
        self.buffer.get(7 + size)?;
        self.buffer.drain(..size + 8);
        Some(payload)
    }

    /// How many messages a second are confirmed, with so many in flight.
    async fn confirmed_per_second(
        &mut self,
        queue: &str,
        bytes: usize,
        in_flight: u64,
        time: Duration,
    ) -> f64 {
        let mut one = Vec::new();
        frame(METHOD, 1, &Arguments::of(60, 40).u16(0).short("").short(queue).u8(1).0, &mut one);
        // Persistent.
        let header = Arguments::default().u16(60).u16(0).u64(bytes as u64).u16(0x1000).u8(2);
        frame(HEADER, 1, &header.0, &mut one);
        frame(BODY, 1, &vec![b'x'; bytes], &mut one);
        let (start, mut sent, mut confirmed) = (Instant::now(), 0u64, 0u64);
        while start.elapsed() < time {
            let room = in_flight - (sent - confirmed);
            if room > 0 {
                self.stream.write_all(&one.repeat(usize::try_from(room).expect("few"))).await.expect("open");
                sent += room;
            }
            // basic.ack: the number, and whether all before it are meant.
            let ack = self.expect(60, 80).await;
            let number = u64::from_be_bytes(ack[..8].try_into().expect("a number"));
            confirmed = if ack[8] & 1 == 1 { confirmed.max(number) } else { confirmed + 1 };
        }
        super::load::rate(confirmed, start.elapsed())
    }
}

/// Confirmed messages a second of bare frames, on a quorum queue that is deleted afterwards.
pub(crate) async fn bare(url: &str, bytes: usize, in_flight: u64, time: Duration) -> f64 {
    let queue = format!("loket-bench-bare-{}", std::process::id());
    let mut bare = Bare::open(url, &queue).await;
    let rate = bare.confirmed_per_second(&queue, bytes, in_flight, time).await;
    bare.ask(1, Arguments::of(50, 40).u16(0).short(&queue).u8(0), (50, 41)).await;
    rate
}
