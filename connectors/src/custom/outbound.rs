//! From parts and actions to deliveries. Planning is pure; `Client` makes the call.

use serde_json::Value;
use tributary_bus::{ChannelId, message::Content};

use super::{
    classify::{classify, classify_action},
    client::{Client, Outcome},
    inbound::is_id,
    wire::{Delivery, EditedPart, What},
};
use crate::{Action, MediaAccess, Part, Receipt, SendContext, SendError};

/// Sends one part. The id is the integrator's; where there is none, the idempotency key.
pub(super) async fn send(
    client: &Client,
    channel: &ChannelId,
    part: &Part,
    context: &SendContext,
) -> Result<Receipt, SendError> {
    let delivery = to_delivery(channel, part, context)?;
    let outcome = client.post(&delivery, context.deadline, &context.log).await;
    let id = classify(&outcome).map_or(Ok(provider_id(&outcome)), Err)?;
    Ok(Receipt {
        provider_id: id.unwrap_or_else(|| context.idempotency_key.clone()),
    })
}

/// Tells one action.
pub(super) async fn act(
    client: &Client,
    channel: &ChannelId,
    action: &Action,
    context: &SendContext,
) -> Result<(), SendError> {
    let delivery = of_action(channel, action, context)?;
    let outcome = client.post(&delivery, context.deadline, &context.log).await;
    classify_action(&outcome).map_or(Ok(()), Err)
}

/// What is posted for a part.
pub(super) fn to_delivery<'a>(
    channel: &'a ChannelId,
    part: &Part,
    context: &'a SendContext,
) -> Result<Delivery<'a>, SendError> {
    let what = What::Send {
        message_id: context.message_id,
        part: part.index,
        content: Box::new(with_links(&part.content, context.media.as_ref())?),
        reply_to: context.reply_to.as_deref(),
    };
    Ok(delivery(channel, context, what))
}

/// What is posted for an action.
pub(super) fn of_action<'a>(
    channel: &'a ChannelId,
    action: &'a Action,
    context: &'a SendContext,
) -> Result<Delivery<'a>, SendError> {
    let message_id = context.message_id;
    let what = match action {
        Action::Edit { parts } => {
            let parts = parts.iter().map(|(id, part)| {
                Ok(EditedPart {
                    id,
                    part: part.index,
                    content: with_links(&part.content, context.media.as_ref())?,
                })
            });
            What::Edit {
                message_id,
                parts: parts.collect::<Result<_, SendError>>()?,
            }
        }
        Action::Delete { provider_ids } => What::Delete {
            message_id,
            ids: provider_ids,
        },
        Action::React {
            provider_id,
            reactions,
        } => What::React {
            message: provider_id,
            reactions,
        },
        Action::Typing => What::Typing,
        Action::Read { provider_id } => What::Read {
            message: provider_id,
        },
    };
    Ok(delivery(channel, context, what))
}

fn delivery<'a>(channel: &'a ChannelId, context: &'a SendContext, what: What<'a>) -> Delivery<'a> {
    Delivery {
        idempotency_key: &context.idempotency_key,
        channel_id: channel,
        to: &context.to,
        seq: context.seq,
        what,
    }
}

/// The content with a link for each medium, under which it can be fetched without a key.
fn with_links(content: &Content, access: &dyn MediaAccess) -> Result<Content, SendError> {
    let mut content = content.clone();
    for media in content.media_mut() {
        let link = access.link(media).ok_or_else(|| SendError::Rejected {
            code: "no_link".to_owned(),
            reason: "the media has no link that opens from outside; an operator can set \
                     ingress.public_url"
                .to_owned(),
        })?;
        media.url = Some(link.into());
        // Of an inbound message that is sent on: where it came from is nobody else's business.
        media.source = None;
    }
    Ok(content)
}

fn provider_id(outcome: &Outcome) -> Option<String> {
    let Outcome::Answered(answered) = outcome else {
        return None;
    };
    let id = match &answered.answer.id {
        Value::String(id) => id.clone(),
        Value::Number(id) => id.to_string(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    is_id(&id).then_some(id)
}
