//! Who makes a change.

use crate::{
    error::InvalidText,
    key::name::check_name,
    text::{Text, text_noun},
};

/// The person or program that changes keys, in the words of the host: `user_42`, `billing-job`.
///
/// Audit events name it, and a key keeps the one that issued it. It has 1 to [`Actor::MAX_LEN`]
/// bytes of UTF-8, with the characters that a [`KeyName`](crate::key::KeyName) can have. Clones
/// share the text.
///
/// ```
/// use keyward::key::Actor;
///
/// assert_eq!(Actor::new("user_42")?.as_str(), "user_42");
/// assert!(Actor::new("user\n42").is_err());
/// # Ok::<(), keyward::error::InvalidText>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Actor(Text);

impl Actor {
    /// The largest number of bytes of an actor.
    pub const MAX_LEN: usize = 128;

    const fn check(text: &str) -> Result<(), InvalidText> {
        check_name(text, Self::MAX_LEN, NO_ACTOR)
    }
}

text_noun!(Actor);

const NO_ACTOR: InvalidText = InvalidText::new(
    "the name of an actor: 1 to 128 bytes of UTF-8, not spaces alone, without control characters",
);
