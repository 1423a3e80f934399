//! What single keys and owners are allowed, by the name of the policy.

use std::{fmt, str::FromStr};

use crate::{
    error::{ConfigError, ConfigErrorKind, InvalidText},
    quota::{allowance::Allowance, policy_name::PolicyName},
};

/// What a key or an owner is allowed in place of the values of the service: at most
/// [`Overrides::MAX`] policies by name, each with its [`Allowance`].
///
/// A key's record overrides limits per key. An owner overrides limits per key and per owner. The
/// value of a key comes before that of its owner, that before the one of the owner's tier, and that
/// before the default; but `blocked` anywhere comes first. A name that no limit has is ignored, so
/// records can be written before the service that reads them is.
///
/// The text is that of the policies in the order of their names, with semicolons between them, and
/// reads back the same. In serde it is a map of texts.
///
/// ```
/// use keyward::{Quota, quota::{Allowance, Overrides, PolicyName}};
///
/// const EXPORTS: PolicyName = PolicyName::from_static("exports");
///
/// let overrides = Overrides::single(EXPORTS, Allowance::Blocked)
///     .with(PolicyName::DEFAULT, Quota::per_minute(100))?;
/// assert_eq!(overrides.get(&EXPORTS), Some(&Allowance::Blocked));
/// assert_eq!(overrides.to_string(), "default=100/min; exports=blocked");
/// assert_eq!("default=100/min; exports=blocked".parse(), Ok(overrides));
/// # Ok::<(), keyward::ConfigError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Overrides {
    /// By ascending name, each once.
    entries: Vec<(PolicyName, Allowance)>,
}

const NO_OVERRIDES: InvalidText = InvalidText::new(
    "at most 16 policies with semicolons between them, each once, such as default=100/min; \
     exports=blocked",
);

impl Overrides {
    /// The largest number of policies.
    pub const MAX: usize = 16;

    /// Builds overrides of no policy.
    pub const fn none() -> Self {
        Self { entries: Vec::new() }
    }

    /// Builds overrides of one policy.
    pub fn single(name: PolicyName, allowance: impl Into<Allowance>) -> Self {
        Self { entries: vec![(name, allowance.into())] }
    }

    /// Sets what `name` allows. The last call for a name counts.
    ///
    /// # Errors
    ///
    /// Returns an error if it would be one policy more than [`Overrides::MAX`]. Dropping one
    /// silently could drop a `blocked`.
    pub fn with(
        mut self,
        name: PolicyName,
        allowance: impl Into<Allowance>,
    ) -> Result<Self, ConfigError> {
        match self.place(&name) {
            Ok(at) => {
                if let Some(entry) = self.entries.get_mut(at) {
                    entry.1 = allowance.into();
                }
            }
            Err(_) if self.entries.len() >= Self::MAX => {
                return Err(ConfigError::fixed(
                    ConfigErrorKind::Limit,
                    "a key or an owner overrides at most 16 policies; call Overrides::without for \
                     one before Overrides::with",
                ));
            }
            Err(at) => self.entries.insert(at, (name, allowance.into())),
        }
        Ok(self)
    }

    /// Drops a policy, so that it is no longer overridden.
    #[must_use]
    pub fn without(mut self, name: &PolicyName) -> Self {
        self.entries.retain(|(own, _)| own != name);
        self
    }

    /// Returns what a policy allows, if it is overridden.
    #[inline]
    pub fn get(&self, name: &PolicyName) -> Option<&Allowance> {
        self.entries.iter().find(|(own, _)| own == name).map(|(_, allowance)| allowance)
    }

    /// Returns the policies by ascending name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&PolicyName, &Allowance)> {
        self.entries.iter().map(|(name, allowance)| (name, allowance))
    }

    /// Returns whether no policy is overridden.
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the number of policies that are overridden.
    pub const fn len(&self) -> usize {
        self.entries.len()
    }

    fn place(&self, name: &PolicyName) -> Result<usize, usize> {
        self.entries.binary_search_by(|(own, _)| own.cmp(name))
    }

    /// Adds a policy that was read. Returns false if it is there already, or one too many.
    fn add(&mut self, name: PolicyName, allowance: Allowance) -> bool {
        match self.place(&name) {
            Err(at) if self.entries.len() < Self::MAX => {
                self.entries.insert(at, (name, allowance));
                true
            }
            _ => false,
        }
    }
}

/// Writes `default=100/min; exports=blocked`. No policies are the empty text.
impl fmt::Display for Overrides {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (name, allowance)) in self.entries.iter().enumerate() {
            let separator = if at > 0 { "; " } else { "" };
            write!(f, "{separator}{name}={allowance}")?;
        }
        Ok(())
    }
}

impl FromStr for Overrides {
    type Err = InvalidText;

    /// Reads policies with semicolons between them, in any order. Spaces around a semicolon are
    /// ignored. The empty text is no policies.
    fn from_str(text: &str) -> Result<Self, InvalidText> {
        let mut overrides = Self::none();
        if text.is_empty() {
            return Ok(overrides);
        }
        for part in text.split(';') {
            let (name, allowance) = part.trim_matches(' ').split_once('=').ok_or(NO_OVERRIDES)?;
            let name = name.parse().map_err(|_| NO_OVERRIDES)?;
            let allowance = allowance.parse().map_err(|_| NO_OVERRIDES)?;
            if !overrides.add(name, allowance) {
                return Err(NO_OVERRIDES);
            }
        }
        Ok(overrides)
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Overrides {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Overrides {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;

        impl<'de> serde::de::Visitor<'de> for Entries {
            type Value = Overrides;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of at most 16 policies, each once")
            }

            fn visit_map<M: serde::de::MapAccess<'de>>(
                self,
                mut map: M,
            ) -> Result<Overrides, M::Error> {
                let mut overrides = Overrides::none();
                while let Some((name, allowance)) = map.next_entry()? {
                    if !overrides.add(name, allowance) {
                        return Err(serde::de::Error::custom(NO_OVERRIDES));
                    }
                }
                Ok(overrides)
            }
        }

        deserializer.deserialize_map(Entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::Quota;

    fn name(text: &str) -> PolicyName {
        text.parse().unwrap()
    }

    fn full() -> Overrides {
        (0..16).fold(Overrides::none(), |all, at| {
            all.with(name(&format!("p{at}")), Allowance::Blocked).unwrap()
        })
    }

    #[test]
    fn overrides_are_few_sorted_and_distinct() {
        let full = full();
        assert_eq!(full.len(), Overrides::MAX);
        let error = full.clone().with(name("q"), Allowance::Unlimited).unwrap_err();
        assert_eq!(error.kind(), ConfigErrorKind::Limit);
        assert!(error.to_string().contains("Overrides::without"));
        let changed = full.clone().with(name("p3"), Allowance::Unlimited).unwrap();
        assert_eq!((changed.len(), changed.get(&name("p3"))), (16, Some(&Allowance::Unlimited)));
        let fewer = full.clone().without(&name("p3"));
        assert_eq!((fewer.len(), fewer.get(&name("p3"))), (15, None));
        assert!(fewer.with(name("q"), Allowance::Unlimited).is_ok());
        assert!(full.iter().map(|(name, _)| name).is_sorted());
    }

    #[test]
    fn the_text_reads_back() {
        let both = Overrides::single(name("b"), Quota::per_second(1));
        let both = both.with(name("a"), Allowance::Unlimited).unwrap();
        for (text, overrides) in [
            ("", Overrides::none()),
            ("a=unlimited; b=1/s", both.clone()),
            ("p0=blocked", Overrides::single(name("p0"), Allowance::Blocked)),
        ] {
            assert_eq!(overrides.to_string(), text);
            assert_eq!(text.parse(), Ok(overrides));
        }
        assert_eq!("b=1/s;a=unlimited".parse(), Ok(both));
        assert_eq!(full().to_string().parse(), Ok(full()));
        for bad in [
            ";",
            "a",
            "a=",
            "=blocked",
            "a=blocked;",
            "a=blocked; a=unlimited",
            "a =blocked",
            "a= blocked",
            &format!("{}; q=blocked", full()),
        ] {
            assert!(bad.parse::<Overrides>().is_err(), "{bad:?}");
        }
    }

    #[cfg(feature = "serde")]
    #[test]
    fn serde_reads_a_map_that_names_each_policy_once() {
        let overrides = Overrides::single(name("a"), Quota::per_minute(100));
        let overrides = overrides.with(name("b"), Allowance::Blocked).unwrap();
        let text = r#"{"a":"100/min","b":"blocked"}"#;
        assert_eq!(serde_json::to_string(&overrides).unwrap(), text);
        assert_eq!(serde_json::from_str::<Overrides>(text).unwrap(), overrides);
        for bad in [
            r#"{"a":"blocked","a":"unlimited"}"#,
            r#"{"a b":"blocked"}"#,
            r#"{"a":null}"#,
            r#"[]"#,
            "null",
        ] {
            assert!(serde_json::from_str::<Overrides>(bad).is_err(), "{bad}");
        }
        let full: String = (0..17).map(|at| format!(r#","p{at}":"blocked""#)).collect();
        let full = format!("{{{}}}", full.trim_start_matches(','));
        assert!(serde_json::from_str::<Overrides>(&full).is_err());
    }
}
