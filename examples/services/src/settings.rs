//! Settings from the environment.

use std::{
    env,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    ops::RangeInclusive,
    time::Duration,
};

use keyward::key::Grace;
use thiserror::Error;

/// The settings that all services have.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Settings {
    /// The address to listen on: `BIND` (default 127.0.0.1) and `PORT` (default 3000; 0 picks a
    /// free port).
    pub address: SocketAddr,
    /// The time for which the previous secret of a rotated key still works: `GRACE_SECONDS` (default
    /// 86400).
    pub grace: Grace,
}

impl Settings {
    /// Reads the environment.
    ///
    /// # Errors
    ///
    /// The first variable with an invalid value. A typing error must not silently become a default.
    pub fn from_env() -> Result<Self, SettingError> {
        let bind = match text("BIND")? {
            None => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Some(value) => value.parse().map_err(|_| SettingError {
                name: "BIND",
                expected: "an IP address such as 127.0.0.1 or ::1".to_owned(),
            })?,
        };
        let port = whole_number("PORT", 3000, 0..=u64::from(u16::MAX))?;
        let grace = seconds("GRACE_SECONDS", Grace::DAY.duration(), Grace::MAX)?;
        let out_of_range = |error: keyward::error::InvalidText| SettingError {
            name: "GRACE_SECONDS",
            expected: error.expected().to_owned(),
        };
        Ok(Self {
            address: SocketAddr::new(bind, u16::try_from(port).unwrap_or_default()),
            grace: Grace::new(grace).map_err(out_of_range)?,
        })
    }
}

/// Reads a duration in whole seconds, from 1 to `max`, from an environment variable.
///
/// # Errors
///
/// If the variable has any other value.
pub fn seconds(
    name: &'static str,
    default: Duration,
    max: Duration,
) -> Result<Duration, SettingError> {
    whole_number(name, default.as_secs(), 1..=max.as_secs()).map(Duration::from_secs)
}

/// The window of the documented rate limits.
pub const MINUTE: Duration = Duration::from_secs(60);

/// The longest window that `WINDOW_SECONDS` can set.
const DAY: Duration = Duration::from_secs(86_400);

/// Returns the window of the rate limits: `WINDOW_SECONDS` (default 60, as documented). A test sets a
/// short window to wait for its end, or a long one so that all its requests are in one window.
///
/// # Errors
///
/// If the variable is not a whole number of seconds from 1 to one day.
pub fn window() -> Result<Duration, SettingError> {
    seconds("WINDOW_SECONDS", MINUTE, DAY)
}

/// A variable with an invalid value. The text does not repeat the value.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{name} must be {expected}")]
pub struct SettingError {
    name: &'static str,
    expected: String,
}

/// Reads a whole number from an environment variable.
///
/// # Errors
///
/// If the variable has any other value.
pub fn whole_number(
    name: &'static str,
    default: u64,
    range: RangeInclusive<u64>,
) -> Result<u64, SettingError> {
    let Some(value) = text(name)? else { return Ok(default) };
    // `parse` would accept a leading plus sign.
    let number = value.bytes().all(|byte| byte.is_ascii_digit()).then(|| value.parse().ok());
    number.flatten().filter(|number| range.contains(number)).ok_or_else(|| SettingError {
        name,
        expected: format!("a whole number from {} to {}", range.start(), range.end()),
    })
}

fn text(name: &'static str) -> Result<Option<String>, SettingError> {
    match env::var(name) {
        Ok(value) => Ok(Some(value)),
        Err(env::VarError::NotPresent) => Ok(None),
        Err(env::VarError::NotUnicode(_)) => {
            Err(SettingError { name, expected: "plain text".to_owned() })
        }
    }
}
