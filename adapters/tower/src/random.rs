//! The random generator that mints keys.

use std::{
    borrow::Cow,
    error::Error,
    fmt,
    sync::{Arc, Mutex},
};

use keyward::SysRng;
use rand_core::{TryCryptoRng, TryRng};

/// A random generator that the clones of one service share.
#[derive(Clone)]
pub(crate) struct Random(Arc<dyn Fill>);

impl Random {
    pub(crate) fn system() -> Self {
        Self::new(SysRng)
    }

    pub(crate) fn new(rng: impl TryCryptoRng + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(rng)))
    }
}

/// A generator of any type behind a lock.
trait Fill: Send + Sync {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RngFailed>;
}

impl<G: TryCryptoRng + Send> Fill for Mutex<G> {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RngFailed> {
        // A generator that panicked may repeat itself, so no further key is minted with it.
        let mut rng = self.lock().map_err(|_| RngFailed::panicked())?;
        rng.try_fill_bytes(bytes).map_err(|error| RngFailed(error.to_string().into()))
    }
}

impl TryRng for Random {
    type Error = RngFailed;

    fn try_next_u32(&mut self) -> Result<u32, RngFailed> {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, RngFailed> {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), RngFailed> {
        self.0.fill(bytes)
    }
}

impl TryCryptoRng for Random {}

/// The message of a generator that failed.
#[derive(Clone, Debug)]
pub(crate) struct RngFailed(Cow<'static, str>);

impl RngFailed {
    const fn panicked() -> Self {
        Self(Cow::Borrowed("the random generator panicked before"))
    }
}

impl fmt::Display for RngFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for RngFailed {}
