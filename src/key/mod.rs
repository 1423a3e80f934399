//! Keys: what they look like, what is kept of them, and how they live and die.

pub(crate) mod format;
pub(crate) mod grace;
pub(crate) mod hash;
pub(crate) mod hint;
pub(crate) mod id;
pub(crate) mod kind;
pub(crate) mod plaintext;
pub(crate) mod presented;
pub(crate) mod record;
pub(crate) mod scanner;
pub(crate) mod secret;
