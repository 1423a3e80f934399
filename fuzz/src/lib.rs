//! Shared parts of the fuzz targets: request heads that often contain credentials.

use arbitrary::Arbitrary;
use keyward::request::PlainHead;

/// The head of a request.
#[derive(Arbitrary, Debug)]
pub struct Head<'a> {
    pub lines: Vec<Line<'a>>,
    pub query: Option<Query<'a>>,
}

/// One header line.
#[derive(Arbitrary, Debug)]
pub struct Line<'a> {
    name: LineName<'a>,
    value: Value<'a>,
}

#[derive(Arbitrary, Debug)]
enum LineName<'a> {
    ApiKey,
    ApiKeyInAnotherCase,
    Authorization,
    AuthorizationInAnotherCase,
    Cookie,
    Other(&'a str),
}

/// The value of a line or a parameter.
#[derive(Arbitrary, Debug)]
pub enum Value<'a> {
    /// One of the target's tokens.
    Token(u8),
    /// A token after a scheme and spaces.
    BearerToken(u8, u8, u8),
    /// A token with one changed byte.
    Spoilt(u8, u8, u8),
    Bearer(u8, u8, &'a [u8]),
    Bytes(&'a [u8]),
}

#[derive(Arbitrary, Debug)]
pub enum Query<'a> {
    Parameters(Vec<Parameter<'a>>),
    Bytes(&'a [u8]),
}

/// One query parameter, followed by its separator.
#[derive(Arbitrary, Debug)]
pub struct Parameter<'a> {
    name: ParameterName<'a>,
    value: Option<Value<'a>>,
    separator: u8,
}

#[derive(Arbitrary, Debug)]
enum ParameterName<'a> {
    ApiKey,
    Encoded(u16),
    InAnotherCase,
    WithBlanks,
    Bytes(&'a [u8]),
}

impl Head<'_> {
    /// Builds the head, with these tokens to choose from.
    pub fn plain(&self, tokens: &[&[u8]]) -> PlainHead {
        let head = self.lines().fold(PlainHead::new(), |head, line| {
            head.with_header(line.name(), line.value.bytes(tokens))
        });
        match self.query_bytes(tokens) {
            Some(query) => head.with_query(query),
            None => head,
        }
    }

    /// Returns the values of all lines with this name.
    pub fn values(&self, name: &str, tokens: &[&[u8]]) -> Vec<Vec<u8>> {
        let named = self.lines().filter(|line| line.name().eq_ignore_ascii_case(name));
        named.map(|line| line.value.bytes(tokens)).collect()
    }

    pub fn query_bytes(&self, tokens: &[&[u8]]) -> Option<Vec<u8>> {
        Some(match self.query.as_ref()? {
            Query::Bytes(bytes) => bytes.to_vec(),
            Query::Parameters(parameters) => {
                let mut query = Vec::new();
                for parameter in parameters.iter().take(12) {
                    query.extend(parameter.name.bytes());
                    if let Some(value) = &parameter.value {
                        query.push(b'=');
                        query.extend(value.bytes(tokens));
                    }
                    // Prefers the separator `&`.
                    query.push(b"&&&&&;?#"[usize::from(parameter.separator % 8)]);
                }
                query.pop();
                query
            }
        })
    }

    fn lines(&self) -> impl Iterator<Item = &Line<'_>> {
        self.lines.iter().take(12)
    }
}

impl Line<'_> {
    fn name(&self) -> &str {
        match self.name {
            LineName::ApiKey => "x-api-key",
            LineName::ApiKeyInAnotherCase => "X-Api-KEY",
            LineName::Authorization => "authorization",
            LineName::AuthorizationInAnotherCase => "Authorization",
            LineName::Cookie => "cookie",
            LineName::Other(name) => name,
        }
    }
}

impl Value<'_> {
    pub fn bytes(&self, tokens: &[&[u8]]) -> Vec<u8> {
        let token =
            |at: u8| tokens.get(usize::from(at) % tokens.len().max(1)).copied().unwrap_or_default();
        match *self {
            Self::Token(at) => token(at).to_vec(),
            Self::BearerToken(case, spaces, at) => bearer(case, spaces, token(at)),
            Self::Spoilt(at, position, by) => {
                let mut bytes = token(at).to_vec();
                let position = usize::from(position) % bytes.len().max(1);
                if let Some(byte) = bytes.get_mut(position) {
                    *byte ^= by;
                }
                bytes
            }
            Self::Bearer(case, spaces, bytes) => bearer(case, spaces, bytes),
            Self::Bytes(bytes) => bytes.to_vec(),
        }
    }
}

impl ParameterName<'_> {
    fn bytes(&self) -> Vec<u8> {
        const NAME: &[u8] = b"api_key";

        match *self {
            Self::ApiKey => NAME.to_vec(),
            Self::Encoded(which) => percent_encoded(NAME, which),
            Self::InAnotherCase => b"Api_KEY".to_vec(),
            Self::WithBlanks => b"%20api_key%20".to_vec(),
            Self::Bytes(bytes) => bytes.to_vec(),
        }
    }
}

/// Percent-encodes the bytes whose bits are set.
pub fn percent_encoded(text: &[u8], which: u16) -> Vec<u8> {
    let mut encoded = Vec::new();
    for (at, byte) in text.iter().enumerate() {
        if which >> (at % 16) & 1 == 1 {
            encoded.extend(format!("%{byte:02X}").bytes());
        } else {
            encoded.push(*byte);
        }
    }
    encoded
}

/// Percent-decoding, implemented independently of the library.
pub fn percent_decoded(raw: &[u8]) -> Option<Vec<u8>> {
    let mut pieces = raw.split(|byte| *byte == b'%');
    let mut decoded = pieces.next().unwrap_or_default().to_vec();
    for piece in pieces {
        let (digits, rest) = piece.split_at_checked(2)?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        let digits = std::str::from_utf8(digits).ok()?;
        decoded.push(u8::from_str_radix(digits, 16).ok()?);
        decoded.extend(rest);
    }
    Some(decoded)
}

fn bearer(case: u8, spaces: u8, token: &[u8]) -> Vec<u8> {
    let scheme = ["Bearer", "bearer", "BEARER", "bEaReR"][usize::from(case % 4)];
    let mut value = scheme.as_bytes().to_vec();
    value.extend(std::iter::repeat_n(b' ', usize::from(spaces % 4)));
    value.extend(token);
    value
}
