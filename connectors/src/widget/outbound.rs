//! A part of a delivery as a message in the mailbox.

use chrono::{DateTime, Utc};
use tributary_bus::message::Content;

use super::{mailbox::Draft, token::Visitor, wire::Body};
use crate::{Part, SendContext};

/// Why a part cannot be a message in a mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unfit {
    /// The address is no visitor's.
    Address,
    Content,
    Part,
}

/// Whom a part goes to and what is kept for them. Formatting is left out: the widget shows plain text.
pub(super) fn to_draft(
    part: &Part,
    context: &SendContext,
    now: DateTime<Utc>,
) -> Result<(Visitor, Draft), Unfit> {
    let visitor = context.to.as_str().parse().map_err(|_| Unfit::Address)?;
    let Content::Text(text) = &part.content else {
        return Err(Unfit::Content);
    };
    let body = Body::Text {
        text: text.text.clone(),
    };
    let draft = Draft {
        message_id: context.message_id,
        part: i32::try_from(part.index).map_err(|_| Unfit::Part)?,
        client_id: None,
        body: body.to_json(),
        at: now,
    };
    Ok((visitor, draft))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::{CallLog, NoMedia};
    use std::time::Duration;

    use tributary_bus::{Address, MessageId};

    use super::*;

    fn context(to: &str) -> SendContext {
        SendContext {
            message_id: MessageId::generate(),
            to: Address::from(to),
            seq: 4,
            reply_to: None,
            idempotency_key: "k".to_owned(),
            deadline: Duration::from_secs(1),
            media: Arc::new(NoMedia),
            log: CallLog::nowhere(),
        }
    }

    #[test]
    fn text_is_kept_as_it_is() {
        let visitor = Visitor::generate();
        let part = Part {
            index: 2,
            content: Content::text("<b>1 & 2</b>\n\u{0} \"ок\""),
        };
        let (to, draft) =
            to_draft(&part, &context(&visitor.to_string()), Utc::now()).expect("text fits");
        assert_eq!(to, visitor);
        assert_eq!((draft.part, draft.client_id), (2, None));
        assert_eq!(
            draft.body,
            r#"{"type":"text","text":"<b>1 & 2</b>\n\u0000 \"ок\""}"#
        );
    }

    #[test]
    fn what_does_not_fit_says_why() {
        let visitor = Visitor::generate().to_string();
        let text = |index| Part {
            index,
            content: Content::text("Hi"),
        };
        let poll = Part {
            index: 0,
            content: Content::unsupported("poll"),
        };
        let try_with = |part: &Part, to: &str| to_draft(part, &context(to), Utc::now()).err();
        assert_eq!(try_with(&text(0), "+380501112233"), Some(Unfit::Address));
        assert_eq!(try_with(&poll, &visitor), Some(Unfit::Content));
        assert_eq!(try_with(&text(u32::MAX), &visitor), Some(Unfit::Part));
    }
}
