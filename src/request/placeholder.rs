//! Messages with placeholders: `{retry_after}`, `{scope}`, `{policy}` and `{quota}`.

/// A part of a message.
pub(super) enum Piece<'m> {
    Text(&'m str),
    RetryAfter,
    Scope,
    Policy,
    Quota,
    /// A brace that belongs to no placeholder.
    Unknown(&'m str),
}

pub(super) fn pieces(message: &str) -> impl Iterator<Item = Piece<'_>> {
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

/// Returns the piece that begins with a brace, and its length.
fn brace(rest: &str) -> (Piece<'_>, usize) {
    for (start, piece) in [
        ("{{", Piece::Text("{")),
        ("}}", Piece::Text("}")),
        ("{retry_after}", Piece::RetryAfter),
        ("{scope}", Piece::Scope),
        ("{policy}", Piece::Policy),
        ("{quota}", Piece::Quota),
    ] {
        if rest.starts_with(start) {
            return (piece, start.len());
        }
    }
    (Piece::Unknown(rest.get(..1).unwrap_or_default()), 1)
}
