//! JSON that is kept for long and seldom read, as its text: each map of a [`Value`] takes 600 bytes, however little is
//! in it.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::sync::Arc;

/// The text of a value. Equal values of one type have the same text.
#[derive(Debug, Clone, PartialEq)]
pub struct Packed(Arc<str>);

impl Packed {
    /// Of something that JSON can hold; of anything else, null.
    pub fn new<T: Serialize>(value: &T) -> Packed {
        let text = serde_json::to_string(value);
        Packed(text.map_or("null".into(), Into::into))
    }

    pub fn unpack(&self) -> Value {
        self.read()
    }

    /// What was written is read again as it was.
    pub fn read<T: DeserializeOwned + Default>(&self) -> T {
        serde_json::from_str(&self.0).unwrap_or_default()
    }
}

impl Default for Packed {
    fn default() -> Packed {
        Packed::new(&Value::Null)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_unpacked_is_what_was_packed() {
        for value in [
            json!(null),
            json!({"b": [1, -2.5, 1e300, u64::MAX, true], "a": {"\u{0}\"\\": "\u{1f600}\n"}}),
            json!(0.1 + 0.2),
        ] {
            assert_eq!(Packed::new(&value).unpack(), value);
        }
        assert_eq!(Packed::default().unpack(), Value::Null);
    }
}
