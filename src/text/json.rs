//! Whether a text is JSON.

/// How deep arrays and objects may be nested, so that a reader with a bounded stack reads the text.
const MAX_DEPTH: usize = 64;

/// Returns whether a text is JSON as RFC 8259 defines it, nested at most 64 levels deep.
///
/// It builds no value. A member may occur twice, as the RFC permits, and a `\u` escape may be half
/// of a surrogate pair.
pub(crate) fn is_json(text: &str) -> bool {
    let mut rest = Reader(text.as_bytes());
    rest.value(0).is_some() && rest.spaces().0.is_empty()
}

struct Reader<'t>(&'t [u8]);

impl Reader<'_> {
    /// Skips white space and a value that is in `depth` arrays and objects.
    fn value(&mut self, depth: usize) -> Option<()> {
        match self.spaces().byte()? {
            b'{' if depth < MAX_DEPTH => self.members(depth),
            b'[' if depth < MAX_DEPTH => self.elements(depth),
            b'"' => self.string(),
            b't' => self.word(b"rue"),
            b'f' => self.word(b"alse"),
            b'n' => self.word(b"ull"),
            b'-' => match self.byte()? {
                first @ b'0'..=b'9' => self.number(first),
                _ => None,
            },
            first @ b'0'..=b'9' => self.number(first),
            _ => None,
        }
    }

    fn members(&mut self, depth: usize) -> Option<()> {
        if self.spaces().takes(b'}') {
            return Some(());
        }
        loop {
            self.spaces().word(b"\"")?;
            self.string()?;
            self.spaces().word(b":")?;
            self.value(depth + 1)?;
            match self.spaces().byte()? {
                b',' => {}
                b'}' => return Some(()),
                _ => return None,
            }
        }
    }

    fn elements(&mut self, depth: usize) -> Option<()> {
        if self.spaces().takes(b']') {
            return Some(());
        }
        loop {
            self.value(depth + 1)?;
            match self.spaces().byte()? {
                b',' => {}
                b']' => return Some(()),
                _ => return None,
            }
        }
    }

    /// Skips the rest of a string, whose first quote was read.
    fn string(&mut self) -> Option<()> {
        loop {
            match self.byte()? {
                b'"' => return Some(()),
                b'\\' => match self.byte()? {
                    b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {}
                    b'u' => {
                        for _ in 0..4 {
                            self.byte().filter(u8::is_ascii_hexdigit)?;
                        }
                    }
                    _ => return None,
                },
                0..=0x1F => return None,
                _ => {}
            }
        }
    }

    /// Skips the rest of a number, whose first digit was read.
    fn number(&mut self, first: u8) -> Option<()> {
        if first != b'0' {
            self.digits();
        }
        if self.takes(b'.') && self.digits() == 0 {
            return None;
        }
        if self.takes(b'e') || self.takes(b'E') {
            let _sign = self.takes(b'+') || self.takes(b'-');
            if self.digits() == 0 {
                return None;
            }
        }
        Some(())
    }

    fn digits(&mut self) -> usize {
        self.skip(u8::is_ascii_digit)
    }

    fn spaces(&mut self) -> &mut Self {
        self.skip(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
        self
    }

    fn skip(&mut self, is: impl Fn(&u8) -> bool) -> usize {
        let count = self.0.iter().take_while(|byte| is(byte)).count();
        self.0 = self.0.get(count..).unwrap_or_default();
        count
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        self.0 = self.0.strip_prefix(word)?;
        Some(())
    }

    fn takes(&mut self, byte: u8) -> bool {
        self.word(&[byte]).is_some()
    }

    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reads(text: &str) -> bool {
        serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
    }

    #[test]
    fn the_grammar_is_that_of_rfc_8259() {
        for good in [
            "{}",
            "[]",
            "\"\"",
            "0",
            "-0",
            "-0.5e+10",
            "1E9",
            "true",
            "false",
            "null",
            " \t\r\n{ \"a\" : [ 1 , { } , \"\\u00e9\\n\" ] } ",
            "\"ä😀\u{7f}\"",
        ] {
            assert!(is_json(good) && reads(good), "{good}");
        }
        for bad in [
            "",
            " ",
            "{",
            "}",
            "[1,]",
            "{\"a\":1,}",
            "{\"a\"}",
            "{a:1}",
            "{1:1}",
            "01",
            "1.",
            ".5",
            "+1",
            "1e",
            "1e+",
            "-",
            "--1",
            "tru",
            "True",
            "nul",
            "\"",
            "\"\\x\"",
            "\"\\u12g4\"",
            "\"\\u12",
            "\"a\nb\"",
            "\"\0\"",
            "1 2",
            "{}{}",
            "[1 2]",
            "\u{feff}{}",
            "//",
            "NaN",
            "'a'",
            "[",
            "[[",
            "\u{a0}1",
        ] {
            assert!(!is_json(bad) && !reads(bad), "{bad}");
        }
    }

    #[test]
    fn the_depth_is_bounded() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(is_json(&nested(MAX_DEPTH)) && reads(&nested(MAX_DEPTH)));
        assert!(!is_json(&nested(MAX_DEPTH + 1)));
        assert!(!is_json(&"[".repeat(1_000_000)));
        assert!(!is_json(&"{\"\":".repeat(1_000_000)));
    }

    proptest! {
        #[test]
        fn it_agrees_with_another_reader(text in "[\\[\\]{}:,\"\\\\0-9eE+.a-fnlrtu \\-]{0,12}") {
            prop_assert_eq!(is_json(&text), reads(&text), "{}", text);
        }
    }
}
