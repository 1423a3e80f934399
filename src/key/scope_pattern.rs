//! Patterns of scopes that name a resource.

use crate::{
    error::InvalidText,
    key::scope::Scope,
    text::{Text, text_noun},
};

/// A pattern of scopes that name a resource, such as `repo:read:{owner}/{repo}`.
///
/// Its segments are separated by `:` and `/`. A segment is a literal or a parameter in braces, whose
/// name has characters of `a-z 0-9 _`; the first segment is a literal. A scope is an instance of the
/// pattern if it has the same separators and literals and a value for each parameter, such as
/// `repo:read:acme/site`. A value has no `:`, `/`, `*`, `{` and `}`.
///
/// In a scope that a *key* holds, `*` in place of a whole value means every value: `repo:read:acme/*`.
/// A `*` has no other meaning anywhere: `*`, `repo:*` and `repo:read:acme/s*` are no instances of this
/// pattern, and a [catalogue](crate::key::ScopeCatalog) refuses them.
///
/// ```
/// use keyward::{key::ScopePattern, Scope};
///
/// const READ_REPO: ScopePattern = ScopePattern::from_static("repo:read:{owner}/{repo}");
/// let has = |scope| READ_REPO.has_instance(&Scope::from_static(scope));
/// assert!(has("repo:read:acme/site") && has("repo:read:acme/*"));
/// assert!(!has("repo:read:acme") && !has("repo:*") && !has("repo:read:acme/s*") && !has("*"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScopePattern(Text);

impl ScopePattern {
    /// The largest number of bytes of a pattern.
    pub const MAX_LEN: usize = Scope::MAX_LEN;

    const fn check(text: &str) -> Result<(), InvalidText> {
        if Scope::check(text).is_err() {
            return Err(NO_PATTERN);
        }
        let bytes = text.as_bytes();
        let (mut position, mut start, mut parameters) = (0, 0, 0);
        while position <= bytes.len() {
            if position == bytes.len() || is_separator(bytes[position]) {
                match segment(bytes, start, position) {
                    Ok(false) => {}
                    Ok(true) if start > 0 => parameters += 1,
                    Ok(true) => return Err(NO_PATTERN.with_position(start)),
                    Err(error) => return Err(error),
                }
                start = position + 1;
            }
            position += 1;
        }
        if parameters == 0 { Err(NO_PATTERN) } else { Ok(()) }
    }

    /// Returns the names of the parameters in their order.
    pub fn parameters(&self) -> impl Iterator<Item = &str> {
        segments(self.as_str()).filter_map(|(part, _)| parameter(part))
    }

    /// Returns whether `scope` is an instance of this pattern, with a value or `*` for each parameter.
    pub fn has_instance(&self, scope: &Scope) -> bool {
        self.admits(scope, |_, _| true)
    }

    /// Returns the text of the pattern, which names it wherever a scope is named.
    pub(crate) fn name(&self) -> Scope {
        Scope::of(self.0.clone())
    }

    /// Returns whether `held` is an instance whose value of each parameter is `*` or passes `value`,
    /// which gets the name of the parameter and the value.
    pub(crate) fn admits(&self, held: &Scope, value: impl Fn(&str, &str) -> bool) -> bool {
        let (mut own, mut others) = (segments(self.as_str()), segments(held.as_str()));
        loop {
            match (own.next(), others.next()) {
                (None, None) => return true,
                (Some((part, end)), Some((segment, other_end))) if end == other_end => {
                    let fits = match parameter(part) {
                        None => part == segment,
                        Some(_) if segment == ANY => true,
                        Some(name) => is_value(segment) && value(name, segment),
                    };
                    if !fits {
                        return false;
                    }
                }
                _ => return false,
            }
        }
    }

    /// Returns whether the instance `wide` grants all that the instance `narrow` grants.
    pub(crate) fn covers(&self, wide: &Scope, narrow: &Scope) -> bool {
        let mut pairs = segments(wide.as_str()).zip(segments(narrow.as_str()));
        self.has_instance(wide)
            && self.has_instance(narrow)
            && pairs.all(|((wide, _), (narrow, _))| wide == ANY || wide == narrow)
    }

    /// Returns whether one scope could be an instance of both patterns.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        let (mut own, mut others) = (segments(self.as_str()), segments(other.as_str()));
        loop {
            match (own.next(), others.next()) {
                (None, None) => return true,
                (Some((one, end)), Some((two, other_end))) if end == other_end => {
                    if one != two && parameter(one).is_none() && parameter(two).is_none() {
                        return false;
                    }
                }
                _ => return false,
            }
        }
    }
}

text_noun!(ScopePattern);

/// Every value of a parameter, in a scope that a key holds.
const ANY: &str = "*";

/// Returns whether a text can be the value of a parameter.
pub(crate) fn is_value(text: &str) -> bool {
    !text.is_empty() && !text.contains([':', '/', '*', '{', '}']) && Scope::new(text).is_ok()
}

/// Returns the segments of a text, each with the separator behind it.
fn segments(text: &str) -> impl Iterator<Item = (&str, Option<char>)> {
    text.split_inclusive([':', '/']).map(|part| {
        let end = part.chars().next_back().filter(|last| matches!(last, ':' | '/'));
        (part.strip_suffix([':', '/']).unwrap_or(part), end)
    })
}

/// Returns the name of a parameter, if the segment of a pattern is one.
fn parameter(part: &str) -> Option<&str> {
    part.strip_prefix('{')?.strip_suffix('}')
}

const fn is_separator(byte: u8) -> bool {
    matches!(byte, b':' | b'/')
}

/// Returns whether a segment of a pattern is a parameter.
const fn segment(bytes: &[u8], start: usize, end: usize) -> Result<bool, InvalidText> {
    let is_parameter = start < end && bytes[start] == b'{';
    if is_parameter && (end - start < 3 || bytes[end - 1] != b'}') {
        return Err(NO_PATTERN.with_position(start));
    }
    let (mut position, end) = if is_parameter { (start + 1, end - 1) } else { (start, end) };
    while position < end {
        let allowed = match bytes[position] {
            b'a'..=b'z' | b'0'..=b'9' | b'_' => true,
            b'{' | b'}' | b'*' => false,
            _ => !is_parameter,
        };
        if !allowed {
            return Err(NO_PATTERN.with_position(position));
        }
        position += 1;
    }
    Ok(is_parameter)
}

const NO_PATTERN: InvalidText = InvalidText::new(
    "a pattern of scopes: at most 128 characters of a scope, segments separated by : and /, the first \
     a literal, at least one a parameter such as {repo}, and no *",
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_read_strictly() {
        for good in ["repo:{repo}", "repo:read:{owner}/{repo}", "a/{b}/c", "r:{a}:{b_1}", "r::{a}"]
        {
            assert_eq!(ScopePattern::new(good).unwrap().as_str(), good);
        }
        for (bad, position) in [
            ("", None),
            ("repo:read", None),
            ("{repo}", Some(0)),
            ("{repo}:read", Some(0)),
            ("repo:{}", Some(5)),
            ("repo:{re po}", None),
            ("repo:{Repo}", Some(6)),
            ("repo:{repo", Some(5)),
            ("repo:repo}", Some(9)),
            ("repo:{repo}s", Some(5)),
            ("repo:a{repo}", Some(6)),
            ("repo:{{repo}}", Some(6)),
            ("repo:*", Some(5)),
            ("repo:{*}", Some(6)),
            ("repo:{repo}:*", Some(12)),
            ("repo:{a:b}", Some(5)),
        ] {
            let error = ScopePattern::new(bad).unwrap_err();
            assert_eq!(
                (error.expected(), error.position()),
                (NO_PATTERN.expected(), position),
                "{bad}"
            );
        }
    }

    #[test]
    fn patterns_overlap_if_one_scope_fits_both() {
        for (one, two, expected) in [
            ("repo:{a}", "repo:{b}", true),
            ("repo:{a}/{b}", "repo:x/{b}", true),
            ("repo:{a}/y", "repo:x/{b}", true),
            ("repo:{a}/y", "repo:{a}/z", false),
            ("repo:{a}", "repo:{a}/{b}", false),
            ("repo:{a}/{b}", "repo:{a}:{b}", false),
            ("repo:{a}", "org:{a}", false),
        ] {
            let [one, two] = [one, two].map(|text| ScopePattern::new(text).unwrap());
            assert_eq!(
                (one.overlaps(&two), two.overlaps(&one)),
                (expected, expected),
                "{one} {two}"
            );
        }
    }
}
