//! What a 401 asks for (RFC 9110 §11.6.1).

/// A `WWW-Authenticate` challenge. Every service names its realm, so that a bare scheme
/// is never sent: RFC 6750 §3 demands at least one parameter.
///
/// ```
/// use keyward_examples::Challenge;
///
/// const INGEST: Challenge = Challenge::api_key(r#"ApiKey realm="demo", header="x-api-key""#);
/// assert_eq!(INGEST.as_str(), r#"ApiKey realm="demo", header="x-api-key""#);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Challenge(&'static str);

impl Challenge {
    /// A challenge for a key in a header of its own, for which no scheme is registered.
    ///
    /// # Panics
    ///
    /// If the literal is not an `ApiKey` challenge with a parameter, which in a `const`
    /// fails the build.
    pub const fn api_key(literal: &'static str) -> Self {
        assert!(begins_with(literal, "ApiKey "), "an ApiKey challenge with a parameter");
        Self(literal)
    }

    /// A challenge for a bearer token.
    ///
    /// # Panics
    ///
    /// If the literal is not a `Bearer` challenge with a parameter, which in a `const`
    /// fails the build.
    pub const fn bearer(literal: &'static str) -> Self {
        assert!(begins_with(literal, "Bearer "), "a Bearer challenge with a parameter");
        Self(literal)
    }

    /// The header's value.
    pub const fn as_str(&self) -> &'static str {
        self.0
    }
}

/// Whether `text` is longer than `start` and begins with it.
const fn begins_with(text: &str, start: &str) -> bool {
    let (text, start) = (text.as_bytes(), start.as_bytes());
    let mut position = 0;
    while position < start.len() {
        if position >= text.len() || text[position] != start[position] {
            return false;
        }
        position += 1;
    }
    text.len() > start.len()
}
