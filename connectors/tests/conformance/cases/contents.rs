//! Content of every type: sent, degraded with a report, or refused with a reason. Never lost, never cut, never larger than the
//! channel claims to carry.

use serde_json::json;
use tributary_bus::{
    Address,
    message::{Content, DegradationCode, FailureCode, Media, MessageStatus, Status},
};
use tributary_connectors::{Capabilities, TextLimit};

use crate::{
    stands::{Shown, Stand},
    world::World,
};

/// Family, flag and Arabic: graphemes of several characters, in both directions.
const MIXED: &str = "👩‍👩‍👧‍👦 дякую 🇺🇦 مرحبا، أين طلبي؟ e\u{301}";

fn content(value: serde_json::Value) -> Content {
    serde_json::from_value(value).expect("a content")
}

/// One of each type at least, with everything that a type can have.
fn contents(media: &SampleMedia) -> Vec<Content> {
    let text = json!({"text": "Hello you", "entities": [
        {"offset": 0, "length": 5, "kind": "bold"},
        {"offset": 6, "length": 3, "kind": "link", "url": "https://shop.example/p?a=1&b=2"}]});
    let yes = json!({"id": "yes", "title": "Yes"});
    let page =
        json!({"id": "p", "title": "Page", "action": {"do": "url", "url": "https://shop.example"}});
    let call =
        json!({"id": "c", "title": "Call", "action": {"do": "call", "phone": "+380441234567"}});
    let ask = json!({"id": "r", "title": "My number", "action": {"do": "request_contact"}});
    let many: Vec<_> = (0..130)
        .map(|n| json!({"id": format!("option-{n}"), "title": format!("Option {n}"), "description": "what it is"}))
        .collect();
    let wide = json!({"id": "i".repeat(500), "title": "t".repeat(500), "section": "S"});
    let mut all = vec![
        content(json!({"type": "text", "text": text["text"], "entities": text["entities"]})),
        Content::text(MIXED),
        Content::text("<b>&amp; *not* _markup_ [x](y) `z` \\"),
        content(json!({"type": "sticker", "media": media.sticker, "emoji": "😂"})),
        content(json!({"type": "location", "latitude": 50.4501, "longitude": 30.5234})),
        content(
            json!({"type": "location", "latitude": -90.0, "longitude": 180.0, "name": "Cafe", "address": "1 Main St"}),
        ),
        content(
            json!({"type": "contact_card", "name": "Olena K", "phones": ["+380501112233"], "emails": ["olena@shop.example"]}),
        ),
        content(json!({"type": "choice_reply", "id": "yes", "title": "Yes"})),
        content(json!({"type": "carousel", "text": text, "cards": [
            {"title": "One", "text": text, "media": media.image, "options": [yes]},
            {"title": "Two", "options": [page]}]})),
        content(
            json!({"type": "template", "name": "welcome", "locale": "uk", "parameters": {"1": "Olena"}, "text": "Hi Olena"}),
        ),
        content(json!({"type": "template", "name": "welcome"})),
        content(
            json!({"type": "email", "subject": "Order", "text": "Hello", "html": "<p>Hello</p>", "attachments": [media.file]}),
        ),
        content(json!({"type": "unsupported", "kind": "poll"})),
        content(json!({"type": "hologram", "depth": 3})),
    ];
    for style in ["buttons", "list", "quick_replies"] {
        for options in [
            vec![yes.clone()],
            vec![yes.clone(), page.clone(), call.clone(), ask.clone()],
            many.clone(),
            vec![wide.clone()],
        ] {
            all.push(content(
                json!({"type": "choices", "text": text, "style": style, "options": options}),
            ));
        }
    }
    for (kind, media) in [
        ("image", &media.image),
        ("video", &media.video),
        ("audio", &media.audio),
        ("voice", &media.voice),
        ("file", &media.file),
    ] {
        let long = json!({"text": MIXED.repeat(40)});
        all.push(content(json!({"type": kind, "media": media})));
        all.push(content(
            json!({"type": kind, "media": media, "caption": text}),
        ));
        all.push(content(
            json!({"type": kind, "media": media, "caption": long}),
        ));
        all.push(content(
            json!({"type": kind, "media": {"state": "pending"}}),
        ));
    }
    all
}

/// Real bytes of every kind, in the media store.
struct SampleMedia {
    image: Media,
    video: Media,
    audio: Media,
    voice: Media,
    file: Media,
    sticker: Media,
}

async fn stored<S: Stand>(world: &World<S>) -> SampleMedia {
    use tributary_simulators::telegram::sample;
    SampleMedia {
        image: world.keep("a.jpg", sample::jpeg(640, 480, 1)).await,
        video: world.keep("b.mp4", sample::mp4(20_000, 2)).await,
        audio: world.keep("c.mp3", sample::mp3(9_000, 3)).await,
        voice: world.keep("d.ogg", sample::ogg(5_000, 4)).await,
        file: world.keep("рахунок.pdf", sample::pdf(7_000, 5)).await,
        sticker: world.keep("f.webp", sample::webp(6)).await,
    }
}

/// Whether the channel claims to carry this type as it is.
fn is_claimed(content: &Content, capabilities: &Capabilities) -> bool {
    use tributary_connectors::Support::Yes;
    let media = &capabilities.media;
    match content {
        Content::Text(_) => true,
        Content::Image(_) => media.image.is_some(),
        Content::Video(_) => media.video.is_some(),
        Content::Audio(_) => media.audio.is_some(),
        Content::Voice(_) => media.voice.is_some(),
        Content::File(_) => media.file.is_some(),
        Content::Sticker(_) => media.sticker.is_some(),
        Content::Location(_) => capabilities.location == Yes,
        Content::ContactCard(_) => capabilities.contact_card == Yes,
        Content::Choices(_) => capabilities.choices.is_some(),
        Content::Carousel(_) => capabilities.carousel.is_some(),
        Content::Template(_) => capabilities.template == Yes,
        Content::Email(_) => capabilities.email == Yes,
        Content::ChoiceReply(_) | Content::Unsupported(_) | Content::Other(_) => false,
    }
}

/// Counted by the suite itself, not by what it tests.
fn holds(limit: TextLimit, text: &str) -> bool {
    match limit {
        TextLimit::Characters(most) => text.chars().count() <= most,
        TextLimit::Utf16Units(most) => text.encode_utf16().count() <= most,
        TextLimit::Bytes(most) => text.len() <= most,
        // The loosest reading: all of it in GSM-7.
        TextLimit::SmsSegments(most) => text.chars().count() <= most * 160,
    }
}

/// What the provider shows is within what the connector claims.
fn within_claims(shown: &Shown, capabilities: &Capabilities) -> Result<(), String> {
    let media = &capabilities.media;
    let limit = match shown.kind.as_str() {
        "image" => &media.image,
        "video" => &media.video,
        "audio" => &media.audio,
        "voice" => &media.voice,
        "file" => &media.file,
        "sticker" => &media.sticker,
        _ => &None,
    };
    let text = match limit {
        Some(limit) => limit.caption.unwrap_or(TextLimit::Bytes(0)),
        None => capabilities.text,
    };
    if !holds(text, &shown.text) {
        return Err(format!(
            "a text of {} bytes in a {}",
            shown.text.len(),
            shown.kind
        ));
    }
    if shown.buttons.is_empty() {
        return Ok(());
    }
    let Some(choices) = &capabilities.choices else {
        return Err("buttons, and no choices are claimed".to_owned());
    };
    let most = choices
        .buttons
        .max(choices.list_rows)
        .max(choices.quick_replies);
    if shown.buttons.len() > most {
        return Err(format!("{} buttons", shown.buttons.len()));
    }
    match shown
        .buttons
        .iter()
        .find(|title| !holds(choices.title, title))
    {
        Some(title) => Err(format!("a title of {} bytes", title.len())),
        None => Ok(()),
    }
}

fn is_sent(outcome: &MessageStatus) -> bool {
    matches!(
        outcome.status,
        Status::Sent | Status::Delivered | Status::Read
    )
}

pub async fn every_content_is_sent_or_refused<S: Stand>() {
    let world = World::<S>::new().await;
    let capabilities = world.account().connector.capabilities().clone();
    let media = stored(&world).await;
    for (number, content) in (0..).zip(contents(&media)) {
        let what = format!("{}: {} (content {number})", S::KIND, content.kind());
        let to = world.stand.contact(number).await;
        let outcome = world.outcome(world.send(&to, content.clone()).await).await;
        let shown = world.stand.shows(&to).await;
        for shown in &shown {
            if let Err(why) = within_claims(shown, &capabilities) {
                panic!("{what}: {why}");
            }
        }
        if is_sent(&outcome) {
            assert!(!shown.is_empty(), "{what}: sent, and nothing arrived");
            let told = is_claimed(&content, &capabilities) || !outcome.degraded.is_empty();
            assert!(told, "{what}: changed, and nobody is told");
            continue;
        }
        assert!(
            shown.is_empty(),
            "{what}: refused after a part was sent: {outcome:?}"
        );
        let failure = outcome
            .failure
            .unwrap_or_else(|| panic!("{what}: no reason"));
        assert_eq!(failure.code, FailureCode::Rejected, "{what}: {failure:?}");
        let named = match &content {
            // Its name is whatever the integrator wrote.
            Content::Other(_) => failure.reason.contains("unknown type"),
            _ if failure.reason.contains(content.kind()) => true,
            _ => !content.media().is_empty() && failure.reason.contains("media"),
        };
        assert!(
            named,
            "{what}: the reason names nothing: {}",
            failure.reason
        );
    }
    world.ends_well().await;
}

/// Split where it must be, in order, without losing or doubling a character.
pub async fn long_texts_arrive_whole<S: Stand>() {
    let world = World::<S>::new().await;
    let capabilities = world.account().connector.capabilities().clone();
    let (TextLimit::Characters(limit) | TextLimit::Utf16Units(limit) | TextLimit::Bytes(limit)) =
        capabilities.text
    else {
        panic!("{}: give this case a length of an SMS", S::KIND);
    };
    let fill = |unit: &str| unit.repeat(limit * 5 / 2 / unit.chars().count() + 1);
    for (number, text) in (0..).zip([
        fill("words and more words. "),
        fill("unbroken"),
        fill("👩‍👩‍👧‍👦"),
        fill("e\u{301}"),
        fill("مرحبا "),
        fill("line\r\n\r\nline\n"),
        "a".repeat(limit),
        "a".repeat(limit + 1),
    ]) {
        let to: Address = world.stand.contact(number).await;
        let outcome = world
            .outcome(world.send(&to, Content::text(&*text)).await)
            .await;
        let what = format!("{}: text {number}", S::KIND);
        assert!(is_sent(&outcome), "{what}: {outcome:?}");
        let shown = world.stand.shows(&to).await;
        for part in &shown {
            within_claims(part, &capabilities).unwrap_or_else(|why| panic!("{what}: {why}"));
        }
        let bare = |text: &str| text.split_whitespace().collect::<String>();
        let whole: String = shown.iter().map(|part| bare(&part.text)).collect();
        assert!(
            whole == bare(&text),
            "{what}: {} bytes of {}",
            whole.len(),
            text.len()
        );
        let split = outcome
            .degraded
            .iter()
            .any(|degradation| degradation.code == DegradationCode::TextSplit);
        assert_eq!(split, shown.len() > 1, "{what}: {:?}", outcome.degraded);
    }
    world.ends_well().await;
}
