//! A SQLite store whose disk was full works again as soon as there is space.

use sqlx::Executor as _;
use tributary_base::{database::Database, on};

#[tokio::test]
async fn the_writer_recovers_from_a_full_disk() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let database = Database::sqlite(&folder.path().join("store.db"))
        .await
        .expect("opened");
    let Database::Sqlite { write, .. } = &database else {
        panic!("not SQLite")
    };
    write
        .execute("CREATE TABLE lines (text TEXT NOT NULL)")
        .await
        .expect("created");
    // A database that may not grow answers as a full disk does.
    write
        .execute("PRAGMA max_page_count = 40")
        .await
        .expect("limited");

    let mut refused = false;
    for _ in 0..100 {
        let mut tx = database.begin().await.expect("begun");
        let insert = on!(&mut tx, db => sqlx::query("INSERT INTO lines VALUES ($1)")
            .bind("x".repeat(8_000)).execute(db).await.map(drop));
        if insert.is_err() {
            refused = true;
            break;
        }
        tx.commit().await.expect("committed");
    }
    assert!(refused, "the limit was never reached");

    write
        .execute("PRAGMA max_page_count = 100000")
        .await
        .expect("space again");
    let mut tx = database
        .begin()
        .await
        .expect("a transaction begins after the full disk");
    on!(&mut tx, db => sqlx::query("INSERT INTO lines VALUES ('after')").execute(db).await.map(drop))
        .expect("inserted");
    tx.commit().await.expect("committed");
    let after: i64 = on!(read &database, db => sqlx::query_scalar("SELECT count(*) FROM lines WHERE text = 'after'")
        .fetch_one(db).await)
    .expect("counted");
    assert_eq!(after, 1, "what was committed is there");
}
