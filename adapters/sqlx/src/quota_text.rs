//! Quotas as the text of a column: `100/60000/exact,5000/86400000/coarse`.
//!
//! The `Display` of [`Quotas`] cannot serve: rows hold this text already, and a column always names
//! the precision, so that another default in a later version changes no stored quota.

use std::{fmt::Write as _, time::Duration};

use keyward::{Quota, Quotas, quota::Precision};

/// Writes quotas as text. Returns `None` for a precision that this version does not know.
pub(crate) fn write(quotas: &Quotas) -> Option<String> {
    let mut text = String::new();
    for quota in quotas.as_slice() {
        let precision = match quota.precision() {
            Precision::Exact => "exact",
            Precision::Coarse => "coarse",
            _ => return None,
        };
        let comma = if text.is_empty() { "" } else { "," };
        write!(text, "{comma}{}/{}/{precision}", quota.limit(), quota.window_millis()).ok()?;
    }
    Some(text)
}

/// Reads quotas from text, if it is the text that [`write`] writes.
pub(crate) fn read(text: &str) -> Option<Quotas> {
    let quotas: Vec<Quota> =
        text.split(',').take(Quotas::MAX + 1).map(read_one).collect::<Option<_>>()?;
    let quotas = Quotas::new(&quotas).ok()?;
    (write(&quotas)? == text).then_some(quotas)
}

fn read_one(text: &str) -> Option<Quota> {
    let mut parts = text.splitn(3, '/');
    let limit = parts.next()?.parse().ok()?;
    let window = Duration::from_millis(parts.next()?.parse().ok()?);
    let quota = Quota::new(limit, window).ok()?;
    match parts.next()? {
        "exact" => quota.try_with_precision(Precision::Exact).ok(),
        "coarse" => Some(quota.with_precision(Precision::Coarse)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_have_one_text() {
        for text in [
            "1/1/exact",
            "100/60000/exact",
            "100/60000/coarse",
            "100/60000/exact,5000/86400000/coarse",
            "4294967295/31622400000/coarse",
            "1/1/exact,2/2/exact,3/3/exact,4/4/coarse",
        ] {
            let quotas = read(text).expect(text);
            assert_eq!(write(&quotas).as_deref(), Some(text));
        }
        for bad in [
            "",
            ",",
            "100",
            "100/60000",
            "100/60000/",
            "100/60000/Exact",
            "100/60000/exact,",
            "100/60000/exact/",
            " 100/60000/exact",
            "+100/60000/exact",
            "0100/60000/exact",
            "0/60000/exact",
            "100/0/exact",
            "-1/60000/exact",
            "4294967296/60000/coarse",
            "70000/60000/exact",
            "100/31622400001/coarse",
            "100/99999999999999999999/coarse",
            "5000/86400000/coarse,100/60000/exact",
            "100/60000/exact,200/60000/exact",
            "1/1/exact,2/2/exact,3/3/exact,4/4/exact,5/5/exact",
        ] {
            assert!(read(bad).is_none(), "{bad}");
        }
    }
}
