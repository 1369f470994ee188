//! Who the bot is.

use serde_json::{Value, json};

use super::super::answer::Answer;
use super::Request;

pub(super) fn get_me(request: &Request<'_>) -> Answer {
    let mut user = request.bot.user();
    if let Value::Object(fields) = &mut user {
        fields.insert("can_join_groups".into(), json!(true));
        fields.insert(
            "can_read_all_group_messages".into(),
            json!(request.bot.profile.reads_all_group_messages),
        );
        fields.insert("supports_inline_queries".into(), json!(false));
        fields.insert("can_connect_to_business".into(), json!(true));
        fields.insert("has_main_web_app".into(), json!(false));
    }
    Answer::new(&user)
}
