//! How messages of a widget are named to the rest of Tributary. Opaque to everybody else.

use super::{mailbox::Letter, token::Visitor};

/// A message of one visitor's mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Name {
    /// Sent to the visitor: `<visitor>/<place>`.
    Ours(i64),
    /// Written by the visitor: `<visitor>:<client id>`.
    Theirs(String),
}

impl Name {
    /// Of a message of this visitor; anything else is `None`.
    pub(super) fn parse(text: &str, visitor: Visitor) -> Option<Self> {
        let rest = text.strip_prefix(&visitor.to_string())?;
        match rest.split_at_checked(1)? {
            ("/", place) => place.parse().ok().map(Self::Ours),
            (":", client_id) => Some(Self::Theirs(client_id.to_owned())),
            _ => None,
        }
    }

    /// Of a message in the mailbox.
    pub(super) fn of(letter: &Letter) -> Self {
        match &letter.client_id {
            Some(client_id) => Self::Theirs(client_id.clone()),
            None => Self::Ours(letter.seq),
        }
    }

    /// As it is written.
    pub(super) fn write(&self, visitor: Visitor) -> String {
        match self {
            Self::Ours(place) => format!("{visitor}/{place}"),
            Self::Theirs(client_id) => format!("{visitor}:{client_id}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_was_written_and_only_for_its_visitor() {
        let visitor = Visitor::generate();
        for name in [Name::Ours(7), Name::Theirs("c-1".to_owned())] {
            let text = name.write(visitor);
            assert_eq!(Name::parse(&text, visitor), Some(name));
            assert_eq!(Name::parse(&text, Visitor::generate()), None);
        }
        for text in ["", "x", &visitor.to_string(), &format!("{visitor}/x")] {
            assert_eq!(Name::parse(text, visitor), None, "{text}");
        }
    }
}
