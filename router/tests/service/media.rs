//! Uploads and signed links.

use anyhow::{Context, Result, ensure};
use futures::stream;
use reqwest::{Method, header};
use serde_json::Value;
use tributary_router::api::Rate;

use crate::support::{Answer, Kind, World, send};

/// A transparent picture of one pixel.
const GIF: &[u8] = b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff!\xf9\x04\x01\0\0\0\0,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;";

async fn upload(
    world: &World,
    query: &str,
    mime: &str,
    body: impl Into<reqwest::Body>,
) -> Result<Answer> {
    let request = world
        .request(Method::POST, &format!("/v1/media{query}"))
        .bearer_auth(&world.acme)
        .header(header::CONTENT_TYPE, mime)
        .body(body);
    send(request).await
}

fn text<'a>(media: &'a Value, key: &str) -> Result<&'a str> {
    media[key]
        .as_str()
        .with_context(|| format!("{key} in {media}"))
}

#[tokio::test]
async fn an_upload_is_stored_once_and_reached_by_its_link() -> Result<()> {
    let world = World::start(Kind::Sqlite).await?;
    let first = upload(&world, "?name=dot.gif", "text/html", GIF)
        .await?
        .expect(201)?;
    let media = &first.body["media"];
    ensure!(
        media["state"] == "ready" && media["mime"] == "image/gif",
        "{media}"
    );
    ensure!(
        media["width"] == 1 && media["size"] == GIF.len() && media["name"] == "dot.gif",
        "{media}"
    );
    let again = upload(&world, "", "image/gif", GIF).await?.expect(201)?;
    ensure!(
        again.body["media"]["media_id"] == media["media_id"],
        "the same bytes"
    );

    let url = text(media, "url")?;
    let opened = world.http.get(url).send().await?;
    ensure!(opened.status() == 200 && opened.headers()[header::CONTENT_TYPE] == "image/gif");
    ensure!(opened.headers()["content-security-policy"] == "sandbox");
    ensure!(opened.bytes().await? == GIF);
    let forged = url.replace("dot.gif", "dot.html");
    ensure!(world.http.get(forged).send().await?.status() == 403);

    let path = format!("/v1/media/{}", text(media, "media_id")?);
    let shown = world.get(&path).await?.expect(200)?;
    ensure!(shown.body["media"]["mime"] == "image/gif");
    ensure!(
        world
            .http
            .get(text(&shown.body["media"], "url")?)
            .send()
            .await?
            .status()
            == 200
    );
    let theirs = world.request(Method::GET, &path).bearer_auth(&world.other);
    send(theirs).await?.expect(404)?;
    send(world.request(Method::GET, &path)).await?.expect(401)?;
    send(world.request(Method::POST, "/v1/media").body(GIF))
        .await?
        .expect(401)?;
    world.get("/v1/media/..%2F..%2Fetc").await?.expect(404)?;
    Ok(())
}

#[tokio::test]
async fn uploads_are_bounded_by_a_limit_of_their_own() -> Result<()> {
    let config = "[media]\nsize_limit = 1000000\n[api]\nbody_limit = 1000\n";
    let world = World::start_with(Kind::Sqlite, config, Rate::default()).await?;
    let large = vec![7_u8; 1_000_000];
    upload(&world, "", "application/octet-stream", large.clone())
        .await?
        .expect(201)?;
    // Announced, and only found out while it streams.
    let announced = upload(
        &world,
        "",
        "application/octet-stream",
        vec![7_u8; 1_000_001],
    )
    .await?
    .expect(413)?;
    ensure!(
        announced.body["code"] == "body_too_large",
        "{}",
        announced.text
    );
    let pieces = [large, vec![7]].map(Ok::<_, std::io::Error>);
    let streamed = reqwest::Body::wrap_stream(stream::iter(pieces));
    let refused = upload(&world, "", "application/octet-stream", streamed)
        .await?
        .expect(413)?;
    ensure!(refused.text.contains("1000000 bytes"), "{}", refused.text);
    let form = upload(&world, "", "multipart/form-data; boundary=x", GIF)
        .await?
        .expect(415)?;
    ensure!(form.text.contains("without a form"), "{}", form.text);
    upload(&world, "?nam=x", "image/gif", GIF)
        .await?
        .expect(422)?;
    upload(
        &world,
        &format!("?name={}", "x".repeat(256)),
        "image/gif",
        GIF,
    )
    .await?
    .expect(422)?;
    Ok(())
}

#[tokio::test]
async fn an_upload_without_bytes_is_refused() -> Result<()> {
    let world = World::start(Kind::Sqlite).await?;
    let pieces = [Vec::new(), Vec::new()].map(Ok::<Vec<u8>, std::io::Error>);
    let streamed = reqwest::Body::wrap_stream(stream::iter(pieces));
    for body in [reqwest::Body::from(""), streamed] {
        let refused = upload(&world, "", "application/octet-stream", body).await?;
        refused.problem(422, "invalid_body")?;
        ensure!(refused.text.contains("send the bytes"), "{}", refused.text);
    }
    let bare = world.post("/v1/media").await?;
    bare.problem(422, "invalid_body")?;
    // Bytes that come after nothing for a while are bytes.
    let pieces = [Vec::new(), GIF.to_vec()].map(Ok::<Vec<u8>, std::io::Error>);
    let streamed = reqwest::Body::wrap_stream(stream::iter(pieces));
    upload(&world, "", "image/gif", streamed)
        .await?
        .expect(201)?;
    Ok(())
}

#[tokio::test]
async fn without_a_store_uploads_say_what_to_do() -> Result<()> {
    let world = World::start_with(Kind::Sqlite, "[media]\nurl = 'off'\n", Rate::default()).await?;
    let refused = upload(&world, "", "image/gif", GIF).await?.expect(503)?;
    ensure!(refused.text.contains("media.url"), "{}", refused.text);
    Ok(())
}
