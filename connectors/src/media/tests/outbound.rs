//! Media on its way out.

use std::{io, time::Duration};

use chrono::Utc;
use futures::{StreamExt, TryStreamExt};
use tributary_base::on;
use tributary_bus::message::{Media, MediaId, MediaState};

use super::{
    super::{FetchError, MediaAccess, MediaShelf, MediaStream, Outbound, remove_url_handles},
    provider::GIF,
    world::World,
};
use crate::testing::Kind;

impl World {
    fn outbound(&self, organization: &str, channel: &str) -> Outbound {
        let mut account = self.settings.channels["shop"].clone();
        account.id = channel.to_owned();
        account.organization = organization.to_owned();
        let shelf = MediaShelf::new(self.service.clone(), organization, &self.settings);
        Outbound::new(Some(shelf), self.database.clone(), &account, &self.settings)
            .expect("a client")
    }

    fn at(&self, path: &str) -> Media {
        Media {
            url: Some(format!("{}/{path}", self.server.base)),
            ..Media::default()
        }
    }
}

async fn read(stream: MediaStream) -> io::Result<Vec<u8>> {
    let chunks: Vec<bytes::Bytes> = stream.body.try_collect().await?;
    Ok(chunks.concat())
}

#[tokio::test]
async fn urls_are_read_through_the_guard() {
    let world = World::new(Kind::Sqlite).await;
    let access = world.outbound("acme", "shop");
    for path in ["ok", "moved"] {
        let stream = access.open(&world.at(path)).await.expect("opened");
        assert_eq!(
            stream.mime.as_deref(),
            Some("image/gif"),
            "the bytes tell, not the server"
        );
        assert_eq!(read(stream).await.expect("whole"), GIF);
    }
    for (path, reason) in [
        (
            "inside",
            "url refused: the address is internal; only public addresses are allowed",
        ),
        (
            "inside-by-name",
            "url refused: the address is internal; only public addresses are allowed",
        ),
        ("gone", "url answers 404"),
        ("page", "url answers with a web page, not with a file"),
    ] {
        let error = access.open(&world.at(path)).await.err();
        let expected = FetchError::Gone {
            reason: reason.to_owned(),
        };
        assert_eq!(error, Some(expected), "{path}");
    }
    for url in [
        "http://10.0.0.1/a.png",
        "http://[::1]/a.png",
        "file:///etc/passwd",
        "http://a:b@example.org/",
        "nonsense",
    ] {
        let media = Media {
            url: Some(url.to_owned()),
            ..Media::default()
        };
        assert!(
            matches!(access.open(&media).await, Err(FetchError::Gone { .. })),
            "{url}"
        );
        assert_eq!(access.link(&media), None, "{url}");
    }
    assert!(access.open(&world.at("loop")).await.is_err());
    let busy = FetchError::Unavailable {
        retry_after: Some(Duration::from_secs(7)),
        reason: "url answers 503".to_owned(),
    };
    assert_eq!(access.open(&world.at("busy")).await.err(), Some(busy));
    for path in ["cut", "hangs"] {
        let error = access.open(&world.at(path)).await.err();
        assert!(
            matches!(error, Some(FetchError::Unavailable { .. })),
            "{path}: {error:?}"
        );
    }
    let large = access
        .open(&world.at("large"))
        .await
        .expect("its size is not announced");
    assert!(read(large).await.is_err(), "it ends at the limit");
    assert!(
        access.open(&Media::default()).await.is_err(),
        "neither media_id nor url"
    );
}

#[tokio::test]
async fn stored_media_is_the_organizations_own() {
    let world = World::new(Kind::Sqlite).await;
    let shelf = world.fetcher.shelf.clone().expect("a shelf");
    let stream = MediaStream {
        body: futures::stream::once(async { Ok(bytes::Bytes::from_static(GIF)) }).boxed(),
        mime: None,
        size: Some(GIF.len() as u64),
        name: Some("dot.gif".to_owned()),
    };
    let media = shelf.put(stream, None).await.expect("stored");
    assert_eq!(media.state, MediaState::Ready);
    let ours = world.outbound("acme", "shop");
    let link = ours.link(&media).expect("the internet reaches us");
    assert!(
        link.as_str()
            .starts_with("https://chat.example.org/media/acme/"),
        "{link}"
    );
    assert!(link.path().ends_with("/dot.gif"));
    assert_eq!(
        read(ours.open(&media).await.expect("opened"))
            .await
            .expect("whole"),
        GIF
    );
    let theirs = world.outbound("other", "shop");
    assert!(matches!(
        theirs.open(&media).await,
        Err(FetchError::Gone { .. })
    ));
    for id in ["../acme", "", "0"] {
        let media = Media {
            media_id: Some(MediaId(id.to_owned())),
            ..Media::default()
        };
        assert!(
            matches!(ours.open(&media).await, Err(FetchError::Gone { .. })),
            "{id}"
        );
    }
}

#[tokio::test]
async fn what_media_are_is_read_from_their_bytes() {
    let world = World::new(Kind::Sqlite).await;
    let shelf = world.fetcher.shelf.clone().expect("a shelf");
    let stream = MediaStream {
        body: futures::stream::once(async { Ok(bytes::Bytes::from_static(GIF)) }).boxed(),
        mime: None,
        size: None,
        name: None,
    };
    let id = shelf.put(stream, None).await.expect("stored").media_id;
    let access = world.outbound("acme", "shop");
    let size = Some(GIF.len() as u64);
    let stored = |mime: Option<&str>| Media {
        media_id: id.clone(),
        mime: mime.map(str::to_owned),
        name: Some("a.bin".to_owned()),
        ..Media::default()
    };
    for media in [
        stored(None),
        stored(Some("application/pdf")),
        world.at("ok"),
    ] {
        let found = access.describe(&media).await.expect("it is there");
        assert_eq!(
            (found.mime.as_deref(), found.size),
            (Some("image/gif"), size)
        );
        assert_eq!(found.name, media.name);
    }
    // Said by whoever sends the link: it is not opened for that.
    let said = Media {
        mime: Some("application/pdf".to_owned()),
        ..world.at("gone")
    };
    assert_eq!(access.describe(&said).await, Ok(said.clone()));
    assert!(access.describe(&world.at("gone")).await.is_err());
    let theirs = world.outbound("other", "shop");
    assert!(theirs.describe(&stored(None)).await.is_err());
}

fn named(media: &Media, name: &str) -> Media {
    Media {
        name: Some(name.to_owned()),
        ..media.clone()
    }
}

async fn handles(kind: Kind) {
    let world = World::new(kind).await;
    let shop = world.outbound("acme", "shop");
    let stored = Media {
        media_id: Some(MediaId("a".repeat(64))),
        ..Media::default()
    };
    let linked = world.at("ok?token=secret");
    for media in [&stored, &linked] {
        assert_eq!(shop.handle(media, "photo").await, None);
        shop.remember(media, "photo", "first").await;
        shop.remember(media, "photo", "second").await;
        assert_eq!(shop.handle(media, "photo").await.as_deref(), Some("second"));
        assert_eq!(
            shop.handle(media, "document").await,
            None,
            "another kind is another handle"
        );
        assert_eq!(
            world.outbound("acme", "other").handle(media, "photo").await,
            None,
            "another account"
        );
        assert_eq!(
            world.outbound("other", "shop").handle(media, "photo").await,
            None,
            "another organization"
        );
    }
    for (shown, other) in [
        ("the name", named(&stored, "offer-41.pdf")),
        (
            "the length",
            Media {
                duration_ms: Some(9),
                ..stored.clone()
            },
        ),
        (
            "the type",
            Media {
                mime: Some("image/png".to_owned()),
                ..stored.clone()
            },
        ),
        ("the name of a link", named(&linked, "offer-41.pdf")),
    ] {
        assert_eq!(shop.handle(&other, "photo").await, None, "{shown} is seen");
        shop.remember(&other, "photo", shown).await;
        assert_eq!(shop.handle(&other, "photo").await.as_deref(), Some(shown));
    }
    assert_eq!(
        shop.handle(&named(&stored, "offer-42.pdf"), "photo").await,
        None
    );
    let keys: Vec<String> =
        on!(read &world.database, db => sqlx::query_scalar("SELECT media FROM media_handles")
        .fetch_all(db).await)
        .expect("read");
    assert!(keys.iter().all(|key| !key.contains("secret")), "{keys:?}");
    let old = Utc::now() - Duration::from_secs(3601);
    on!(write &world.database, db => sqlx::query("UPDATE media_handles SET created_at = $1").bind(old)
        .execute(db).await.map(drop)).expect("older");
    assert_eq!(
        shop.handle(&linked, "photo").await,
        None,
        "what is behind a URL may have changed"
    );
    assert_eq!(
        shop.handle(&stored, "photo").await.as_deref(),
        Some("second"),
        "bytes never change"
    );
    let before = Utc::now() - Duration::from_secs(60);
    let removed = remove_url_handles(&world.database, before, 10).await;
    assert_eq!(removed.expect("removed"), 2, "what is behind a URL");
    assert_eq!(
        shop.handle(&stored, "photo").await.as_deref(),
        Some("second")
    );
}

#[tokio::test]
async fn handles_are_remembered_per_account_and_kind_sqlite() {
    handles(Kind::Sqlite).await;
}

#[tokio::test]
async fn handles_are_remembered_per_account_and_kind_postgres() {
    handles(Kind::Postgres).await;
}
