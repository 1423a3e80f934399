//! Several quotas that hold together.

use std::fmt;

use crate::{
    error::{ConfigError, ConfigErrorKind},
    quota::single::Quota,
};

/// One to [`Quotas::MAX`] quotas that hold together, such as 100 a minute and 5,000 a day: a
/// request passes if it passes all of them.
///
/// They are kept by ascending window. Their text is that of the quotas with commas between them.
///
/// ```
/// use keyward::{Quota, Quotas};
///
/// let quotas = Quotas::new(&[Quota::per_day(5_000), Quota::per_minute(100)])?;
/// assert_eq!(quotas.as_slice()[0].limit(), 100);
/// assert_eq!(quotas.to_string(), "100/min, 5000/day");
/// assert_eq!("100/min, 5000/day".parse(), Ok(quotas));
/// # Ok::<(), keyward::ConfigError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "Vec<Quota>", into = "Vec<Quota>"))]
pub struct Quotas {
    /// The first `len` are in use. The rest repeat the first, so that equality is by value.
    quotas: [Quota; Quotas::MAX],
    len: u8,
}

impl Quotas {
    /// The largest number of quotas that hold together.
    pub const MAX: usize = 4;

    /// Builds a set of quotas, sorted by window.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no quota, if there are more than [`Quotas::MAX`], or if two
    /// have the same window: one of them could never bind.
    pub fn new(quotas: &[Quota]) -> Result<Self, ConfigError> {
        Self::check(quotas).map_err(|problem| ConfigError::fixed(ConfigErrorKind::Limit, problem))
    }

    pub(super) fn check(quotas: &[Quota]) -> Result<Self, &'static str> {
        let Some(first) = quotas.iter().min_by_key(|quota| quota.window_millis()) else {
            return Err("Quotas::new needs at least one quota");
        };
        let mut all = [*first; Self::MAX];
        let Some(used) = all.get_mut(..quotas.len()) else {
            return Err("Quotas::new takes at most 4 quotas; drop those that never bind");
        };
        used.copy_from_slice(quotas);
        used.sort_unstable_by_key(Quota::window_millis);
        let same =
            |pair: &[Quota]| matches!(pair, [a, b] if a.window_millis() == b.window_millis());
        if used.windows(2).any(same) {
            return Err(
                "two quotas have the same window, and one of them never binds; give Quotas::new \
                 the smaller one only",
            );
        }
        Ok(Self { quotas: all, len: quotas.len() as u8 })
    }

    /// Builds a set of one quota.
    pub const fn single(quota: Quota) -> Self {
        Self { quotas: [quota; Self::MAX], len: 1 }
    }

    /// Changes every quota by a function that keeps its window.
    pub(crate) fn map(self, change: impl FnMut(Quota) -> Quota) -> Self {
        Self { quotas: self.quotas.map(change), ..self }
    }

    /// Returns the quota if there is only one.
    #[inline]
    pub(crate) const fn only(&self) -> Option<&Quota> {
        let [first, ..] = &self.quotas;
        if self.len == 1 { Some(first) } else { None }
    }

    /// Returns the quotas by ascending window. The slice is never empty.
    pub fn as_slice(&self) -> &[Quota] {
        self.quotas.get(..usize::from(self.len)).unwrap_or(&self.quotas)
    }
}

impl From<Quota> for Quotas {
    fn from(quota: Quota) -> Self {
        Self::single(quota)
    }
}

impl TryFrom<Vec<Quota>> for Quotas {
    type Error = ConfigError;

    fn try_from(quotas: Vec<Quota>) -> Result<Self, ConfigError> {
        Self::new(&quotas)
    }
}

impl From<Quotas> for Vec<Quota> {
    fn from(quotas: Quotas) -> Self {
        quotas.as_slice().to_vec()
    }
}

impl fmt::Debug for Quotas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Quotas").field(&self.as_slice()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn quotas_are_few_sorted_and_distinct() {
        let quota = |millis| Quota::per(1, Duration::from_millis(millis));
        let problem = |quotas: &[Quota]| {
            let error = Quotas::new(quotas).unwrap_err();
            assert_eq!(error.kind(), ConfigErrorKind::Limit);
            error.to_string()
        };
        assert!(problem(&[]).contains("at least one"));
        assert!(problem(&[quota(1); 5]).contains("at most 4"));
        assert!(problem(&[quota(1), quota(2), quota(1)]).contains("same window"));
        let sorted = Quotas::new(&[quota(3), quota(1), quota(2)]).unwrap();
        assert_eq!(sorted.as_slice(), [quota(1), quota(2), quota(3)]);
        assert_eq!(Quotas::new(&[quota(7)]).unwrap(), Quotas::single(quota(7)));
    }
}
