//! Bodies to values. Strict about the grammar, lenient about what providers and their customers put
//! into strings and numbers: one odd emoji must not cost a thousand messages.
//!
//! Differences to a plain JSON reader, each needed (`security` H6, `whatsapp` §15):
//!
//! - an object or array below [`DEPTH_MAX`] becomes a string of its own raw text, unread;
//! - a lone surrogate and U+0000 become U+FFFD;
//! - an integer outside `i64` and a number too large for `f64` become text;
//! - of equal keys the last one wins.

use serde_json::{Map, Number, Value};

use crate::channel::Rejected;

/// How many objects and arrays deep a body is read.
pub const DEPTH_MAX: usize = 64;

/// Reads a callback body. Total, and its stack is bounded by [`DEPTH_MAX`]; the error is
/// [`Rejected::NotJson`] and names a position, never contents.
pub fn parse(body: &[u8]) -> Result<Value, Rejected> {
    let text = std::str::from_utf8(body)
        .map_err(|error| Rejected::NotJson(format!("not UTF-8 at byte {}", error.valid_up_to())))?;
    let mut reader = Reader { text, at: 0 };
    reader
        .whole()
        .ok_or_else(|| Rejected::NotJson(format!("byte {} of {} is not expected", reader.at, text.len())))
}

/// Reads forward only; `None` means that the byte at `at` does not belong there.
struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn whole(&mut self) -> Option<Value> {
        let value = self.value(0)?;
        self.space();
        (self.at == self.text.len()).then_some(value)
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek() == Some(byte)).then(|| self.at += 1)
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn since(&self, start: usize) -> &'a str {
        self.text.get(start..self.at).unwrap_or_default()
    }

    /// A value inside `depth` objects and arrays.
    fn value(&mut self, depth: usize) -> Option<Value> {
        self.space();
        match self.peek()? {
            b'{' | b'[' if depth >= DEPTH_MAX => self.unread().map(|raw| Value::String(raw.to_owned())),
            b'{' => self.object(depth + 1),
            b'[' => self.array(depth + 1),
            b'"' => self.string().map(Value::String),
            b't' => self.word("true", Value::Bool(true)),
            b'f' => self.word("false", Value::Bool(false)),
            b'n' => self.word("null", Value::Null),
            _ => self.number(),
        }
    }

    fn word(&mut self, word: &str, value: Value) -> Option<Value> {
        let rest = self.text.as_bytes().get(self.at..)?;
        rest.starts_with(word.as_bytes()).then(|| {
            self.at += word.len();
            value
        })
    }

    fn object(&mut self, depth: usize) -> Option<Value> {
        let mut members = Map::new();
        self.take(b'{')?;
        self.space();
        if self.take(b'}').is_some() {
            return Some(Value::Object(members));
        }
        loop {
            self.space();
            let key = self.string()?;
            self.space();
            self.take(b':')?;
            members.insert(key, self.value(depth)?);
            self.space();
            if self.take(b',').is_none() {
                self.take(b'}')?;
                return Some(Value::Object(members));
            }
        }
    }

    fn array(&mut self, depth: usize) -> Option<Value> {
        let mut items = Vec::new();
        self.take(b'[')?;
        self.space();
        if self.take(b']').is_some() {
            return Some(Value::Array(items));
        }
        loop {
            items.push(self.value(depth)?);
            self.space();
            if self.take(b',').is_none() {
                self.take(b']')?;
                return Some(Value::Array(items));
            }
        }
    }

    /// The text of an object or array, with nothing checked but that its brackets and strings close.
    fn unread(&mut self) -> Option<&'a str> {
        let start = self.at;
        let mut open = 0_usize;
        loop {
            match self.peek()? {
                b'{' | b'[' => open += 1,
                b'}' | b']' => open -= 1,
                b'"' => {
                    self.at += 1;
                    while self.peek()? != b'"' {
                        self.at += if self.peek()? == b'\\' { 2 } else { 1 };
                    }
                }
                _ => {}
            }
            self.at += 1;
            if open == 0 {
                return Some(self.since(start));
            }
        }
    }

    fn string(&mut self) -> Option<String> {
        self.take(b'"')?;
        let mut string = String::new();
        loop {
            let start = self.at;
            while self.peek().is_some_and(|byte| byte >= b' ' && byte != b'"' && byte != b'\\') {
                self.at += 1;
            }
            string.push_str(self.since(start));
            if self.take(b'"').is_some() {
                return Some(string);
            }
            self.take(b'\\')?;
            string.push(self.escaped()?);
        }
    }

    fn escaped(&mut self) -> Option<char> {
        let plain = match self.peek()? {
            byte @ (b'"' | b'\\' | b'/') => char::from(byte),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                self.at += 1;
                return self.unicode();
            }
            _ => return None,
        };
        self.at += 1;
        Some(plain)
    }

    fn unicode(&mut self) -> Option<char> {
        let unit = self.four_digits()?;
        if let high @ 0xd800..=0xdbff = unit {
            let after_high = self.at;
            if self.take(b'\\').is_some()
                && self.take(b'u').is_some()
                && let Some(low @ 0xdc00..=0xdfff) = self.four_digits()
            {
                return char::from_u32(0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00));
            }
            self.at = after_high;
        }
        Some(char::from_u32(unit).filter(|&c| c != '\0').unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn four_digits(&mut self) -> Option<u32> {
        let digits = self.text.get(self.at..self.at + 4)?;
        let all_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let unit = u32::from_str_radix(digits, 16).ok().filter(|_| all_hex)?;
        self.at += 4;
        Some(unit)
    }

    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }

    fn number(&mut self) -> Option<Value> {
        let start = self.at;
        let _ = self.take(b'-');
        if self.take(b'0').is_none() {
            self.digits()?;
        }
        let mut is_integer = true;
        if self.take(b'.').is_some() {
            self.digits()?;
            is_integer = false;
        }
        if self.take(b'e').or_else(|| self.take(b'E')).is_some() {
            let _ = self.take(b'+').or_else(|| self.take(b'-'));
            self.digits()?;
            is_integer = false;
        }
        let text = self.since(start);
        let number = if is_integer {
            text.parse::<i64>().ok().map(Number::from)
        } else {
            text.parse::<f64>().ok().and_then(Number::from_f64)
        };
        Some(number.map_or_else(|| Value::String(text.to_owned()), Value::Number))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> Value {
        parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn odd_strings_keep_their_neighbours() {
        let cases = [
            (r#"["\ud800","ok"]"#, json!(["\u{fffd}", "ok"])),
            (r#"["\udc00x","ok"]"#, json!(["\u{fffd}x", "ok"])),
            (r#"["\ud800\ud83d\ude00"]"#, json!(["\u{fffd}😀"])),
            (r#"["\ud800\n","\ud800A"]"#, json!(["\u{fffd}\n", "\u{fffd}A"])),
            (r#"["a\u0000b"]"#, json!(["a\u{fffd}b"])),
            (r#"["\uD83D\uDE00\/\b\f\r\t\"\\"]"#, json!(["😀/\u{8}\u{c}\r\t\"\\"])),
            (r#"{"\ud800":1}"#, json!({"\u{fffd}": 1})),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text), expected, "{text}");
        }
    }

    #[test]
    fn numbers_that_do_not_fit_become_text_and_the_last_of_equal_keys_wins() {
        assert_eq!(
            read("[9223372036854775807,9223372036854775808,-9223372036854775809,1e999,-0.5,12E+1]"),
            json!([i64::MAX, "9223372036854775808", "-9223372036854775809", "1e999", -0.5, 120.0])
        );
        assert_eq!(read(r#"{"a":1,"b":2,"a":3}"#), json!({"a": 3, "b": 2}));
    }

    #[test]
    fn deep_parts_stay_raw_and_their_neighbours_are_read() {
        let deep = format!("{}\"]\\\"[\"{}", "[".repeat(100_000), "]".repeat(100_000));
        let body = read(&format!(r#"{{"deep":{deep},"flat":1}}"#));
        assert_eq!(body["flat"], 1);
        let mut inner = &body["deep"];
        for _ in 1..DEPTH_MAX {
            inner = &inner[0];
        }
        let raw = inner.as_str().unwrap();
        assert_eq!(raw.len(), deep.len() - 2 * (DEPTH_MAX - 1));
        let objects = format!("{}1{}", r#"{"a":"#.repeat(65), "}".repeat(65));
        assert!(read(&objects).to_string().contains(r#""{\"a\":1}""#));
    }

    #[test]
    fn what_is_no_json_is_refused() {
        let deep_and_open = "[".repeat(100_000);
        let bad = [
            "",
            " ",
            "{",
            "[1",
            "[1,]",
            "{\"a\":1,}",
            "{a:1}",
            "{\"a\" 1}",
            "\"open",
            "\"\\",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\u+123\"",
            "\"\u{1}\"",
            "01",
            "-",
            "1.",
            "1e",
            "+1",
            ".5",
            "tru",
            "nul",
            "[] []",
            "\u{feff}{}",
            "\u{1f}\u{8b}",
            "NaN",
            "[1 2]",
            "{\"a\":}",
            &deep_and_open,
        ];
        for text in bad {
            assert!(matches!(parse(text.as_bytes()), Err(Rejected::NotJson(_))), "{text:.40}");
        }
        assert_eq!(parse(b"\"a\xff\""), Err(Rejected::NotJson("not UTF-8 at byte 2".to_owned())));
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "\\PC*".prop_map(Value::from),
            "[^\u{0}]*".prop_map(Value::from),
        ];
        leaf.prop_recursive(8, 64, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map("[^\u{0}]*", inner, 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_a_common_writer_wrote_is_read_back(value in any_json()) {
            for text in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
                prop_assert_eq!(parse(text.as_bytes()), Ok(value.clone()));
            }
        }

        #[test]
        fn any_bytes_end_in_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
            let ours = parse(&bytes);
            if serde_json::from_slice::<Value>(&bytes).is_ok() {
                prop_assert!(ours.is_ok());
            }
        }

        #[test]
        fn what_the_common_reader_refuses_is_refused(text in "[\\[\\]{}:,\"\\\\u0-9a-f.eE+\\- truefalsn]{0,24}") {
            let theirs = serde_json::from_str::<Value>(&text);
            let ours = parse(text.as_bytes());
            match theirs {
                Ok(_) => prop_assert!(ours.is_ok(), "{}", text),
                Err(error) => {
                    // Where we are lenient on purpose.
                    let words = error.to_string();
                    let lenient = words.contains("surrogate")
                        || words.contains("unexpected end of hex escape")
                        || words.contains("number out of range");
                    prop_assert!(lenient || ours.is_err(), "{}: {}", text, words);
                }
            }
        }
    }
}
