//! Writing JSON (RFC 8259). An error needs only objects of strings and numbers.

/// An object, whose members have the order in which they are added.
pub(super) struct JsonObject(String);

impl JsonObject {
    pub(super) fn new() -> Self {
        Self("{".to_owned())
    }

    #[must_use]
    pub(super) fn text(mut self, name: &str, value: &str) -> Self {
        self.name(name);
        push_string(&mut self.0, value);
        self
    }

    #[must_use]
    pub(super) fn number(mut self, name: &str, value: u64) -> Self {
        self.name(name);
        self.0.push_str(&value.to_string());
        self
    }

    #[must_use]
    pub(super) fn object(mut self, name: &str, value: Self) -> Self {
        self.name(name);
        self.0.push_str(&value.finish());
        self
    }

    pub(super) fn finish(mut self) -> String {
        self.0.push('}');
        self.0
    }

    fn name(&mut self, name: &str) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        push_string(&mut self.0, name);
        self.0.push(':');
    }
}

/// Escapes what RFC 8259 §7 requires: quotes, backslashes and control characters.
fn push_string(json: &mut String, text: &str) {
    const HEX: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];

    json.push('"');
    for character in text.chars() {
        match character {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            control @ '\0'..='\x1f' => {
                json.push_str(if control < '\x10' { "\\u000" } else { "\\u001" });
                json.extend(HEX.get(control as usize % 16));
            }
            other => json.push(other),
        }
    }
    json.push('"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn members_stand_in_order() {
        let inner = JsonObject::new().text("code", "X").number("retry_after", 12);
        assert_eq!(
            JsonObject::new().object("error", inner).text("b", "").finish(),
            r#"{"error":{"code":"X","retry_after":12},"b":""}"#
        );
        assert_eq!(JsonObject::new().finish(), "{}");
    }

    #[test]
    fn every_control_character_is_read_back() {
        let all: String = (0..0x300).filter_map(char::from_u32).collect();
        let json = JsonObject::new().text(&all, &all).finish();
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value[&all], all);
        assert!(!json.bytes().any(|byte| byte < 0x20));
    }

    proptest! {
        #[test]
        fn any_text_is_read_back(name in any::<String>(), text in any::<String>()) {
            let json = JsonObject::new().text(&name, &text).finish();
            let value: serde_json::Value = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(value, serde_json::json!({ name: text }));
        }
    }
}
