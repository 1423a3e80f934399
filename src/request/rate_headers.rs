//! The headers that report a limit.

use crate::{
    clock::timestamp::Timestamp,
    limit::decision::Decision,
    quota::{Quota, policy_name::PolicyName, quotas::Quotas},
    request::header::ResponseHeader,
};

/// The headers that report its limit to a caller. All of them come from one [`Decision`], so they
/// cannot contradict each other.
///
/// In every style a refusal has `Retry-After` (RFC 9110 §10.2.3): whole seconds, rounded up, at
/// least 1.
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
    draft: Option<Draft>,
}

/// A version of the IETF draft of the headers `RateLimit-Policy` and `RateLimit`. Each version that is
/// supported is a variant, because the fields changed from one to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Draft {
    /// [draft-ietf-httpapi-ratelimit-headers-09].
    ///
    /// [draft-ietf-httpapi-ratelimit-headers-09]:
    ///     https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/09/
    V09,
}

/// The start from which `X-RateLimit-Reset` counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reset {
    Epoch,
    Now,
}

impl RateHeaders {
    /// Sends `Retry-After` on refusals, and nothing else.
    pub const fn retry_after_only() -> Self {
        Self { x_ratelimit: None, draft: None }
    }

    /// Sends `X-RateLimit-Limit`, `X-RateLimit-Remaining` and `X-RateLimit-Reset` too.
    ///
    /// The reset is in Unix seconds, rounded up. On a refusal it is the time at which the request
    /// would be admitted, and otherwise the time at which the oldest counted request leaves its
    /// window.
    pub const fn x_ratelimit() -> Self {
        Self { x_ratelimit: Some(Reset::Epoch), draft: None }
    }

    /// Sends what [`RateHeaders::x_ratelimit`] does, with the reset in seconds from now, rounded up.
    pub const fn x_ratelimit_delta() -> Self {
        Self { x_ratelimit: Some(Reset::Now), draft: None }
    }

    /// Sends `RateLimit-Policy` and `RateLimit` too, as this version of the draft defines them.
    ///
    /// `RateLimit-Policy` has an item for each window of each limit that the request was charged:
    /// `"search";q=5;w=60`. `RateLimit` has the one that binds: `"search";r=4;t=12`. An item has the
    /// name of its limit; where a limit has several windows, the seconds of the window follow, or its
    /// milliseconds if they are no whole seconds: `"search/60"`, `"search/100ms"`. A decision without a
    /// named limit is called `default`.
    ///
    /// The units are requests, or the costs of requests. `w` and `t` are whole seconds, rounded up.
    /// The optional `qu` and `pk` are not sent.
    ///
    /// ```
    /// use keyward::{request::Draft, RateHeaders};
    ///
    /// let headers = RateHeaders::x_ratelimit().with_draft(Draft::V09);
    /// # let _ = headers;
    /// ```
    pub const fn with_draft(self, draft: Draft) -> Self {
        Self { draft: Some(draft), ..self }
    }

    /// Returns the headers for a decision that was made at `now`.
    #[inline]
    pub fn render(
        self,
        decision: &Decision,
        now: Timestamp,
    ) -> impl Iterator<Item = ResponseHeader<'static>> + use<> {
        Lines::new(self, Some(decision), now, Vec::new)
    }

    /// Returns the headers for a decision on these limits, in the order in which they were charged.
    pub fn render_policies(
        self,
        policies: &[(PolicyName, Quotas)],
        decision: &Decision,
        now: Timestamp,
    ) -> impl Iterator<Item = ResponseHeader<'static>> + use<> {
        Lines::new(self, Some(decision), now, || policies.to_vec())
    }

    pub(crate) const fn has_draft(&self) -> bool {
        self.draft.is_some()
    }
}

/// An iterator over the headers of a decision.
///
/// It copies the few numbers that it needs one by one: a whole decision, which was just written in
/// pieces, is slow to copy.
pub(crate) struct Lines {
    style: RateHeaders,
    limit: u32,
    remaining: u32,
    reset_at: Timestamp,
    /// The seconds until the reset, rounded up. On a refusal the same as `Retry-After`.
    reset_in: u64,
    retry_after: Option<u64>,
    /// The values of the draft's headers. Only they allocate.
    draft: Option<Box<[String; 2]>>,
    next: u8,
}

impl Lines {
    #[inline]
    pub(crate) fn new(
        style: RateHeaders,
        decision: Option<&Decision>,
        now: Timestamp,
        policies: impl FnOnce() -> Vec<(PolicyName, Quotas)>,
    ) -> Self {
        let Some(decision) = decision else { return Self::none() };
        let retry_after = decision.retry_after_secs();
        let until = decision.reset_at.as_unix_millis().saturating_sub(now.as_unix_millis());
        let reset_in = retry_after.unwrap_or(until.div_ceil(1_000));
        Self {
            style,
            limit: decision.limit,
            remaining: decision.remaining,
            reset_at: decision.reset_at,
            reset_in,
            retry_after,
            draft: style.draft.map(|Draft::V09| draft_09(&policies(), decision, reset_in)),
            next: 0,
        }
    }

    /// Builds the headers of a refusal without a decision: when to try again.
    pub(crate) fn retry_after(secs: u64) -> Self {
        Self { retry_after: Some(secs), ..Self::none() }
    }

    const fn none() -> Self {
        Self {
            style: RateHeaders::retry_after_only(),
            limit: 0,
            remaining: 0,
            reset_at: Timestamp::ZERO,
            reset_in: 0,
            retry_after: None,
            draft: None,
            next: 0,
        }
    }
}

/// Renders `RateLimit-Policy` and `RateLimit` of version 09.
#[cold]
fn draft_09(
    policies: &[(PolicyName, Quotas)],
    decision: &Decision,
    reset_in: u64,
) -> Box<[String; 2]> {
    let unnamed = [(PolicyName::DEFAULT, Quotas::single(decision.quota()))];
    let policies = if policies.is_empty() { &unnamed } else { policies };
    let items = policies.iter().flat_map(|(name, quotas)| {
        quotas.as_slice().iter().map(|quota| {
            let (limit, window) = (quota.limit(), seconds(quota));
            format!("{};q={limit};w={window}", item_name(name, quotas, quota))
        })
    });
    let items: Vec<String> = items.collect();
    let binding = policies.get(decision.position).or(policies.first());
    let name = binding.map_or(PolicyName::DEFAULT, |(name, _)| name.clone());
    let quotas = binding.map_or(Quotas::single(decision.quota()), |(_, quotas)| *quotas);
    let name = item_name(&name, &quotas, &decision.quota());
    let (remaining, reset_in) = (decision.remaining, reset_in.min(MAX_SF_INTEGER));
    Box::new([items.join(", "), format!("{name};r={remaining};t={reset_in}")])
}

/// Returns the name of an item as a string of RFC 9651 §3.3.3. A policy name has no character that
/// would have to be escaped.
fn item_name(name: &PolicyName, quotas: &Quotas, quota: &Quota) -> String {
    match quotas.as_slice() {
        [_] => format!("\"{name}\""),
        // Two windows can round to the same second, and a name stands for one of them.
        _ if !quota.window_millis().is_multiple_of(1_000) => {
            format!("\"{name}/{}ms\"", quota.window_millis())
        }
        _ => format!("\"{name}/{}\"", seconds(quota)),
    }
}

/// Returns the length of a window in seconds, rounded up.
const fn seconds(quota: &Quota) -> u64 {
    quota.window_millis().div_ceil(1_000)
}

impl Iterator for Lines {
    type Item = ResponseHeader<'static>;

    #[inline]
    fn next(&mut self) -> Option<ResponseHeader<'static>> {
        let RateHeaders { x_ratelimit, .. } = self.style;
        let (name, number) = loop {
            let line = self.next;
            self.next = line.saturating_add(1);
            match (line, x_ratelimit) {
                (0, Some(_)) => break ("x-ratelimit-limit", self.limit.into()),
                (1, Some(_)) => break ("x-ratelimit-remaining", self.remaining.into()),
                (2, Some(Reset::Epoch)) => {
                    break ("x-ratelimit-reset", self.reset_at.as_unix_secs_ceil());
                }
                (2, Some(Reset::Now)) => break ("x-ratelimit-reset", self.reset_in),
                (3, _) if let Some([policy, _]) = self.draft.as_deref_mut() => {
                    let value = std::mem::take(policy);
                    return Some(ResponseHeader::text("ratelimit-policy", value));
                }
                (4, _) if let Some([_, state]) = self.draft.as_deref_mut() => {
                    let value = std::mem::take(state);
                    return Some(ResponseHeader::text("ratelimit", value));
                }
                (5, ..) => break ("retry-after", self.retry_after?),
                (6.., ..) => return None,
                _ => {}
            }
        };
        Some(ResponseHeader::number(name, number))
    }
}

/// The largest integer of RFC 9651 §3.3.1. As seconds it is about 30 million years.
const MAX_SF_INTEGER: u64 = 999_999_999_999_999;
