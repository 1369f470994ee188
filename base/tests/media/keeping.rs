//! What is kept: whole, once, for us alone, or not at all.

use std::{
    io,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use tempfile::TempDir;
use tributary_base::media::{Home, Limits, PutError, open};

use crate::support::*;

#[tokio::test]
async fn too_much_too_slow_and_broken_leave_nothing() {
    let dir = TempDir::new().expect("a folder");
    let media = store_in(dir.path()).await;
    let small = Limits {
        size: 6_000_000,
        ..LIMITS
    };
    // Endless: only a check while it streams can end it.
    let endless = stream::repeat_with(|| Ok(Bytes::from(vec![7; 64 * 1024]))).boxed();
    let error = media
        .store
        .put("acme", endless, None, small)
        .await
        .expect_err("too large");
    assert!(
        matches!(error, PutError::TooLarge { limit: 6_000_000 }),
        "{error}"
    );
    let hanging = bytes(noise(6_000_000, 2)).chain(stream::pending()).boxed();
    let quick = Limits {
        deadline: Duration::from_millis(300),
        ..LIMITS
    };
    let error = media
        .store
        .put("acme", hanging, None, quick)
        .await
        .expect_err("too slow");
    assert!(matches!(error, PutError::Slow(_)), "{error}");
    let cut = bytes(noise(6_000_000, 3))
        .chain(stream::once(async {
            Err(io::Error::from(io::ErrorKind::ConnectionReset))
        }))
        .boxed();
    let error = media
        .store
        .put("acme", cut, None, LIMITS)
        .await
        .expect_err("cut");
    assert!(matches!(error, PutError::Source(_)), "{error}");
    assert!(files(&dir.path().join("media")).is_empty());
    assert_eq!(
        media.store.trouble(),
        None,
        "none of it is the store's fault"
    );
}

#[tokio::test]
async fn the_same_bytes_at_the_same_time_are_one_object() {
    let dir = TempDir::new().expect("a folder");
    let media = store_in(dir.path()).await;
    for content in [noise(10, 4), noise(7_000_000, 4)] {
        let uploads = (0..6).map(|_| {
            media
                .store
                .put("acme", bytes(content.clone()), None, LIMITS)
        });
        let stored = futures::future::try_join_all(uploads)
            .await
            .expect("all stored");
        assert!(stored.iter().all(|one| *one == stored[0]));
        let found = media
            .store
            .read("acme", &stored[0].id, tributary_base::media::Slice::All)
            .await;
        let found = found.expect("read").expect("there");
        let back: Vec<Bytes> = found.body.try_collect().await.expect("whole");
        assert!(back.concat() == content);
    }
    assert_eq!(files(&dir.path().join("media")).len(), 2);
}

#[tokio::test]
async fn the_key_is_made_once_and_kept_to_ourselves() {
    use std::os::unix::fs::PermissionsExt;
    let dir = TempDir::new().expect("a folder");
    let openings = futures::future::join_all((0..8).map(|_| store_in(dir.path()))).await;
    let id = "0".repeat(64);
    let url = openings[0].links.link("acme", &id, None).expect("a link");
    for opened in &openings {
        let query = url.query();
        assert_eq!(
            opened.links.verify("acme", &id, "file", query),
            Ok(()),
            "one key for all"
        );
    }
    let path = dir.path().join("media.key");
    let mode = std::fs::metadata(&path)
        .expect("a key")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(
        files(dir.path()),
        std::slice::from_ref(&path),
        "no drafts are left"
    );
    let config = format!("[data]\ndir = '{}'\n", dir.path().display());
    let settings = Arc::new(tributary_config::load_text("test", &config, &[]).expect("settings"));
    assert!(
        open(&settings, Home::Fleet, None)
            .await
            .expect("opened")
            .is_none(),
        "a fleet says where"
    );
    std::fs::write(&path, "short").expect("written");
    let error = open(&settings, Home::Alone, None)
        .await
        .expect_err("no key")
        .to_string();
    assert!(
        error.contains("media.key") && error.contains("media.signing_key"),
        "{error}"
    );
}

#[tokio::test]
async fn what_a_crash_left_is_swept_and_nothing_else() {
    let dir = TempDir::new().expect("a folder");
    let media = store_in(dir.path()).await;
    let stored = media
        .store
        .put("acme", bytes(GIF), None, LIMITS)
        .await
        .expect("stored");
    let incoming = dir.path().join("media/_incoming");
    for name in ["0123", "4567#1"] {
        std::fs::write(incoming.join(name), "half").expect("written");
    }
    let day = Duration::from_secs(24 * 3600);
    assert_eq!(
        media.store.sweep_abandoned(day).await.expect("swept"),
        0,
        "may still be written"
    );
    let yesterday = SystemTime::now() - 2 * day;
    for name in ["0123", "4567#1"] {
        let file = std::fs::File::options()
            .write(true)
            .open(incoming.join(name))
            .expect("open");
        file.set_modified(yesterday).expect("older");
    }
    assert_eq!(media.store.sweep_abandoned(day).await.expect("swept"), 2);
    assert!(
        media
            .store
            .describe("acme", &stored.id)
            .await
            .expect("read")
            .is_some()
    );

    let object = dir.path().join("media/acme").join(&stored.id);
    let age = |path: &Path| {
        let file = std::fs::File::options()
            .write(true)
            .open(path)
            .expect("open");
        file.set_modified(yesterday).expect("older");
    };
    age(&object);
    media
        .store
        .put("acme", bytes(GIF), None, LIMITS)
        .await
        .expect("stored again");
    assert_eq!(
        media.store.sweep_older(day).await.expect("swept"),
        0,
        "stored again is young again"
    );
    age(&object);
    assert_eq!(media.store.sweep_older(day).await.expect("swept"), 1);
    assert_eq!(
        media
            .store
            .describe("acme", &stored.id)
            .await
            .expect("read"),
        None
    );
}

/// A disk of its own, as small as wanted; needs the right to mount.
struct Disk(PathBuf);

impl Disk {
    fn of_mebibytes(size: u32) -> Option<Self> {
        let path = std::env::temp_dir().join(format!("tributary-media-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&path).ok()?;
        let option = format!("size={size}m");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &option, "tmpfs"])
            .arg(&path)
            .output();
        let disk = Self(path);
        mounted
            .is_ok_and(|output| output.status.success())
            .then_some(disk)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg(&self.0).output());
        drop(std::fs::remove_dir(&self.0));
    }
}

#[tokio::test]
async fn a_full_disk_is_named_and_leaves_nothing_half_stored() {
    let Some(disk) = Disk::of_mebibytes(16) else {
        eprintln!("skipped: a disk of its own needs the right to mount");
        return;
    };
    let media = store_in(&disk.0).await;
    let kept = media
        .store
        .put("acme", bytes(noise(6_000_000, 5)), None, LIMITS)
        .await
        .expect("fits");
    for size in [12_000_000, 15_000_000] {
        let error = media
            .store
            .put("acme", bytes(noise(size, 6)), None, LIMITS)
            .await
            .expect_err("full");
        assert!(matches!(error, PutError::Full), "{error}");
        assert!(
            media
                .store
                .trouble()
                .is_some_and(|trouble| trouble.contains("full"))
        );
        assert_eq!(files(&disk.0.join("media")).len(), 1, "nothing half stored");
    }
    // Small ones are written in one go, until there is no space for one.
    let mut small = 0;
    loop {
        let put = media
            .store
            .put("acme", bytes(noise(900_000, 10 + small)), None, LIMITS)
            .await;
        match put {
            Ok(_) => small += 1,
            Err(error) => {
                assert!(matches!(error, PutError::Full), "{error}");
                break;
            }
        }
    }
    assert_eq!(files(&disk.0.join("media")).len(), 1 + usize::from(small));
    assert!(
        media
            .store
            .describe("acme", &kept.id)
            .await
            .expect("read")
            .is_some(),
        "what was there is there"
    );
    std::fs::remove_file(disk.0.join("media/acme").join(&kept.id)).expect("space again");
    media
        .store
        .put("acme", bytes(noise(900_000, 200)), None, LIMITS)
        .await
        .expect("works again");
    assert_eq!(media.store.trouble(), None);
}
