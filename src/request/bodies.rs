//! The bodies of refusals.

use std::{borrow::Cow, fmt, sync::Arc};

use crate::{
    error::{ConfigError, ConfigErrorKind},
    request::{
        error_text::{ErrorText, Field},
        facts::{ErrorBody, ErrorFacts},
        json::JsonObject,
        public_reason::PublicReason,
    },
};

/// The bodies of a service's refusals: their shape, and the text for each reason.
///
/// A reason without a text of its own has a plain English one. The precise reasons for which a key
/// has ended (revoked, expired, suspended, past its grace) have the text of
/// [`PublicReason::InvalidKey`] unless they have their own. So a service can have one sentence for
/// every 401, or tell the reasons apart. [`PublicReason::RepeatedCredential`] has that of
/// [`PublicReason::AmbiguousCredentials`].
///
/// ```
/// use keyward::{request::{ErrorFacts, ErrorText, PublicReason}, ErrorBodies};
///
/// let errors = ErrorBodies::nested()
///     .with_unauthenticated("Missing or invalid API key")
///     .with_text(
///         PublicReason::RateLimited,
///         ErrorText::new("Rate limit exceeded. Retry after {retry_after} seconds.")
///             .with_retry_after("retry_after"),
///     );
/// let body = errors.render(&ErrorFacts::new(PublicReason::RateLimited).with_retry_after_secs(12));
/// assert_eq!(body.content_type, "application/json");
/// assert_eq!(
///     body.as_str(),
///     r#"{"error":{"code":"RATE_LIMITED","message":"Rate limit exceeded. Retry after 12 seconds.","retry_after":12}}"#
/// );
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct ErrorBodies {
    style: Style,
    texts: Vec<(PublicReason, ErrorText)>,
    /// The statuses that the host has chosen.
    statuses: Vec<(PublicReason, u16)>,
}

/// A status of refusals: its name (RFC 9110 §15, RFC 6585 §4), and the code of a body with codes if the
/// host set none.
struct Status {
    number: u16,
    phrase: &'static str,
    code: &'static str,
    /// Whether a host can choose it. A 401 must carry a challenge, and a 503 is no client's fault.
    is_free: bool,
}

const STATUSES: [Status; 8] = [
    Status { number: 400, phrase: "Bad Request", code: "BAD_REQUEST", is_free: true },
    Status { number: 401, phrase: "Unauthorized", code: "UNAUTHORIZED", is_free: false },
    Status { number: 403, phrase: "Forbidden", code: "FORBIDDEN", is_free: true },
    Status { number: 404, phrase: "Not Found", code: "NOT_FOUND", is_free: true },
    Status { number: 413, phrase: "Content Too Large", code: "TOO_LARGE", is_free: true },
    Status { number: 422, phrase: "Unprocessable Content", code: "UNPROCESSABLE", is_free: true },
    Status { number: 429, phrase: "Too Many Requests", code: "RATE_LIMITED", is_free: true },
    UNAVAILABLE,
];
const UNAVAILABLE: Status =
    Status { number: 503, phrase: "Service Unavailable", code: "UNAVAILABLE", is_free: false };

impl Status {
    fn of(number: u16) -> &'static Self {
        STATUSES.iter().find(|status| status.number == number).unwrap_or(&UNAVAILABLE)
    }
}

#[derive(Clone)]
enum Style {
    Flat,
    Nested,
    Problem,
    #[expect(clippy::type_complexity, reason = "an alias would only be another name to learn")]
    Custom(Arc<dyn Fn(&ErrorFacts<'_>, &str) -> ErrorBody + Send + Sync>),
}

impl ErrorBodies {
    /// Builds bodies of the shape `{"error":"…"}`, followed by the fields of the text.
    pub const fn flat() -> Self {
        Self::with_style(Style::Flat)
    }

    /// Builds bodies of the shape `{"error":{"code":"…","message":"…"}}`, followed by the fields of
    /// the text. A text without a code has `BAD_REQUEST`, `UNAUTHORIZED`, `FORBIDDEN`,
    /// `RATE_LIMITED` or `UNAVAILABLE`, by the status.
    pub const fn nested() -> Self {
        Self::with_style(Style::Nested)
    }

    /// Builds problem details of RFC 9457, `application/problem+json`: `type`, `title`, `status` and
    /// `detail`, then `code` if the text has one, and its fields. A text without a type has
    /// `about:blank`, whose title is the name of the status (§4.2.1). A limit that is used up is named
    /// in `policy`, and its quota in `quota`; a limit that blocks the caller is named in `policy`.
    pub const fn problem_details() -> Self {
        Self::with_style(Style::Problem)
    }

    /// Builds bodies with a function of the host. It gets the facts, and the message with its
    /// placeholders filled.
    pub fn custom(
        render: impl Fn(&ErrorFacts<'_>, &str) -> ErrorBody + Send + Sync + 'static,
    ) -> Self {
        Self::with_style(Style::Custom(Arc::new(render)))
    }

    /// Sets the text for one reason. The last call for a reason counts.
    pub fn with_text(mut self, reason: PublicReason, text: impl Into<ErrorText>) -> Self {
        self.texts.retain(|(other, _)| *other != reason);
        self.texts.push((reason, text.into()));
        self
    }

    /// Sets one text for all reasons of a 401. It replaces texts that were set for them before.
    pub fn with_unauthenticated(self, text: impl Into<ErrorText>) -> Self {
        self.for_status(401, text.into())
    }

    /// Sets one text for all reasons of a 403. It replaces texts that were set for them before.
    pub fn with_forbidden(self, text: impl Into<ErrorText>) -> Self {
        self.for_status(403, text.into())
    }

    /// Sets the status of refusals for [`PublicReason::ForbiddenNetwork`],
    /// [`PublicReason::ForbiddenOrigin`], [`PublicReason::Vetoed`], [`PublicReason::Blocked`] or
    /// [`PublicReason::CostAboveLimit`]: 400, 403 (the default), 404, 413, 422 or 429. The last call for a reason counts. Whether it is 429 or
    /// not, the response has no `Retry-After`, because waiting does not help.
    ///
    /// Any other reason or status is an error of
    /// [`GateBuilder::build`](crate::gate::GateBuilder::build).
    pub fn with_status(mut self, reason: PublicReason, status: u16) -> Self {
        self.statuses.retain(|(other, _)| *other != reason);
        self.statuses.push((reason, status));
        self
    }

    /// Returns the status of refusals for a reason.
    pub fn status(&self, reason: PublicReason) -> u16 {
        let chosen = self.statuses.iter().find(|(own, _)| *own == reason);
        chosen.map_or(reason.status(), |(_, status)| *status)
    }

    /// Returns the message for the client, with its placeholders filled.
    ///
    /// A fact that the text needs can be missing, for instance when the host itself refuses a request
    /// for a scope that its route does not name. Then the message is the plain English text, or else
    /// one that needs no fact. It is never half a sentence.
    pub fn message(&self, facts: &ErrorFacts<'_>) -> String {
        let own = self.text(facts.reason).and_then(|text| facts.fill(&text.message));
        own.or_else(|| facts.fill(facts.reason.default_message()))
            .unwrap_or_else(|| facts.reason.factless_message().to_owned())
    }

    /// Returns the code for programs, as [`ErrorBodies::nested`] has it, whatever the shape is.
    pub fn code(&self, reason: PublicReason) -> &str {
        let own = self.text(reason).and_then(|text| text.code.as_deref());
        own.unwrap_or(Status::of(self.status(reason)).code)
    }

    /// Renders the body.
    pub fn render(&self, facts: &ErrorFacts<'_>) -> ErrorBody {
        let (reason, message) = (facts.reason, self.message(facts));
        let text = self.text(reason);
        let status = Status::of(self.status(reason));
        let with_fields = |object: JsonObject| {
            let fields = text.map(|text| text.fields.as_slice()).unwrap_or_default();
            fields.iter().fold(object, |object, field| field.write(object, facts))
        };
        match &self.style {
            Style::Flat => ErrorBody::json(with_fields(JsonObject::new().text("error", &message))),
            Style::Nested => {
                let inner =
                    JsonObject::new().text("code", self.code(reason)).text("message", &message);
                ErrorBody::json(JsonObject::new().object("error", with_fields(inner)))
            }
            Style::Problem => {
                let (uri, title) = match text.and_then(|text| text.problem.as_ref()) {
                    Some((uri, title)) => (&**uri, &**title),
                    None => ("about:blank", status.phrase),
                };
                let object = JsonObject::new()
                    .text("type", uri)
                    .text("title", title)
                    .number("status", u64::from(status.number))
                    .text("detail", &message);
                let object = match text.and_then(|text| text.code.as_deref()) {
                    Some(code) => object.text("code", code),
                    None => object,
                };
                let named =
                    [Field::Policy(Cow::Borrowed(POLICY)), Field::Quota(Cow::Borrowed(QUOTA))];
                let object = named.iter().fold(object, |object, field| field.write(object, facts));
                let body = ErrorBody::json(with_fields(object));
                ErrorBody { content_type: "application/problem+json", ..body }
            }
            Style::Custom(render) => render(facts, &message),
        }
    }

    /// Returns whether the body for this reason is always the same.
    pub(crate) fn is_constant(&self, reason: PublicReason) -> bool {
        let text = self.text(reason);
        let message = text.map_or(reason.default_message(), |text| &*text.message);
        let has_facts = match self.style {
            Style::Custom(_) => true,
            // They name the policy.
            Style::Problem => reason.has_policy(),
            Style::Flat | Style::Nested => false,
        };
        !has_facts
            && !message.contains(['{', '}'])
            && text.is_none_or(|text| text.fields.iter().all(Field::is_constant))
    }

    /// Checks that every placeholder is known, and that each reason whose text has it can fill it.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        for (reason, text) in &self.texts {
            text.check(*reason, self.style.members(*reason))?;
        }
        for (reason, number) in &self.statuses {
            let is_free = STATUSES.iter().any(|own| own.is_free && own.number == *number);
            if !reason.has_free_status() || !is_free {
                return Err(ConfigError::new(
                    ConfigErrorKind::Text,
                    format!(
                        "{reason:?} cannot have the status {number}; give ErrorBodies::with_status \
                         ForbiddenNetwork, ForbiddenOrigin, Vetoed, Blocked or CostAboveLimit, and 400, 403, 404, 413, 422 or 429"
                    ),
                ));
            }
        }
        Ok(())
    }

    const fn with_style(style: Style) -> Self {
        Self { style, texts: Vec::new(), statuses: Vec::new() }
    }

    fn for_status(self, status: u16, text: ErrorText) -> Self {
        let reasons = PublicReason::ALL.into_iter().filter(|reason| reason.status() == status);
        reasons.fold(self, |all, reason| all.with_text(reason, text.clone()))
    }

    fn text(&self, reason: PublicReason) -> Option<&ErrorText> {
        let of = |reason| self.texts.iter().find(|(own, _)| *own == reason).map(|(_, text)| text);
        of(reason).or_else(|| of(reason.general()))
    }
}

impl Default for ErrorBodies {
    /// Returns [`ErrorBodies::flat`].
    fn default() -> Self {
        Self::flat()
    }
}

/// The members of problem details that name the limit that refused.
const POLICY: &str = "policy";
const QUOTA: &str = "quota";

impl Style {
    /// Returns the members of every body of this shape, whose names no field can have.
    const fn members(&self, reason: PublicReason) -> &'static [&'static str] {
        match self {
            Self::Flat => &["error"],
            Self::Nested => &["code", "message"],
            Self::Problem if reason.has_policy() => {
                &["type", "title", "status", "detail", "instance", "code", POLICY, QUOTA]
            }
            Self::Problem => &["type", "title", "status", "detail", "instance", "code"],
            Self::Custom(_) => &[],
        }
    }
}

impl fmt::Debug for Style {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flat => "Flat",
            Self::Nested => "Nested",
            Self::Problem => "Problem",
            Self::Custom(_) => "Custom",
        })
    }
}
