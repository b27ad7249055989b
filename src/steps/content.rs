//! What a file is to hold: text, which a diff shows, or other bytes.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

/// The content of a file. In JSON a string, or `{"base64":"…"}` (RFC 4648 section 4, padded).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub enum Content {
    /// Text.
    Text(String),
    /// Anything else.
    Binary(Vec<u8>),
}

impl Content {
    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Content::Text(text) => text.as_bytes(),
            Content::Binary(bytes) => bytes,
        }
    }

    /// Its text, if that is what it is.
    pub fn text(&self) -> Option<&str> {
        match self {
            Content::Text(text) => Some(text),
            Content::Binary(_) => None,
        }
    }
}

/// Either, as it stands in a plan file.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Text(String),
    Binary { base64: String },
}

impl From<Content> for Written {
    fn from(content: Content) -> Written {
        match content {
            Content::Text(text) => Written::Text(text),
            Content::Binary(bytes) => Written::Binary { base64: BASE64_STANDARD.encode(bytes) },
        }
    }
}

impl TryFrom<Written> for Content {
    type Error = base64::DecodeError;

    fn try_from(written: Written) -> Result<Content, base64::DecodeError> {
        Ok(match written {
            Written::Text(text) => Content::Text(text),
            Written::Binary { base64 } => Content::Binary(BASE64_STANDARD.decode(base64)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_it_stands_in_a_plan() {
        for (content, json) in [
            (Content::Text("a\n".into()), r#""a\n""#),
            (Content::Binary(vec![0x55, 0xaa, 0, 255]), r#"{"base64":"VaoA/w=="}"#),
            (Content::Binary(Vec::new()), r#"{"base64":""}"#),
        ] {
            assert_eq!(serde_json::to_string(&content).unwrap(), json);
            assert_eq!(serde_json::from_str::<Content>(json).unwrap(), content);
        }
        for wrong in [r#"{"base64":"VaoA/w="}"#, r#"{"hex":""}"#, "5"] {
            assert!(serde_json::from_str::<Content>(wrong).is_err(), "{wrong}");
        }
    }
}
