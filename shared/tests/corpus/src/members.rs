//! JSON objects as text: members in their order, values as they are written, however wrong.

use std::fmt::Write as _;

/// Members of an object; neither names nor values are escaped or checked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Members(Vec<(String, String)>);

impl Members {
    /// With a member, in the place of the one of that name if there is one.
    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        let value = value.into();
        match self.0.iter_mut().find(|(other, _)| other == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.to_owned(), value)),
        }
        self
    }

    /// With one member more, whatever its name.
    pub(crate) fn and(mut self, name: &str, value: impl Into<String>) -> Self {
        self.0.push((name.to_owned(), value.into()));
        self
    }

    /// With one member more before all others.
    pub(crate) fn after(mut self, name: &str, value: impl Into<String>) -> Self {
        self.0.insert(0, (name.to_owned(), value.into()));
        self
    }

    /// Without a member.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.0.retain(|(other, _)| other != name);
        self
    }

    /// The text of the object.
    pub(crate) fn json(&self) -> String {
        let mut json = String::from("{");
        for (index, (name, value)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            // Writing to a String cannot fail.
            let _ = write!(json, "{comma}\"{name}\":{value}");
        }
        json.push('}');
        json
    }
}

/// A JSON string of any text.
pub(crate) fn text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
