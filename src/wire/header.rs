//! One line of an answer's head.

use std::{borrow::Cow, fmt};

/// A header to be sent. Names are in lower case, as HTTP/2 demands and HTTP/1.1 allows;
/// values are printable ASCII, spaces and tabs.
///
/// Numbers are held inline, so that the headers of an admitted request cost no allocation
/// before the host copies them to where they are sent from.
#[derive(Clone, PartialEq, Eq)]
pub struct ResponseHeader<'a> {
    name: &'static str,
    value: Value<'a>,
}

#[derive(Clone)]
enum Value<'a> {
    /// A number in decimal, in the last bytes from `start` on.
    Number {
        digits: [u8; MAX_DIGITS],
        start: u8,
    },
    Text(Cow<'a, str>),
}

/// As many digits as a `u64` has at most.
const MAX_DIGITS: usize = 20;

impl<'a> ResponseHeader<'a> {
    /// The name.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The value.
    pub fn value(&self) -> &str {
        match &self.value {
            Value::Text(text) => text,
            Value::Number { .. } => str::from_utf8(self.value_bytes()).unwrap_or_default(),
        }
    }

    /// The value's bytes.
    #[inline]
    pub fn value_bytes(&self) -> &[u8] {
        match &self.value {
            Value::Text(text) => text.as_bytes(),
            Value::Number { digits, start } => {
                digits.get(usize::from(*start)..).unwrap_or_default()
            }
        }
    }

    /// The header with a value of its own.
    pub fn into_owned(self) -> ResponseHeader<'static> {
        let value = match self.value {
            Value::Number { digits, start } => Value::Number { digits, start },
            Value::Text(text) => Value::Text(Cow::Owned(text.into_owned())),
        };
        ResponseHeader { name: self.name, value }
    }

    pub(crate) fn text(name: &'static str, value: impl Into<Cow<'a, str>>) -> Self {
        Self { name, value: Value::Text(value.into()) }
    }

    #[inline]
    pub(crate) fn number(name: &'static str, number: u64) -> Self {
        let mut digits = [b'0'; MAX_DIGITS];
        let (mut rest, mut start) = (number, MAX_DIGITS);
        // Two digits a step, so that half as many divisions wait for one another.
        for pair in digits.as_chunks_mut::<2>().0.iter_mut().rev() {
            let (above, two) = (rest / 100, (rest % 100) as u8);
            *pair = [b'0' + two / 10, b'0' + two % 10];
            start -= 2;
            rest = above;
            if above == 0 {
                start += usize::from(two < 10);
                break;
            }
        }
        Self { name, value: Value::Number { digits, start: start as u8 } }
    }
}

impl PartialEq for Value<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Number { digits, start },
                Self::Number { digits: other_digits, start: other_start },
            ) => start == other_start && digits == other_digits,
            (Self::Text(text), Self::Text(other)) => text == other,
            _ => false,
        }
    }
}

impl Eq for Value<'_> {}

/// As it is sent: `retry-after: 12`.
impl fmt::Display for ResponseHeader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.value())
    }
}

impl fmt::Debug for ResponseHeader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ResponseHeader({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_decimal() {
        let powers = (0..20).map(|power| 10_u64.pow(power));
        let edges = powers.flat_map(|power| [power - 1, power, power + 1, power.saturating_mul(7)]);
        for number in edges.chain([1_700_000_000, u64::from(u32::MAX), u64::MAX]) {
            let header = ResponseHeader::number("retry-after", number);
            assert_eq!(header.value(), number.to_string());
            assert_eq!(header.value_bytes(), number.to_string().as_bytes());
            assert_eq!(header.to_string(), format!("retry-after: {number}"));
            assert_eq!(header, ResponseHeader::number("retry-after", number));
        }
        assert_ne!(ResponseHeader::number("a", 1), ResponseHeader::number("a", 10));
    }
}
