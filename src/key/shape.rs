//! The texts that a format admits, as far as two formats can admit the same one.

use crate::key::{
    alphabet::Alphabet,
    format::{Body, KeyFormat},
    legacy::{LegacyFormat, Part},
};

/// Texts of a fixed number of positions, each with its characters, and then a [`Part`].
pub(super) struct Shape {
    head: Vec<Alphabet>,
    tail: Part,
}

impl Shape {
    /// Returns the shape of a minted key. Any checksum counts, so that no two formats are told apart
    /// by checksums alone.
    pub(super) fn of(format: &KeyFormat) -> Self {
        let mut head: Vec<_> = literal(format.kind().as_bytes()).collect();
        let alphabet = match format.body() {
            Body::Hex { .. } => Alphabet::LOWER_HEX,
            Body::Base62 { .. } => Alphabet::BASE62,
        };
        head.extend(std::iter::repeat_n(alphabet, format.body_len()));
        let rest = format.token_len() - head.len();
        Self { head, tail: Part { alphabet: Alphabet::BASE62, min: rest, max: rest } }
    }

    /// Returns the shapes of the keys of a legacy format, one for each length of its identifier.
    pub(super) fn of_legacy(format: &LegacyFormat) -> Vec<Self> {
        let tail = *format.secret();
        let prefix: Vec<_> = literal(format.prefix_bytes()).collect();
        let Some(identifier) = format.identifier() else {
            return vec![Self { head: prefix, tail }];
        };
        let Part { alphabet, min, max } = identifier.part;
        let with_identifier = |len| {
            let mut head = prefix.clone();
            head.extend(std::iter::repeat_n(alphabet, len));
            head.push(Alphabet::single(identifier.separator));
            Self { head, tail }
        };
        (min..=max).map(with_identifier).collect()
    }

    /// Returns whether some text has both shapes.
    pub(super) fn meets(&self, other: &Self) -> bool {
        // A longer text of both shapes has a beginning of both shapes, so the shortest length that
        // both have decides.
        let len = self.min_len().max(other.min_len());
        let both_have_it = len <= self.max_len() && len <= other.max_len();
        both_have_it && (0..len).all(|at| self.at(at).meets(other.at(at)))
    }

    /// Returns the characters at a position of a text.
    fn at(&self, position: usize) -> &Alphabet {
        self.head.get(position).unwrap_or(&self.tail.alphabet)
    }

    fn min_len(&self) -> usize {
        self.head.len() + self.tail.min
    }

    fn max_len(&self) -> usize {
        self.head.len() + self.tail.max
    }
}

fn literal(text: &[u8]) -> impl Iterator<Item = Alphabet> {
    text.iter().map(|byte| Alphabet::single(*byte))
}
