//! The id of a request.

use crate::{
    error::InvalidText,
    key::name::check_name,
    text::{Text, text_noun},
};

/// The id of a request, by which the logs of several systems are joined. Audit events contain it.
///
/// A client may have chosen it, so it has 1 to [`RequestId::MAX_LEN`] bytes of UTF-8, with the
/// characters that a [`KeyName`](crate::key::KeyName) can have, and cannot forge a line of a log.
/// Clones share the text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(Text);

impl RequestId {
    /// The largest number of bytes of an id.
    pub const MAX_LEN: usize = 128;

    const fn check(text: &str) -> Result<(), InvalidText> {
        check_name(text, Self::MAX_LEN, NO_REQUEST_ID)
    }
}

text_noun!(RequestId);

const NO_REQUEST_ID: InvalidText = InvalidText::new(
    "the id of a request: 1 to 128 bytes of UTF-8, not spaces alone, without control characters",
);
