//! What answers tell about limits: rounded so that nobody comes too early, and, in the form of
//! the draft, read back by a parser of structured fields that is not ours.

use std::{collections::BTreeMap, time::Duration};

use keyward::{
    Limiter, Quota, Quotas, RateHeaders, Timestamp,
    limit::{Decision, LimitKey, LimiterConfig},
    quota::PolicyName,
    request::Draft,
};
use proptest::prelude::*;
use sfv::{List, ListEntry, Parser};

fn quota(limit: u32, window_ms: u64) -> Quota {
    Quota::new(limit, Duration::from_millis(window_ms)).unwrap()
}

fn at(millis: u64) -> Timestamp {
    Timestamp::from_unix_millis(millis)
}

fn render(style: RateHeaders, decision: &Decision, now: Timestamp) -> BTreeMap<&str, String> {
    let lines = style.render(decision, now);
    let lines: Vec<_> = lines.map(|line| (line.name(), line.value().to_owned())).collect();
    let map: BTreeMap<_, _> = lines.iter().cloned().collect();
    assert_eq!(map.len(), lines.len(), "a header twice");
    map
}

fn number(headers: &BTreeMap<&str, String>, name: &str) -> u64 {
    headers[name].parse().unwrap()
}

/// The name of the only item, and its integer parameters.
fn item(value: &str) -> (String, BTreeMap<String, i64>) {
    let list: List = Parser::new(value).parse().unwrap_or_else(|e| panic!("{value}: {e}"));
    let [ListEntry::Item(item)] = list.as_slice() else { panic!("not one item: {value}") };
    let params = item
        .params
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), i64::from(value.as_integer().unwrap())));
    (item.bare_item.as_string().unwrap().as_str().to_owned(), params.collect())
}

#[test]
fn retry_after_is_rounded_up_and_at_least_one() {
    let quota = quota(100, 60_000);
    for (wait_ms, secs) in [
        (0, "1"),
        (1, "1"),
        (999, "1"),
        (1_000, "1"),
        (1_001, "2"),
        (11_999, "12"),
        (12_000, "12"),
        (12_001, "13"),
        (60_000, "60"),
    ] {
        let now = at(1_700_000_000_123);
        let reset = now + Duration::from_millis(wait_ms);
        let refused = Decision::refused_elsewhere(quota, 0, reset, now);
        for style in [
            RateHeaders::retry_after_only(),
            RateHeaders::x_ratelimit(),
            RateHeaders::x_ratelimit_delta(),
            RateHeaders::retry_after_only().with_draft(Draft::V09),
        ] {
            assert_eq!(render(style, &refused, now)["retry-after"], secs, "{wait_ms} ms");
        }
        let alone = render(RateHeaders::default(), &refused, now);
        assert_eq!(alone.keys().collect::<Vec<_>>(), [&"retry-after"]);
    }
}

/// A limiter of the host's can have written anything into the public fields.
#[test]
fn the_longest_wait_is_written_and_not_wrapped() {
    let now = at(1_700_000_000_123);
    let mut refused = Decision::refused_elsewhere(quota(100, 60_000), 0, now, now);
    let style = RateHeaders::x_ratelimit_delta().with_draft(Draft::V09);
    for (wait, secs, in_draft) in [
        (Duration::MAX, u64::MAX, 999_999_999_999_999),
        (Duration::from_secs(u64::MAX), u64::MAX, 999_999_999_999_999),
        (Duration::new(999_999_999_999_999, 1), 1_000_000_000_000_000, 999_999_999_999_999),
        (Duration::new(999_999_999_999_998, 1), 999_999_999_999_999, 999_999_999_999_999),
        (Duration::from_secs(999_999_999_999_998), 999_999_999_999_998, 999_999_999_999_998),
    ] {
        refused.retry_after = Some(wait);
        let headers = render(style, &refused, now);
        assert_eq!(number(&headers, "retry-after"), secs, "{wait:?}");
        assert_eq!(number(&headers, "x-ratelimit-reset"), secs, "{wait:?}");
        // RFC 9651 §3.3.1: an integer has at most 15 digits.
        assert_eq!(item(&headers["ratelimit"]).1["t"], in_draft, "{wait:?}");
    }
}

#[test]
fn an_admission_has_no_retry_time() {
    let admitted = Decision::admitted_elsewhere(quota(100, 60_000), 99, at(61_001));
    assert!(render(RateHeaders::retry_after_only(), &admitted, at(1_001)).is_empty());
    let headers = render(RateHeaders::x_ratelimit(), &admitted, at(1_001));
    assert_eq!(
        headers,
        BTreeMap::from([
            ("x-ratelimit-limit", "100".to_owned()),
            ("x-ratelimit-remaining", "99".to_owned()),
            ("x-ratelimit-reset", "62".to_owned()),
        ])
    );
    let headers = render(RateHeaders::x_ratelimit_delta(), &admitted, at(1_001));
    assert_eq!(headers["x-ratelimit-reset"], "60");
    let headers = render(RateHeaders::x_ratelimit_delta(), &admitted, at(1_002));
    assert_eq!(headers["x-ratelimit-reset"], "60");
}

#[test]
fn the_draft_is_written_as_structured_fields() {
    let admitted = Decision::admitted_elsewhere(quota(100, 60_000), 99, at(60_000));
    let style = RateHeaders::retry_after_only().with_draft(Draft::V09);
    let headers = render(style, &admitted, at(0));
    assert_eq!(headers["ratelimit-policy"], r#""default";q=100;w=60"#);
    assert_eq!(headers["ratelimit"], r#""default";r=99;t=60"#);
    assert_eq!(headers.len(), 2);
    let both = RateHeaders::x_ratelimit().with_draft(Draft::V09);
    assert_eq!(render(both, &admitted, at(0)).len(), 5);
    // A window below a second is told as one: a caller that keeps to that is never refused.
    let short = Decision::admitted_elsewhere(quota(5, 250), 4, at(250));
    assert_eq!(render(style, &short, at(0))["ratelimit-policy"], r#""default";q=5;w=1"#);
}

/// One item for each window of each limit, and the state of the one that binds.
#[test]
fn the_draft_names_every_policy_and_window() {
    let search = Quotas::from(quota(5, 60_000));
    let both = Quotas::new(&[quota(20, 1_000), quota(1_000, 86_400_000)]).unwrap();
    let policies =
        [(PolicyName::from_static("search"), search), (PolicyName::from_static("all"), both)];
    let decided = |quota: Quota, position| {
        let refused = Decision::refused_elsewhere(quota, 0, at(12_000), at(0));
        let lines = RateHeaders::retry_after_only().with_draft(Draft::V09).render_policies(
            &policies,
            &refused.with_position(position),
            at(0),
        );
        let lines: Vec<_> = lines.map(|line| line.to_string()).collect();
        lines
    };
    let policy =
        r#"ratelimit-policy: "search";q=5;w=60, "all/1";q=20;w=1, "all/86400";q=1000;w=86400"#;
    assert_eq!(
        decided(quota(5, 60_000), 0),
        [policy, r#"ratelimit: "search";r=0;t=12"#, "retry-after: 12"]
    );
    assert_eq!(
        decided(quota(1_000, 86_400_000), 1),
        [policy, r#"ratelimit: "all/86400";r=0;t=12"#, "retry-after: 12"]
    );
    // Read back by a parser that is not ours.
    let value = policy.strip_prefix("ratelimit-policy: ").unwrap();
    let list: List = Parser::new(value).parse().unwrap();
    let names: Vec<_> = list
        .iter()
        .map(|entry| match entry {
            ListEntry::Item(item) => item.bare_item.as_string().unwrap().as_str(),
            ListEntry::InnerList(_) => panic!("an inner list"),
        })
        .collect();
    assert_eq!(names, ["search", "all/1", "all/86400"]);
}

/// Windows that round to the same second have items of their own.
#[test]
fn the_draft_names_windows_below_a_second_apart() {
    let quotas = Quotas::new(&[quota(5, 100), quota(20, 1_000), quota(30, 1_500)]).unwrap();
    let policies = [(PolicyName::from_static("x"), quotas)];
    let style = RateHeaders::retry_after_only().with_draft(Draft::V09);
    let admitted = Decision::admitted_elsewhere(quota(5, 100), 4, at(100));
    let lines = style.render_policies(&policies, &admitted, at(0));
    assert_eq!(
        lines.map(|line| line.value().to_owned()).collect::<Vec<_>>(),
        [r#""x/100ms";q=5;w=1, "x/1";q=20;w=1, "x/1500ms";q=30;w=2"#, r#""x/100ms";r=4;t=1"#]
    );
}

proptest! {
    /// Whatever the limiter decides, all headers say the same, and a caller that does what
    /// any of them says is admitted.
    #[test]
    fn headers_agree_and_whoever_obeys_is_admitted(
        limit in 1..6_u32,
        window in 1..5_000_u64,
        start in 0..2_000_u64,
        steps in prop::collection::vec(0..1_500_u64, 1..30),
    ) {
        let limiter = Limiter::new(LimiterConfig::default(), [7; 16]);
        let (quotas, key) = (Quotas::from(quota(limit, window)), LimitKey::owner("acme"));
        let style = RateHeaders::x_ratelimit().with_draft(Draft::V09);
        let mut now = at(1_700_000_000_000 + start);
        for step in steps {
            now = now + Duration::from_millis(step);
            let decision = limiter.check(key, &quotas, 1, now).unwrap();
            let headers = render(style, &decision, now);
            let (name, live) = item(&headers["ratelimit"]);
            let (policy_name, policy) = item(&headers["ratelimit-policy"]);
            prop_assert_eq!(name, policy_name);
            prop_assert_eq!(number(&headers, "x-ratelimit-limit"), u64::from(limit));
            prop_assert_eq!(policy["q"], i64::from(limit));
            prop_assert!(policy["w"] * 1_000 >= window as i64 && (policy["w"] - 1) * 1_000 < window as i64);
            prop_assert_eq!(number(&headers, "x-ratelimit-remaining"), live["r"] as u64);
            prop_assert_eq!(decision.allowed, !headers.contains_key("retry-after"));

            // Unix seconds never lie before the instant itself, nor a whole second behind it.
            let reset = number(&headers, "x-ratelimit-reset");
            prop_assert!(reset * 1_000 >= decision.reset_at.as_unix_millis());
            prop_assert!(reset * 1_000 < decision.reset_at.as_unix_millis() + 1_000);

            let delta = render(RateHeaders::x_ratelimit_delta(), &decision, now);
            prop_assert_eq!(number(&delta, "x-ratelimit-reset"), live["t"] as u64);
            if !decision.allowed {
                let after = number(&headers, "retry-after");
                prop_assert!(after >= 1);
                prop_assert_eq!(after, live["t"] as u64);
                for told in [now + Duration::from_secs(after), Timestamp::from_unix_secs(reset)] {
                    prop_assert!(limiter.peek(key, &quotas, 1, told).unwrap().allowed);
                }
                let early = decision.reset_at.saturating_sub(Duration::from_millis(1));
                prop_assert!(!limiter.peek(key, &quotas, 1, early).unwrap().allowed);
            }
        }
    }

    #[test]
    fn no_decision_is_too_large(
        limit in 1..u32::MAX,
        remaining in any::<u32>(),
        window in 1..366 * 86_400_000_u64,
        reset in any::<u64>(),
        now in any::<u64>(),
    ) {
        let quota = quota(limit, window);
        let style = RateHeaders::x_ratelimit().with_draft(Draft::V09);
        for decision in [
            Decision::admitted_elsewhere(quota, remaining, at(reset)),
            Decision::refused_elsewhere(quota, remaining, at(reset), at(now)).with_position(3),
        ] {
            let headers = render(style, &decision, at(now));
            prop_assert_eq!(number(&headers, "x-ratelimit-limit"), u64::from(limit));
            prop_assert_eq!(item(&headers["ratelimit-policy"]).1["q"], i64::from(limit));
            prop_assert_eq!(item(&headers["ratelimit"]).1["r"], i64::from(remaining));
        }
    }
}
