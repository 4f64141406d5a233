//! Which brokers this was tested with, and how a broker says what it is.

/// The oldest broker, by major and minor number: quorum queues that dead-letter at least once.
const OLDEST: (u32, u32) = (3, 10);
/// Brokers from this number on are not tested.
const UNTESTED: (u32, u32) = (5, 0);
/// A single active consumer can stop a queue of these for ever (server issue 17317).
const BROKEN: [(u32, u32, u32); 6] = [(4, 3, 0), (4, 3, 1), (4, 3, 2), (4, 3, 3), (4, 3, 4), (4, 3, 5)];

/// Checks the payload of `connection.start`; a refusal is a sentence.
pub(super) fn check(greeting: &[u8]) -> Result<(), String> {
    let properties = properties(greeting).ok_or("its greeting cannot be read; is this RabbitMQ?")?;
    let named = |name: &str| properties.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    if named("product") != Some("RabbitMQ") {
        return Err(format!("it is {:?}, and this needs RabbitMQ", named("product").unwrap_or("nameless")));
    }
    let version = named("version").unwrap_or_default();
    let mut numbers = version.split(['.', '-', '+']).map_while(|number| number.parse().ok());
    let (Some(major), Some(minor)) = (numbers.next(), numbers.next()) else {
        return Err(format!("its version {version:?} cannot be read"));
    };
    let patch = numbers.next().unwrap_or(0);
    if (major, minor) < OLDEST || (major, minor) >= UNTESTED {
        return Err(format!(
            "it is RabbitMQ {version}, and this is tested with {}.{} up to, not including, {}.{}",
            OLDEST.0, OLDEST.1, UNTESTED.0, UNTESTED.1
        ));
    }
    if BROKEN.contains(&(major, minor, patch)) {
        return Err(format!(
            "RabbitMQ {version} can stop a queue with a single active consumer for ever; take 4.3.6 or later, \
             or 4.2"
        ));
    }
    Ok(())
}

/// The texts among the server's properties.
fn properties(greeting: &[u8]) -> Option<Vec<(String, String)>> {
    let mut rest = Bytes(greeting);
    // Class and method 10.10, then the protocol's two version bytes.
    if rest.take(6)?.get(..4)? != [0, 10, 0, 10] {
        return None;
    }
    let mut table = Bytes(rest.long()?);
    let mut found = Vec::new();
    while !table.0.is_empty() {
        let name = table.short()?;
        match table.take(1)?.first()? {
            b'S' => found.push((text(name), text(table.long()?))),
            b'F' => drop(table.long()?),
            b't' => drop(table.take(1)?),
            b'I' => drop(table.take(4)?),
            b'l' => drop(table.take(8)?),
            _ => return None,
        }
    }
    Some(found)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn short(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(*self.take(1)?.first()?);
        self.take(length)
    }

    fn long(&mut self) -> Option<&'a [u8]> {
        let length = u32::from_be_bytes(self.take(4)?.try_into().ok()?);
        self.take(usize::try_from(length).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn greeting(product: &str, version: &str) -> Vec<u8> {
        let mut table = Vec::new();
        let mut put = |name: &str, kind: u8, value: &[u8]| {
            table.push(u8::try_from(name.len()).unwrap());
            table.extend_from_slice(name.as_bytes());
            table.push(kind);
            if matches!(kind, b'S' | b'F') {
                table.extend_from_slice(&u32::try_from(value.len()).unwrap().to_be_bytes());
            }
            table.extend_from_slice(value);
        };
        put("capabilities", b'F', b"\x12publisher_confirmst\x01");
        put("flag", b't', &[1]);
        put("product", b'S', product.as_bytes());
        put("version", b'S', version.as_bytes());
        let size = u32::try_from(table.len()).unwrap().to_be_bytes();
        [&[0, 10, 0, 10, 0, 9][..], &size, &table, b"\0\0\0\x05PLAIN"].concat()
    }

    #[test]
    fn a_broker_in_the_tested_range_is_taken() {
        for version in ["3.10.0", "3.10.8", "3.13.7", "4.0.0-rc.1", "4.2.9", "4.3.6"] {
            assert_eq!(check(&greeting("RabbitMQ", version)), Ok(()), "{version}");
        }
    }

    #[test]
    fn any_other_is_refused_with_a_sentence() {
        for (product, version, sentence) in [
            ("RabbitMQ", "3.9.29", "it is RabbitMQ 3.9.29, and this is tested with 3.10 up to"),
            ("RabbitMQ", "5.0.0", "it is RabbitMQ 5.0.0"),
            ("RabbitMQ", "4.3.5", "take 4.3.6 or later"),
            ("RabbitMQ", "new", "\"new\" cannot be read"),
            ("LavinMQ", "2.0.0", "it is \"LavinMQ\", and this needs RabbitMQ"),
        ] {
            let refused = check(&greeting(product, version)).unwrap_err();
            assert!(refused.contains(sentence), "{refused}");
        }
        let whole = greeting("RabbitMQ", "3.10.8");
        for length in 0..whole.len() - 9 {
            assert!(check(&whole[..length]).is_err(), "{length} bytes of it are taken");
        }
        assert!(check(b"HTTP/1.1 400 Bad Request").is_err());
    }
}
