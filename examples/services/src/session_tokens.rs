//! The tokens of dashboard sessions. They are not API keys.

use std::{fmt, time::Duration};

use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode, errors::Error,
};
use keyward::Timestamp;
use rand::{
    TryRng,
    rngs::{SysError, SysRng},
};
use serde::{Deserialize, Serialize};

/// Session tokens: JWTs signed with HS256 and a secret of this process.
pub struct SessionTokens {
    signing: EncodingKey,
    reading: DecodingKey,
    validation: Validation,
    lifetime: Duration,
}

/// The content of a session token. It does not contain the organization, which is looked up for each
/// request, so that leaving an organization takes effect immediately.
#[derive(Serialize, Deserialize)]
struct Claims {
    sub: String,
    iat: u64,
    exp: u64,
}

impl SessionTokens {
    /// Builds the signer of tokens that are valid for `lifetime`.
    ///
    /// # Errors
    ///
    /// If the random generator of the system fails.
    pub fn with_random_secret(lifetime: Duration) -> Result<Self, SysError> {
        let mut secret = [0; 32];
        SysRng.try_fill_bytes(&mut secret)?;
        let mut validation = Validation::new(Algorithm::HS256);
        // `user` below checks `exp` with the clock of the service and without the minute of leeway
        // that the crate grants.
        validation.validate_exp = false;
        Ok(Self {
            signing: EncodingKey::from_secret(&secret),
            reading: DecodingKey::from_secret(&secret),
            validation,
            lifetime,
        })
    }

    /// Returns a token for this user, valid from `now`.
    ///
    /// # Errors
    ///
    /// If the token cannot be signed.
    pub fn open(&self, user: &str, now: Timestamp) -> Result<String, Error> {
        let issued = now.as_unix_secs();
        let exp = issued.saturating_add(self.lifetime.as_secs());
        let claims = Claims { sub: user.to_owned(), iat: issued, exp };
        encode(&Header::new(Algorithm::HS256), &claims, &self.signing)
    }

    /// Returns the user of a session, if this process signed the token and `now` is before its end
    /// (RFC 7519 §4.1.4).
    pub fn user(&self, token: &[u8], now: Timestamp) -> Option<String> {
        let claims = decode::<Claims>(token, &self.reading, &self.validation).ok()?.claims;
        (now < Timestamp::from_unix_secs(claims.exp)).then_some(claims.sub)
    }
}

impl fmt::Debug for SessionTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionTokens").field("lifetime", &self.lifetime).finish_non_exhaustive()
    }
}
