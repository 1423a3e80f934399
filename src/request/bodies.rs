//! What a refusal says in its body.

use std::{borrow::Cow, fmt, sync::Arc};

use crate::{
    error::{ConfigError, ConfigErrorKind},
    key::scope::Scope,
    request::{json::JsonObject, public_reason::PublicReason},
};

/// How a service words its refusals: the shape of the body, and the text for each reason.
///
/// Reasons that got no text have a plain English one. The precise reasons for which a key
/// is dead (revoked, expired, suspended, past its grace) say what
/// [`PublicReason::InvalidKey`] says, unless they got a text of their own; so all of 401 can
/// be merged into one sentence, or told apart.
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
    /// `{"error":"…"}`, and behind it the fields of the text.
    pub const fn flat() -> Self {
        Self::with_style(Style::Flat)
    }

    /// `{"error":{"code":"…","message":"…"}}`, and behind these the fields of the text.
    /// Without a code of its own a text has `BAD_REQUEST`, `UNAUTHORIZED`, `FORBIDDEN`,
    /// `RATE_LIMITED` or `UNAVAILABLE`.
    pub const fn nested() -> Self {
        Self::with_style(Style::Nested)
    }

    /// Problem details of RFC 9457, `application/problem+json`: `type`, `title`, `status`
    /// and `detail`, behind these `code` if the text has one, and its fields. Without a type
    /// of its own a text has `about:blank`, whose title is the name of the status (§4.2.1).
    pub const fn problem_details() -> Self {
        Self::with_style(Style::Problem)
    }

    /// The host's own function of the facts and of the message, whose placeholders are filled.
    pub fn custom(
        render: impl Fn(&ErrorFacts<'_>, &str) -> ErrorBody + Send + Sync + 'static,
    ) -> Self {
        Self::with_style(Style::Custom(Arc::new(render)))
    }

    /// What is said for one reason. The last word counts.
    pub fn with_text(mut self, reason: PublicReason, text: impl Into<ErrorText>) -> Self {
        self.texts.retain(|(other, _)| *other != reason);
        self.texts.push((reason, text.into()));
        self
    }

    /// One text for all reasons of 401, whatever was said for them before.
    pub fn with_unauthenticated(self, text: impl Into<ErrorText>) -> Self {
        self.for_status(401, text.into())
    }

    /// One text for all reasons of 403, whatever was said for them before.
    pub fn with_forbidden(self, text: impl Into<ErrorText>) -> Self {
        self.for_status(403, text.into())
    }

    /// What the client is told in words, placeholders filled.
    ///
    /// Where a fact is missing that the text asks for, as when a host refuses a request itself
    /// for a scope that its route does not name, the plain English text stands in its place,
    /// and after that one that needs no fact: never half a sentence.
    pub fn message(&self, facts: &ErrorFacts<'_>) -> String {
        let own = self.text(facts.reason).and_then(|text| facts.fill(&text.message));
        own.or_else(|| facts.fill(facts.reason.default_message()))
            .unwrap_or_else(|| facts.reason.factless_message().to_owned())
    }

    /// The body.
    pub fn render(&self, facts: &ErrorFacts<'_>) -> ErrorBody {
        let (reason, message) = (facts.reason, self.message(facts));
        let text = self.text(reason);
        let code = text.and_then(|text| text.code.as_deref());
        let with_fields = |object: JsonObject| {
            let fields = text.map(|text| text.fields.as_slice()).unwrap_or_default();
            fields.iter().fold(object, |object, field| field.write(object, facts))
        };
        match &self.style {
            Style::Flat => ErrorBody::json(with_fields(JsonObject::new().text("error", &message))),
            Style::Nested => {
                let inner = JsonObject::new()
                    .text("code", code.unwrap_or(reason.default_code()))
                    .text("message", &message);
                ErrorBody::json(JsonObject::new().object("error", with_fields(inner)))
            }
            Style::Problem => {
                let (uri, title) = match text.and_then(|text| text.problem.as_ref()) {
                    Some((uri, title)) => (&**uri, &**title),
                    None => ("about:blank", reason.phrase()),
                };
                let object = JsonObject::new()
                    .text("type", uri)
                    .text("title", title)
                    .number("status", u64::from(reason.status()))
                    .text("detail", &message);
                let object = match code {
                    Some(code) => object.text("code", code),
                    None => object,
                };
                let body = ErrorBody::json(with_fields(object));
                ErrorBody { content_type: "application/problem+json", ..body }
            }
            Style::Custom(render) => render(facts, &message),
        }
    }

    /// Whether the body for this reason is always the same.
    pub(crate) fn is_constant(&self, reason: PublicReason) -> bool {
        let text = self.text(reason);
        let message = text.map_or(reason.default_message(), |text| &*text.message);
        !matches!(self.style, Style::Custom(_))
            && !message.contains(['{', '}'])
            && text.is_none_or(|text| text.fields.iter().all(Field::is_constant))
    }

    /// Whether every placeholder is known, and is filled for the reasons in whose text it is.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        for (reason, text) in &self.texts {
            text.check(*reason, &self.style)?;
        }
        Ok(())
    }

    const fn with_style(style: Style) -> Self {
        Self { style, texts: Vec::new() }
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
    /// [`ErrorBodies::flat`].
    fn default() -> Self {
        Self::flat()
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

/// What is said for one reason: a message, and what further members the body has.
///
/// Placeholders stand in braces: `{retry_after}`, whole seconds, where there is a time to
/// retry ([`PublicReason::RateLimited`], [`PublicReason::TooManyAttempts`]), and `{scope}`
/// where one is missing ([`PublicReason::MissingScope`]). A brace of the text's own is doubled.
/// A host that refuses a request itself may have no such fact: see [`ErrorBodies::message`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct ErrorText {
    message: Cow<'static, str>,
    code: Option<Cow<'static, str>>,
    /// The type and the title of problem details.
    problem: Option<(Cow<'static, str>, Cow<'static, str>)>,
    fields: Vec<Field>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Field {
    Text(Cow<'static, str>, Cow<'static, str>),
    RetryAfter(Cow<'static, str>),
    Scope(Cow<'static, str>),
}

impl ErrorText {
    /// The message alone.
    pub fn new(message: impl Into<Cow<'static, str>>) -> Self {
        Self { message: message.into(), code: None, problem: None, fields: Vec::new() }
    }

    /// The text with a code for programs, such as `ENTERPRISE_REQUIRED`. Flat bodies have none.
    pub fn with_code(self, code: impl Into<Cow<'static, str>>) -> Self {
        Self { code: Some(code.into()), ..self }
    }

    /// The text with the type (a URI) and title of its problem details; other bodies have none.
    pub fn with_type(
        self,
        uri: impl Into<Cow<'static, str>>,
        title: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { problem: Some((uri.into(), title.into())), ..self }
    }

    /// The text with one more member, a string that is always the same.
    pub fn with_field(
        self,
        name: impl Into<Cow<'static, str>>,
        value: impl Into<Cow<'static, str>>,
    ) -> Self {
        self.with(Field::Text(name.into(), value.into()))
    }

    /// The text with one more member: a number, the whole seconds of `Retry-After`.
    pub fn with_retry_after(self, name: impl Into<Cow<'static, str>>) -> Self {
        self.with(Field::RetryAfter(name.into()))
    }

    /// The text with one more member: a string, the scope that is missing.
    pub fn with_missing_scope(self, name: impl Into<Cow<'static, str>>) -> Self {
        self.with(Field::Scope(name.into()))
    }

    fn with(mut self, field: Field) -> Self {
        self.fields.push(field);
        self
    }

    fn check(&self, reason: PublicReason, style: &Style) -> Result<(), ConfigError> {
        let mut names: Vec<&str> = match style {
            Style::Flat => vec!["error"],
            Style::Nested => vec!["code", "message"],
            Style::Problem => vec!["type", "title", "status", "detail", "instance", "code"],
            Style::Custom(_) => Vec::new(),
        };
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
                Piece::RetryAfter | Piece::Scope => {
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
            Self::Text(name, _) | Self::RetryAfter(name) | Self::Scope(name) => name,
        }
    }

    const fn is_constant(&self) -> bool {
        matches!(self, Self::Text(..))
    }

    fn is_filled_for(&self, reason: PublicReason) -> bool {
        match self {
            Self::Text(..) => true,
            Self::RetryAfter(_) => reason.has_retry_time(),
            Self::Scope(_) => reason == PublicReason::MissingScope,
        }
    }

    fn write(&self, object: JsonObject, facts: &ErrorFacts<'_>) -> JsonObject {
        match (self, facts.retry_after_secs, facts.missing_scope) {
            (Self::Text(name, value), ..) => object.text(name, value),
            (Self::RetryAfter(name), Some(secs), _) => object.number(name, secs),
            (Self::Scope(name), _, Some(scope)) => object.text(name, scope.as_str()),
            (Self::RetryAfter(_) | Self::Scope(_), ..) => object,
        }
    }
}

/// What a body can be made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ErrorFacts<'f> {
    /// Why the request is refused.
    pub reason: PublicReason,
    /// The whole seconds of `Retry-After`, if there is one.
    pub retry_after_secs: Option<u64>,
    /// The scope that is missing, if it is for that.
    pub missing_scope: Option<&'f Scope>,
}

impl<'f> ErrorFacts<'f> {
    /// A reason, and nothing else.
    pub const fn new(reason: PublicReason) -> Self {
        Self { reason, retry_after_secs: None, missing_scope: None }
    }

    /// The facts with a time to wait in whole seconds.
    #[must_use]
    pub const fn with_retry_after_secs(self, secs: u64) -> Self {
        Self { retry_after_secs: Some(secs), ..self }
    }

    /// The facts with the scope that is missing.
    #[must_use]
    pub const fn with_missing_scope(self, scope: &'f Scope) -> Self {
        Self { missing_scope: Some(scope), ..self }
    }

    /// The message with its placeholders filled; `None` if a fact for one is missing.
    fn fill(&self, message: &str) -> Option<String> {
        let mut filled = String::with_capacity(message.len());
        for piece in pieces(message) {
            match piece {
                Piece::Text(text) | Piece::Unknown(text) => filled.push_str(text),
                Piece::RetryAfter => filled.push_str(&self.retry_after_secs?.to_string()),
                Piece::Scope => filled.push_str(self.missing_scope?.as_str()),
            }
        }
        Some(filled)
    }
}

/// A body, ready to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorBody {
    /// The value of `Content-Type`.
    pub content_type: &'static str,
    /// What to send.
    pub bytes: Vec<u8>,
}

impl ErrorBody {
    /// The body as text, as far as it is UTF-8.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.bytes).unwrap_or_default()
    }

    fn json(object: JsonObject) -> Self {
        Self { content_type: "application/json", bytes: object.finish().into_bytes() }
    }
}

fn unfilled(reason: PublicReason) -> ConfigError {
    refused(format!(
        "the text for {reason:?} uses a placeholder or field that this reason does not provide: \
         retry times belong to throttling, scopes to MissingScope; mend ErrorBodies::with_text"
    ))
}

fn refused(problem: String) -> ConfigError {
    ConfigError::new(ConfigErrorKind::Text, problem)
}

/// A part of a message.
enum Piece<'m> {
    Text(&'m str),
    RetryAfter,
    Scope,
    /// Braces around something else, or one brace alone.
    Unknown(&'m str),
}

fn pieces(message: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = message;
    std::iter::from_fn(move || {
        let (piece, len) = match rest.find(['{', '}']) {
            _ if rest.is_empty() => return None,
            None => (Piece::Text(rest), rest.len()),
            Some(0) => brace(rest),
            Some(at) => (Piece::Text(rest.get(..at)?), at),
        };
        rest = rest.get(len..)?;
        Some(piece)
    })
}

/// The piece that begins with a brace, and its length.
fn brace(rest: &str) -> (Piece<'_>, usize) {
    for (start, piece) in [
        ("{{", Piece::Text("{")),
        ("}}", Piece::Text("}")),
        ("{retry_after}", Piece::RetryAfter),
        ("{scope}", Piece::Scope),
    ] {
        if rest.starts_with(start) {
            return (piece, start.len());
        }
    }
    (Piece::Unknown(rest.get(..1).unwrap_or_default()), 1)
}
