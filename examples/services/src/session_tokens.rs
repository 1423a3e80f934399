//! The tokens of dashboard sessions, which are no API keys.

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

/// Signs and reads session tokens: JWTs under HS256, with a secret of this process.
pub struct SessionTokens {
    signing: EncodingKey,
    reading: DecodingKey,
    validation: Validation,
    lifetime: Duration,
}

/// What a session token says. Membership is not in it, but looked up each time, so that
/// leaving an organization takes effect at once.
#[derive(Serialize, Deserialize)]
struct Claims {
    sub: String,
    iat: u64,
    exp: u64,
}

impl SessionTokens {
    /// Tokens that are good for so long.
    ///
    /// # Errors
    ///
    /// If the system's generator fails.
    pub fn with_random_secret(lifetime: Duration) -> Result<Self, SysError> {
        let mut secret = [0; 32];
        SysRng.try_fill_bytes(&mut secret)?;
        let mut validation = Validation::new(Algorithm::HS256);
        // `exp` is judged below by the service's own clock, to the second and without the
        // minute of leeway that the crate grants.
        validation.validate_exp = false;
        Ok(Self {
            signing: EncodingKey::from_secret(&secret),
            reading: DecodingKey::from_secret(&secret),
            validation,
            lifetime,
        })
    }

    /// A token for this user, from `now` on.
    ///
    /// # Errors
    ///
    /// If it cannot be signed.
    pub fn open(&self, user: &str, now: Timestamp) -> Result<String, Error> {
        let issued = now.as_unix_secs();
        let exp = issued.saturating_add(self.lifetime.as_secs());
        let claims = Claims { sub: user.to_owned(), iat: issued, exp };
        encode(&Header::new(Algorithm::HS256), &claims, &self.signing)
    }

    /// The user whose session this is, if it is one that was opened here and `now` is before
    /// its end (RFC 7519 §4.1.4).
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
