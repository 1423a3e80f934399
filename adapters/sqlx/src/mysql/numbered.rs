//! Parameters with numbers, which MySQL lacks: each `?` has a value of its own.

/// Returns a statement with `?` in place of `$1`, `$2` and so on, and the number of the parameter at
/// each place, from 0. A statement with `?` is returned as it is.
pub(super) fn numbered(sql: &str) -> (String, Vec<usize>) {
    let (mut text, mut places) = (String::with_capacity(sql.len()), Vec::new());
    let mut parts = sql.split('$');
    text.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = part.split_at_checked(digits).unwrap_or((part, ""));
        match number.parse::<usize>() {
            Ok(number) => {
                text.push('?');
                places.push(number.saturating_sub(1));
            }
            // A dollar sign of another meaning, as in a path of JSON.
            Err(_) => text.push('$'),
        }
        text.push_str(rest);
    }
    (text, places)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_may_occur_twice() {
        let (text, places) = numbered("a = $1 AND b > $2 OR (b = $2 AND c = $10)$");
        assert_eq!(text, "a = ? AND b > ? OR (b = ? AND c = ?)$");
        assert_eq!(places, [0, 1, 1, 9]);
        let plain = "SELECT '$[*]', ? FROM t WHERE id REGEXP 'a$'";
        assert_eq!(numbered(plain), (plain.to_owned(), vec![]));
    }
}
