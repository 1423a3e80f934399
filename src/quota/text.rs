//! Quotas as text: `100/min`, `5000/day`, `10 per 1500ms`.

use std::{fmt, str::FromStr, time::Duration};

use crate::{
    error::InvalidText,
    quota::{precision::Precision, quotas::Quotas, single::Quota},
};

const NO_QUOTA: InvalidText = InvalidText::new(
    "a quota such as 100/min, 5000/day or 10 per 30s: a limit of at least 1, and a window of 1 ms \
     to 366 days",
);
const NO_QUOTAS: InvalidText = InvalidText::new(
    "1 to 4 quotas with different windows and commas between them, such as 100/min, 5000/day",
);

/// A unit of time: its milliseconds, how it is written, and the other ways to write it.
struct Unit {
    millis: u64,
    symbol: &'static str,
    /// Written behind a slash, where the number is one.
    word: &'static str,
    others: &'static [&'static str],
}

/// The longest unit first: a window is written in the longest one that fits a whole number of
/// times.
const UNITS: [Unit; 5] = [
    Unit { millis: 86_400_000, symbol: "d", word: "day", others: &["days"] },
    Unit { millis: 3_600_000, symbol: "h", word: "hour", others: &["hours"] },
    Unit { millis: 60_000, symbol: "min", word: "min", others: &["m", "minute", "minutes"] },
    Unit { millis: 1_000, symbol: "s", word: "s", others: &["sec", "second", "seconds"] },
    Unit { millis: 1, symbol: "ms", word: "ms", others: &[] },
];

impl Unit {
    fn is_named(&self, name: &str) -> bool {
        name == self.symbol || name == self.word || self.others.contains(&name)
    }
}

/// Writes the quota as `100/min` or `10 per 30s`. A precision that was chosen follows: `100/min
/// coarse`.
impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let window = self.window_millis();
        // Every window is a whole number of milliseconds, so a unit is always found.
        if let Some(unit) = UNITS.iter().find(|unit| window.is_multiple_of(unit.millis)) {
            match window / unit.millis {
                1 => write!(f, "{}/{}", self.limit(), unit.word)?,
                number => write!(f, "{} per {number}{}", self.limit(), unit.symbol)?,
            }
        }
        match self.chosen_precision() {
            None => Ok(()),
            Some(Precision::Exact) => f.write_str(" exact"),
            Some(Precision::Coarse) => f.write_str(" coarse"),
        }
    }
}

impl FromStr for Quota {
    type Err = InvalidText;

    /// Reads `<limit>/<window>` or `<limit> per <window>`, and behind it ` exact` or ` coarse`.
    ///
    /// A window is a unit with or without a number in front: `ms`, `s`, `sec`, `second`, `m`,
    /// `min`, `minute`, `h`, `hour`, `d`, `day`, and the plurals of the words. Digits are plain:
    /// no sign, no separator, no fraction.
    fn from_str(text: &str) -> Result<Self, InvalidText> {
        read(text).ok_or(NO_QUOTA)
    }
}

fn read(text: &str) -> Option<Quota> {
    let (text, precision) = match text.rsplit_once(' ') {
        Some((text, "exact")) => (text, Some(Precision::Exact)),
        Some((text, "coarse")) => (text, Some(Precision::Coarse)),
        _ => (text, None),
    };
    let (limit, window) = text.split_once('/').or_else(|| text.split_once(" per "))?;
    let limit = u32::try_from(digits(limit)?).ok()?;
    let unit_at = window.find(|character: char| !character.is_ascii_digit())?;
    let (number, name) = window.split_at(unit_at);
    let number = if number.is_empty() { 1 } else { digits(number)? };
    let unit = UNITS.iter().find(|unit| unit.is_named(name))?;
    let window = Duration::from_millis(number.checked_mul(unit.millis)?);
    let quota = Quota::check(limit, window).ok()?;
    match precision {
        None => Some(quota),
        Some(precision) => quota.check_precision(precision).ok(),
    }
}

/// A number in plain digits. `str::parse` would take a sign too.
fn digits(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// The quotas by ascending window, such as `100/min, 5000/day`.
impl fmt::Display for Quotas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, quota) in self.as_slice().iter().enumerate() {
            if at > 0 {
                f.write_str(", ")?;
            }
            quota.fmt(f)?;
        }
        Ok(())
    }
}

impl FromStr for Quotas {
    type Err = InvalidText;

    /// Reads quotas with commas between them, in any order. Spaces around a comma are ignored.
    fn from_str(text: &str) -> Result<Self, InvalidText> {
        // One more than can hold together is enough to see that there are too many.
        let parts = text.split(',').take(Self::MAX + 1);
        let quotas: Vec<Quota> =
            parts.map(|part| part.trim_matches(' ').parse()).collect::<Result<_, _>>()?;
        Self::check(&quotas).map_err(|_| NO_QUOTAS)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn per(limit: u32, millis: u64) -> Quota {
        Quota::per(limit, Duration::from_millis(millis))
    }

    #[test]
    fn every_spelling_of_a_unit_is_read() {
        for (millis, names) in [
            (1, &["ms"][..]),
            (1_000, &["s", "sec", "second", "seconds"]),
            (60_000, &["m", "min", "minute", "minutes"]),
            (3_600_000, &["h", "hour", "hours"]),
            (86_400_000, &["d", "day", "days"]),
        ] {
            for name in names {
                assert_eq!(format!("7/{name}").parse(), Ok(per(7, millis)), "{name}");
                assert_eq!(format!("7 per {name}").parse(), Ok(per(7, millis)), "{name}");
                assert_eq!(format!("7 per 3{name}").parse(), Ok(per(7, 3 * millis)), "{name}");
                assert_eq!(format!("7/3{name}").parse(), Ok(per(7, 3 * millis)), "{name}");
            }
        }
    }

    #[test]
    fn quotas_are_written_in_the_longest_unit() {
        for (quota, text) in [
            (per(100, 60_000), "100/min"),
            (per(5_000, 86_400_000), "5000/day"),
            (per(10, 1_000), "10/s"),
            (per(10, 3_600_000), "10/hour"),
            (per(10, 1), "10/ms"),
            (per(10, 1_500), "10 per 1500ms"),
            (per(10, 90_000), "10 per 90s"),
            (per(10, 604_800_000), "10 per 7d"),
            (per(10, 1_000).with_precision(Precision::Coarse), "10/s coarse"),
            (per(2_000, 1_000).with_precision(Precision::Exact), "2000/s exact"),
            (per(2_000, 1_000), "2000/s"),
        ] {
            assert_eq!(quota.to_string(), text);
            assert_eq!(text.parse(), Ok(quota));
        }
        assert_eq!("10 per 1s".parse(), Ok(Quota::per_second(10)));
    }

    #[test]
    fn other_texts_are_no_quota() {
        for bad in [
            "",
            "100",
            "/min",
            "100/",
            "0/min",
            "100/0s",
            "100 / min",
            " 100/min",
            "100/min ",
            "+1/min",
            "1_000/min",
            "1.5/s",
            "100/fortnight",
            "100/Min",
            "100 per",
            "100 per  min",
            "4294967296/min",
            "100/367d",
            "1/99999999999999999999d",
            "100/18446744073709551615d",
            "100000/s exact",
            "100/min fuzzy",
            "100/min exact coarse",
            "100\u{a0}per min",
            "１/min",
        ] {
            assert_eq!(bad.parse::<Quota>(), Err(NO_QUOTA), "{bad:?}");
        }
        for bad in ["", ",", "1/s,", "1/s, 2/s", "1/s,1/min,1/hour,1/day,1/ms"] {
            assert!(bad.parse::<Quotas>().is_err(), "{bad:?}");
        }
        assert_eq!("1/day,2/s".parse::<Quotas>().unwrap().to_string(), "2/s, 1/day");
    }

    proptest! {
        #[test]
        fn quotas_round_trip(
            limit in 1_u32..,
            millis in prop_oneof![
                1..=31_622_400_000_u64,
                (1_u64..=366).prop_map(|days| days * 86_400_000),
                (1_u64..=10_000).prop_map(|minutes| minutes * 60_000),
            ],
            precision in prop_oneof![Just(Precision::Exact), Just(Precision::Coarse)],
        ) {
            let quota = per(limit, millis);
            let quota = quota.try_with_precision(precision).unwrap_or(quota);
            prop_assert_eq!(quota.to_string().parse(), Ok(quota));
        }

        #[test]
        fn lists_of_quotas_round_trip(
            windows in proptest::collection::btree_set(1..=31_622_400_000_u64, 1..=Quotas::MAX),
        ) {
            let quotas: Vec<Quota> = windows.iter().map(|&millis| per(5, millis)).collect();
            let quotas = Quotas::new(&quotas).unwrap();
            prop_assert_eq!(quotas.to_string().parse(), Ok(quotas));
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            if let Ok(quota) = text.parse::<Quota>() {
                prop_assert_eq!(quota.to_string().parse(), Ok(quota));
            }
        }
    }
}
