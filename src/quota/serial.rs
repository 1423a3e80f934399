//! Quotas in serde.

use std::time::Duration;

use crate::{
    error::ConfigError,
    quota::{precision::Precision, single::Quota},
};

/// The form of a quota in serde: `{"limit":100,"window_ms":60000}`.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct QuotaData {
    limit: u32,
    window_ms: u64,
    /// Present where it differs from the default for this size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    precision: Option<PrecisionData>,
}

#[derive(serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
enum PrecisionData {
    Exact,
    Coarse,
}

impl TryFrom<QuotaData> for Quota {
    type Error = ConfigError;

    fn try_from(data: QuotaData) -> Result<Self, ConfigError> {
        let quota = Self::new(data.limit, Duration::from_millis(data.window_ms))?;
        match data.precision {
            None => Ok(quota),
            Some(PrecisionData::Exact) => quota.try_with_precision(Precision::Exact),
            Some(PrecisionData::Coarse) => quota.try_with_precision(Precision::Coarse),
        }
    }
}

impl From<Quota> for QuotaData {
    fn from(quota: Quota) -> Self {
        let precision = quota.chosen_precision().map(|precision| match precision {
            Precision::Exact => PrecisionData::Exact,
            Precision::Coarse => PrecisionData::Coarse,
        });
        Self { limit: quota.limit(), window_ms: quota.window_millis(), precision }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chosen_precision_survives_serde() {
        let plain = Quota::per_minute(100);
        for (quota, text) in [
            (plain, r#"{"limit":100,"window_ms":60000}"#),
            (
                plain.with_precision(Precision::Coarse),
                r#"{"limit":100,"window_ms":60000,"precision":"coarse"}"#,
            ),
        ] {
            assert_eq!(serde_json::to_string(&quota).unwrap(), text);
            assert_eq!(serde_json::from_str::<Quota>(text).unwrap(), quota);
        }
    }
}
