//! What the environment sets.

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
    /// Where to listen: `BIND` (default 127.0.0.1) and `PORT` (default 3000; 0 picks a
    /// free one).
    pub address: SocketAddr,
    /// How long a rotated secret still works: `GRACE_SECONDS` (default 86400).
    pub grace: Grace,
}

impl Settings {
    /// Reads the environment.
    ///
    /// # Errors
    ///
    /// The first variable whose value cannot be used. A typing error must not silently
    /// become a default.
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

/// A variable that holds a duration in whole seconds, from 1 to `max`.
///
/// # Errors
///
/// If it is set to anything else.
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

/// The window of the rate limits: `WINDOW_SECONDS` (default 60, as documented). A test sets a
/// short one to wait for its end, and a long one so that requests stay in it however slowly they
/// are sent.
///
/// # Errors
///
/// If the variable is set to anything but a whole number of seconds up to one day.
pub fn window() -> Result<Duration, SettingError> {
    seconds("WINDOW_SECONDS", MINUTE, DAY)
}

/// A variable that cannot be used. Its value is not repeated.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{name} must be {expected}")]
pub struct SettingError {
    name: &'static str,
    expected: String,
}

/// A variable that holds a whole number.
///
/// # Errors
///
/// If it is set to anything else.
pub fn whole_number(
    name: &'static str,
    default: u64,
    range: RangeInclusive<u64>,
) -> Result<u64, SettingError> {
    let Some(value) = text(name)? else { return Ok(default) };
    // `parse` would take a leading plus sign, which nobody means.
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
