//! What an answer tells about the caller's limit.

use crate::{
    clock::timestamp::Timestamp,
    error::{ConfigError, ConfigErrorKind},
    limit::decision::Decision,
    request::header::ResponseHeader,
};

/// Which headers tell a caller about its limit. All come from one [`Decision`], so they
/// cannot contradict each other.
///
/// A refusal has `Retry-After` (RFC 9110 §10.2.3) in every style: whole seconds, rounded
/// up, at least 1.
///
/// ```
/// use keyward::{limit::LimitKey, Limiter, Quota, Quotas, RateHeaders, Timestamp};
///
/// let limiter = Limiter::system()?;
/// let quotas = Quotas::from(Quota::per_minute(100));
/// let now = Timestamp::from_unix_millis(1_700_000_000_001);
/// let decision = limiter.check(LimitKey::owner("acme"), &quotas, 1, now)?;
///
/// let lines: Vec<String> =
///     RateHeaders::x_ratelimit().render(&decision, now).map(|line| line.to_string()).collect();
/// assert_eq!(
///     lines,
///     ["x-ratelimit-limit: 100", "x-ratelimit-remaining: 99", "x-ratelimit-reset: 1700000061"]
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct RateHeaders {
    x_ratelimit: Option<Reset>,
    /// The name of the policy in the headers of the draft.
    draft_09: Option<&'static str>,
}

/// What the reset of `X-RateLimit-Reset` is measured from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reset {
    Epoch,
    Now,
}

impl RateHeaders {
    /// `Retry-After` on refusals and nothing else.
    pub const fn retry_after_only() -> Self {
        Self { x_ratelimit: None, draft_09: None }
    }

    /// `X-RateLimit-Limit`, `X-RateLimit-Remaining` and `X-RateLimit-Reset` too, the last in
    /// Unix seconds, rounded up: when refused, the instant at which the request would be
    /// admitted; else when the oldest counted request leaves its window.
    pub const fn x_ratelimit() -> Self {
        Self { x_ratelimit: Some(Reset::Epoch), draft_09: None }
    }

    /// As [`RateHeaders::x_ratelimit`], with the reset in seconds from now, rounded up.
    pub const fn x_ratelimit_delta() -> Self {
        Self { x_ratelimit: Some(Reset::Now), draft_09: None }
    }

    /// The headers `RateLimit-Policy` and `RateLimit` too, as
    /// [draft-ietf-httpapi-ratelimit-headers-09] has them, under this name of the policy:
    /// `"default";q=100;w=60` and `"default";r=99;t=60`. A draft can change; another number
    /// will be another option. (Its successor, 10, words the same parameters otherwise.)
    ///
    /// Units are requests, or the costs of requests; `w` and `t` are whole seconds, rounded up;
    /// the optional `qu` and `pk` are not sent. Where several limits hold, both headers are of
    /// the one that binds. The draft would have a policy stay the same from answer to answer
    /// (SHOULD), so this is for services with one limit or with limits of one proportion.
    ///
    /// # Errors
    ///
    /// If the name is empty or holds something other than printable ASCII and spaces.
    ///
    /// [draft-ietf-httpapi-ratelimit-headers-09]:
    ///     https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/09/
    pub fn with_draft_09(self, policy: &'static str) -> Result<Self, ConfigError> {
        let mut bytes = policy.as_bytes();
        if bytes.is_empty() {
            return Err(BAD_POLICY);
        }
        while let [first, rest @ ..] = bytes {
            if !matches!(first, b' '..=b'~') {
                return Err(BAD_POLICY);
            }
            bytes = rest;
        }
        Ok(Self { draft_09: Some(policy), ..self })
    }

    /// The headers for a decision that was made at `now`.
    #[inline]
    pub fn render(
        self,
        decision: &Decision,
        now: Timestamp,
    ) -> impl Iterator<Item = ResponseHeader<'static>> + use<> {
        Lines::new(self, Some(decision), now)
    }
}

/// The headers that are still to be written.
///
/// Of the decision it takes the few numbers that it needs, one by one: the whole of what was
/// written in pieces a moment ago is slow to copy.
pub(crate) struct Lines {
    style: RateHeaders,
    limit: u32,
    remaining: u32,
    reset_at: Timestamp,
    /// Seconds until the reset, rounded up. When refused, the same as `Retry-After`.
    reset_in: u64,
    window_millis: u64,
    retry_after: Option<u64>,
    next: u8,
}

impl Lines {
    #[inline]
    pub(crate) fn new(style: RateHeaders, decision: Option<&Decision>, now: Timestamp) -> Self {
        let Some(decision) = decision else { return Self::none() };
        let retry_after = decision.retry_after_secs();
        let until = decision.reset_at.as_unix_millis().saturating_sub(now.as_unix_millis());
        Self {
            style,
            limit: decision.limit,
            remaining: decision.remaining,
            reset_at: decision.reset_at,
            reset_in: retry_after.unwrap_or(until.div_ceil(1_000)),
            window_millis: decision.window_millis(),
            retry_after,
            next: 0,
        }
    }

    const fn none() -> Self {
        Self {
            style: RateHeaders::retry_after_only(),
            limit: 0,
            remaining: 0,
            reset_at: Timestamp::ZERO,
            reset_in: 0,
            window_millis: 0,
            retry_after: None,
            next: 0,
        }
    }

    #[cold]
    fn draft_09_policy(&self, policy: &str) -> ResponseHeader<'static> {
        let window = self.window_millis.div_ceil(1_000);
        let value = format!("{};q={};w={window}", sf_string(policy), self.limit);
        ResponseHeader::text("ratelimit-policy", value)
    }

    #[cold]
    fn draft_09_live(&self, policy: &str) -> ResponseHeader<'static> {
        let reset_in = self.reset_in.min(MAX_SF_INTEGER);
        let value = format!("{};r={};t={reset_in}", sf_string(policy), self.remaining);
        ResponseHeader::text("ratelimit", value)
    }
}

impl Iterator for Lines {
    type Item = ResponseHeader<'static>;

    #[inline]
    fn next(&mut self) -> Option<ResponseHeader<'static>> {
        let RateHeaders { x_ratelimit, draft_09 } = self.style;
        let (name, number) = loop {
            let line = self.next;
            self.next = line.saturating_add(1);
            match (line, x_ratelimit, draft_09) {
                (0, Some(_), _) => break ("x-ratelimit-limit", self.limit.into()),
                (1, Some(_), _) => break ("x-ratelimit-remaining", self.remaining.into()),
                (2, Some(Reset::Epoch), _) => {
                    break ("x-ratelimit-reset", self.reset_at.as_unix_secs_ceil());
                }
                (2, Some(Reset::Now), _) => break ("x-ratelimit-reset", self.reset_in),
                (3, _, Some(policy)) => return Some(self.draft_09_policy(policy)),
                (4, _, Some(policy)) => return Some(self.draft_09_live(policy)),
                (5, ..) => break ("retry-after", self.retry_after?),
                (6.., ..) => return None,
                _ => {}
            }
        };
        Some(ResponseHeader::number(name, number))
    }
}

const BAD_POLICY: ConfigError = ConfigError::fixed(
    ConfigErrorKind::Limit,
    "the name of a policy is printable ASCII and spaces, and not empty; mend it in \
     RateHeaders::with_draft_09",
);

/// The largest integer of RFC 9651 §3.3.1, which is some 30 million years of seconds.
const MAX_SF_INTEGER: u64 = 999_999_999_999_999;

/// A string of RFC 9651 §3.3.3.
fn sf_string(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        if matches!(character, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted.push('"');
    quoted
}
