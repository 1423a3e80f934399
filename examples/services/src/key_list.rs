//! The body of a listing of keys.

use keyward::store::DamagedKey;
use serde_json::{Value, json};

/// Returns the body of a listing of these keys. Keys that cannot be read are in it only if there are
/// any, as `damaged`: their ids and the places of the damage.
pub fn key_list(keys: Value, damaged: &[DamagedKey]) -> Value {
    if damaged.is_empty() {
        return json!({ "keys": keys });
    }
    let damaged: Vec<_> =
        damaged.iter().map(|it| json!({ "id": it.id, "column": it.column })).collect();
    json!({ "keys": keys, "damaged": damaged })
}

#[cfg(test)]
mod tests {
    use keyward::key::KeyId;

    use super::*;

    #[test]
    fn damaged_keys_are_listed_beside_the_others() {
        assert_eq!(key_list(json!(["good"]), &[]), json!({ "keys": ["good"] }));
        let id = KeyId::from_bytes([7; 16]);
        let damaged = [
            DamagedKey::new(Some(id), "keyward_keys.name"),
            DamagedKey::new(None, "keyward_keys.id"),
        ];
        let listed = key_list(json!(["good"]), &damaged);
        let expected = json!({
            "keys": ["good"],
            "damaged": [
                { "id": id, "column": "keyward_keys.name" },
                { "id": null, "column": "keyward_keys.id" },
            ],
        });
        assert_eq!(listed, expected);
    }
}
