//! Contacts and channels.

use tributary_bus::message::{Identifier, Media, MediaState};

use super::support::*;

#[test]
fn joining_tells_once_with_its_payload() {
    let mut snapshot = empty();
    let batch = [
        joined("a", "ada", Some("spring-sale")),
        joined("a", "ada", Some("spring-sale")),
        joined("b", "ada", None),
    ];
    let changes = decided(&batch, &mut snapshot);
    assert_eq!(
        changes.verdicts,
        [Verdict::Taken, Verdict::Duplicate, Verdict::Taken]
    );
    assert_eq!(told(&changes), ["- contact.created", "- contact.updated"]);
    assert_eq!(data(&changes, 0, "/payload"), json!("spring-sale"));
    assert_eq!(
        changes.outgoing[0].envelope.subject,
        Some(ada(&snapshot).view.id.to_string())
    );
    assert!(snapshot.conversations.is_empty());
    assert_eq!(changes.seen.len(), 2);
}

#[test]
fn leaving_blocks_once_and_writing_unblocks() {
    let mut snapshot = with_ada();
    let batch = [
        left("a", "ada"),
        left("b", "ada"),
        received("ada", "back"),
        left("a", "ada"),
    ];
    let changes = decided(&batch, &mut snapshot);
    assert_eq!(
        changes.verdicts,
        [
            Verdict::Taken,
            Verdict::NoEffect,
            Verdict::Taken,
            Verdict::Duplicate
        ]
    );
    assert_eq!(
        told(&changes),
        [
            "8 contact.blocked",
            "9 contact.updated",
            "10 message.created"
        ]
    );
    assert_eq!(data(&changes, 0, "/contact/blocked"), json!(true));
    assert_eq!(data(&changes, 1, "/contact/blocked"), json!(false));
    assert!(!ada(&snapshot).view.blocked);
}

#[test]
fn somebody_unknown_can_leave() {
    let mut snapshot = empty();
    let changes = decided(&[left("a", "eve")], &mut snapshot);
    assert_eq!(told(&changes), ["- contact.created", "- contact.blocked"]);
    let eve = &snapshot.contacts[&(shop(), Address::from("eve"))];
    assert!(eve.change == Change::New && eve.value.view.blocked);
}

#[test]
fn a_profile_is_completed_never_emptied() {
    let mut snapshot = with_ada();
    let mut hello = received("ada", "hello");
    if let Inbound::Received(event) = &mut hello.inbound {
        event.contact = Profile {
            locale: Some("uk".to_owned()),
            username: Some("ada".to_owned()),
            ..Profile::default()
        };
    }
    let changes = decided(&[hello], &mut snapshot);
    assert_eq!(told(&changes), ["8 contact.updated", "9 message.created"]);
    let ada = ada(&snapshot);
    assert_eq!(ada.view.name.as_deref(), Some("Ada"));
    assert_eq!(ada.view.locale.as_deref(), Some("uk"));
    assert_eq!(ada.view.username.as_deref(), Some("ada"));
}

#[test]
fn health_is_told_of_the_channel() {
    let mut snapshot = empty();
    let health = Inbound::Health(ChannelHealth {
        origin: origin(""),
        state: HealthState::Misconfigured,
        action: None,
        reason_since: None,
        reason: "token rejected".to_owned(),
        extra: Map::new(),
    });
    let batch = [arrival("h", health.clone()), arrival("h", health)];
    let changes = decided(&batch, &mut snapshot);
    assert_eq!(told(&changes), ["- channel.health_changed"]);
    assert_eq!(
        changes.outgoing[0].envelope.subject.as_deref(),
        Some("shop")
    );
    assert!(snapshot.contacts.is_empty());
}

fn identifier(value: &str, scope: Option<&str>, verified: bool) -> Identifier {
    Identifier {
        kind: "phone".to_owned(),
        value: value.to_owned(),
        scope: scope.map(str::to_owned),
        verified,
    }
}

fn told_as(text: &str, profile: Profile) -> Arrival {
    let mut message = received("ada", text);
    if let Inbound::Received(event) = &mut message.inbound {
        event.contact = profile;
    }
    message
}

#[test]
fn identifiers_are_merged_and_stay_verified() {
    let known_as = |identifiers: &[Identifier]| Profile {
        identifiers: identifiers.to_vec(),
        ..Profile::default()
    };
    let mut snapshot = with_ada();
    let batch = [
        told_as("1", known_as(&[identifier("+1", None, false)])),
        told_as(
            "2",
            known_as(&[
                identifier("+1", None, true),
                identifier("+1", Some("page"), false),
            ]),
        ),
        told_as("3", known_as(&[identifier("+1", None, false)])),
    ];
    let changes = decided(&batch, &mut snapshot);
    let updates = told(&changes);
    assert_eq!(
        updates
            .iter()
            .filter(|e| e.ends_with("contact.updated"))
            .count(),
        2
    );
    assert_eq!(
        ada(&snapshot).view.identifiers,
        [
            identifier("+1", None, true),
            identifier("+1", Some("page"), false)
        ]
    );
}

#[test]
fn a_picture_that_is_known_is_no_news() {
    let picture = |state, source: &str| Profile {
        avatar: Some(Media {
            state,
            source: Some(source.to_owned()),
            ..Media::default()
        }),
        ..Profile::default()
    };
    let (pending, ready) = (MediaState::Pending, MediaState::Ready);
    let mut snapshot = with_ada();
    let batch = [
        told_as("1", picture(pending, "a")),
        told_as("2", picture(ready, "a")),
        told_as("3", picture(pending, "a")),
        told_as("4", picture(pending, "b")),
    ];
    let changes = decided(&batch, &mut snapshot);
    assert_eq!(
        told(&changes),
        [
            "8 contact.updated",
            "9 message.created",
            "10 contact.updated",
            "11 message.created",
            "12 message.created",
            "13 contact.updated",
            "14 message.created"
        ]
    );
}

#[test]
fn the_first_touch_stays_and_the_last_moves() {
    let ad = |id: &str| Attribution {
        ad_id: Some(id.to_owned()),
        ..Attribution::default()
    };
    let led_by = |text: &str, attribution: Attribution, seconds: i64| {
        let mut message = received("ada", text);
        if let Inbound::Received(event) = &mut message.inbound {
            event.context.attribution = attribution;
            event.origin.occurred_at = now() - TimeDelta::seconds(seconds);
        }
        message
    };
    let mut snapshot = empty();
    let batch = [
        joined("j", "ada", Some("spring")),
        led_by("1", Attribution::default(), 4),
        led_by("2", ad("a"), 3),
        led_by("3", ad("a"), 2),
        led_by("4", ad("old"), 60),
    ];
    let changes = decided(&batch, &mut snapshot);
    // It is told with the messages, not by itself.
    assert!(
        !told(&changes)
            .iter()
            .any(|e| e.ends_with("contact.updated"))
    );
    assert_eq!(
        data(&changes, 0, "/contact/first_touch/payload"),
        json!("spring")
    );
    let view = ada(&snapshot).view;
    let first = view.first_touch.expect("a first touch");
    assert_eq!(first.attribution.payload.as_deref(), Some("spring"));
    let last = view.last_touch.expect("a last touch");
    assert_eq!(last.attribution, ad("a"));
    assert_eq!(last.at, now() - TimeDelta::seconds(3));
}

#[test]
fn old_news_of_a_channel_is_none() {
    let report = |id: &str, state, seconds: i64| {
        let mut origin = origin("");
        origin.occurred_at = now() - TimeDelta::seconds(seconds);
        arrival(
            id,
            Inbound::Health(ChannelHealth {
                origin,
                state,
                action: Some("renew the token".to_owned()),
                reason_since: None,
                reason: "token rejected".to_owned(),
                extra: Map::new(),
            }),
        )
    };
    let mut snapshot = empty();
    let batch = [
        report("1", HealthState::Misconfigured, 10),
        report("2", HealthState::Ok, 20),
        report("3", HealthState::Misconfigured, 10),
        report("4", HealthState::Ok, 5),
    ];
    let changes = decided(&batch, &mut snapshot);
    assert_eq!(
        changes.verdicts,
        [
            Verdict::Taken,
            Verdict::NoEffect,
            Verdict::NoEffect,
            Verdict::Taken
        ]
    );
    let known = &snapshot.health[&shop()];
    assert_eq!(
        (known.change, known.value.state),
        (Change::New, HealthState::Ok)
    );
    assert_eq!(known.value.since, now() - TimeDelta::seconds(5));
}
