//! Answering for a person's own account.

use super::super::answer::{Answer, ApiError};
use super::super::records::ChangeKind;
use super::{Request, remove};

/// `getBusinessConnection`.
pub(super) fn connection(request: &Request<'_>) -> Result<Answer, ApiError> {
    let id = request
        .params
        .get("business_connection_id")
        .unwrap_or_default();
    request.bot.with(|account| {
        let business = account.business_connection(id)?;
        Ok(Answer::new(&business.connection))
    })
}

/// `deleteBusinessMessages`: messages of one chat; the right decides whose.
pub(super) fn delete(request: &Request<'_>) -> Result<Answer, ApiError> {
    let params = request.params;
    let id = params.get("business_connection_id").unwrap_or_default();
    let ids = remove::message_ids(params)?;
    let removed = request.bot.with(|account| {
        let business = account.business_connection(id)?;
        let may = |right| business.has_right(right);
        if !business.is_enabled()
            || !(may("can_delete_sent_messages") || may("can_delete_all_messages"))
        {
            return Err(ApiError::bad_request(
                "not enough rights to delete messages",
            ));
        }
        let chat = business
            .chats
            .values_mut()
            .find(|chat| ids.iter().all(|id| chat.has(*id)))
            .ok_or_else(|| ApiError::bad_request("message to delete not found"))?;
        let chat_id = chat.id();
        let removed = ids.iter().map(|id| (*id, chat.remove(*id)));
        Ok((chat_id, removed.collect::<Vec<_>>()))
    })?;
    let (chat_id, messages) = removed;
    for (message_id, before) in messages {
        request.changed("deleteBusinessMessages", ChangeKind::Deleted, |change| {
            change.chat_id = chat_id;
            change.message_id = message_id;
            change.before = before;
        });
    }
    Ok(Answer::done())
}

/// `readBusinessMessage`.
pub(super) fn read(request: &Request<'_>) -> Result<Answer, ApiError> {
    let params = request.params;
    let id = params.get("business_connection_id").unwrap_or_default();
    let message_id = params.integer("message_id").unwrap_or_default();
    let chat_id = params.integer("chat_id").unwrap_or_default();
    request.bot.with(|account| {
        let business = account.business_connection(id)?;
        if !business.is_enabled() || !business.has_right("can_read_messages") {
            return Err(ApiError::bad_request("not enough rights to read messages"));
        }
        let chat = business
            .chats
            .get(&chat_id)
            .ok_or_else(|| ApiError::bad_request("chat not found"))?;
        if !chat.has(message_id) {
            return Err(ApiError::bad_request("message not found"));
        }
        Ok(())
    })?;
    request.changed("readBusinessMessage", ChangeKind::Read, |change| {
        change.chat_id = chat_id;
        change.message_id = message_id;
    });
    Ok(Answer::done())
}
