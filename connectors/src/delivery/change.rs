//! `delivery.edit`, `delivery.delete` and `delivery.react`: what is in the channel is changed. Repeating one does no
//! harm, so the ledger keeps nothing of them; one that is refused for good is told.

use chrono::SubsecRound;
use tributary_bus::{
    Address, Lease, MessageId, Outcome, Work,
    message::{
        Content, DeliveryDelete, DeliveryEdit, DeliveryReact, Failure, FailureCode, MessageChange,
        Priority,
    },
};

use super::{
    Act, DeliveryHandler, OfChannel, fresh,
    outcome::{Call, Hold, Verdict},
    pause,
    report::Refused,
};
use crate::{Action, Support, media::describe_all, render::render};

/// A delivery that changes one message.
pub(super) trait Change: OfChannel {
    const KIND: MessageChange;

    /// The message, who has it, and `seq` of the delivery.
    fn about(&self) -> (MessageId, &Address, i64);

    /// What the connector is asked to do; `Ok(Err(_))` when that cannot be.
    async fn action(&self, handler: &DeliveryHandler) -> Result<Result<Action, Failure>, Outcome>;
}

impl Change for DeliveryEdit {
    const KIND: MessageChange = MessageChange::Edit;

    fn about(&self) -> (MessageId, &Address, i64) {
        (self.message_id, &self.to, self.seq)
    }

    async fn action(&self, handler: &DeliveryHandler) -> Result<Result<Action, Failure>, Outcome> {
        let ids = handler.provider_ids(self.message_id, &self.provider_ids);
        let ids = match ids.await? {
            Ok(ids) => ids,
            Err(failure) => return Ok(Err(failure)),
        };
        let access = &*handler.account.media.access;
        let content = describe_all(access, self.content.clone(), handler.send_deadline).await;
        Ok(handler.edit_action(&content, ids))
    }
}

impl Change for DeliveryDelete {
    const KIND: MessageChange = MessageChange::Delete;

    fn about(&self) -> (MessageId, &Address, i64) {
        (self.message_id, &self.to, self.seq)
    }

    async fn action(&self, handler: &DeliveryHandler) -> Result<Result<Action, Failure>, Outcome> {
        let ids = handler.provider_ids(self.message_id, &self.provider_ids);
        let support = handler.account.connector.capabilities().delete;
        Ok(ids.await?.and_then(|provider_ids| {
            supported(support, "take messages back")?;
            Ok(Action::Delete { provider_ids })
        }))
    }
}

impl Change for DeliveryReact {
    const KIND: MessageChange = MessageChange::React;

    fn about(&self) -> (MessageId, &Address, i64) {
        (self.message_id, &self.to, self.seq)
    }

    async fn action(&self, handler: &DeliveryHandler) -> Result<Result<Action, Failure>, Outcome> {
        let support = handler.account.connector.capabilities().react;
        let can = supported(support, "react to messages");
        Ok(can.map(|()| Action::React {
            provider_id: self.provider_id.clone(),
            reactions: self.reactions.clone(),
        }))
    }
}

impl DeliveryHandler {
    /// Carries a change out, or tells why not.
    pub(super) async fn change<D: Change>(
        &self,
        work: &Work,
        act: Act<'_>,
        lease: &Lease,
    ) -> Result<(), Outcome> {
        let delivery: D = self.read(&work.envelope)?;
        let result = match (delivery.action(self).await?, act) {
            (Err(failure), _) => Err(failure),
            (Ok(_), Act::GiveUp(reason)) => Err(Failure {
                code: FailureCode::Expired,
                reason: reason.to_owned(),
            }),
            (Ok(action), Act::Go) => self.carry_out(&delivery, &action, work, lease).await?,
        };
        let Err(failure) = result else {
            return Ok(());
        };
        let (message_id, to, seq) = delivery.about();
        let refused = Refused {
            channel: self.account.sink.channel(),
            to,
            message_id,
            change: D::KIND,
            seq,
            asked_at: work.envelope.time.trunc_subsecs(3),
            failure,
        };
        self.publish(refused.events(), lease).await
    }

    /// Makes the call; `Ok(Err(_))` is for good.
    async fn carry_out<D: Change>(
        &self,
        delivery: &D,
        action: &Action,
        work: &Work,
        lease: &Lease,
    ) -> Result<Result<(), Failure>, Outcome> {
        let (message_id, to, seq) = delivery.about();
        let pace = self.account.connector.pace();
        let ticket = self.admitted(to).await?;
        let turn = self.turns.take(pace, to, Priority::Reply, work.attempt);
        let _turn = turn.await?;
        fresh(lease)?;
        let context = self.context(message_id, to, seq, work.envelope.id.to_string());
        let call = self.account.connector.act(action, &context);
        // It may be repeated, so nothing about it is left to a person.
        match self.call(ticket, to, (Call::Change, Hold::No), call).await {
            Ok(()) => Ok(Ok(())),
            Err(Verdict::Failed(failure)) => Ok(Err(failure)),
            Err(Verdict::Again { outcome, .. }) => Err(outcome),
        }
    }

    /// The ids of a message's parts: as the delivery names them, else as the ledger knows them.
    async fn provider_ids(
        &self,
        message_id: MessageId,
        named: &[String],
    ) -> Result<Result<Vec<String>, Failure>, Outcome> {
        if !named.is_empty() {
            return Ok(Ok(named.to_vec()));
        }
        let rows = self
            .ledger
            .parts(&self.organization(), message_id)
            .await
            .map_err(|error| pause(error.to_string()))?;
        let sent: Vec<String> = rows
            .iter()
            .filter_map(|row| row.provider_id().map(str::to_owned))
            .collect();
        if sent.is_empty() || sent.len() != rows.len() {
            return Ok(Err(rejected("the message was not sent".to_owned())));
        }
        Ok(Ok(sent))
    }

    /// As many parts as there are messages in the channel, or nothing.
    fn edit_action(&self, content: &Content, ids: Vec<String>) -> Result<Action, Failure> {
        let capabilities = self.account.connector.capabilities();
        supported(capabilities.edit, "edit messages")?;
        let rendered = render(content, capabilities)?;
        if rendered.parts.len() != ids.len() {
            return Err(rejected(format!(
                "the new content takes {} messages in this channel, the old one was sent in {}",
                rendered.parts.len(),
                ids.len()
            )));
        }
        let parts = ids.into_iter().zip(rendered.parts).collect();
        Ok(Action::Edit { parts })
    }
}

fn supported(support: Support, what: &str) -> Result<(), Failure> {
    match support {
        Support::Yes => Ok(()),
        Support::No => Err(rejected(format!("this channel cannot {what}"))),
    }
}

fn rejected(reason: String) -> Failure {
    Failure {
        code: FailureCode::Rejected,
        reason,
    }
}
