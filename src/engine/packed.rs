//! JSON that is kept for long and seldom read, as its text: each map of a [`Value`] takes 600 bytes, however little is
//! in it.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

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

/// A value that is packed when it is let go, and unpacked when it is looked at again.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Where this is missing the value is not.
    packed: Option<Packed>,
    value: OnceLock<Arc<Value>>,
}

impl Stored {
    pub fn new(value: Value) -> Stored {
        Stored {
            packed: None,
            value: Arc::new(value).into(),
        }
    }

    /// The value, for whoever needs it for longer than this.
    pub fn share(&self) -> Arc<Value> {
        Arc::clone(self.unpacked())
    }

    /// Keeps the text alone.
    pub fn let_go(&mut self) {
        if let Some(value) = self.value.take() {
            self.packed.get_or_insert_with(|| Packed::new(&*value));
        }
    }

    fn unpacked(&self) -> &Arc<Value> {
        let unpack = || self.packed.as_ref().map(Packed::unpack).unwrap_or_default();
        self.value.get_or_init(|| Arc::new(unpack()))
    }
}

impl Default for Stored {
    fn default() -> Stored {
        Stored::new(Value::Null)
    }
}

impl Deref for Stored {
    type Target = Value;

    fn deref(&self) -> &Value {
        self.unpacked()
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

    #[test]
    fn what_is_let_go_is_found_again() {
        let value = json!({"status": {"phase": "Running"}});
        let mut stored = Stored::new(value.clone());
        let shared = stored.share();
        assert!(Arc::ptr_eq(&shared, &stored.share()), "unpacked once");
        stored.let_go();
        assert_eq!(*stored, value);
        assert_eq!(*shared, value);
        assert!(!Arc::ptr_eq(&shared, &stored.share()));
    }
}
