//! A secret setting: never printed, and optionally kept outside the config file.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde::{
    Deserialize, Deserializer,
    de::{Error, SeqAccess, Visitor},
};

/// A password, token or key. Written as the value itself, as `env:NAME` or as `file:PATH` (one trailing line
/// break is removed). `Debug` and logs show `[redacted]`.
#[derive(Clone, Default)]
pub struct Secret(SecretString);

impl Secret {
    /// The secret as a value that is already at hand.
    pub fn new(value: impl Into<String>) -> Self {
        Self(SecretString::from(value.into()))
    }

    /// The plain text; for the one call that needs it, never for a log.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Whether nothing was configured.
    pub fn is_empty(&self) -> bool {
        self.expose().is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let text = String::deserialize(input)?;
        resolve(&text).map(Self::new).map_err(D::Error::custom)
    }
}

/// Reads one secret or a list of them, as one with spaces between.
pub(crate) fn one_or_many<'de, D: Deserializer<'de>>(input: D) -> Result<Secret, D::Error> {
    struct OneOrMany;
    impl<'de> Visitor<'de> for OneOrMany {
        type Value = Secret;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string or a list of strings")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Secret, E> {
            resolve(text).map(Secret::new).map_err(E::custom)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Secret, A::Error> {
            let mut all = Vec::new();
            while let Some(text) = list.next_element::<String>()? {
                all.push(resolve(&text).map_err(A::Error::custom)?);
            }
            Ok(Secret::new(all.join(" ")))
        }
    }
    input.deserialize_any(OneOrMany)
}

/// Follows `env:NAME` and `file:PATH`; the error never repeats a literal secret.
fn resolve(text: &str) -> Result<String, String> {
    if let Some(name) = text.strip_prefix("env:") {
        return std::env::var(name).map_err(|_| {
            format!("environment variable {name} is not set; set it or change this key")
        });
    }
    if let Some(path) = text.strip_prefix("file:") {
        let content = std::fs::read_to_string(path)
            .map_err(|reason| format!("cannot read secret file {path}: {reason}"))?;
        return Ok(content.strip_suffix('\n').unwrap_or(&content).to_owned());
    }
    Ok(text.to_owned())
}
