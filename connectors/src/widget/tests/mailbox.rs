//! The mailbox, on both databases.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use tributary_bus::{ChannelId, MessageId, OrganizationId};

use crate::{
    testing::{Kind, database},
    widget::{
        mailbox::{Before, Draft, Kept, Mailbox, MailboxError, Position, Sent},
        token::Visitor,
    },
};

/// Runs a case on SQLite and on PostgreSQL, each as a test of its own.
macro_rules! on_both {
    ($($case:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                super::$case(super::Kind::Sqlite).await;
            })+
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                super::$case(super::Kind::Postgres).await;
            })+
        }
    };
}

on_both!(
    places_have_no_gaps_whoever_writes_at_once,
    what_is_kept_twice_stays_where_it_is,
    nobody_is_sent_anything_who_never_wrote,
    a_mailbox_is_read_page_by_page,
    marks_only_move_forward,
    of_a_message_in_parts_the_last_is_known,
    widgets_do_not_see_each_other,
    workers_agree_on_one_key,
);

struct Box {
    mailbox: Mailbox,
    other: Mailbox,
    visitor: Visitor,
    _dir: tempfile::TempDir,
}

/// A mailbox with a visitor, and the mailboxes of another widget in the same database.
async fn open(kind: Kind) -> Box {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let database = database(kind, &dir).await;
    let of = |channel: &str| {
        let organization = OrganizationId::from("acme");
        Mailbox::new(database.clone(), organization, ChannelId::from(channel))
    };
    let (mailbox, other) = (of("shop"), of("blog"));
    let visitor = Visitor::generate();
    mailbox.open(visitor).await.expect("opened");
    mailbox.open(visitor).await.expect("opened again");
    Box {
        mailbox,
        other,
        visitor,
        _dir: dir,
    }
}

fn reply(text: &str) -> Draft {
    Draft {
        message_id: MessageId::generate(),
        part: 0,
        is_last: true,
        client_id: None,
        body: format!(r#"{{"type":"text","text":"{text}"}}"#),
        reply_to: None,
        at: at(7),
    }
}

fn own(client_id: &str, text: &str) -> Draft {
    Draft {
        message_id: MessageId::derived(&ChannelId::from("shop"), client_id),
        client_id: Some(client_id.to_owned()),
        ..reply(text)
    }
}

fn at(second: u32) -> DateTime<Utc> {
    format!("2026-11-20T10:00:{second:02}Z")
        .parse()
        .expect("a time")
}

async fn places_have_no_gaps_whoever_writes_at_once(kind: Kind) {
    let Box {
        mailbox,
        visitor,
        _dir,
        ..
    } = open(kind).await;
    let mailbox = Arc::new(mailbox);
    let repeated = Arc::new(reply("again"));
    let tasks: Vec<_> = (0..20)
        .map(|n| {
            let (mailbox, repeated) = (Arc::clone(&mailbox), Arc::clone(&repeated));
            tokio::spawn(async move {
                mailbox.keep(visitor, &reply("once")).await.expect("kept");
                mailbox.keep(visitor, &repeated).await.expect("kept");
                let own = own(&format!("c{n}"), "mine");
                mailbox.keep(visitor, &own).await.expect("kept");
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no panic");
    }
    let letters = mailbox.page(visitor, 0, 100).await.expect("a page");
    let places: Vec<i64> = letters.iter().map(|letter| letter.seq).collect();
    assert_eq!(places, (1..=41).collect::<Vec<i64>>());
    let position = mailbox.position(visitor).await.expect("a position");
    assert_eq!(position.map(|position| position.seq), Some(41));
}

async fn what_is_kept_twice_stays_where_it_is(kind: Kind) {
    let Box {
        mailbox,
        visitor,
        _dir,
        ..
    } = open(kind).await;
    let first = own("c1", "Hi");
    let kept = |seq, before| Kept {
        seq,
        at: at(7),
        before,
    };
    assert_eq!(
        mailbox.keep(visitor, &first).await.expect("kept"),
        kept(1, Before::Absent)
    );
    mailbox.keep(visitor, &reply("Hello")).await.expect("kept");
    let again = Draft {
        at: at(30),
        ..own("c1", "Hi")
    };
    assert_eq!(
        mailbox.keep(visitor, &again).await.expect("kept"),
        kept(1, Before::Same)
    );
    assert_eq!(
        mailbox.keep(visitor, &own("c1", "Ho")).await.expect("kept"),
        kept(1, Before::Different)
    );
    let letters = mailbox.page(visitor, 0, 10).await.expect("a page");
    assert_eq!(letters.len(), 2);
    assert_eq!(letters[0].body, r#"{"type":"text","text":"Hi"}"#);
    assert_eq!(letters[0].client_id.as_deref(), Some("c1"));
    assert_eq!(letters[1].client_id, None);
}

async fn nobody_is_sent_anything_who_never_wrote(kind: Kind) {
    let Box { mailbox, _dir, .. } = open(kind).await;
    let stranger = Visitor::generate();
    let result = mailbox.keep(stranger, &reply("Hello")).await;
    assert!(matches!(result, Err(MailboxError::UnknownVisitor)));
    let position = mailbox.position(stranger).await.expect("an answer");
    assert_eq!(position, None);
}

async fn a_mailbox_is_read_page_by_page(kind: Kind) {
    let Box {
        mailbox,
        visitor,
        _dir,
        ..
    } = open(kind).await;
    for n in 1..=5 {
        let letter = reply(&format!("{n} \\u0000 й \\\""));
        mailbox.keep(visitor, &letter).await.expect("kept");
    }
    let places = async |after, limit| -> Vec<i64> {
        let page = mailbox.page(visitor, after, limit).await.expect("a page");
        page.iter().map(|letter| letter.seq).collect()
    };
    assert_eq!(places(0, 3).await, [1, 2, 3]);
    assert_eq!(places(3, 3).await, [4, 5]);
    assert!(places(5, 3).await.is_empty());
    let page = mailbox.page(visitor, 4, 1).await.expect("a page");
    assert_eq!(page[0].body, reply("5 \\u0000 й \\\"").body);
    assert_eq!(page[0].at, at(7));
}

async fn marks_only_move_forward(kind: Kind) {
    let Box {
        mailbox,
        visitor,
        _dir,
        ..
    } = open(kind).await;
    let marks = async || {
        let position = mailbox.position(visitor).await.expect("an answer");
        let Position {
            delivered, read, ..
        } = position.expect("a mailbox");
        (delivered, read)
    };
    assert_eq!(marks().await, (0, 0));
    mailbox.mark(visitor, 5, 3).await.expect("marked");
    assert_eq!(marks().await, (5, 3));
    mailbox.mark(visitor, 4, 4).await.expect("marked");
    assert_eq!(marks().await, (5, 4));
}

async fn of_a_message_in_parts_the_last_is_known(kind: Kind) {
    let Box {
        mailbox,
        visitor,
        _dir,
        ..
    } = open(kind).await;
    let short = reply("short");
    let long = Draft {
        is_last: false,
        ..reply("part 0")
    };
    let part = |part| Draft {
        message_id: long.message_id,
        part,
        is_last: part == 2,
        ..reply("part")
    };
    mailbox.keep(visitor, &long).await.expect("kept");
    mailbox.keep(visitor, &own("c1", "Hi")).await.expect("kept");
    mailbox.keep(visitor, &part(1)).await.expect("kept");
    mailbox.keep(visitor, &short).await.expect("kept");
    mailbox.keep(visitor, &part(2)).await.expect("kept");
    let sent = async |after, upto, limit| {
        let sent = mailbox.sent(visitor, after, upto, limit).await;
        sent.expect("an answer")
    };
    let of = |seq, draft: &Draft, is_last| Sent {
        seq,
        message_id: draft.message_id,
        is_last,
    };
    let all = [
        of(1, &long, false),
        of(3, &long, false),
        of(4, &short, true),
        of(5, &long, true),
    ];
    assert_eq!(sent(0, 5, 9).await, all);
    assert_eq!(sent(0, 4, 9).await, all[..3]);
    assert_eq!(sent(4, 5, 9).await, all[3..]);
    assert_eq!(sent(0, 5, 1).await, all[..1]);
    assert!(sent(5, 5, 9).await.is_empty());
}

async fn widgets_do_not_see_each_other(kind: Kind) {
    let Box {
        mailbox,
        other,
        visitor,
        _dir,
    } = open(kind).await;
    mailbox.keep(visitor, &reply("Hello")).await.expect("kept");
    let elsewhere = other.position(visitor).await.expect("an answer");
    assert_eq!(elsewhere, None);
    let result = other.keep(visitor, &reply("Hello")).await;
    assert!(matches!(result, Err(MailboxError::UnknownVisitor)));
    other.open(visitor).await.expect("opened");
    let page = other.page(visitor, 0, 10).await.expect("a page");
    assert!(page.is_empty());
}

async fn workers_agree_on_one_key(kind: Kind) {
    let Box {
        mailbox,
        other,
        _dir,
        ..
    } = open(kind).await;
    let mailbox = Arc::new(mailbox);
    let tasks: Vec<_> = (0..8_u8)
        .map(|n| {
            let mailbox = Arc::clone(&mailbox);
            tokio::spawn(async move { mailbox.key(&[n; 32]).await.expect("a key") })
        })
        .collect();
    let mut keys = Vec::new();
    for task in tasks {
        keys.push(task.await.expect("no panic"));
    }
    assert!(keys.iter().all(|key| *key == keys[0] && key.len() == 32));
    let elsewhere = other.key(&[99; 32]).await.expect("a key");
    assert_eq!(elsewhere, [99; 32]);
}
