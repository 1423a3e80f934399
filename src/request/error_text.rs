//! The text of a refusal.

use std::borrow::Cow;

use crate::{
    error::{ConfigError, ConfigErrorKind},
    key::scope::Scope,
    quota::policy_name::PolicyName,
    request::{
        facts::ErrorFacts,
        json::JsonObject,
        placeholder::{Piece, pieces},
        public_reason::PublicReason,
    },
};

/// The text for one reason: a message, and further members of the body.
///
/// A message can have placeholders: `{retry_after}`, in whole seconds, for
/// [`PublicReason::RateLimited`] and [`PublicReason::TooManyAttempts`]; `{scope}` for
/// [`PublicReason::MissingScope`]; `{policy}`, the name of the limit, for
/// [`PublicReason::RateLimited`] and [`PublicReason::Blocked`]; and `{quota}`, such as `100/min`, for
/// [`PublicReason::RateLimited`]. Double a brace that is part of the text. What happens without the
/// fact for a placeholder is described at [`ErrorBodies::message`](crate::request::ErrorBodies::message).
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct ErrorText {
    pub(super) message: Cow<'static, str>,
    pub(super) code: Option<Cow<'static, str>>,
    /// The type and the title of problem details.
    pub(super) problem: Option<(Cow<'static, str>, Cow<'static, str>)>,
    pub(super) fields: Vec<Field>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Text(Cow<'static, str>, Cow<'static, str>),
    RetryAfter(Cow<'static, str>),
    Scope(Cow<'static, str>),
    Policy(Cow<'static, str>),
    Quota(Cow<'static, str>),
    RequestId(Cow<'static, str>),
}

impl ErrorText {
    /// Builds a text of a message alone.
    pub fn new(message: impl Into<Cow<'static, str>>) -> Self {
        Self { message: message.into(), code: None, problem: None, fields: Vec::new() }
    }

    /// Sets a code for programs, such as `ENTERPRISE_REQUIRED`. Flat bodies do not have it.
    pub fn with_code(self, code: impl Into<Cow<'static, str>>) -> Self {
        Self { code: Some(code.into()), ..self }
    }

    /// Sets the type (a URI) and the title of problem details. Other bodies do not have them.
    pub fn with_type(
        self,
        uri: impl Into<Cow<'static, str>>,
        title: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { problem: Some((uri.into(), title.into())), ..self }
    }

    /// Adds a member: a string that is always the same.
    pub fn with_field(
        self,
        name: impl Into<Cow<'static, str>>,
        value: impl Into<Cow<'static, str>>,
    ) -> Self {
        self.with(Field::Text(name.into(), value.into()))
    }

    /// Adds a member: a number, the whole seconds of `Retry-After`.
    pub fn with_retry_after(self, name: impl Into<Cow<'static, str>>) -> Self {
        self.with(Field::RetryAfter(name.into()))
    }

    /// Adds a member: a string, the scope that is missing.
    pub fn with_missing_scope(self, name: impl Into<Cow<'static, str>>) -> Self {
        self.with(Field::Scope(name.into()))
    }

    /// Adds a member: a string, the name of the limit that refused.
    pub fn with_policy(self, name: impl Into<Cow<'static, str>>) -> Self {
        self.with(Field::Policy(name.into()))
    }

    /// Adds a member: a string, the quota that is used up, such as `100/min`.
    pub fn with_quota(self, name: impl Into<Cow<'static, str>>) -> Self {
        self.with(Field::Quota(name.into()))
    }

    /// Adds a member: a string, the id of the request. A refusal whose host gave it no
    /// [id](crate::gate::Refusal::with_request_id) does not have the member.
    pub fn with_request_id(self, name: impl Into<Cow<'static, str>>) -> Self {
        self.with(Field::RequestId(name.into()))
    }

    fn with(mut self, field: Field) -> Self {
        self.fields.push(field);
        self
    }

    /// Checks the fields and placeholders for a reason. `members` are the names that the body has
    /// already.
    pub(super) fn check(
        &self,
        reason: PublicReason,
        members: &[&'static str],
    ) -> Result<(), ConfigError> {
        let mut names: Vec<&str> = members.to_vec();
        for field in &self.fields {
            if names.contains(&field.name()) {
                return Err(refused(format!(
                    "the text for {reason:?} has two fields {:?}; rename one in \
                     ErrorText::with_field",
                    field.name()
                )));
            }
            names.push(field.name());
            if !field.is_filled_for(reason) {
                return Err(unfilled(reason));
            }
        }
        for piece in pieces(&self.message) {
            match piece {
                Piece::Text(_) => {}
                Piece::RetryAfter if reason.has_retry_time() => {}
                Piece::Scope if reason == PublicReason::MissingScope => {}
                Piece::Policy if reason.has_policy() => {}
                Piece::Quota if reason.has_quota() => {}
                Piece::RetryAfter | Piece::Scope | Piece::Policy | Piece::Quota => {
                    return Err(unfilled(reason));
                }
                Piece::Unknown(_) => {
                    return Err(refused(format!(
                        "the text for {reason:?} has braces around what is no placeholder; double \
                         a brace that is meant as such in ErrorText::new"
                    )));
                }
            }
        }
        Ok(())
    }
}

impl From<&'static str> for ErrorText {
    fn from(message: &'static str) -> Self {
        Self::new(message)
    }
}

impl From<String> for ErrorText {
    fn from(message: String) -> Self {
        Self::new(message)
    }
}

impl Field {
    fn name(&self) -> &str {
        match self {
            Self::Text(name, _)
            | Self::RetryAfter(name)
            | Self::Scope(name)
            | Self::Policy(name)
            | Self::Quota(name)
            | Self::RequestId(name) => name,
        }
    }

    pub(super) const fn is_constant(&self) -> bool {
        matches!(self, Self::Text(..))
    }

    fn is_filled_for(&self, reason: PublicReason) -> bool {
        match self {
            Self::Text(..) | Self::RequestId(_) => true,
            Self::RetryAfter(_) => reason.has_retry_time(),
            Self::Scope(_) => reason == PublicReason::MissingScope,
            Self::Policy(_) => reason.has_policy(),
            Self::Quota(_) => reason.has_quota(),
        }
    }

    pub(super) fn write(&self, object: JsonObject, facts: &ErrorFacts<'_>) -> JsonObject {
        let text = |name: &str, value: Option<&str>, object: JsonObject| match value {
            Some(value) => object.text(name, value),
            None => object,
        };
        match self {
            Self::Text(name, value) => object.text(name, value),
            Self::RetryAfter(name) => match facts.retry_after_secs {
                Some(secs) => object.number(name, secs),
                None => object,
            },
            Self::Scope(name) => text(name, facts.missing_scope.map(Scope::as_str), object),
            Self::Policy(name) => text(name, facts.policy.map(PolicyName::as_str), object),
            Self::RequestId(name) => text(name, facts.request_id, object),
            Self::Quota(name) => {
                text(name, facts.quota.map(|quota| quota.to_string()).as_deref(), object)
            }
        }
    }
}

fn unfilled(reason: PublicReason) -> ConfigError {
    refused(format!(
        "the text for {reason:?} uses a placeholder or field that this reason does not provide: \
         retry times belong to throttling, scopes to MissingScope, policies to RateLimited and \
         Blocked, quotas to RateLimited; mend ErrorBodies::with_text"
    ))
}

fn refused(problem: String) -> ConfigError {
    ConfigError::new(ConfigErrorKind::Text, problem)
}
