//! What is done to messages after they were sent, and what is shown without a message.

use chrono::Utc;

use super::{
    Widget,
    body::Body,
    hub::Call,
    mailbox::{Change, Changed, Mailbox, MailboxError},
    names::Name,
    outbound::{Unfit, to_body},
    token::Visitor,
};
use crate::{Action, Part, SendContext, SendError};

impl Widget {
    /// Does it. Everything can be repeated without harm.
    pub(super) async fn perform(
        &self,
        action: &Action,
        context: &SendContext,
    ) -> Result<(), SendError> {
        let visitor: Visitor = context.to.as_str().parse().map_err(|_| Unfit::Address)?;
        let call = match action {
            Action::Edit { parts } => self.edit(visitor, parts, context).await?,
            Action::Delete { provider_ids } => self.delete(visitor, provider_ids, context).await?,
            Action::Typing => Call {
                typing: true,
                ..Call::default()
            },
            Action::Read { provider_id } => self.read(visitor, provider_id).await?,
            Action::React { .. } => {
                return Err(SendError::Rejected {
                    code: "not_supported".to_owned(),
                    reason: "the web widget shows no reactions".to_owned(),
                });
            }
        };
        if call != Call::default() {
            self.hub
                .announce(self.channel.as_str(), visitor, call)
                .await;
        }
        Ok(())
    }

    async fn edit(
        &self,
        visitor: Visitor,
        parts: &[(String, Part)],
        context: &SendContext,
    ) -> Result<Call, SendError> {
        // Before the first is changed: all of them or none.
        let bodies: Vec<(&str, String)> = parts
            .iter()
            .map(|(id, part)| Ok((id.as_str(), to_body(&part.content)?.to_json())))
            .collect::<Result<_, Unfit>>()?;
        let mut call = Call::default();
        for (id, body) in &bodies {
            self.change(visitor, id, Change::Edit(body), context, &mut call)
                .await?;
        }
        Ok(call)
    }

    async fn delete(
        &self,
        visitor: Visitor,
        ids: &[String],
        context: &SendContext,
    ) -> Result<Call, SendError> {
        let body = Body::Deleted.to_json();
        let mut call = Call::default();
        for id in ids {
            self.change(visitor, id, Change::Delete(&body), context, &mut call)
                .await?;
        }
        Ok(call)
    }

    async fn change(
        &self,
        visitor: Visitor,
        id: &str,
        change: Change<'_>,
        context: &SendContext,
        call: &mut Call,
    ) -> Result<(), SendError> {
        let Some(Name::Ours(place)) = Name::parse(id, visitor) else {
            return Err(unknown_message());
        };
        let message_id = context.message_id;
        match (self.mailbox)
            .change(visitor, message_id, place, change, Utc::now())
            .await?
        {
            Changed::Now(number) => call.changes = number,
            Changed::Already => {}
            Changed::Unknown => return Err(unknown_message()),
            Changed::Deleted => {
                return Err(SendError::Rejected {
                    code: "deleted".to_owned(),
                    reason: "the message was taken back".to_owned(),
                });
            }
        }
        Ok(())
    }

    async fn read(&self, visitor: Visitor, provider_id: &str) -> Result<Call, SendError> {
        let place = place_of(&self.mailbox, visitor, provider_id).await?;
        let seen = place.ok_or_else(unknown_message)?;
        self.mailbox.mark_seen(visitor, seen).await?;
        Ok(Call {
            seen,
            ..Call::default()
        })
    }
}

/// Where a message is in the visitor's mailbox.
pub(super) async fn place_of(
    mailbox: &Mailbox,
    visitor: Visitor,
    provider_id: &str,
) -> Result<Option<i64>, MailboxError> {
    match Name::parse(provider_id, visitor) {
        None => Ok(None),
        Some(Name::Theirs(client_id)) => mailbox.place(visitor, &client_id).await,
        Some(Name::Ours(place)) => {
            let letter = mailbox.letter(visitor, place).await?;
            Ok(letter.map(|letter| letter.seq))
        }
    }
}

fn unknown_message() -> SendError {
    SendError::Rejected {
        code: "unknown_message".to_owned(),
        reason: "there is no such message in the visitor's mailbox".to_owned(),
    }
}
