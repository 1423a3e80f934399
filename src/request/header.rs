//! A header of a response.

use std::{borrow::Cow, fmt};

/// A header of a response. The name is in lower case, as HTTP/2 requires and HTTP/1.1 allows. The
/// value is printable ASCII, spaces and tabs.
///
/// Numbers are held inline, so that the headers of an admitted request need no allocation before the
/// host copies them into its response.
#[derive(Clone, PartialEq, Eq)]
pub struct ResponseHeader<'a> {
    name: &'static str,
    value: Value<'a>,
}

#[derive(Clone)]
enum Value<'a> {
    /// A number in decimal, in the bytes from `start` on.
    Number {
        digits: [u8; MAX_DIGITS],
        start: u8,
    },
    Text(Cow<'a, str>),
}

/// The digits of three words of eight. A `u64` has at most 20 digits.
const MAX_DIGITS: usize = 24;

impl<'a> ResponseHeader<'a> {
    /// Returns the name.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Returns the value.
    pub fn value(&self) -> &str {
        match &self.value {
            Value::Text(text) => text,
            Value::Number { .. } => str::from_utf8(self.value_bytes()).unwrap_or_default(),
        }
    }

    /// Returns the bytes of the value.
    #[inline]
    pub fn value_bytes(&self) -> &[u8] {
        match &self.value {
            Value::Text(text) => text.as_bytes(),
            Value::Number { digits, start } => {
                digits.get(usize::from(*start)..).unwrap_or_default()
            }
        }
    }

    /// Returns the header with a value that borrows nothing.
    pub fn into_owned(self) -> ResponseHeader<'static> {
        let value = match self.value {
            Value::Number { digits, start } => Value::Number { digits, start },
            Value::Text(text) => Value::Text(Cow::Owned(text.into_owned())),
        };
        ResponseHeader { name: self.name, value }
    }

    #[inline]
    pub(crate) fn text(name: &'static str, value: impl Into<Cow<'a, str>>) -> Self {
        Self { name, value: Value::Text(value.into()) }
    }

    #[inline]
    pub(crate) fn number(name: &'static str, number: u64) -> Self {
        const BLOCK: u64 = 100_000_000;

        // Almost every number is below the first bound. A time is below the second.
        let (low, above) = (number % BLOCK, number / BLOCK);
        let words = [eight_digits(above / BLOCK), eight_digits(above % BLOCK), eight_digits(low)];
        // The last digit is written even if it is zero.
        let zeros = match words {
            [0, 0, low] => 16 + low.trailing_zeros().min(56) / 8,
            [0, middle, _] => 8 + middle.trailing_zeros() / 8,
            [high, ..] => high.trailing_zeros() / 8,
        };
        let text = words.map(|word| (word | 0x3030_3030_3030_3030).to_le_bytes());
        let mut digits = [0; MAX_DIGITS];
        for (to, from) in digits.as_chunks_mut::<8>().0.iter_mut().zip(text) {
            *to = from;
        }
        Self { name, value: Value::Number { digits, start: zeros as u8 } }
    }
}

/// Returns the digits of a number below 100,000,000, one in each byte, the first in the lowest byte.
///
/// It computes all of them at once in one word: first the halves of four digits each, then the
/// quarters of two, then the digits. Digit by digit, each would wait for the one before it, and bytes
/// that were just written one by one are slow to copy.
#[inline]
const fn eight_digits(number: u64) -> u64 {
    if number == 0 {
        return 0;
    }
    let halves = (number / 10_000) | ((number % 10_000) << 32);
    // 10,486 / 2^20 is close enough to 1 / 100 below 10,000, and 103 / 2^10 to 1 / 10 below 100.
    let hundreds = (halves * 10_486) >> 20 & 0x0000_007f_0000_007f;
    let quarters = hundreds | ((halves - 100 * hundreds) << 16);
    let tens = (quarters * 103) >> 10 & 0x000f_000f_000f_000f;
    tens | ((quarters - 10 * tens) << 8)
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

/// Writes the header as it is sent: `retry-after: 12`.
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
        for number in 0..100_000_u64 {
            let number = number * 1_009;
            assert_eq!(ResponseHeader::number("a", number).value(), number.to_string());
        }
        assert_ne!(ResponseHeader::number("a", 1), ResponseHeader::number("a", 10));
    }
}
