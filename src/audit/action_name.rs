//! The names of actions.

use crate::{
    error::InvalidText,
    key::name::check_name,
    text::{Text, text_noun},
};

/// The name of what an entry of the audit log reports: `revoked`, or a name of the host's own.
///
/// It has 1 to [`ActionName::MAX_LEN`] bytes of UTF-8, with the characters that a
/// [`KeyName`](crate::key::KeyName) can have, so every store can keep it. Clones share the text.
///
/// ```
/// use keyward::audit::ActionName;
///
/// const EXPORTED: ActionName = ActionName::from_static("exported");
/// assert_eq!(EXPORTED.as_str(), "exported");
/// assert!(ActionName::new("two\nlines").is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ActionName(Text);

impl ActionName {
    /// The largest number of bytes of a name.
    pub const MAX_LEN: usize = 128;

    /// Takes a name of this crate's own. A test checks them.
    pub(super) const fn known(name: &'static str) -> Self {
        Self(Text::Static(name))
    }

    const fn check(text: &str) -> Result<(), InvalidText> {
        check_name(text, Self::MAX_LEN, NO_ACTION)
    }
}

text_noun!(ActionName);

const NO_ACTION: InvalidText = InvalidText::new(
    "the name of an action: 1 to 128 bytes of UTF-8, not spaces alone, without control characters",
);
