//! Bodies and challenges of refusals. The constant ones are rendered when the gate is built.

use std::{borrow::Cow, slice};

use crate::{
    key::scope::Scope,
    request::{
        bodies::ErrorBodies,
        challenge::Challenge,
        facts::{ErrorBody, ErrorFacts},
        public_reason::PublicReason,
    },
};

/// The bodies and the challenges of a gate's refusals.
///
/// A flood of malformed requests only borrows what was rendered once.
#[derive(Debug)]
pub(super) struct Responses {
    errors: ErrorBodies,
    challenges: Vec<Challenge>,
    names_scopes: bool,
    /// By the number of the public reason.
    rendered: [Rendered; PublicReason::ALL.len()],
}

/// The response for one reason.
#[derive(Debug)]
struct Rendered {
    /// `None` if the body depends on the request.
    body: Option<ErrorBody>,
    /// The challenges on a route that requires no scope.
    challenges: Box<[Box<str>]>,
}

impl Responses {
    pub(super) fn new(errors: ErrorBodies, challenges: Vec<Challenge>) -> Self {
        let rendered = PublicReason::ALL.map(|reason| Rendered {
            body: errors.is_constant(reason).then(|| errors.render(&ErrorFacts::new(reason))),
            challenges: challenges.iter().filter_map(|one| value(one, &[], reason)).collect(),
        });
        let names_scopes = challenges.iter().any(Challenge::names_scopes);
        Self { errors, challenges, names_scopes, rendered }
    }

    /// Returns the style and the texts of the bodies.
    pub(super) const fn errors(&self) -> &ErrorBodies {
        &self.errors
    }

    /// Returns the status of refusals for a reason.
    #[inline]
    pub(super) fn status(&self, reason: PublicReason) -> u16 {
        self.errors.status(reason)
    }

    /// Returns whether a response depends on the scopes that the route requires.
    pub(super) const fn names_scopes(&self) -> bool {
        self.names_scopes
    }

    /// Returns the body, if it is constant.
    #[inline]
    pub(super) fn body(&self, reason: PublicReason) -> Option<&ErrorBody> {
        self.rendered.get(reason as usize)?.body.as_ref()
    }

    /// Returns the challenges for a route that requires these scopes.
    #[inline]
    pub(super) fn challenges<'a>(
        &'a self,
        reason: PublicReason,
        scopes: &'a [Scope],
    ) -> Challenges<'a> {
        match self.rendered.get(reason as usize) {
            Some(rendered) if scopes.is_empty() || !self.names_scopes => {
                Challenges::Constant(rendered.challenges.iter())
            }
            _ => Challenges::Variable { challenges: self.challenges.iter(), scopes, reason },
        }
    }
}

/// The challenges of a response, in order.
pub(super) enum Challenges<'a> {
    Constant(slice::Iter<'a, Box<str>>),
    Variable { challenges: slice::Iter<'a, Challenge>, scopes: &'a [Scope], reason: PublicReason },
}

impl<'a> Iterator for Challenges<'a> {
    type Item = Cow<'a, str>;

    #[inline]
    fn next(&mut self) -> Option<Cow<'a, str>> {
        match self {
            Self::Constant(values) => values.next().map(|value| Cow::Borrowed(&**value)),
            Self::Variable { challenges, scopes, reason } => {
                let value = challenges.find_map(|challenge| value(challenge, scopes, *reason));
                value.map(|value| Cow::Owned(value.into()))
            }
        }
    }
}

/// Returns the value of one challenge, if the response for this reason carries it.
fn value(challenge: &Challenge, scopes: &[Scope], reason: PublicReason) -> Option<Box<str>> {
    let is_sent = match reason {
        PublicReason::MissingScope => challenge.has_errors(),
        _ => matches!(reason.status(), 400 | 401),
    };
    is_sent.then(|| challenge.render_for(scopes, reason).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::error_text::ErrorText;

    /// Parts that are rendered beforehand equal parts that are rendered on demand: for every
    /// reason, in every style of body and of challenge, with and without scopes.
    #[test]
    fn rendering_beforehand_changes_nothing() {
        let text = |message: &'static str| ErrorText::new(message).with_field("more", "\"\\");
        let worded = |errors: ErrorBodies| {
            errors
                .with_unauthenticated(text("Missing {{or}} invalid"))
                .with_text(
                    PublicReason::ForbiddenTier,
                    text("ü").with_code("X").with_type("u:x", "T"),
                )
                .with_text(
                    PublicReason::RateLimited,
                    text("{retry_after}").with_retry_after("after"),
                )
        };
        let custom = ErrorBodies::custom(|facts, message| ErrorBody {
            content_type: "text/plain",
            bytes: format!("{facts:?} {message}").into(),
        });
        let styles =
            [ErrorBodies::flat(), ErrorBodies::nested(), ErrorBodies::problem_details(), custom];
        let bearer = || Challenge::bearer("r\"ealm").unwrap();
        let key = || Challenge::api_key("realm", "x-api-key").unwrap();
        let challenges = [
            vec![bearer()],
            vec![bearer().with_errors()],
            vec![bearer().with_scope(), key()],
            vec![key(), bearer().with_scope_in_place_of_realm().with_errors(), key().with_errors()],
            vec![bearer().with_scope().with_descriptions()],
        ];
        let scopes = [Scope::from_static("read:lucent"), Scope::from_static("write")];
        let mut borrowed = 0;
        for errors in styles.clone().into_iter().chain(styles.map(worded)) {
            for challenges in &challenges {
                let responses = Responses::new(errors.clone(), challenges.clone());
                for reason in PublicReason::ALL {
                    let plain = errors.render(&ErrorFacts::new(reason));
                    if let Some(body) = responses.body(reason) {
                        assert_eq!(*body, plain, "{reason:?} {errors:?}");
                        borrowed += 1;
                    }
                    for scopes in [&[][..], &scopes[..1], &scopes] {
                        let found: Vec<_> = responses.challenges(reason, scopes).collect();
                        let plain = challenges.iter().filter_map(|one| value(one, scopes, reason));
                        let plain: Vec<String> = plain.map(String::from).collect();
                        assert_eq!(found, plain, "{reason:?} {scopes:?} {challenges:?}");
                    }
                }
            }
        }
        // Of the three styles that are not the host's own: without texts all but MissingScope;
        // with texts neither RateLimited nor the eight of 401, whose braces are filled in. Problem
        // details name the policy for RateLimited and Blocked.
        assert_eq!(borrowed, challenges.len() * (3 * (21 + 12) - 2 - 1));
    }
}
